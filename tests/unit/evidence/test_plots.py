from __future__ import annotations

import itertools
import re

import pytest
from cu_audit.records import Histogram, Lines, LossCurve, Scatter

from compliance_unlearn.evidence.plots import (
    MARKERS,
    MOST_POINTS,
    WIDTH,
    curves,
    histogram,
    loss_lines,
    middle_half,
    scatter,
    styles,
)

Points = tuple[tuple[float, float], ...]


def bars(counts: dict[str, tuple[int, ...]], edges: tuple[float, ...], **marks: float) -> Histogram:
    return Histogram(title="Scores", unit="score", edges=edges, counts=counts, marks=marks)


def lines(named: dict[str, Points], **marks: float) -> Lines:
    return Lines(title="Attack", axes=("step", "PSNR, dB"), lines=named, marks=marks)


def tops(outline: str) -> list[float]:
    """Heights of the bars of a ridge, its base line left out."""
    return [float(height) for height in re.findall(r"V([\d.]+)", outline)[:-1]]


def test_each_group_of_a_histogram_has_a_base_line_of_its_own_and_bars_above_it() -> None:
    plot = histogram(bars({"noise": (1, 4, 1), "forget": (0, 0, 7)}, (0.0, 1.0, 2.0, 3.0)))
    assert plot is not None
    assert [(ridge.name, ridge.total) for ridge in plot.ridges] == [("forget", 7), ("noise", 6)]
    first, second = (tops(ridge.outline) for ridge in plot.ridges)
    assert first[:2] == [plot.ridges[0].base] * 2
    assert second.index(min(second)) == 1
    assert max(*first, *second) <= plot.ridges[1].base < plot.height
    assert min(second) > plot.ridges[0].base, "a bar never reaches into the group above"


def test_areas_of_bars_are_the_counts_where_bins_differ_in_width() -> None:
    plot = histogram(bars({"forget": (10, 10)}, (0.0, 1.0, 11.0)))
    assert plot is not None
    [ridge] = plot.ridges
    narrow, wide = (ridge.base - top for top in tops(ridge.outline))
    assert narrow == pytest.approx(10 * wide, rel=0.02)


def test_marks_lie_on_the_axis_and_their_names_inside_the_plot() -> None:
    plot = histogram(bars({"forget": (1, 1)}, (0.0, 1.0, 2.0), border=5.0, zero=0.0))
    assert plot is not None
    zero, border = plot.marks
    assert plot.x.start <= zero.at < border.at <= plot.x.end
    assert (zero.anchor, border.anchor) == ("start", "end")
    assert 0 < zero.label_x < border.label_x < WIDTH
    assert zero.label_y != border.label_y


def test_groups_without_a_value_and_an_axis_without_length_are_not_drawn() -> None:
    plot = histogram(bars({"forget": (0, 0), "noise": (1, 0)}, (0.0, 1.0, 2.0)))
    assert plot is not None
    assert [ridge.name for ridge in plot.ridges] == ["noise"]
    assert histogram(bars({"forget": (0, 0)}, (0.0, 1.0, 2.0))) is None
    assert histogram(bars({"forget": (3, 4)}, (1.0, 1.0, 1.0))) is None
    assert histogram(bars({"forget": (3, 4)}, (1.0, 1.0, 2.0))) is not None


@pytest.mark.parametrize(
    ("edges", "counts"), [((1.0, 0.0), (1,)), ((0.0, 1.0), (1, 2)), ((0.0, 1.0), ()), ((0.0, 1.0), (-1,))]
)
def test_counts_that_do_not_fit_their_edges_are_no_histogram(edges: tuple[float, ...], counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"edges must not descend|one count"):
        bars({"forget": counts}, edges)


def test_the_middle_half_is_read_from_the_bins() -> None:
    assert middle_half((0.0, 1.0, 2.0, 3.0, 4.0), (1, 1, 1, 1)) == (1.0, 3.0)
    assert middle_half((0.0, 1.0, 2.0), (0, 8)) == (1.25, 1.75)


