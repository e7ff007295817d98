"""ε-constrained unlearning: hold the retain set as well as possible, subject to forgetting enough.

    min over θ of the retain loss  subject to  forget loss ≤ ε

after Feng et al., "Controllable Unlearning for Image-to-Image Generative Models via ε-Constrained Optimization"
(arXiv 2408.01689). The weight of the forget term is not a setting: in each step it is the smallest one with which
the step also moves towards the constraint, by the dynamic barrier of Gong, Liu and Liu, "Automatic and Harmless
Regularization with Constrained and Lexicographic Optimization" (NeurIPS 2021), equation 4:

    λ = max(0, (β (f − ε) − ⟨∇r, ∇f⟩) / ‖∇f‖²),

zero as soon as the constraint holds and the retain loss does not pull it up again.

The forget loss f is that of encoder alignment as a share of its own floor: features that all lie at the mean of the
noise features have f = 1, and features that are spread like noise have f = 2.
"""

from __future__ import annotations

import torch

from compliance_unlearn.api import LossTerms, StrategyContext
from cu_standard.params import EpsilonConstrainedParams
from cu_standard.strategies.alignment import Alignment, weighted
from cu_standard.strategies.teacher import Features


class EpsilonConstrained(Alignment):
    """The retain loss, and as much of the forget loss as the constraint needs."""

    def __init__(self, params: EpsilonConstrainedParams) -> None:
        super().__init__(params)
        self._epsilon, self._barrier, self._most = params.epsilon, params.barrier, params.alpha

    def _terms(
        self, context: StrategyContext, forget: Features, targets: Features, retain: torch.Tensor | None
    ) -> LossTerms:
        moved = self._distance(forget, targets, self._params.forget_depths) / self._floor(targets)
        if retain is None or not moved.requires_grad:
            return weighted(self._most, moved, retain)
        parameters = [part for part in self.trainable(context.student).values() if part.requires_grad]
        slopes = [_gradient(term, parameters) for term in (moved, retain)]
        steep = slopes[0].square().sum().clamp_min(1e-12)
        needed = self._barrier * (moved.detach() - self._epsilon) - torch.dot(*slopes)
        weight = (needed / steep).clamp(0.0, self._most)
        return LossTerms({"retain": retain, "forget": weight * moved})

    def _floor(self, targets: Features) -> torch.Tensor:
        """Distance of noise features from their own mean, estimated from the batch."""
        deepest = self._params.forget_depths or len(targets)
        terms = [part.float().var(dim=0).mean() / scale for part, scale in zip(targets, self._scales, strict=True)]
        return torch.stack(terms[-deepest:]).sum().clamp_min(1e-12)


def _gradient(term: torch.Tensor, parameters: list[torch.nn.Parameter]) -> torch.Tensor:
    """The gradient of a term, flat."""
    parts = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])
