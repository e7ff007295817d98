"""The region that holds 95 % of what the original model makes of noise, and who lies inside.

Score of an output: the decision function of a support vector classifier (Cortes and Vapnik, 1995) that tells outputs
of the original on noise, O(n), from its outputs on pictures; low is like noise. Cross-fitted: the classifier that
scores a picture never saw an output on that picture or on another one of its subject. The border of the envelope is a
quantile of the scores of noise outputs that no classifier was fitted to. Kernel exp(−γ‖x − y‖²) on generated pixels,
γ = 1/(k·Var) for k pixels of variance Var over all fitted outputs; the choice is in docs/decisions/0008.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from cu_audit.records import Interval

from cu_standard.statistics import share_interval

COVERAGE = 0.95
"""Share of O(n) inside the envelope."""

BORDER_LEVEL = 0.975
"""Confidence of each border; it leaves 2.5 % to a sample, so that each bound holds at 95 %."""

P_VALUE_LEVELS = (0.98, 0.9995)
"""Confidence of the borders that the p-value of a sample is tried with; the rest of its error is the sample's."""

FOLDS = 5
"""Classifiers; each leaves out every fifth subject, or picture where subjects are unknown."""


@dataclass(frozen=True)
class Borders:
    """The border of the envelope, with its uncertainty: an output is inside if its rank is not above the border.

    Ranks are among ``count`` scores of noise outputs that no classifier was fitted to: 1 is below all of them.

    Attributes:
        count: noise outputs.
        strict: holds at most 95 % of O(n), with confidence `BORDER_LEVEL`.
        estimate: holds 95 % of O(n), as far as one can tell.
        loose: holds at least 95 % of O(n), with confidence `BORDER_LEVEL`.
    """

    count: int
    strict: int
    estimate: int
    loose: int

    @classmethod
    def among(cls, count: int) -> Borders:
        """From the distribution of the number of scores below the true quantile, which is binomial."""
        from scipy.stats import binom

        ranks = (
            binom.ppf(1 - BORDER_LEVEL, count, COVERAGE),
            math.ceil(COVERAGE * (count + 1)),
            binom.ppf(BORDER_LEVEL, count, COVERAGE) + 1,
        )
        strict, estimate, loose = (min(max(int(rank), 1), count) for rank in ranks)
        return cls(count, strict, estimate, loose)

    def p_value(self, ranks: torch.Tensor, share: float) -> float:
        """Probability of ranks so low if less than ``share`` of these very outputs were in the region of 95 %.

        The lowest border that holds the share would have to lie above the true quantile.
        """
        from scipy.stats import binom

        needed = int(ranks.sort().values[math.ceil(round(share * len(ranks), 6)) - 1])
        return float(binom.cdf(needed - 1, self.count, COVERAGE)) if needed <= self.count else 1.0


