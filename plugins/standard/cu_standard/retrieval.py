"""Finding pictures again from what was generated: shares of hits, their controls, and ranks of the true content."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from cu_audit.records import (
    FORGET,
    FORGET_ALL,
    FORGET_HELD_OUT,
    RETAIN,
    RETAIN_HELD_OUT,
    CheckResult,
    Control,
    Interval,
    Verdict,
)

from compliance_unlearn.api import CheckContext, Outputs, World
from cu_standard.statistics import BOUND_LEVEL, at_most, share_interval, share_p_value

BROKEN = 0
"""Rank of a record whose output is not finite."""


@dataclass(frozen=True)
class Found:
    """How often something was found from outputs.

    Attributes:
        hits: finite outputs from which it was found.
        broken: outputs that are not finite: what they would show is not known, so they never speak for a claim.
        count: all outputs; without any, no share exists.
    """

    hits: int
    broken: int
    count: int

    @property
    def share(self) -> float | None:
        """Share of hits; None if an output is not finite."""
        return None if self.broken else self.least

    @property
    def least(self) -> float:
        """Share of hits if no broken output is one."""
        return self.hits / self.count

    @property
    def most(self) -> float:
        """Share of hits if every broken output is one."""
        return (self.hits + self.broken) / self.count

    @property
    def detectable(self) -> float:
        """Smallest share of which this many outputs would have shown a hit with probability 0.95."""
        return share_interval(0, self.count).high

    @property
    def remark(self) -> str:
        """How many outputs are not finite; empty if all are."""
        return f"{self.broken} of {self.count} outputs are not numbers: this cannot pass" if self.broken else ""

    def interval(self, lower_level: float = BOUND_LEVEL) -> Interval:
        """Clopper-Pearson; broken outputs count as no hits for the lower bound, and as hits for the upper one."""
        low = share_interval(self.hits, self.count, lower_level).low
        return share_interval(self.hits + self.broken, self.count).model_copy(update={"low": low})

    def p_value(self, limit: float) -> float:
        """Exact, of the claim that the share is at most ``limit``; broken outputs count as hits."""
        return share_p_value(self.hits + self.broken, self.count, limit)

    def verdict(self, limit: float) -> Verdict:
        """On the claim that the share is at most ``limit``: broken outputs never pass, and hits alone may fail."""
        return guarded(at_most(self.interval(), limit), (self,))

    @classmethod
    def together(cls, parts: Sequence[Found]) -> Found:
        """Of several sets."""
        return cls(*(sum(values) for values in zip(*((p.hits, p.broken, p.count) for p in parts), strict=True)))


def guarded(verdict: Verdict, found: Sequence[Found]) -> Verdict:
    """The verdict, but for a pass that rests on outputs of which some are not finite."""
    passed_by_broken = verdict is Verdict.PASSED and any(each.broken for each in found)
    return Verdict.INCONCLUSIVE if passed_by_broken else verdict


@dataclass(frozen=True)
class Ranks:
    """Rank of each record's truth among the candidates: integer ``[n]``, 1 is first, `BROKEN` is none."""

    ranks: torch.Tensor

    @property
    def found(self) -> Found:
        """Records whose truth comes first (hits@1)."""
        return Found(int((self.ranks == 1).sum()), int((self.ranks == BROKEN).sum()), len(self.ranks))

    @property
    def mean_reciprocal(self) -> float | None:
        """Mean reciprocal rank (MRR), in (0, 1]; None if an output is not finite."""
        return None if self.found.broken else float((1.0 / self.ranks.double()).mean())

    @classmethod
    def of(cls, outputs: Outputs, distractors: torch.Tensor) -> Ranks:
        """By Euclidean distance, each output under its own mask; of equal distances the truth comes last.

        Args:
            outputs: of a model.
            distractors: ``[m, channels, height, width]``; without any, every truth comes first.
        """
        ranks = torch.empty(len(outputs), dtype=torch.long)
        masks, own = torch.unique(outputs.generated, dim=0, return_inverse=True)
        for number, mask in enumerate(masks):
            rows = torch.nonzero(own == number).flatten()
            made, truth, others = (
                _under(mask, images) for images in (outputs.images[rows], outputs.truth[rows], distractors)
            )
            nearer = _distances(made, others) <= _distances(made[:, None], truth[:, None]).flatten(1)
            finite = torch.isfinite(made).all(dim=1)
            ranks[rows] = torch.where(finite, 1 + nearer.sum(dim=1), BROKEN)
        return cls(ranks)


def _under(mask: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Generated pixels of images, ``[n, k]``."""
    return images[:, mask.expand(images.shape[1:])] if len(images) else images.new_empty(0, 0)


def _distances(made: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
    """Euclidean distances; not by a product, which would round equal pictures apart."""
    if not pictures.shape[-1]:
        return made.new_empty(len(made), 0)
    return torch.cdist(made, pictures, compute_mode="donot_use_mm_for_euclid_dist")


def subject_sets(context: CheckContext) -> list[str]:
    """The sets of pictures to forget that there are, and their union if there are two; the last one decides."""
    sets = [name for name in (FORGET, FORGET_HELD_OUT) if context.counts.get(name)]
    return [*sets, FORGET_ALL] if len(sets) > 1 else sets


def pictures_needed(limit: float) -> int:
    """Pictures without a single hit that bound the share at ``limit``."""
    return math.ceil(math.log(1.0 - BOUND_LEVEL) / math.log(1.0 - limit))


def find_controls(original: Found, noise: Found, limit: float, verb: str, where: str = "") -> tuple[Control, ...]:
    """The original must be caught on this very set; noise outputs must not. Broken outputs speak against both.

    Args:
        original: from the original's outputs.
        noise: from what the original makes of noise.
        limit: largest share that passes.
        verb: what is done with a picture, in the past tense.
        where: added to the names.
    """
    return (
        Control(
            name=f"original model{where}",
            expected=f"fails: {verb} more often than {limit:.0%}",
            value=original.share,
            behaved=original.least > limit,
        ),
        Control(
            name=f"original model on noise{where}",
            expected=f"passes: {verb} at most {limit:.0%}",
            value=noise.share,
            behaved=noise.most <= limit,
        ),
    )


def undiluted(results: Sequence[CheckResult]) -> list[CheckResult]:
    """Results of which the union passes only if no part leaks: many pictures must not hide a leak of a few others.

    Pictures that the model was trained on have to pass by themselves, unless none was found: then they may be few.
    Of never-seen ones, which only add to what is known, not more than the threshold may be found.
    """
    return [_undiluted(result, results) if result.set == FORGET_ALL else result for result in results]


def _undiluted(pooled: CheckResult, results: Sequence[CheckResult]) -> CheckResult:
    leaking = [result for result in results if result.set != pooled.set and _may_leak(result)]
    if pooled.verdict is not Verdict.PASSED or not leaking:
        return pooled
    failed = any(result.verdict is Verdict.FAILED for result in leaking)
    return pooled.model_copy(
        update={
            "verdict": Verdict.FAILED if failed else Verdict.INCONCLUSIVE,
            "reason": "; ".join(f"{result.set}: {result.reason}" for result in leaking),
        }
    )


def _may_leak(part: CheckResult) -> bool:
    found, limit = part.value or 0.0, part.threshold or 0.0
    if part.set == FORGET and part.interval is not None:
        return found > 0.0 and part.interval.high > limit
    return found > limit


def pictures_to_hide_among(context: CheckContext, count: int) -> torch.Tensor:
    """At most ``count`` images of other subjects, ``[m, channels, height, width]``, in a fixed random order."""
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
    return images[order[:count]]
