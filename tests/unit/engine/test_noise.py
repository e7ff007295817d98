"""Noise images: n ~ N(0, Σ) around the mean pixel, white over space."""

from __future__ import annotations

import pytest
import torch

from compliance_unlearn.api import ImageShape
from compliance_unlearn.engine.noise import GaussianNoise, identity_noise, training_noise
from tests.unit.engine.small import small_model

COVARIANCE = torch.tensor([[0.04, 0.03, 0.0], [0.03, 0.09, -0.02], [0.0, -0.02, 0.01]])
MEAN = torch.tensor([0.5, 0.3, 0.7])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_samples_have_the_mean_and_the_channel_covariance() -> None:
    noise = GaussianNoise(ImageShape(3, 16, 24), MEAN, COVARIANCE).sample(200, seeded())
    assert noise.shape == (200, 3, 16, 24)
    flat = noise.transpose(0, 1).flatten(1)
    assert torch.allclose(flat.mean(dim=1), MEAN, atol=0.005)
    assert torch.allclose(torch.cov(flat), COVARIANCE, atol=0.002)


def test_neighbouring_pixels_are_independent() -> None:
    noise = GaussianNoise(ImageShape(1, 16, 16), torch.zeros(1), torch.eye(1)).sample(200, seeded())
    for one, other in [(noise[..., 1:], noise[..., :-1]), (noise[..., 1:, :], noise[..., :-1, :])]:
        assert abs(float((one * other).mean())) < 0.02


def test_samples_are_not_clipped() -> None:
    noise = identity_noise(small_model()).sample(50, seeded())
    assert noise.min() < 0
    assert noise.max() > 1


def test_identity_is_unit_variance_in_the_models_normalised_space() -> None:
    adapter = small_model()
    noise = identity_noise(adapter).sample(500, seeded())
    normalised = (noise - adapter.statistics.mean[0]) / adapter.statistics.std[0]
    assert float(normalised.mean()) == pytest.approx(0, abs=0.02)
    assert float(normalised.var()) == pytest.approx(1, abs=0.03)


def test_training_noise_has_the_spread_of_the_training_pixels_and_the_models_mean() -> None:
    images = 0.2 + 0.1 * torch.randn(40, 1, 8, 8, generator=seeded(1))
    noise = training_noise(small_model(), images).sample(500, seeded())
    assert float(noise.mean()) == pytest.approx(0.5, abs=0.005)
    assert float(noise.std()) == pytest.approx(0.1, abs=0.005)


def test_training_pictures_of_one_grey_still_give_a_distribution() -> None:
    noise = training_noise(small_model(), torch.full((4, 1, 8, 8), 0.3)).sample(3, seeded())
    assert torch.isfinite(noise).all()
    assert float(noise.std()) < 0.01


def test_the_same_generator_gives_the_same_noise_and_another_gives_other() -> None:
    source = identity_noise(small_model())
    assert torch.equal(source.sample(3, seeded()), source.sample(3, seeded()))
    assert not torch.equal(source.sample(3, seeded()), source.sample(3, seeded(1)))
