"""How much one sample tells about another: a cross-fitted lower bound of the mutual information, in nats.

InfoNCE (van den Oord et al., 2018; Poole et al., 2019, equation 10): a critic s(x, y) is fitted to four fifths of the
pairs and measured on the others, s(x_i, y_i) − log mean_j exp s(x_j, y_i). The critic is the log-density ratio
log p(x|y) − log p(x) of Gaussians whose mean is a ridge regression on y. Its strength and its shrinkage towards the
mean come from leave-one-out errors, in closed form, so that where y says nothing the critic is almost flat.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from cu_standard.samples import principal_components

FOLDS = 5

STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""Ridge penalties, in units of the mean square of the singular values."""

TRUTH_COMPONENTS = 8
OUTPUT_COMPONENTS = 64

LEAST_GAIN = 0.03
"""Share of a target's variance that must be explained for it to be used; less is most often chance."""


@dataclass(frozen=True)
class Fold:
    """One split, with the regression on the outputs solved for every strength.

    Attributes:
        test: indices ``[b]`` of the pairs that are scored.
        train: indices ``[a]`` of the pairs that the critic is fitted to.
        directions: left singular vectors of the outputs to train on, ``[a, r]``.
        shrinkage: of each direction, for each strength, ``[s, r]``.
        leverage: of each pair to train on, ``[s, a]``.
        projected: outputs to test on, in the same directions, ``[b, r]``.
    """

    test: torch.Tensor
    train: torch.Tensor
    directions: torch.Tensor
    shrinkage: torch.Tensor
    leverage: torch.Tensor
    projected: torch.Tensor

    @classmethod
    def of(cls, features: torch.Tensor, held_out: torch.Tensor) -> Fold:
        """Split at the pairs that are True in ``held_out``, ``[n]``."""
        test, train = torch.nonzero(held_out).flatten(), torch.nonzero(~held_out).flatten()
        mean = features[train].mean(dim=0)
        left, singular, right = torch.linalg.svd(features[train] - mean, full_matrices=False)
        kept = singular > 1e-9
        left, singular, right = left[:, kept], singular[kept], right[kept]
        squares = singular.square()
        strengths = torch.tensor(STRENGTHS, dtype=torch.float64)[:, None]
        shrinkage = squares / (squares + strengths * squares.mean())
        return cls(
            test=test,
            train=train,
            directions=left,
            shrinkage=shrinkage,
            leverage=(1.0 / len(train) + shrinkage @ left.square().T).clamp(max=0.999),
            projected=(features[test] - mean) @ right.T / singular,
        )

    def scores(self, targets: torch.Tensor) -> torch.Tensor:
        """Contribution of each pair to test on, ``[b]``, for targets of all pairs, ``[n, m]``."""
        mean = targets[self.train].mean(dim=0)
        known, asked = targets[self.train] - mean, targets[self.test] - mean
        coefficients = self.shrinkage[..., None] * (self.directions.T @ known)
        errors = (known - self.directions @ coefficients) / (1.0 - self.leverage)[..., None]
        left_out = known - errors
        slope = ((left_out * known).mean(dim=1) / left_out.square().mean(dim=1).clamp(min=1e-12)).clamp(0, 1)
        unexplained = (known - slope[:, None] * left_out).square().mean(dim=1)
        best, each = unexplained.argmin(dim=0), torch.arange(targets.shape[1])
        total = known.square().mean(dim=0).clamp(min=1e-12)
        variance = torch.maximum(unexplained[best, each], 1e-3 * total)
        predicted = torch.einsum("br,rm->bm", self.projected, coefficients[best, :, each].T) * slope[best, each]
        used = variance < (1.0 - LEAST_GAIN) * total
        weight = torch.where(used, 1.0 / variance, 0.0)
        excess = torch.where(used, 1.0 / variance - 1.0 / total, 0.0)
        ratios = (predicted * weight) @ asked.T - 0.5 * (asked.square() @ excess)
        return ratios.diag() - torch.logsumexp(ratios, dim=1) + math.log(len(asked))


class PairedSample:
    """Pairs of a content and an output.

    The regression on the outputs is solved once; contents may be shuffled against them at little cost.
    """

    def __init__(self, contents: torch.Tensor, outputs: torch.Tensor, generator: torch.Generator) -> None:
        """Reduce both to principal components, each without knowledge of the other, and split.

        Args:
            contents: ``[n, k]``, n at least 10.
            outputs: ``[n, l]``.
            generator: draws the folds.
        """
        self._count = len(contents)
        truth = principal_components(contents, min(TRUTH_COMPONENTS, self._count // 3))
        truth = truth / truth.std(dim=0)
        self._targets = torch.cat([truth, (truth.square() - 1.0) / math.sqrt(2.0)], dim=1)
        features = principal_components(outputs, min(OUTPUT_COMPONENTS, self._count // 2))
        self._folds: tuple[Fold, ...] = ()
        if features.shape[1]:
            features = features / features.std(dim=0).sqrt()
            fold = torch.randperm(self._count, generator=generator) % FOLDS
            self._folds = tuple(Fold.of(features, fold == number) for number in range(FOLDS))

    def contributions(self) -> torch.Tensor:
        """What each pair contributes, ``[n]``; the mean is the estimate, at most log(n / 5). Zero for equal outputs."""
        return self._scores(self._targets)

    def shuffled(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Estimates for contents that were dealt anew to the outputs, ``[count]``."""
        orders = [torch.randperm(self._count, generator=generator) for _ in range(count)]
        return torch.stack([self._scores(self._targets[order]).mean() for order in orders])

    def _scores(self, targets: torch.Tensor) -> torch.Tensor:
        scores = torch.zeros(self._count, dtype=torch.float64)
        for fold in self._folds:
            scores[fold.test] = fold.scores(targets)
        return scores
