"""Noise images n ~ N(0, Σ) of Li et al. (2024), section 3.2."""

from __future__ import annotations

import torch

from compliance_unlearn.api import ImageShape, ModelAdapter


class GaussianNoise:
    """White noise over space, correlated over channels, around the model's mean pixel.

    With Σ the identity in the model's normalised pixel space this is what the paper's experiments use. Full covariance
    over pixels is left out on purpose: its leading directions are averages of the pictures that must be forgotten.
    """

    def __init__(self, shape: ImageShape, mean: torch.Tensor, channel_covariance: torch.Tensor) -> None:
        """Store the distribution.

        Args:
            shape: of one image.
            mean: ``[channels]``, in units of images.
            channel_covariance: ``[channels, channels]``, positive definite, in squared units of images.
        """
        self._shape = shape
        self._mean = mean.float()
        self._factor = torch.linalg.cholesky(channel_covariance.double()).float()

    def sample(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Float ``[count, channels, height, width]``; not clipped to [0, 1]."""
        shape = self._shape
        white = torch.randn(count, shape.channels, shape.height * shape.width, generator=generator)
        correlated = torch.matmul(self._factor, white) + self._mean[:, None]
        return correlated.view(count, shape.channels, shape.height, shape.width)


def identity_noise(adapter: ModelAdapter) -> GaussianNoise:
    """Σ = I in the model's normalised pixel space."""
    statistics = adapter.statistics
    std = torch.tensor(statistics.std)
    return GaussianNoise(adapter.image_shape, torch.tensor(statistics.mean), torch.diag(std.square()))


def training_noise(adapter: ModelAdapter, images: torch.Tensor) -> GaussianNoise:
    """Σ = covariance of the channels over all pixels of ``images``, ``[n, channels, height, width]`` in [0, 1]."""
    flat = images.double().transpose(0, 1).flatten(1)
    covariance = torch.cov(flat).reshape(len(flat), len(flat))
    floor = 1e-6 * torch.eye(len(flat), dtype=torch.float64)
    return GaussianNoise(adapter.image_shape, torch.tensor(adapter.statistics.mean), covariance + floor)
