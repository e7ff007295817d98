"""Which pictures a report may show, taken from the measured worlds."""

from __future__ import annotations

from cu_audit.records import FORGET, RETAIN, RETAIN_HELD_OUT, Outcome

from compliance_unlearn.api import World
from compliance_unlearn.engine.sets import ModelSets
from compliance_unlearn.engine.worlds import MeasuredWorlds
from compliance_unlearn.evidence.pictures import ReportPictures, RetainedRow, generated_only, retained_rows
from compliance_unlearn.workspace import Workspace

ROWS = 6
"""Retained records in a report."""

FORGOTTEN_AT_MOST = 12
"""Outputs on records to forget in a report: enough to see what they look like, and no collection of them."""


def report_pictures(workspace: Workspace, sets: ModelSets, worlds: MeasuredWorlds, outcome: Outcome) -> ReportPictures:
    """Retained records that the workspace marks as showable, and forget outputs of a run that passed."""
    rows = tuple(_retained_rows(workspace, sets, worlds))
    if outcome is not Outcome.COMPLIANT:
        return ReportPictures(retained=rows)
    forgotten = worlds.outputs(World.CANDIDATE, FORGET)
    shown = slice(FORGOTTEN_AT_MOST)
    return ReportPictures(
        retained=rows,
        forgotten_after=tuple(generated_only(forgotten.images[shown].numpy(), forgotten.generated[shown].numpy())),
        forgotten_mask=forgotten.generated[0, 0].numpy(),
    )


def _retained_rows(workspace: Workspace, sets: ModelSets, worlds: MeasuredWorlds) -> list[RetainedRow]:
    selector = workspace.showable_selector(sets.dataset.tree.pin.dataset)
    if selector is None:
        return []
    showable = sets.dataset.source.resolve(selector).ids
    rows: list[RetainedRow] = []
    shown: set[str | None] = set()
    for name in (RETAIN_HELD_OUT, RETAIN):
        chosen: list[int] = []
        for index, record in enumerate(worlds.records(name) if name in worlds.counts else []):
            if record.id in showable and record.subject not in shown and len(rows) + len(chosen) < ROWS:
                shown |= {record.subject} if record.subject is not None else set()
                chosen.append(index)
        if chosen:
            before, after = worlds.outputs(World.ORIGINAL, name), worlds.outputs(World.CANDIDATE, name)
            pictures = (before.truth, before.images, after.images, before.generated)
            rows += retained_rows(*(part[chosen].numpy() for part in pictures))
    return rows
