"""Model adapters: the one class to write for a new model family."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

from compliance_unlearn.api.boundary import plugin_boundary
from compliance_unlearn.api.errors import ModelError, PluginError
from compliance_unlearn.api.task import Task, hidden_pixels

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
            it is not what `decode` makes of what `encode` gives. Such a family overrides `_reconstruct`.
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
    def _degrade(self, images: torch.Tensor, hidden: torch.Tensor) -> Any:
        """T(x): whatever `_encode` and `_decode` need to know. Put no hidden pixel into it, and none of the weights."""

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
    def _training_loss(self, images: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor: ...

    @abstractmethod
    def _export(self, folder: Path) -> None:
        """Write the format that was loaded, with safetensors weights, into an existing empty folder."""

    # -- what everybody calls ----------------------------------------------------------------------------------------

    @final
    def load(self, weights: Path, device: torch.device) -> Self:
        """Load weights and move them to ``device``, in evaluation mode.

        Raises:
            ModelError: absent, truncated, unsafe or of another architecture.
        """
        with self._boundary("load"):
            self._load(weights)
            self.module.to(device).eval()
            self._require_description()
        return self

    @final
    def create(self, statistics: PixelStatistics, generator: torch.Generator, device: torch.device) -> Self:
        """Initialise a new model with random weights."""
        with self._boundary("create"):
            self._create(statistics, generator)
            self.module.to(device)
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
    def masks(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Masks of this model's task: boolean ``[count, 1, height, width]`` on the CPU, True where hidden."""
        with self._boundary("masks"):
            shape, cell = self.image_shape, self.cell
        return hidden_pixels(self.task, count, shape.height, shape.width, cell, generator)

    @final
    def degrade(self, images: torch.Tensor, hidden: torch.Tensor) -> Degraded:
        """T(x) under given masks.

        Args:
            images: ``[n, channels, height, width]``.
            hidden: boolean ``[n, 1, height, width]``.
        """
        import torch

        with self._boundary("degrade"):
            shape, device = self.image_shape, next(self.module.parameters()).device
        expected = (len(images), shape.channels, shape.height, shape.width)
        if tuple(images.shape) != expected or tuple(hidden.shape) != (expected[0], 1, *expected[2:]):
            raise ModelError(
                f"the model takes images {expected}, got {tuple(images.shape)} with mask {tuple(hidden.shape)}"
            )
        if hidden.dtype != torch.bool:
            raise ModelError(f"a mask is boolean, got {hidden.dtype}")
        images, hidden = images.to(device), hidden.to(device)
        with self._boundary("degrade"):
            return Degraded(hidden, self._degrade(images, hidden))

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
    def training_loss(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The model's own pre-training loss on a batch, a scalar; masks are drawn from ``generator``."""
        hidden = self.masks(len(images), generator)
        with self._boundary("training_loss"):
            device = next(self.module.parameters()).device
            loss = self._training_loss(images.to(device), hidden.to(device))
            scalar = loss.numel() == 1 and not loss.dim()
        if not scalar:
            raise PluginError(f"{type(self).__name__}.training_loss must return a scalar")
        return loss

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
