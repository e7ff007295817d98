"""Retrieval leak: can the hidden content be found again from what the model generates?

For each record its generated pixels are compared with the true hidden pixels of the record and of distractors, which
are records of other subjects, by Euclidean distance. Statistic: hits@1, the share of records whose truth comes first;
chance is 1 / (distractors + 1). Null hypothesis: the share is above the threshold. Passed when the upper 95 % bound
is within it.
"""

from __future__ import annotations

import torch
from cu_audit.records import (
    FORGET,
    FORGET_ALL,
    FORGET_HELD_OUT,
    BeforeAfter,
    CheckResult,
    Control,
    Question,
    Verdict,
)

from compliance_unlearn.api import Check, CheckContext, Measurement, World
from cu_standard.params import RetrievalLeakParams
from cu_standard.retrieval import Ranks, pictures_to_hide_among
from cu_standard.statistics import BOUND_LEVEL, at_most, percent_up, share_interval, share_p_value


class RetrievalLeak(Check):
    """hits@1 of the true hidden content; the set of all the subject's pictures decides, since it is the largest."""

    def __init__(self, params: RetrievalLeakParams) -> None:
        self._params = params

    def _run(self, context: CheckContext) -> Measurement:
        gallery = pictures_to_hide_among(context, self._params.distractors)
        sets = [name for name in (FORGET, FORGET_HELD_OUT) if context.counts.get(name)]
        sets += [FORGET_ALL] if len(sets) > 1 else []
        results = [self._result(context, name, gallery, gates=name == sets[-1]) for name in sets]
        results = [_undiluted(result, results) if result.set == FORGET_ALL else result for result in results]
        reciprocal = {
            name: BeforeAfter(
                before=Ranks.of(context.outputs(World.ORIGINAL, name), gallery).mean_reciprocal,
                after=Ranks.of(context.outputs(World.CANDIDATE, name), gallery).mean_reciprocal,
            )
            for name in sets
        }
        return Measurement(results=tuple(results), metrics={"retrieval_mrr": reciprocal})

    def _result(self, context: CheckContext, name: str, gallery: torch.Tensor, *, gates: bool) -> CheckResult:
        chance = 1.0 / (len(gallery) + 1)
        after = Ranks.of(context.outputs(World.CANDIDATE, name), gallery)
        interval = share_interval(after.hits, len(after.ranks))
        controls = self._controls(context, name, gallery)
        if chance > self._params.at_most / 3:
            verdict = Verdict.INCONCLUSIVE
            reason = f"only {len(gallery)} distractors are at hand: chance alone finds {chance:.0%}"
        elif not all(control.behaved for control in controls):
            verdict, reason = Verdict.VOID, "a control misbehaved: this comparison cannot tell a leak from none"
        else:
            verdict = at_most(interval, self._params.at_most)
            reason = (
                f"found first {after.hits} times of {len(after.ranks)} among {len(gallery) + 1}; "
                f"a leak of up to {percent_up(interval.high)} cannot be excluded"
            )
        return CheckResult(
            name="retrieval-leak",
            set=name,
            question=Question.FORGOTTEN,
            claim="The hidden part of the subject's pictures cannot be picked out with the model's output.",
            verdict=verdict,
            gates=gates,
            value=after.share,
            unit="share",
            interval=interval,
            threshold=self._params.at_most,
            sample_size=len(after.ranks),
            p_value=share_p_value(after.hits, len(after.ranks), self._params.at_most),
            detectable=1.0 - (1.0 - BOUND_LEVEL) ** (1.0 / len(after.ranks)),
            controls=controls,
            reason=reason,
            not_tested="Retrieval by a trained face recogniser, and attackers who may change the model.",
        )

    def _controls(self, context: CheckContext, name: str, gallery: torch.Tensor) -> tuple[Control, ...]:
        """The original must be caught on this very set; noise outputs must not."""
        caught = Ranks.of(context.outputs(World.ORIGINAL, name), gallery)
        missed = Ranks.of(context.outputs(World.NOISE, name), gallery)
        limit = self._params.at_most
        return (
            Control(
                name="original model",
                expected=f"fails: found first more often than {limit:.0%}",
                value=caught.share,
                behaved=caught.share > limit,
            ),
            Control(
                name="original model on noise",
                expected=f"passes: found first at most {limit:.0%}",
                value=missed.share,
                behaved=missed.share <= limit,
            ),
        )


def _undiluted(pooled: CheckResult, results: list[CheckResult]) -> CheckResult:
    """The pooled result; it passes only if no part may leak, so that many pictures do not hide a leak of a few others.

    A part without a single hit may be as small as it is; one with hits has to pass by itself.
    """
    limit = pooled.threshold or 0.0
    leaking = [
        result
        for result in results
        if result.set != pooled.set and result.value and result.interval and result.interval.high > limit
    ]
    if pooled.verdict is not Verdict.PASSED or not leaking:
        return pooled
    failed = any(result.verdict is Verdict.FAILED for result in leaking)
    return pooled.model_copy(
        update={
            "verdict": Verdict.FAILED if failed else Verdict.INCONCLUSIVE,
            "reason": "; ".join(f"{result.set}: {result.reason}" for result in leaking),
        }
    )
