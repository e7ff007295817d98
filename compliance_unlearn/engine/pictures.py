"""Which pictures a report may show, taken from the measured worlds."""

from __future__ import annotations

from cu_audit.records import FORGET, FORGET_HELD_OUT, RETAIN, RETAIN_HELD_OUT, Outcome

from compliance_unlearn.api import World
from compliance_unlearn.engine.sets import ModelSets
from compliance_unlearn.engine.worlds import MeasuredWorlds
from compliance_unlearn.evidence.pictures import ReportPictures, RetainedRow, generated_only, retained_rows
from compliance_unlearn.workspace import Workspace

ROWS = 6
"""Retained records in a report."""


def report_pictures(workspace: Workspace, sets: ModelSets, worlds: MeasuredWorlds, outcome: Outcome) -> ReportPictures:
    """Retained records that the workspace marks as showable, and the average forget output of a run that passed.

    Not single ones: a few of them may have kept something and still pass together.
    """
    rows = tuple(_retained_rows(workspace, sets, worlds))
    if outcome is not Outcome.COMPLIANT:
        return ReportPictures(retained=rows)
    forgotten = worlds.outputs(World.CANDIDATE, FORGET)
    made, anywhere = forgotten.generated, forgotten.generated.any(dim=0, keepdim=True)
    average = (forgotten.images * made).sum(dim=0, keepdim=True) / made.sum(dim=0, keepdim=True).clamp(min=1)
    return ReportPictures(
        retained=rows,
        forgotten_after=tuple(generated_only(average.numpy(), anywhere.numpy())),
        forgotten_mask=anywhere[0, 0].numpy(),
    )


def _retained_rows(workspace: Workspace, sets: ModelSets, worlds: MeasuredWorlds) -> list[RetainedRow]:
    selector = workspace.showable_selector(sets.dataset.tree.pin.dataset)
    if selector is None:
        return []
    showable = sets.dataset.source.resolve(selector).ids
    rows: list[RetainedRow] = []
    # A policy may forget some pictures of a person and keep others: those are not shown either.
    shown = {record.subject for part in (FORGET, FORGET_HELD_OUT) for record in sets.sets[part]} - {None}
    for name in (RETAIN_HELD_OUT, RETAIN):
        chosen: list[int] = []
        for index, record in enumerate(worlds.records(name) if name in worlds.counts else []):
            if record.id in showable and record.subject not in shown and len(rows) + len(chosen) < ROWS:
                shown |= {record.subject} if record.subject is not None else set()
                chosen.append(index)
        if chosen:
            before, after = worlds.outputs(World.ORIGINAL, name), worlds.outputs(World.CANDIDATE, name)
            pictures = (before.truth, before.images, after.images, before.generated)
            drawn = [
                index
                for index in chosen
                if before.images[index].isfinite().all() and after.images[index].isfinite().all()
            ]
            rows += retained_rows(*(part[drawn].numpy() for part in pictures)) if drawn else []
    return rows
