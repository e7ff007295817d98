"""Model adapters: the one class to write for a new model family."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

from compliance_unlearn.api.boundary import plugin_boundary
from compliance_unlearn.api.errors import ModelError, PluginError
from compliance_unlearn.api.task import Task, hidden_pixels, require_task
from compliance_unlearn.api.views import Views

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ImageShape:
    """Size of the images that a model takes, in pixels."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True)
class PixelStatistics:
    """Mean and standard deviation of each channel over a training set, of pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Degraded:
    """T(x): what the model is given.

    Attributes:
        hidden: boolean ``[n, 1, height, width]``, True where the pixel is hidden.
        inputs: what the adapter needs to encode it; nobody else looks inside.
    """

    hidden: torch.Tensor
    inputs: Any


@dataclass(frozen=True)
class Reconstruction:
    """What the model makes of T(x).

    Attributes:
        images: ``[n, channels, height, width]``, in [0, 1].
        generated: boolean ``[n, 1, height, width]``, True where the model made the pixel up; as many in each image.
    """

    images: torch.Tensor
    generated: torch.Tensor


class ModelAdapter(ABC):
    """An image-to-image model x̂ = D(E(T(x))) seen through the operations that unlearning needs.

    Made by a factory ``(params, task) -> ModelAdapter``; then either `load` or `create` is called once. Public methods
    are final: they check shapes and turn what goes wrong inside into a `ModelError`. Write the methods with an
    underscore. Images are float tensors ``[n, channels, height, width]`` where black is 0 and white is 1; noise
    images may lie outside of [0, 1] and must not be clipped on the way in.

    Attributes:
        samples: whether a reconstruction takes more than one pass of encoder and decoder, as diffusion does, so that
            it is not what `decode` makes of what `encode` gives. Such a family overrides `_reconstruct`, perhaps
            `_training_view`, and draws what is random from the seeds of the views.
    """

    samples: ClassVar[bool] = False

    def __init__(self, task: Task) -> None:
        self.task = task

    # -- what an author writes ---------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def module(self) -> torch.nn.Module:
        """The network; its state dict is what `export` writes."""

    @property
    @abstractmethod
    def image_shape(self) -> ImageShape:
        """Size of the images that the model takes; before `create`, that of the model that would be made."""

    @property
    @abstractmethod
    def statistics(self) -> PixelStatistics:
        """The normalisation that the model was trained with."""

    @property
    def cell(self) -> int:
        """Edge in pixels of the smallest square that can be hidden by itself."""
        return 1

    @abstractmethod
    def _load(self, weights: Path) -> None:
        """Read the weights: safetensors, or ``torch.load(weights_only=True)``; refuse anything that does not fit."""

    def _create(self, statistics: PixelStatistics, generator: torch.Generator) -> None:
        """Initialise a new model for base training; leave out if the family cannot be trained here."""
        del statistics, generator
        raise ModelError(f"{type(self).__name__} cannot train a model from the beginning")

    @abstractmethod
    def _degrade(self, images: torch.Tensor, views: Views) -> Any:
        """T(x): whatever `_encode` and `_decode` need to know. Put no hidden pixel into it, and none of the weights."""

    def _training_view(self, images: torch.Tensor, views: Views) -> Any:
        """T(x) as the model meets it in training, of the kind that `_degrade` gives; the same for most families.

        A diffusion model gives a point between image and noise here: its time and noise come from ``views.seeds``.
        """
        return self._degrade(images, views)

    @abstractmethod
    def _encode(self, inputs: Any) -> tuple[torch.Tensor, ...]:
        """Features ``[n, ...]``, one tensor for each aligned depth; all that the decoder may know of the encoder."""

    @abstractmethod
    def _decode(self, features: tuple[torch.Tensor, ...], inputs: Any) -> torch.Tensor:
        """Whole images ``[n, channels, height, width]`` from features, not clipped, differentiable in every feature.

        Pixels that the family does not generate stay as they came in. Read no tensor of the encoder's: neither its
        weights, nor something that `_encode` left behind.
        """

    def _reconstruct(self, inputs: Any) -> torch.Tensor:
        """What the model makes of T(x), not clipped; one pass unless a family `samples`."""
        return self._decode(self._encode(inputs), inputs)

    def _generated(self, hidden: torch.Tensor) -> torch.Tensor:
        """Which pixels of a reconstruction the model made up: the hidden ones, unless it makes the whole image anew.

        Args:
            hidden: boolean ``[n, 1, height, width]``.

        Returns:
            A mask of the same kind that holds all of ``hidden``, with as many True in each image.
        """
        return hidden

    @abstractmethod
    def _encoder_tensors(self) -> frozenset[str]:
        """Names in the state dict of what is the encoder's alone: nothing that the decoder reads, no fixed tables."""

    @abstractmethod
    def _training_loss(self, images: torch.Tensor, targets: torch.Tensor, views: Views) -> torch.Tensor:
        """The model's own pre-training loss: it is shown T(images) and asked for ``targets``.

        Args:
            images: ``[n, channels, height, width]``.
            targets: of the same shape: ``images`` themselves in base training, something else for a strategy that
                teaches wrong answers. May lie outside of [0, 1].
            views: what is hidden, and seeds for all that is random.
        """

    def _training_networks(self) -> Mapping[str, torch.nn.Module]:
        """Networks that are trained beside the model and never exported, such as a discriminator; made in `_create`."""
        return {}

    @abstractmethod
    def _export(self, folder: Path) -> None:
        """Write the format that was loaded, with safetensors weights, into an existing empty folder."""

    # -- what everybody calls ----------------------------------------------------------------------------------------

    @final
    def load(self, weights: Path, device: torch.device) -> Self:
        """Load weights and move them to ``device``, in evaluation mode.

        Raises:
            ModelError: absent, truncated, unsafe or of another architecture, or for images that do not have the task.
        """
        with self._boundary("load"):
            self._load(weights)
            self.module.to(device).eval()
            self._require_description()
        return self

    @final
    def create(self, statistics: PixelStatistics, generator: torch.Generator, device: torch.device) -> Self:
        """Initialise a new model with random weights.

        Raises:
            ModelError: it cannot be made, or its images do not have the task.
        """
        with self._boundary("create"):
            self._create(statistics, generator)
            for network in (self.module, *self._training_networks().values()):
                network.to(device)
            self._require_description()
        return self

    @final
    def replica(self) -> Self:
        """A frozen copy in evaluation mode that shares nothing with this one: the teacher."""
        with self._boundary("replica"):
            twin = copy.deepcopy(self)
            twin.module.requires_grad_(False).eval()
        return twin

    @final
    def views(self, count: int, generator: torch.Generator) -> Views:
        """Views of ``count`` images for this model's task, on the CPU."""
        import torch

        with self._boundary("views"):
            shape, cell = self.image_shape, self.cell
        hidden = hidden_pixels(self.task, count, shape.height, shape.width, cell, generator)
        if self.samples:
            return Views(hidden, torch.randint(2**62, (count,), generator=generator))
        return Views(hidden, torch.zeros(count, dtype=torch.long))

    @final
    def degrade(self, images: torch.Tensor, views: Views) -> Degraded:
        """T(x) under given views, without any hidden pixel: what is measured.

        Args:
            images: ``[n, channels, height, width]``.
            views: one for each image.
        """
        images, views = self._fitting(images, views)
        with self._boundary("degrade"):
            return Degraded(views.hidden, self._degrade(images, views))

    @final
    def training_view(self, images: torch.Tensor, views: Views) -> Degraded:
        """T(x) as the model meets it in training: what objectives align.

        For most families the same as `degrade`. A diffusion model sees a noised image there, hidden pixels included, so
        with noise images everything that it sees is noise.
        """
        images, views = self._fitting(images, views)
        with self._boundary("training_view"):
            return Degraded(views.hidden, self._training_view(images, views))

    @final
    def encode(self, degraded: Degraded) -> tuple[torch.Tensor, ...]:
        """E(T(x)): a tensor ``[n, ...]`` for each aligned depth; gradients flow if they are enabled."""
        with self._boundary("encode"):
            features = self._encode(degraded.inputs)
        if not _features(features, degraded):
            raise PluginError(f"{type(self).__name__}.encode must return one tensor [n, ...] for each depth")
        return features

    @final
    def decode(self, degraded: Degraded, features: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """D(features): what the decoder makes of features that `encode` gave, of this T(x) or of another.

        Returns:
            Whole images ``[n, channels, height, width]``, not clipped; gradients flow to the features.
        """
        if not _features(features, degraded):
            raise PluginError(f"{type(self).__name__}.decode takes what encode gives: a tensor [n, ...] for each depth")
        with self._boundary("decode"):
            images = self._decode(features, degraded.inputs)
            fits = _shape_of(images) == (len(degraded.hidden), *self._size())
        if not fits:
            raise PluginError(f"{type(self).__name__}.decode returned images of another size")
        return images

    @final
    def reconstruct(self, degraded: Degraded) -> Reconstruction:
        """D(E(T(x))), clipped to [0, 1], and which of its pixels were generated."""
        with self._boundary("reconstruct"):
            images = self._reconstruct(degraded.inputs).float().clamp(0.0, 1.0)
            generated = self._generated(degraded.hidden)
            fits = _shape_of(images) == (len(degraded.hidden), *self._size())
        if not fits:
            raise PluginError(f"{type(self).__name__}.reconstruct returned images of another size")
        if not _mask_around(generated, degraded.hidden):
            raise PluginError(f"{type(self).__name__}._generated must return a mask like the one given, and no smaller")
        return Reconstruction(images, generated)

    @final
    def training_loss(
        self, images: torch.Tensor, generator: torch.Generator, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The model's own pre-training loss on a batch, a scalar.

        Args:
            images: ``[n, channels, height, width]``.
            generator: source of the views.
            targets: what the model is asked for, of the same shape; None asks for ``images``.
        """
        images, views = self._fitting(images, self.views(len(images), generator))
        if targets is not None and targets.shape != images.shape:
            raise ModelError(f"targets must be like the images {tuple(images.shape)}, got {tuple(targets.shape)}")
        with self._boundary("training_loss"):
            loss = self._training_loss(images, images if targets is None else targets.to(images.device), views)
            scalar = loss.numel() == 1 and not loss.dim()
        if not scalar:
            raise PluginError(f"{type(self).__name__}.training_loss must return a scalar")
        return loss

    @final
    def training_parameters(self) -> dict[str, torch.nn.Parameter]:
        """Everything that base training optimises: the model, and networks that are trained beside it."""
        with self._boundary("training_parameters"):
            beside = {
                f"{network}.{name}": parameter
                for network, module in self._training_networks().items()
                for name, parameter in module.named_parameters()
            }
            return {name: value for name, value in self.module.named_parameters() if value.requires_grad} | beside

    @final
    def encoder_parameters(self) -> dict[str, torch.nn.Parameter]:
        """Trainable parameters of the encoder by their name in the state dict."""
        with self._boundary("encoder_parameters"):
            names = frozenset(self._encoder_tensors())
            parameters = {name: parameter for name, parameter in self.module.named_parameters() if name in names}
        if set(parameters) != names:
            raise PluginError(f"{type(self).__name__} names encoder tensors that are not parameters of its module")
        return parameters

    @final
    def export(self, folder: Path) -> None:
        """Write the model into an empty folder, in the format that it was loaded from, safetensors only."""
        with self._boundary("export"):
            self._export(folder)

    def _boundary(self, action: str) -> Any:
        return plugin_boundary(type(self).__name__, action, ModelError)

    def _fitting(self, images: torch.Tensor, views: Views) -> tuple[torch.Tensor, Views]:
        """Images and masks on the model's device.

        Raises:
            ModelError: their shapes do not fit the model or each other.
        """
        import torch

        with self._boundary("image_shape"):
            size, device = self._size(), next(self.module.parameters()).device
        expected, hidden = (len(images), *size), views.hidden
        if tuple(images.shape) != expected or tuple(hidden.shape) != (expected[0], 1, *expected[2:]):
            raise ModelError(
                f"the model takes images {expected}, got {tuple(images.shape)} with mask {tuple(hidden.shape)}"
            )
        if hidden.dtype != torch.bool:
            raise ModelError(f"a mask is boolean, got {hidden.dtype}")
        if tuple(views.seeds.shape) != (expected[0],):
            raise ModelError(f"views hold one seed an image, got {tuple(views.seeds.shape)}")
        return images.to(device), Views(hidden.to(device), views.seeds)

    def _size(self) -> tuple[int, int, int]:
        shape = self.image_shape
        return shape.channels, shape.height, shape.width

    def _require_description(self) -> None:
        """Read what the core reads later outside of any boundary, so that a property that fails does it here."""
        shape, statistics, cell = self.image_shape, self.statistics, self.cell
        sizes = (shape.channels, shape.height, shape.width, cell)
        if not all(isinstance(size, int) and size > 0 for size in sizes):
            raise PluginError(f"{type(self).__name__}: image_shape and cell must be positive whole numbers")
        if not len(statistics.mean) == len(statistics.std) == shape.channels:
            raise PluginError(f"{type(self).__name__}: statistics must hold a mean and a deviation for each channel")
        require_task(self.task, *sizes[:3])


def _features(features: Any, degraded: Degraded) -> bool:
    """Whether these are features: a non-empty tuple of tensors ``[n, ...]``."""
    if not isinstance(features, tuple) or not features:
        return False
    return all(_shape_of(part)[:1] == (len(degraded.hidden),) for part in features)


def _mask_around(generated: Any, hidden: torch.Tensor) -> bool:
    """Whether ``generated`` is a mask of the same kind as ``hidden`` that holds all of it."""
    if _shape_of(generated) != tuple(hidden.shape) or generated.dtype != hidden.dtype:
        return False
    return generated.device == hidden.device and bool((generated | ~hidden).all())


def _shape_of(value: Any) -> tuple[int, ...]:
    """The shape of a tensor; of anything else that of a scalar, which no caller accepts."""
    import torch

    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()
