"""Random encoder: align forget features with random numbers; a baseline of Li et al., ICLR 2024.

The numbers are Gaussian, with the mean and deviation that the teacher's features of noise images have at that depth:
plain N(0, 1) would be out of range for an encoder without a last normalisation. Forget images, and they alone, are
trained on the forget term.
"""

from __future__ import annotations

import torch

from compliance_unlearn.api import LossTerms, StrategyContext
from cu_standard.strategies.alignment import Alignment, weighted
from cu_standard.strategies.teacher import Features


class RandomEncoder(Alignment):
    """Like encoder alignment, but the targets hold nothing of the model."""

    def _terms(
        self, context: StrategyContext, forget: Features, targets: Features, retain: torch.Tensor | None
    ) -> LossTerms:
        assert self._noise is not None
        drawn = tuple(
            torch.randn(part.shape, generator=context.generator).to(part.device) * variance**0.5 + mean
            for part, mean, variance in zip(targets, self._noise.centre, self._noise.spread, strict=True)
        )
        return weighted(self._params.alpha, self._distance(forget, drawn, self._params.forget_depths), retain)
