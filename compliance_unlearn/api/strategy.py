"""Strategies: the objective that makes a model forget. The core owns the loop, its seeds and its checkpoints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, final

from compliance_unlearn.api.boundary import plugin_boundary
from compliance_unlearn.api.errors import PluginError
from compliance_unlearn.api.model import ModelAdapter

if TYPE_CHECKING:
    import torch


class ImageSet(Protocol):
    """Images of a set of records, decoded when they are first needed."""

    def __len__(self) -> int: ...

    def batch(self, indices: torch.Tensor | Sequence[int]) -> torch.Tensor:
        """Float ``[n, channels, height, width]`` in [0, 1]."""
        ...


class NoiseSource(Protocol):
    """n ~ N(0, Σ) of Li et al. (2024), section 3.2, around the mean pixel, in the units of images."""

    def sample(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Float ``[count, channels, height, width]``; not clipped to [0, 1]."""
        ...


@dataclass(frozen=True)
class Batch:
    """Images with their indices in the set that they were drawn from.

    Attributes:
        images: ``[n, channels, height, width]`` in [0, 1].
        indices: integer ``[n]``.
    """

    images: torch.Tensor
    indices: torch.Tensor


@dataclass(frozen=True)
class LossTerms:
    """The parts of a loss, as scalars, already weighted: what is minimised is their sum."""

    terms: dict[str, torch.Tensor]

    @property
    def total(self) -> torch.Tensor:
        """The sum of the terms."""
        first, *rest = self.terms.values()
        for term in rest:
            first = first + term
        return first


@dataclass(frozen=True)
class StrategyContext:
    """What a strategy works with.

    Attributes:
        student: the model that is changed.
        teacher: a frozen copy of the original.
        forget: images to forget.
        retain: images whose behaviour must stay, None when no retain data may be used.
        noise: source of noise images.
        generator: the only source of randomness; its state is part of every checkpoint.
        seed: of the run; for choices that are made once, in `prepare`.
    """

    student: ModelAdapter
    teacher: ModelAdapter
    forget: ImageSet
    retain: ImageSet | None
    noise: NoiseSource
    generator: torch.Generator
    seed: int


class Strategy(ABC):
    """One unlearning method. Made by a factory ``(params) -> Strategy``; keeps no state but what `prepare` caches."""

    @final
    def prepare(self, context: StrategyContext) -> None:
        """Compute once what never changes. Called before the first step, and again after a resume: be deterministic."""
        with plugin_boundary(type(self).__name__, "prepare"):
            self._prepare(context)

    @final
    def objective(self, context: StrategyContext, forget: Batch, retain: Batch | None) -> LossTerms:
        """The loss of one step on balanced halves of equal size; ``retain`` is None without retain data."""
        with plugin_boundary(type(self).__name__, "objective"):
            terms = self._objective(context, forget, retain)
        if not isinstance(terms, LossTerms) or not terms.terms:
            raise PluginError(f"{type(self).__name__}.objective must return LossTerms with at least one term")
        return terms

    @final
    def trainable(self, adapter: ModelAdapter) -> dict[str, torch.nn.Parameter]:
        """Parameters that the loop may change, by their name in the state dict; all others stay as they are."""
        with plugin_boundary(type(self).__name__, "trainable"):
            parameters = self._trainable(adapter)
            own = dict(adapter.module.named_parameters())
            fits = bool(parameters) and all(own.get(name) is parameter for name, parameter in parameters.items())
        if not fits:
            raise PluginError(f"{type(self).__name__}.trainable must return parameters of the model, by name")
        return parameters

    def _prepare(self, context: StrategyContext) -> None:  # noqa: B027 - caching is optional
        """Override to cache; nothing by default."""

    def _trainable(self, adapter: ModelAdapter) -> dict[str, torch.nn.Parameter]:
        """Override to let the loop change something else than the encoder."""
        return adapter.encoder_parameters()

    @abstractmethod
    def _objective(self, context: StrategyContext, forget: Batch, retain: Batch | None) -> LossTerms: ...
