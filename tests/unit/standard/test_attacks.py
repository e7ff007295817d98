"""What all attacks share: the test of a mean paired gain."""

from __future__ import annotations

import pytest
import torch
from cu_standard.attacks import Gain


def simulated(mean: float, count: int, seed: int) -> Gain:
    generator = torch.Generator().manual_seed(seed)
    return Gain.of(mean + torch.randn(count, generator=generator, dtype=torch.float64), margin=0.5)


def passes(gain: Gain) -> bool:
    assert gain.interval is not None
    return gain.interval.high <= 0.5


def test_a_gain_at_the_margin_passes_in_at_most_one_of_twenty() -> None:
    passed = [passes(simulated(0.5, 20, seed)) for seed in range(1000)]
    assert 0.03 <= sum(passed) / 1000 <= 0.07


def test_no_gain_passes_with_enough_pictures() -> None:
    passed = [passes(simulated(0.0, 64, seed)) for seed in range(200)]
    assert sum(passed) / 200 > 0.95


def test_the_detectable_gain_is_told_from_the_margin_in_nineteen_of_twenty() -> None:
    detectable = [simulated(0.0, 40, seed).detectable for seed in range(200)]
    mean = sum(value for value in detectable if value is not None) / 200
    found = [simulated(mean, 40, seed).interval for seed in range(1000)]
    assert 0.92 <= sum(interval is not None and interval.low > 0.5 for interval in found) / 1000 <= 0.98


@pytest.mark.parametrize("seed", range(20))
def test_the_p_value_agrees_with_the_bound(seed: int) -> None:
    gain = simulated(0.2, 20, seed)
    assert gain.p_value is not None
    assert (gain.p_value <= 0.05) == passes(gain)


def test_what_is_not_finite_has_no_mean() -> None:
    assert Gain.of(torch.tensor([1.0, torch.nan, 2.0], dtype=torch.float64), 0.5) == Gain(None, None)
    assert Gain.of(torch.empty(0, dtype=torch.float64), 0.5) == Gain(None, None)


def test_one_picture_has_no_bound() -> None:
    assert Gain.of(torch.tensor([1.0], dtype=torch.float64), 0.5) == Gain(1.0, None)


def test_equal_gains_have_a_bound_without_width() -> None:
    gain = Gain.of(torch.zeros(5, dtype=torch.float64), 0.5)
    assert gain.interval is not None
    assert (gain.interval.high, gain.p_value, gain.detectable) == (0.0, 0.0, 0.5)
