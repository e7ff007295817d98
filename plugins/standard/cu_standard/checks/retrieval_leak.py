"""Retrieval leak: can the hidden content be found again from what the model generates?

For each record its generated pixels are compared with the true hidden pixels of the record and of distractors, which
are records of other subjects, by Euclidean distance. Statistic: hits@1, the share of records whose truth comes first;
chance is 1 / (distractors + 1). Null hypothesis: the share is above the threshold. Passed when the upper 95 % bound
is within it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from cu_audit.records import (
    FORGET,
    FORGET_ALL,
    FORGET_HELD_OUT,
    RETAIN,
    RETAIN_HELD_OUT,
    BeforeAfter,
    CheckResult,
    Control,
    Verdict,
)

from compliance_unlearn.api import Check, CheckContext, Measurement, Outputs, World
from cu_standard.params import RetrievalLeakParams
from cu_standard.statistics import at_most, percent_up, share_interval


@dataclass(frozen=True)
class Ranks:
    """Rank of each record's truth among the candidates, 1 is first: integer ``[n]``."""

    ranks: torch.Tensor

    @property
    def hits(self) -> int:
        """Records whose truth comes first."""
        return int((self.ranks == 1).sum())

    @property
    def share(self) -> float:
        """hits@1."""
        return self.hits / len(self.ranks)

    @property
    def mean_reciprocal(self) -> float:
        """Mean reciprocal rank (MRR), in (0, 1]."""
        return float((1.0 / self.ranks.double()).mean())


class RetrievalLeak(Check):
    """hits@1 of the true hidden content; the set of all the subject's pictures decides, since it is the largest."""

    def __init__(self, params: RetrievalLeakParams) -> None:
        self._params = params

    def _run(self, context: CheckContext) -> Measurement:
        gallery = self._gallery(context)
        sets = [name for name in (FORGET, FORGET_HELD_OUT) if context.counts.get(name)]
        sets += [FORGET_ALL] if len(sets) > 1 else []
        results = [self._result(context, name, gallery, gates=name == sets[-1]) for name in sets]
        results = [_undiluted(result, results) if result.set == FORGET_ALL else result for result in results]
        reciprocal = {
            name: BeforeAfter(
                before=self._rank(context.outputs(World.ORIGINAL, name), gallery).mean_reciprocal,
                after=self._rank(context.outputs(World.CANDIDATE, name), gallery).mean_reciprocal,
            )
            for name in sets
        }
        return Measurement(results=tuple(results), metrics={"retrieval_mrr": reciprocal})

    def _gallery(self, context: CheckContext) -> torch.Tensor:
        """Images of other subjects, ``[m, channels, height, width]``, in a fixed random order."""
        own, others = (
            [context.outputs(World.ORIGINAL, name) for name in names if context.counts.get(name)]
            for names in ((FORGET, FORGET_HELD_OUT), (RETAIN, RETAIN_HELD_OUT))
        )
        if not own or not others:
            return torch.empty(0)
        forgotten = torch.cat([outputs.subjects for outputs in own])
        subjects = torch.cat([outputs.subjects for outputs in others])
        # A policy may forget some pictures of a subject and keep others: truth cannot hide among those.
        images = torch.cat([outputs.truth for outputs in others])[~torch.isin(subjects, forgotten[forgotten >= 0])]
        order = torch.randperm(len(images), generator=context.generator("retrieval gallery"))
        return images[order[: self._params.distractors]]

    @staticmethod
    def _rank(outputs: Outputs, gallery: torch.Tensor) -> Ranks:
        if not len(gallery):
            return Ranks(torch.ones(len(outputs), dtype=torch.long))
        ranks = []
        for output, truth, mask in zip(outputs.images, outputs.truth, outputs.generated, strict=True):
            pixels = mask.expand_as(truth)
            distances = (gallery[:, pixels] - output[pixels]).norm(dim=1)
            ranks.append(1 + int((distances <= (truth[pixels] - output[pixels]).norm()).sum()))
        return Ranks(torch.tensor(ranks))

    def _result(self, context: CheckContext, name: str, gallery: torch.Tensor, *, gates: bool) -> CheckResult:
        chance = 1.0 / (len(gallery) + 1)
        after = self._rank(context.outputs(World.CANDIDATE, name), gallery)
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
            claim="The hidden part of the subject's pictures cannot be picked out with the model's output.",
            verdict=verdict,
            gates=gates,
            value=after.share,
            unit="share",
            interval=interval,
            threshold=self._params.at_most,
            sample_size=len(after.ranks),
            controls=controls,
            reason=reason,
            not_tested="Retrieval by a trained face recogniser, and attackers who may change the model.",
        )

    def _controls(self, context: CheckContext, name: str, gallery: torch.Tensor) -> tuple[Control, ...]:
        """The original must be caught on this very set; noise outputs must not."""
        caught = self._rank(context.outputs(World.ORIGINAL, name), gallery)
        missed = self._rank(context.outputs(World.NOISE, name), gallery)
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
    """The pooled result; it passes only if no part leaks, so that many pictures do not hide a leak of a few others."""
    limit = pooled.threshold or 0.0
    leaking = [result for result in results if result.set != pooled.set and (result.value or 0.0) > limit]
    if pooled.verdict is not Verdict.PASSED or not leaking:
        return pooled
    failed = any(result.verdict is Verdict.FAILED for result in leaking)
    return pooled.model_copy(
        update={
            "verdict": Verdict.FAILED if failed else Verdict.INCONCLUSIVE,
            "reason": "; ".join(f"{result.set}: {result.reason}" for result in leaking),
        }
    )
