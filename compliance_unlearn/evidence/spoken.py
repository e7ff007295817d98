"""Plots in words, for who cannot see them."""

from __future__ import annotations

from cu_audit.records import CheckResult, Histogram, Lines, Scatter

from compliance_unlearn.evidence.numbers import count, figure, number
from compliance_unlearn.evidence.plots import middle_half
from compliance_unlearn.evidence.wording import interval_words


def bar(check: CheckResult) -> str:
    """The bar of a check for who cannot see it."""
    parts = [f"value {figure(check.value, check.unit, check.threshold)}"]
    if check.interval is not None:
        parts.append(f"interval {interval_words(check.interval, check.unit, check.threshold)}")
    if check.threshold is not None:
        parts.append(f"threshold {figure(check.threshold, check.unit)}")
    return ", ".join(parts)


def histogram(plot: Histogram) -> str:
    """A histogram for who cannot see it."""
    parts = []
    for name, counts in sorted(plot.counts.items()):
        if any(counts):
            low, high = middle_half(plot.edges, counts)
            half = f"the middle half from {number(low)} to {number(high)}"
            parts.append(f"{name}, {count(sum(counts), 'value')}, {half}")
    marks = [f"{name} at {number(value)}" for name, value in sorted(plot.marks.items())]
    return f"{plot.title}: {'; '.join(parts + marks)}; horizontal: {plot.unit}"


def scatter(plot: Scatter) -> str:
    """A scatter plot for who cannot see it."""
    parts = []
    for name, points in sorted(plot.points.items()):
        if points:
            centre = " and ".join(number(sum(values) / len(points)) for values in zip(*points, strict=True))
            parts.append(f"{name}, {count(len(points), 'point')} around {centre}")
    return f"{plot.title}: {'; '.join(parts)}; axes: {plot.axes[0]} and {plot.axes[1]}"


def curves(plot: Lines) -> str:
    """Curves for who cannot see them."""
    parts = [
        f"{name} from {_place(points[0])} to {_place(points[-1])}"
        for name, points in sorted(plot.lines.items())
        if points
    ]
    marks = [f"{name} at {number(value)}" for name, value in sorted(plot.marks.items())]
    return f"{plot.title}: {'; '.join(parts + marks)}; {plot.axes[1]} over {plot.axes[0]}"


def _place(point: tuple[float, float]) -> str:
    return f"{number(point[1])} at {number(point[0])}"
