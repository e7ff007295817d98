from __future__ import annotations

from cu_audit.records import Histogram, Lines, Scatter

from compliance_unlearn.evidence import spoken


def test_a_histogram_says_where_each_group_lies_and_where_the_marks_are() -> None:
    plot = Histogram(
        title="Likeness to noise",
        unit="score",
        edges=(0.0, 1.0, 2.0, 3.0, 4.0),
        counts={"forget": (1, 1, 1, 1), "nothing": (0, 0, 0, 0)},
        marks={"border": 2.5},
    )
    assert spoken.histogram(plot).replace("\u00a0", " ") == (
        "Likeness to noise: forget, 4 values, the middle half from 1 to 3; border at 2.5; horizontal: score"
    )


def test_a_scatter_plot_says_where_the_middle_of_each_group_lies() -> None:
    plot = Scatter(title="Features", axes=("first", "second"), points={"forget": ((0.0, 1.0), (2.0, 3.0)), "none": ()})
    assert spoken.scatter(plot).replace("\u00a0", " ") == (
        "Features: forget, 2 points around 1 and 2; axes: first and second"
    )


def test_curves_say_where_they_begin_and_end() -> None:
    plot = Lines(title="Attack", axes=("step", "dB"), lines={"all": ((0.0, 11.0), (40.0, 18.5))}, marks={"goal": 21.9})
    assert spoken.curves(plot) == "Attack: all from 11 at 0 to 18.5 at 40; goal at 21.9; dB over step"
