"""The smallest image-to-image model: x̂ = D(E(T(x))) with one convolution each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from compliance_unlearn.api import ImageShape, ModelAdapter, ModelError, PixelStatistics, Task, Views
from cu_echo.params import EchoAdapterParams

FILE = "echo.safetensors"


class EchoNetwork(nn.Module):
    """Encoder ``[n, 1, s, s] -> [n, width, s, s]`` and decoder back."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # what torch draws here is replaced at once
            self.encoder = nn.Conv2d(1, width, 3, padding=1)
            self.decoder = nn.Conv2d(width, 1, 3, padding=1)
        self.register_buffer("size", torch.tensor(size))


class EchoAdapter(ModelAdapter):
    """Grey square images of one size."""

    def __init__(self, params: EchoAdapterParams, task: Task) -> None:
        super().__init__(task)
        self.params = params
        self.network: EchoNetwork | None = None

    @property
    def module(self) -> EchoNetwork:
        """The network."""
        assert self.network is not None, "load or create comes first"
        return self.network

    @property
    def image_shape(self) -> ImageShape:
        """One channel, square."""
        size = self.params.size if self.network is None else int(self.network.get_buffer("size"))
        return ImageShape(1, size, size)

    @property
    def statistics(self) -> PixelStatistics:
        """Images are not normalised."""
        return PixelStatistics((0.5,), (0.25,))

    def _load(self, weights: Path) -> None:
        try:
            tensors = load_file(weights / FILE)
            self.network = EchoNetwork(int(tensors["size"]), len(tensors["encoder.bias"]))
            self.network.load_state_dict(tensors)
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            raise ModelError(f"{FILE} is absent, damaged, or not an echo model") from error

    def _create(self, statistics: PixelStatistics, generator: torch.Generator) -> None:
        self.network = EchoNetwork(self.params.size, self.params.width)
        for parameter in self.network.parameters():
            nn.init.normal_(parameter, std=0.2, generator=generator)

    def _degrade(self, images: torch.Tensor, views: Views) -> torch.Tensor:
        return images.masked_fill(views.hidden, 0.5)

    def _encode(self, inputs: Any) -> tuple[torch.Tensor, ...]:
        return (self.module.encoder(inputs),)

    def _decode(self, features: tuple[torch.Tensor, ...], inputs: Any) -> torch.Tensor:
        (feature,) = features
        images: torch.Tensor = self.module.decoder(torch.relu(feature))
        return images

    def _encoder_tensors(self) -> frozenset[str]:
        return frozenset({"encoder.weight", "encoder.bias"})

    def _training_loss(self, images: torch.Tensor, targets: torch.Tensor, views: Views) -> torch.Tensor:
        wrong = self._reconstruct(self._degrade(images, views)) - targets
        return (wrong.square() * views.hidden).sum() / views.hidden.sum()

    def _export(self, folder: Path) -> None:
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.module.state_dict().items()}
        save_file(tensors, folder / FILE)
