"""The smallest unlearning method."""

from __future__ import annotations

import torch
from torch.nn.functional import mse_loss

from compliance_unlearn.api import Batch, LossTerms, Strategy, StrategyContext
from cu_echo.params import EchoStrategyParams


class EchoStrategy(Strategy):
    """Features of forget images go to the teacher's features of noise, those of retain images stay."""

    def __init__(self, params: EchoStrategyParams) -> None:
        self.params = params

    def _objective(self, context: StrategyContext, forget: Batch, retain: Batch | None) -> LossTerms:
        noise = context.noise.sample(len(forget.images), context.generator)
        terms = {"forget": self.params.forget_weight * self._distance(context, forget.images, noise)}
        if retain is not None:
            terms["retain"] = self.params.retain_weight * self._distance(context, retain.images, retain.images)
        return LossTerms(terms)

    @staticmethod
    def _distance(context: StrategyContext, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        views = context.student.views(len(images), context.generator)
        with torch.no_grad():
            (wanted,) = context.teacher.encode(context.teacher.degrade(targets, views))
        (found,) = context.student.encode(context.student.degrade(images, views))
        return mse_loss(found, wanted)