@dataclass(frozen=True)
class Envelope:
    """Scores and borders.

    Attributes:
        members: generated pixels of the outputs that the classifiers were fitted to, ``[a + b, k]``; on noise first.
        classifiers: for each fold the fitted ``sklearn.svm.SVC`` and the members it knows; None where it would know no
            picture, or no noise.
        width: γ of the kernel.
        calibration: ascending scores of noise outputs that no classifier was fitted to, ``[FOLDS, m]``; the same
            outputs for every fold, so that the borders of the folds err together.
    """

    members: torch.Tensor
    classifiers: Sequence[tuple[Any, torch.Tensor] | None]
    width: float
    calibration: torch.Tensor | None = None

    @classmethod
    def fitted(cls, noise: torch.Tensor, real: torch.Tensor, folds: torch.Tensor) -> Envelope:
        """Learn to tell outputs on noise from outputs on pictures; those that are not finite are left out.

        Args:
            noise: generated pixels of outputs on noise, ``[a, k]``.
            real: those of outputs on pictures, ``[b, k]``.
            folds: integer ``[b]``, the classifier that must not know each of them; see `folds_of`.
        """
        from sklearn.svm import SVC

        members = torch.cat([noise, real]).double()
        finite = torch.isfinite(members).all(dim=1)
        members = members[finite]
        is_real = (torch.arange(len(finite)) >= len(noise))[finite]
        fold_of_member = torch.cat([torch.full((len(noise),), -1), folds])[finite]
        unfitted = cls(members, (), width=1.0 / max(members.shape[1] * float(members.var()), 1e-12))
        similar = unfitted._kernel(members)
        classifiers: list[tuple[Any, torch.Tensor] | None] = []
        for fold in range(FOLDS):
            known = torch.nonzero(fold_of_member != fold).flatten()
            if is_real[known].all() or not is_real[known].any():
                classifiers.append(None)
                continue
            classifier = SVC(kernel="precomputed", class_weight="balanced")
            classifiers.append((classifier.fit(similar[known][:, known].numpy(), is_real[known].numpy()), known))
        return replace(unfitted, classifiers=classifiers)

    def calibrated(self, noise: torch.Tensor) -> Envelope:
        """With the scores of outputs on noise that are not among the members, ``[m, k]``."""
        count = len(noise)
        scores = self.scores(noise.repeat(FOLDS, 1), torch.arange(FOLDS).repeat_interleave(count))
        return replace(self, calibration=scores.view(FOLDS, count).sort(dim=1).values)

    def scores(self, pixels: torch.Tensor, folds: torch.Tensor) -> torch.Tensor:
        """Score of each output, ``[n]``; low is like noise.

        Infinite where a pixel is not finite, and where the classifier has no picture to compare with: then nothing
        shows that the output is unlike pictures.

        Args:
            pixels: generated pixels, ``[n, k]``.
            folds: integer ``[n]``, the classifier that scores each.
        """
        scores = torch.full((len(pixels),), math.inf, dtype=torch.float64)
        finite = torch.isfinite(pixels).all(dim=1)
        for fold, fitted in enumerate(self.classifiers):
            rows = torch.nonzero((folds == fold) & finite).flatten()
            if fitted is not None and len(rows):
                classifier, known = fitted
                similar = self._kernel(pixels[rows].double())[:, known]
                scores[rows] = torch.from_numpy(classifier.decision_function(similar.numpy()))
        return scores

    def inside(self, pixels: torch.Tensor, folds: torch.Tensor) -> Scored:
        """Where outputs lie among the noise outputs of `calibrated`."""
        assert self.calibration is not None, "calibrated comes first"
        scores = self.scores(pixels, folds)
        calibration = self.calibration[folds]
        ranks = torch.searchsorted(calibration, scores[:, None]).squeeze(1) + 1
        borders = Borders.among(calibration.shape[1])
        past_border = scores - calibration[:, borders.estimate - 1]
        return Scored(ranks.masked_fill(scores.isinf(), borders.count + 1), borders, past_border)

    def _kernel(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.cdist(pixels, self.members).square_().mul_(-self.width).exp_()


@dataclass(frozen=True)
class Inside:
    """Outputs inside the envelope.

    Attributes:
        ranks: of each output among the noise outputs, integer ``[n]``.
        borders: up to which an output is inside.
    """

    ranks: torch.Tensor
    borders: Borders

    @property
    def count(self) -> int:
        """Outputs, inside or not."""
        return len(self.ranks)

    @property
    def estimate(self) -> int:
        """How many lie inside, by the estimated border."""
        return self._within(self.borders.estimate)

    @property
    def share(self) -> float:
        """Share inside by the estimated border."""
        return self.estimate / self.count

    def interval(self, *, is_sample: bool) -> Interval:
        """Of the share: of the population that was sampled, or of these very records."""
        strict, loose = self._within(self.borders.strict), self._within(self.borders.loose)
        if is_sample:
            return Interval(
                low=share_interval(strict, self.count, BORDER_LEVEL).low,
                high=share_interval(loose, self.count, BORDER_LEVEL).high,
                level=0.9,
                method="Clopper-Pearson with the uncertainty of the envelope's border, each bound at 95 %",
            )
        return Interval(
            low=strict / self.count,
            high=loose / self.count,
            level=2 * BORDER_LEVEL - 1,
            method="all records measured; uncertainty of the envelope's border, each bound at 97.5 %",
        )

    def p_value(self, share: float, *, is_sample: bool) -> float:
        """Of the claim that at least ``share`` lie inside: of the population, or of these very records."""
        from scipy.stats import binom

        if not is_sample:
            return self.borders.p_value(self.ranks, share)
        p_values = []
        for level in P_VALUE_LEVELS:
            hits = self._within(max(int(binom.ppf(1 - level, self.borders.count, COVERAGE)), 1))
            p_values.append(1 - level + float(binom.sf(hits - 1, self.count, share)))
        return min(1.0, len(p_values) * min(p_values))

    def _within(self, border: int) -> int:
        return int((self.ranks <= border).sum())


@dataclass(frozen=True)
class Scored(Inside):
    """Outputs inside the envelope, and how far from its border.

    Attributes:
        past_border: score of each output less the estimated border of the classifier that scored it, ``[n]``; inside if
            it is not above 0. Infinite or NaN where the score or the border is not finite.
    """

    past_border: torch.Tensor


def folds_of(subjects: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """The classifier that must not know an output, integer ``[n]``: the same one for all pictures of a subject.

    Args:
        subjects: integer ``[n]``, -1 where unknown.
        keys: integer ``[n]``, what names each picture.
    """
    return torch.where(subjects >= 0, subjects, keys) % FOLDS
