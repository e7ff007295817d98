"""Retrieval leak: can the hidden content be found again from what the model generates?

For each record its generated pixels are compared with the true hidden pixels of the record and of distractors, which
are records of other subjects, by Euclidean distance. Statistic: hits@1, the share of records whose truth comes first;
chance is 1 / (distractors + 1). Null hypothesis: the share is above the threshold. Passed when the upper 95 % bound
is within it.

An output that is not finite is neither found nor missed: it counts as found for the upper bound and as missed for the
lower one. With such outputs nothing passes; the other ones may still fail.
"""

from __future__ import annotations

import torch
from cu_audit.records import BeforeAfter, CheckResult, Question, Verdict

from compliance_unlearn.api import Check, CheckContext, Measurement, World
from cu_standard.params import RetrievalLeakParams
from cu_standard.retrieval import Found, Ranks, find_controls, pictures_to_hide_among, subject_sets, undiluted
from cu_standard.statistics import percent_up


class RetrievalLeak(Check):
    """hits@1 of the true hidden content; the set of all the subject's pictures decides, since it is the largest."""

    def __init__(self, params: RetrievalLeakParams) -> None:
        self._params = params

    def _run(self, context: CheckContext) -> Measurement:
        gallery = pictures_to_hide_among(context, self._params.distractors)
        sets = subject_sets(context)
        results = [self._result(context, name, gallery, gates=name == sets[-1]) for name in sets]
        reciprocal = {
            name: BeforeAfter(
                before=Ranks.of(context.outputs(World.ORIGINAL, name), gallery).mean_reciprocal,
                after=Ranks.of(context.outputs(World.CANDIDATE, name), gallery).mean_reciprocal,
            )
            for name in sets
        }
        return Measurement(results=tuple(undiluted(results)), metrics={"retrieval_mrr": reciprocal})

    def _result(self, context: CheckContext, name: str, gallery: torch.Tensor, *, gates: bool) -> CheckResult:
        limit = self._params.at_most
        after, original, noise = (
            Ranks.of(context.outputs(world, name), gallery).found
            for world in (World.CANDIDATE, World.ORIGINAL, World.NOISE)
        )
        controls = find_controls(original, noise, limit, "found first")
        if 1.0 / (len(gallery) + 1) > limit / 3:
            verdict = Verdict.INCONCLUSIVE
            reason = f"only {len(gallery)} distractors are at hand: chance alone finds {1.0 / (len(gallery) + 1):.0%}"
        elif not all(control.behaved for control in controls):
            verdict, reason = Verdict.VOID, "a control misbehaved: this comparison cannot tell a leak from none"
        else:
            verdict, reason = after.verdict(limit), _said(after, len(gallery) + 1)
        return CheckResult(
            name="retrieval-leak",
            set=name,
            question=Question.FORGOTTEN,
            claim="The hidden part of the subject's pictures cannot be picked out with the model's output.",
            verdict=verdict,
            gates=gates,
            value=after.share,
            unit="share",
            interval=after.interval(),
            threshold=limit,
            sample_size=after.count,
            p_value=after.p_value(limit),
            detectable=after.detectable,
            controls=controls,
            reason="; ".join(filter(None, (reason, after.remark))),
            not_tested="Retrieval by a trained face recogniser, and attackers who may change the model.",
        )


def _said(after: Found, candidates: int) -> str:
    return (
        f"found first {after.hits} times of {after.count} among {candidates}; "
        f"a leak of up to {percent_up(after.interval().high)} cannot be excluded"
    )
