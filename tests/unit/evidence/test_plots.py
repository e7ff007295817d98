from __future__ import annotations

import itertools

import pytest
from cu_audit.records import BeforeAfter, LossCurve

from compliance_unlearn.evidence.plots import MOST_POINTS, Scale, loss_plot, metric_scale


@pytest.mark.parametrize("log", [True, False])
def test_ticks_are_round_and_inside_the_scale(log: bool) -> None:
    scale = Scale(0.0045, 1.62, 0.0, 100.0, log)
    ticks = scale.ticks(5)
    assert ticks == ([0.01, 0.1, 1.0] if log else [0.5, 1.0, 1.5])
    assert [scale(tick) for tick in ticks] == sorted(scale(tick) for tick in ticks)


def test_figures_that_are_all_alike_still_have_an_axis() -> None:
    scale = metric_scale({"retain": BeforeAfter(before=0.0, after=0.0)})
    assert scale is not None
    assert scale(0.0) == 100.0


def test_a_metric_without_figures_has_no_axis() -> None:
    assert metric_scale({"retain": BeforeAfter(before=None, after=None)}) is None


def test_a_long_curve_is_thinned_out_and_keeps_its_end() -> None:
    steps = tuple(range(10_000))
    plot = loss_plot(LossCurve(steps=steps, terms={"forget": tuple(1.0 / (1 + step) for step in steps)}))
    assert plot is not None
    points = plot.lines[0].points.split()
    assert len(points) <= MOST_POINTS + 1
    assert points[-1].startswith(f"{plot.x.end},")


def test_labels_of_lines_that_end_together_do_not_cover_each_other() -> None:
    plot = loss_plot(LossCurve(steps=(0, 1), terms=dict.fromkeys(("a", "b", "c"), (1.0, 0.0))))
    assert plot is not None
    places = sorted(line.label_y for line in plot.lines)
    assert all(later - earlier >= 14.0 for earlier, later in itertools.pairwise(places))


@pytest.mark.parametrize("steps", [(), (0,)])
def test_fewer_than_two_steps_are_not_drawn(steps: tuple[int, ...]) -> None:
    assert loss_plot(LossCurve(steps=steps, terms={"forget": tuple(1.0 for _ in steps)})) is None
