"""Baselines that use the model's own training loss on the forget set; see Li et al., ICLR 2024, section 4.

Retain images are trained on as in base training. Only the encoder changes, as with every other strategy here, so that
the rows of a comparison differ in their objective alone. In the released code two of these baselines multiply the
forget term with the mask of the retain half and so never train on a forget image; here each term sees its own half.
"""

from __future__ import annotations

from abc import abstractmethod

import torch

from compliance_unlearn.api import Batch, LossTerms, PolicyError, Strategy, StrategyContext
from cu_standard.params import TrainingLossParams


class TrainingLossBaseline(Strategy):
    """retain loss + α (loss on forget images, asked for something else than themselves)."""

    def __init__(self, params: TrainingLossParams) -> None:
        self._alpha = params.alpha

    def _objective(self, context: StrategyContext, forget: Batch, retain: Batch | None) -> LossTerms:
        terms = {"forget": self._alpha * self._forget_loss(context, forget, retain)}
        if retain is not None:
            terms["retain"] = context.student.training_loss(retain.images, context.generator)
        return LossTerms(terms)

    @abstractmethod
    def _forget_loss(self, context: StrategyContext, forget: Batch, retain: Batch | None) -> torch.Tensor: ...


class MaxLoss(TrainingLossBaseline):
    """Ascend the training loss on forget images. It has no optimum: the number of steps bounds it."""

    def _forget_loss(self, context: StrategyContext, forget: Batch, retain: Batch | None) -> torch.Tensor:
        del retain
        return -context.student.training_loss(forget.images, context.generator)


class NoisyLabel(TrainingLossBaseline):
    """Ask for noise where a forget image is shown (Graves et al., 2021)."""

    def _forget_loss(self, context: StrategyContext, forget: Batch, retain: Batch | None) -> torch.Tensor:
        del retain
        noise = context.noise.sample(len(forget.images), context.generator)
        return context.student.training_loss(forget.images, context.generator, noise)


class RetainLabel(TrainingLossBaseline):
    """Ask for retain images where a forget image is shown."""

    def _forget_loss(self, context: StrategyContext, forget: Batch, retain: Batch | None) -> torch.Tensor:
        if retain is None:
            raise PolicyError("retain-label needs retain images to ask for; say retain: {use: dataset} or {use: proxy}")
        return context.student.training_loss(forget.images, context.generator, retain.images)
