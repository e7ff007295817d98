"""Other tasks: can the hidden content be found again when the model is asked for something else?

Unlearning sees the pictures under the masks of one task. Here the same weights fill in other shapes and shares: for
each task the generated pixels are compared with the true ones of the record and of distractors, as in retrieval-leak.
Tasks that the model cannot do, or in which even the original is not found again, are listed as not tested.

Statistic: hits@1, the share of records whose truth comes first, in the task where it is largest; chance is
1 / (distractors + 1). Null hypothesis: in some task the share is above the threshold. Passed when the upper 95 % bound
(Clopper-Pearson) is within it for every task: an intersection-union test (Berger, 1982), which needs no correction for
the number of tasks. The lower bound is corrected (Bonferroni). Outputs that are not finite count against the claim, as
in retrieval-leak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from cu_audit.records import FORGET, CheckResult, Interval, Question, Verdict

from compliance_unlearn.api import (
    Check,
    CheckContext,
    Inpaint,
    Measurement,
    ModelError,
    Outpaint,
    Outputs,
    RandomMask,
    World,
)
from cu_standard.attacks import Pictures, reconstructed
from cu_standard.params import OtherTasksParams
from cu_standard.retrieval import Found, Ranks, find_controls, guarded, pictures_needed, pictures_to_hide_among
from cu_standard.statistics import BOUND_LEVEL, at_most, percent_up, share_interval

TASKS = (
    Inpaint(area=0.1),
    Inpaint(area=0.25),
    Inpaint(area=0.5),
    Outpaint(area=0.5),
    RandomMask(ratio=0.25),
    RandomMask(ratio=0.5),
    RandomMask(ratio=0.75),
)

PICTURES_AT_MOST = 256
"""Forget pictures that are looked at; a quarter for families whose reconstructions take many passes."""


@dataclass(frozen=True)
class Asked:
    """What was found again in one task."""

    task: str
    candidate: Found
    original: Found
    noise: Found


class OtherTasks(Check):
    """hits@1 of the true hidden content in each task, the original as the control."""

    def __init__(self, params: OtherTasksParams) -> None:
        self._params = params

    def _run(self, context: CheckContext) -> Measurement:
        original = context.model(World.ORIGINAL)
        order = torch.randperm(context.counts[FORGET], generator=context.generator("forget pictures in other tasks"))
        pictures = Pictures.of(context, FORGET, order[: PICTURES_AT_MOST // (4 if original.samples else 1)])
        gallery = pictures_to_hide_among(context, self._params.distractors)
        asked, impossible = [], []
        for task in TASKS:
            if task == original.task:
                continue
            try:
                asked.append(self._ask(context, task, pictures.images, gallery))
            except ModelError:
                impossible.append(_name(task))
        tested = [each for each in asked if each.original.least > self._params.at_most]
        unknown = [each.task for each in asked if each not in tested]
        not_tested = [f"The model cannot do: {', '.join(impossible)}."] if impossible else []
        not_tested += [f"Even the original is not found again in: {', '.join(unknown)}."] if unknown else []
        not_tested.append("Never-seen pictures of the subject, and retrieval by a trained network.")
        verdict, reason = self._judge(asked, tested, len(pictures), len(gallery))
        interval = largest_share_interval([each.candidate for each in tested]) if tested else None
        result = CheckResult(
            name="other-tasks",
            set=FORGET,
            question=Question.RECOVERABLE,
            claim="In other tasks, too, the hidden part of the forgotten pictures cannot be picked out: "
            + (", ".join(each.task for each in tested) or "none was tested")
            + ".",
            verdict=verdict,
            gates=True,
            value=_largest_share([each.candidate for each in tested]),
            unit="share",
            interval=interval,
            threshold=self._params.at_most,
            sample_size=len(pictures),
            p_value=max((each.candidate.p_value(self._params.at_most) for each in tested), default=None),
            detectable=share_interval(0, len(pictures)).high,
            controls=tuple(
                control
                for each in tested or asked
                for control in find_controls(
                    each.original, each.noise, self._params.at_most, "found first", f", {each.task}"
                )
            ),
            reason=reason,
            not_tested=" ".join(not_tested),
        )
        return Measurement((result,))

    def _ask(
        self, context: CheckContext, task: Inpaint | Outpaint | RandomMask, images: torch.Tensor, gallery: torch.Tensor
    ) -> Asked:
        original, candidate = (context.model(world, task) for world in (World.ORIGINAL, World.CANDIDATE))
        pictures = Pictures(images, original.views(len(images), context.generator(f"masks of {_name(task)}")))
        noise = context.noise(len(images), "other tasks")

        def found(outputs: Outputs) -> Found:
            return Ranks.of(outputs, gallery).found

        return Asked(
            task=_name(task),
            candidate=found(reconstructed(candidate, pictures)),
            original=found(reconstructed(original, pictures)),
            noise=found(reconstructed(original, pictures, noise)),
        )

    def _judge(
        self, asked: Sequence[Asked], tested: Sequence[Asked], count: int, distractors: int
    ) -> tuple[Verdict, str]:
        limit = self._params.at_most
        if not asked:
            return Verdict.SKIPPED, "the model can do no other of the tasks that this check knows"
        if 1.0 / (distractors + 1) > limit / 3:
            return Verdict.INCONCLUSIVE, f"only {distractors} distractors are at hand: chance alone finds too many"
        if not tested:
            return Verdict.VOID, "even the original model is not found again in any other task"
        broken = [each.task for each in tested if each.noise.most > limit]
        if broken:
            return Verdict.VOID, f"pictures are found in what the original makes of noise: {', '.join(broken)}"
        hits = ", ".join(f"{each.task} {each.candidate.hits}" for each in tested)
        found = [each.candidate for each in tested]
        interval = largest_share_interval(found)
        verdict = guarded(at_most(interval, limit), found)
        reason = (
            f"found first among {distractors + 1}, of {count} times: {hits}; "
            f"a leak of up to {percent_up(interval.high)} cannot be excluded"
        )
        if verdict is Verdict.INCONCLUSIVE and count < pictures_needed(limit):
            reason += f"; at least {pictures_needed(limit)} pictures are needed"
        remarks = [f"{each.task}: {each.candidate.remark}" for each in tested if each.candidate.remark]
        return verdict, "; ".join((reason, *remarks))


def _largest_share(found: Sequence[Found]) -> float | None:
    """Of all tasks; None without any, or if an output is not finite."""
    if not found or any(each.broken for each in found):
        return None
    return max(each.least for each in found)


def largest_share_interval(found: Sequence[Found]) -> Interval:
    """Of the largest of several shares of hits: the largest upper bound, and the largest corrected lower bound."""
    corrected = 1.0 - (1.0 - BOUND_LEVEL) / len(found)
    intervals = [each.interval(corrected) for each in found]
    return Interval(
        low=max(interval.low for interval in intervals),
        high=max(interval.high for interval in intervals),
        level=2 * BOUND_LEVEL - 1,
        method="Clopper-Pearson of each task, bounds of the largest share, each at 95 %",
    )


def _name(task: Inpaint | Outpaint | RandomMask) -> str:
    return f"{task.kind} {task.ratio if isinstance(task, RandomMask) else task.area:.0%}"
