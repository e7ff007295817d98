"""What all strategies share that align a student with its frozen teacher: views, targets, one pass for both halves."""

from __future__ import annotations

from abc import abstractmethod

import torch

from compliance_unlearn.api import Batch, Degraded, LossTerms, ModelAdapter, Strategy, StrategyContext, Views
from cu_standard.params import AlignmentParams
from cu_standard.strategies.pictures import augment
from cu_standard.strategies.teacher import Features, NoiseTargets, RetainTargets, Seeds


class Alignment(Strategy):
    """Balanced halves: forget images are moved towards what the teacher makes of noise, retain images are held.

    With T(n) everything that the teacher sees is noise. Forget images are varied a little, so that unseen pictures of
    the same subject or class follow; the paper does not do that.
    """

    def __init__(self, params: AlignmentParams) -> None:
        self._params = params
        self._noise: NoiseTargets | None = None
        self._retain: RetainTargets | None = None
        self._scales: tuple[float, ...] = ()

    def _prepare(self, context: StrategyContext) -> None:
        params = self._params
        generator = torch.Generator().manual_seed(context.seed)
        seeds = Seeds(self._seen, generator, params.cache_megabytes)
        self._noise = NoiseTargets(context, seeds, params.noise_bank)
        # With one depth the loss is the paper's; several are brought to one scale, so that none outweighs the others.
        spread = self._noise.spread
        self._scales = spread if len(spread) > 1 else (1.0,)
        if context.retain is not None:
            self._retain = RetainTargets(context, seeds, per_image=params.retain_views, mirror=params.augment)

    def _objective(self, context: StrategyContext, forget: Batch, retain: Batch | None) -> LossTerms:
        assert self._noise is not None
        student, half = context.student, len(forget.images)
        views, targets = self._noise.draw(context, half)
        images = augment(forget.images, context.generator) if self._params.augment else forget.images
        if retain is None:
            return self._terms(context, self._seen(student, student.training_view(images, views)), targets, None)
        assert self._retain is not None
        retained, retain_views, held = self._retain.draw(context, retain)
        both = student.training_view(torch.cat([images, retained]), Views.concatenated([views, retain_views]))
        found = self._seen(student, both)
        kept = self._departure(tuple(part[half:] for part in found), held)
        return self._terms(context, tuple(part[:half] for part in found), targets, kept)

    def _seen(self, model: ModelAdapter, degraded: Degraded) -> Features:
        """What of the models is aligned: the features of the encoder at every depth."""
        return model.encode(degraded)

    @abstractmethod
    def _terms(
        self, context: StrategyContext, forget: Features, targets: Features, retain: torch.Tensor | None
    ) -> LossTerms:
        """The loss of a step.

        Args:
            context: of the run.
            forget: what the student makes of forget images, with gradients.
            targets: what the teacher makes of noise images under the same views.
            retain: distance of the retain half from what the teacher makes of it; None without retain data.
        """

    def _departure(self, found: Features, held: Features) -> torch.Tensor:
        """How far retain images have moved from what the teacher makes of them."""
        return self._distance(found, held)

    def _distance(self, found: Features, wanted: Features, deepest: int | None = None) -> torch.Tensor:
        """Mean squared difference of each depth in units of its scale, summed over the ``deepest`` depths, or all."""
        terms = [
            torch.nn.functional.mse_loss(part.float(), target.float()) / scale
            for part, target, scale in zip(found, wanted, self._scales, strict=True)
        ]
        return torch.stack(terms[-deepest:] if deepest else terms).sum()


def weighted(alpha: float, forget: torch.Tensor, retain: torch.Tensor | None) -> LossTerms:
    """The usual sum: retain + α forget."""
    terms = {"forget": alpha * forget}
    return LossTerms(terms if retain is None else {"retain": retain, **terms})
