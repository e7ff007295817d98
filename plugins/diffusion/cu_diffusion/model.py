"""What the adapter needs of a denoising network, whatever code base it comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from compliance_unlearn.api import ImageShape
from cu_diffusion.schedule import NoiseSchedule, Times


@dataclass(frozen=True)
class NoisedImages:
    """T(x) and a point between image and noise: all that one pass of the network is given.

    Pixels of the network lie in [-1, 1], those of ``shown`` in [0, 1].

    Attributes:
        noised: ``[n, channels, height, width]``, x_t.
        condition: ``[n, condition channels, height, width]``, what the network is shown of T(x).
        shown: ``[n, channels, height, width]``, T(x) as an image.
        hidden: boolean ``[n, 1, height, width]``, True where the pixel is to be made.
        noise: ``[n, channels, height, width]``, standard normal, each image's from its own seed.
        times: where x_t stands between image and noise.
    """

    noised: torch.Tensor
    condition: torch.Tensor
    shown: torch.Tensor
    hidden: torch.Tensor
    noise: torch.Tensor
    times: Times


class DenoisingModel(ABC):
    """A conditional denoising UNet with its noise schedule.

    Attributes:
        module: the network; names in its state dict are those of its file.
        shape: size of the images.
        schedule: how much noise there is at each time.
        noises_visible: whether pixels that are shown carry noise in x_t like all others; if not, x_t holds them as
            they are.
    """

    module: torch.nn.Module
    shape: ImageShape
    schedule: NoiseSchedule
    noises_visible: ClassVar[bool]

    @abstractmethod
    def condition(self, shown: torch.Tensor, filled_in: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        """What the network is shown beside x_t.

        Args:
            shown: T(x) ``[n, channels, height, width]`` in units of [-1, 1], 0 where nothing is shown.
            filled_in: boolean ``[n, 1, height, width]``, True where nothing is shown.
            seeds: integer ``[n]``, should the condition hold noise.
        """

    @abstractmethod
    def training_times(self, drawn: torch.Tensor) -> Times:
        """Times as training draws them, from numbers ``[n]`` drawn evenly from [0, 1)."""

    @abstractmethod
    def embed(self, times: Times) -> torch.Tensor:
        """The embedding of time or noise level ``[n, width]`` that encoder and decoder share."""

    @abstractmethod
    def encode(self, pixels: torch.Tensor, embedding: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """All that the decoder takes from the encoder: skips from the finest to the coarsest, then the middle.

        Args:
            pixels: x_t and condition, ``[n, network's input channels, height, width]``.
            embedding: from `embed`.
        """

    @abstractmethod
    def decode(self, features: tuple[torch.Tensor, ...], embedding: torch.Tensor) -> torch.Tensor:
        """What the network predicts, ``[n, channels, height, width]``; see ``schedule.prediction_type``."""

    @abstractmethod
    def joined(self, inputs: NoisedImages) -> torch.Tensor:
        """x_t and condition in the order in which the network takes them."""

    @abstractmethod
    def encoder_names(self) -> frozenset[str]:
        """Parameters that only `encode` reads."""

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Write the files that the model was read from, with safetensors weights, into an existing empty folder."""
