"""Patch discriminator of Isola et al. (2017), section 3.2.2: judges overlapping patches of an image as real or made."""

from __future__ import annotations

import torch
from torch import nn

from cu_vqgan.network import drawn_from


class PatchDiscriminator(nn.Module):
    """Convolutions of 4 by 4 pixels; one number for each patch of 34 by 34 pixels, large where it looks real.

    Groups of channels are normalised within an image, so that no image of a batch is judged by its neighbours.
    """

    def __init__(self, channels: int, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False),
            nn.GroupNorm(8, 2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, padding=1, bias=False),
            nn.GroupNorm(8, 4 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 1, 4, padding=1),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[n, 1, rows, columns]`` for images ``[n, channels, height, width]`` in [-1, 1]."""
        return self.layers(images)  # type: ignore[no-any-return]


def new_discriminator(channels: int, generator: torch.Generator) -> PatchDiscriminator:
    """A discriminator with random weights that depend on the generator alone."""
    with drawn_from(generator):
        return PatchDiscriminator(channels)
