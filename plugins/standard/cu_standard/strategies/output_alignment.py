"""Output alignment: the loss is taken after the frozen decoder, and encoder parameters alone are trained.

    min over θ of  E[ |D(E_θ(T(x_r))) − D(E_θ0(T(x_r)))| + α ‖D(E_θ(T(x_f))) − D(E_θ0(T(n)))‖² ]

as means over the hidden pixels. Where a decoder has skip connections, shallow features need not forget by themselves:
what they carry is judged by what the decoder makes of it. Retain images are held by the absolute difference, whose
slope does not fade as it gets small: with squares a diffusion model left faint smudges on black that hardly cost PSNR,
and a Fréchet distance more than twice the original's. Costs a pass through the decoder, forward and back.
"""

from __future__ import annotations

import torch

from compliance_unlearn.api import Degraded, LossTerms, ModelAdapter, StrategyContext
from cu_standard.strategies.alignment import Alignment, weighted
from cu_standard.strategies.teacher import Features


class OutputAlignment(Alignment):
    """Encoder alignment as the decoder sees it."""

    def _seen(self, model: ModelAdapter, degraded: Degraded) -> Features:
        """The hidden pixels that the model fills in, ``[n, channels * k]``, as the only depth."""
        images = model.decode(degraded, model.encode(degraded))
        return (images[degraded.hidden.expand_as(images)].view(len(images), -1),)

    def _departure(self, found: Features, held: Features) -> torch.Tensor:
        """Mean absolute difference of the pixels."""
        return torch.nn.functional.l1_loss(found[0].float(), held[0].float())

    def _terms(
        self, context: StrategyContext, forget: Features, targets: Features, retain: torch.Tensor | None
    ) -> LossTerms:
        del context
        return weighted(self._params.alpha, self._distance(forget, targets), retain)
