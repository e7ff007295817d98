"""Checks: one measured test of a claim, with controls that show that the test can fail."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, final

from cu_audit.records import BeforeAfter, CheckResult, Plot

from compliance_unlearn.api.boundary import plugin_boundary
from compliance_unlearn.api.errors import ModelError, PluginError

if TYPE_CHECKING:
    import torch

    from compliance_unlearn.api.features import FeatureNet
    from compliance_unlearn.api.loop import LoopSettings
    from compliance_unlearn.api.model import ModelAdapter
    from compliance_unlearn.api.strategy import LossTerms
    from compliance_unlearn.api.task import Task
    from compliance_unlearn.api.views import Views


class World(StrEnum):
    """A model, or a way to feed it, whose outputs are compared.

    ``NOISE`` is O(n) under the masks of a set: the original model fed with a noise image in place of each record's.
    ``RETRAINED`` is R, trained like the original but without the records to forget; it exists only where a run was
    asked for a reference. ``TRUTH`` are the pictures themselves, what a model without error would make.
    """

    ORIGINAL = "original"
    CANDIDATE = "candidate"
    NOISE = "noise"
    RETRAINED = "retrained"
    TRUTH = "truth"


@dataclass(frozen=True)
class Outputs:
    """What one model made of one set of images.

    Attributes:
        truth: ``[n, channels, height, width]``, the images of the set, in [0, 1], also where noise was fed instead.
        images: ``[n, channels, height, width]``, the model's reconstructions, in [0, 1].
        generated: boolean ``[n, 1, height, width]``; only these pixels may be scored. The same for every world.
        subjects: integer ``[n]``, the same number for records of the same subject; -1 where the subject is unknown.
    """

    truth: torch.Tensor
    images: torch.Tensor
    generated: torch.Tensor
    subjects: torch.Tensor

    def __len__(self) -> int:
        return len(self.truth)


class CheckContext(Protocol):
    """The measured worlds, computed once and shared by all checks."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Measured records in each set (see `cu_audit.records.SETS`); absent sets are not listed."""
        ...

    @property
    def totals(self) -> Mapping[str, int]:
        """Records that each set has: more than were measured where a large set was sampled."""
        ...

    @property
    def worlds(self) -> frozenset[World]:
        """Worlds that `outputs` knows."""
        ...

    @property
    def original(self) -> Path:
        """Exported folder of the original model."""
        ...

    @property
    def candidate(self) -> Path:
        """Exported folder of the candidate."""
        ...

    @property
    def encoder_tensors(self) -> frozenset[str]:
        """Names of the tensors that the strategy was allowed to change."""
        ...

    def outputs(self, world: World, set_name: str) -> Outputs:
        """Outputs of ``world`` on a set, under one fixed mask an image; ``forget-all`` is allowed too."""
        ...

    def noise_outputs(self, part: str, count: int) -> Outputs:
        """O(n): the original model on ``count`` noise images, which are the ``truth`` of the result.

        Parts with different names share no noise.
        """
        ...

    def embeddings(self, net: FeatureNet, outputs: Outputs) -> torch.Tensor:
        """What a feature network sees in the generated regions of outputs that this context gave, ``[n, d]``.

        See `compliance_unlearn.api.generated_region`; computed once for all checks.
        """
        ...

    def features(self, world: World, set_name: str, rows: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """Encoder features E(T(x)) of a set under its fixed masks, a tensor ``[n, d]`` for each aligned depth.

        Of all records, or of those whose indices ``rows`` holds. Where a depth has more than 16,384 numbers, these are
        so many of them, drawn by the run's seed, the same ones of every picture and in every world.

        Those of ``NOISE`` are what the original's encoder makes of noise images in place of the records'; ``TRUTH`` has
        none.
        """
        ...

    def views(self, set_name: str) -> Views:
        """The fixed mask of each image of a set, the same in every world."""
        ...

    def model(self, world: World, task: Task | None = None) -> ModelAdapter:
        """A copy of a world's model that the caller may change, for attacks; ``NOISE`` and ``TRUTH`` have none.

        Args:
            world: whose model.
            task: another task for the same weights; None keeps the model's own.

        Raises:
            ModelError: the model cannot do the task.
        """
        ...

    def noise(self, count: int, purpose: str) -> torch.Tensor:
        """Noise images, ``[count, channels, height, width]``; other purposes get other ones."""
        ...

    def train(
        self,
        parameters: Mapping[str, torch.nn.Parameter],
        objective: Callable[[torch.Generator], LossTerms],
        settings: LoopSettings,
        purpose: str,
        watch: Callable[[int], bool] | None = None,
    ) -> None:
        """Optimise parameters of a model that `model` gave, through the loop that serves everything.

        Args:
            parameters: what may change, by name.
            objective: loss of one step; draws all its randomness from the generator.
            settings: of the loop.
            purpose: names the training; its seed follows from it.
            watch: called with the number of steps after each; False ends the training.

        Raises:
            ModelError: the loss or its gradient is not finite.
        """
        ...

    def generator(self, purpose: str) -> torch.Generator:
        """A generator seeded by the run's seed and ``purpose``: the same call gives the same numbers."""
        ...


@dataclass(frozen=True)
class Measurement:
    """What a check found.

    Attributes:
        results: carry a verdict.
        metrics: plain figures before and after, metric -> set.
        plots: for the report.
    """

    results: tuple[CheckResult, ...] = ()
    metrics: Mapping[str, Mapping[str, BeforeAfter]] = field(default_factory=dict)
    plots: tuple[Plot, ...] = ()


class Check(ABC):
    """One test. Made by a factory ``(params) -> Check`` and asked about one model after another.

    Must not change anything that the context hands out, and keep nothing from one model to the next.
    """

    @final
    def require(self) -> None:
        """Find out whether what the check needs is there, such as a feature network; called before anything is changed.

        Raises:
            ModelError: it is not; says how to get it.
        """
        with plugin_boundary(type(self).__name__, "require", ModelError):
            self._require()

    @final
    def run(self, context: CheckContext) -> Measurement:
        """Measure.

        Raises:
            PluginError: the check raised, or returned something else than a `Measurement`.
        """
        with plugin_boundary(type(self).__name__, "run"):
            measurement = self._run(context)
        if not isinstance(measurement, Measurement):
            raise PluginError(f"{type(self).__name__}.run must return a Measurement")
        return measurement

    def _require(self) -> None:  # noqa: B027 - most checks need nothing
        """Override to raise a `ModelError` if something is missing; nothing by default."""

    @abstractmethod
    def _run(self, context: CheckContext) -> Measurement: ...
