from __future__ import annotations

import pytest

from compliance_unlearn.evidence.scales import Scale, padded


@pytest.mark.parametrize("log", [True, False])
def test_ticks_are_round_and_inside_the_scale(log: bool) -> None:
    scale = Scale(0.0045, 1.62, 0.0, 100.0, log)
    ticks = scale.ticks(5)
    assert ticks == ([0.01, 0.1, 1.0] if log else [0.5, 1.0, 1.5])
    assert [scale(tick) for tick in ticks] == sorted(scale(tick) for tick in ticks)


def test_places_outside_are_moved_to_the_end_of_the_axis() -> None:
    scale = Scale(0.0, 1.0, 10.0, 20.0)
    assert [scale(value) for value in (-5.0, 0.5, 7.0)] == [10.0, 15.0, 20.0]


@pytest.mark.parametrize("value", [0.0, -3.0, 7.5])
@pytest.mark.parametrize("share", [0.0, 0.1])
def test_figures_that_are_all_alike_still_have_an_axis(value: float, share: float) -> None:
    low, high = padded([value, value], share)
    assert low < value < high
