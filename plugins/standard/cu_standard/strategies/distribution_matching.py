"""Distribution matching: forget features shall be spread like noise features, and no forget image has a target.

    min over θ of  E[ ‖E_θ(T(x_r)) − E_θ0(T(x_r))‖² ] + α ED²(E_θ(T(x_f)), E_θ0(T(n)))

with the squared energy distance of Székely and Rizzo (2013), equation 1.1,

    ED²(F, N) = 2 E‖f − n‖ − E‖f − f'‖ − E‖n − n'‖,

estimated without bias from the pairs of a batch. It is zero only for equal distributions: collapse to the mean, where
encoder alignment ends, is not its optimum. Each batch meets other noise, so nothing is there to memorise.
"""

from __future__ import annotations

import torch

from compliance_unlearn.api import LossTerms, StrategyContext
from cu_standard.strategies.alignment import Alignment, weighted
from cu_standard.strategies.teacher import Features


class DistributionMatching(Alignment):
    """Energy distance between forget and noise features, averaged over depths."""

    def _terms(
        self, context: StrategyContext, forget: Features, targets: Features, retain: torch.Tensor | None
    ) -> LossTerms:
        del context
        deepest = self._params.forget_depths or len(forget)
        depths = [
            energy_distance(part.flatten(1).float(), target.flatten(1).float())
            for part, target in list(zip(forget, targets, strict=True))[-deepest:]
        ]
        return weighted(self._params.alpha, torch.stack(depths).mean(), retain)


def energy_distance(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Squared energy distance of two samples, in units of the mean distance within ``other``.

    Args:
        one: ``[n, k]`` with ``n >= 2``; gradients flow.
        other: ``[m, k]`` with ``m >= 2``.
    """
    within = _mean_distance(other)
    between = _distances(one, other).mean()
    return (2.0 * between - _mean_distance(one) - within) / within.detach().clamp_min(1e-12)


def _mean_distance(sample: torch.Tensor) -> torch.Tensor:
    """Mean over the pairs of different members."""
    count = len(sample)
    return _distances(sample, sample)[~torch.eye(count, dtype=torch.bool, device=sample.device)].mean()


def _distances(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Euclidean distances ``[n, m]``; a root that can be differentiated where a distance is zero."""
    squared = (one[:, None] - other[None]).square().sum(dim=2)
    return (squared + 1e-12).sqrt()
