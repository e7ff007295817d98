"""Encoder alignment: the L2 surrogate of Li et al., ICLR 2024 (arXiv 2402.00351), equation 10.

    min over θ of  E[ ‖E_θ(T(x_r)) − E_θ0(T(x_r))‖² + α ‖E_θ(T(x_f)) − E_θ0(T(n))‖² ]

Teacher and decoder stay as they are. Noise is drawn anew for every forget image in every step, so that the optimum is
the mean of the noise features: no information, and outputs that are less varied than those on noise.
"""

from __future__ import annotations

import torch

from compliance_unlearn.api import LossTerms, StrategyContext
from cu_standard.strategies.alignment import Alignment, weighted
from cu_standard.strategies.teacher import Features


class EncoderAlignment(Alignment):
    """The paper's method."""

    def _terms(
        self, context: StrategyContext, forget: Features, targets: Features, retain: torch.Tensor | None
    ) -> LossTerms:
        del context
        moved = self._distance(forget, targets, self._params.forget_depths)
        return weighted(self._params.alpha, moved, retain)