def test_small_groups_of_points_lie_in_front_and_none_outside() -> None:
    many: Points = tuple((float(i), float(-i)) for i in range(50))
    plane = scatter(Scatter(title="t", axes=("a", "b"), points={"forget": ((3.0, 400.0),), "retain": many, "none": ()}))
    assert plane is not None
    assert [(cloud.name, cloud.total) for cloud in plane.groups] == [("retain", 50), ("forget", 1)]
    places = [float(at) for cloud in plane.groups for at in re.findall(r"M([\d.]+),", cloud.markers)]
    assert len(places) == 51
    assert 0 < min(places) < max(places) < WIDTH


def test_of_groups_of_one_size_the_forgotten_ones_lie_in_front() -> None:
    some: Points = ((0.0, 0.0), (1.0, 1.0))
    names = ("noise", "forget after", "retained before", "forget before")
    plane = scatter(Scatter(title="t", axes=("a", "b"), points=dict.fromkeys(names, some)))
    assert plane is not None
    assert [cloud.name for cloud in plane.groups] == ["retained before", "noise", "forget before", "forget after"]


def test_points_that_all_coincide_are_drawn() -> None:
    assert scatter(Scatter(title="t", axes=("a", "b"), points={"forget": ((0.0, 0.0), (0.0, 0.0))})) is not None
    assert scatter(Scatter(title="t", axes=("a", "b"), points={"forget": ()})) is None


def test_a_curve_runs_from_the_first_point_to_the_last_and_carries_markers() -> None:
    plane = curves(lines({"encoder": tuple((float(i), 10.0 + i) for i in range(101))}, goal=200.0))
    assert plane is not None
    [curve] = plane.groups
    places = curve.line.split()
    assert places[0].startswith(f"{plane.x.start},")
    assert places[-1].startswith(f"{plane.x.end},")
    assert 5 <= curve.markers.count("M") <= 12
    [goal] = plane.marks
    assert plane.y.end < goal.at < plane.y.start
    assert goal.label_y < goal.at


def test_a_long_curve_is_thinned_out_and_keeps_its_end() -> None:
    plane = curves(lines({"encoder": tuple((float(i), 1.0 / (1 + i)) for i in range(10_000))}))
    assert plane is not None
    places = plane.groups[0].line.split()
    assert len(places) <= MOST_POINTS + 1
    assert places[-1].startswith(f"{plane.x.end},")


def test_names_of_marks_that_lie_together_do_not_cover_each_other() -> None:
    plane = curves(lines({"encoder": ((0.0, 0.0), (1.0, 30.0))}, a=20.0, b=20.1, c=0.0))
    assert plane is not None
    places = sorted(mark.label_y for mark in plane.marks)
    assert all(later - earlier >= 12.0 for earlier, later in itertools.pairwise(places))


@pytest.mark.parametrize(("values", "log"), [((100.0, 1.0), True), ((2.0, 1.0), False), ((100.0, 0.0), False)])
def test_the_loss_has_a_logarithmic_axis_where_it_spans_decades(values: tuple[float, float], log: bool) -> None:
    plane = curves(loss_lines(LossCurve(steps=(0, 1), terms={"forget": values})), log=True)
    assert plane is not None
    assert plane.y.log is log


@pytest.mark.parametrize("steps", [(), (0,)])
def test_fewer_than_two_steps_of_the_loss_are_not_drawn(steps: tuple[int, ...]) -> None:
    assert not loss_lines(LossCurve(steps=steps, terms={"forget": tuple(1.0 for _ in steps)})).lines


def test_groups_look_the_same_in_all_plots_and_differ_within_one() -> None:
    first = styles(["retain", "forget, after", "forget, before", "noise"])
    second = styles(["forget, after", "noise", "another"])
    assert all(first[name] == second[name] for name in ("forget, after", "noise"))
    assert len(set(first.values())) == 4
    assert len(set(styles(str(number) for number in range(len(MARKERS))).values())) == len(MARKERS)
    assert set(styles(str(number) for number in range(20)).values()) == set(range(len(MARKERS)))
