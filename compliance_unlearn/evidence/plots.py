"""Geometry of the report's small plots. The templates draw it as SVG; nothing here knows HTML.

Coordinates are in the units of the plot's view box. Groups of points and curves differ in marker and dashes as well as
in colour, so that the page can be read in black and white.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cu_audit.records import CheckResult, Histogram, Lines, LossCurve, Scatter

from compliance_unlearn.evidence.numbers import is_share
from compliance_unlearn.evidence.scales import Scale, padded

Point = tuple[float, float]

WIDTH = 400.0
"""Of a plot, in units of its view box."""

SIDE = 14.0
"""Room beside an axis, for half of the number at its end."""

RIDGE = 48.0
"""Height of one group of a histogram, its name included."""

LINE = 15.0
"""Height of a line of text."""

MOST_POINTS = 400
"""Points of a curve or a group beyond this are thinned out: the plot is 400 units wide."""

MARKED_POINTS = 10
"""About how many points of a curve carry a marker."""

MARKERS = (
    "m-2.6,0a2.6,2.6 0 1 0 5.2,0a2.6,2.6 0 1 0 -5.2,0z",
    "m-2.4,-2.4h4.8v4.8h-4.8z",
    "m0,-3.2l3,5.4h-6z",
    "m0,-3.6l3.6,3.6l-3.6,3.6l-3.6,-3.6z",
    "m-2.6,-2.6l5.2,5.2m0,-5.2l-5.2,5.2",
    "m-3.2,0h6.4m-3.2,-3.2v6.4",
    "m0,3.2l3,-5.4h-6z",
    "m-3.4,-1.4h6.8v2.8h-6.8z",
)
"""Shapes around the current point, one a style; the style sheet gives each its colour and dashes."""

_USUAL_STYLES = {"retain": 0, "forget": 1, "noise": 2}
"""Groups whose name begins with these words look the same in all plots of a page, wherever that is possible."""


@dataclass(frozen=True)
class IntervalBar:
    """Value, interval and threshold of one check on one axis; `None` for what does not exist."""

    scale: Scale
    value: float
    low: float | None
    high: float | None
    threshold: float | None


@dataclass(frozen=True)
class Mark:
    """A line across a plot: where it is, and where its name stands."""

    name: str
    at: float
    label_x: float
    label_y: float
    anchor: str


@dataclass(frozen=True)
class Ridge:
    """One group of a histogram: its outline, scaled to its own highest bar, on its own base line."""

    name: str
    style: int
    total: int
    outline: str
    base: float
    label_y: float


@dataclass(frozen=True)
class HistogramPlot:
    """Groups one below the other over the same axis."""

    height: float
    x: Scale
    ridges: tuple[Ridge, ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Group:
    """Points or a curve: ``line`` as SVG writes points, empty for a cloud; ``markers`` as SVG writes a path."""

    name: str
    style: int
    total: int
    line: str
    markers: str


@dataclass(frozen=True)
class Plane:
    """A scatter plot or curves, inside of a frame."""

    height: float
    x: Scale
    y: Scale
    groups: tuple[Group, ...]
    marks: tuple[Mark, ...] = ()


def interval_bar(check: CheckResult, width: float = 200.0) -> IntervalBar | None:
    """The bar of a check, or None where there is nothing to compare the value with."""
    if check.value is None:
        return None
    ends = () if check.interval is None else (check.interval.low, check.interval.high)
    figures = [figure for figure in (check.value, check.threshold, *ends) if figure is not None]
    if min(figures) == max(figures):
        return None
    low, high = padded(figures, 0.12)
    if is_share(check.unit) and min(figures) >= 0.0 and max(figures) <= 1.0:
        low, high = max(low, 0.0), min(high, 1.0)
    scale = Scale(low, high, 6.0, width - 6.0)
    low_at, high_at = (scale(ends[0]), scale(ends[1])) if ends else (None, None)
    return IntervalBar(
        scale, scale(check.value), low_at, high_at, None if check.threshold is None else scale(check.threshold)
    )


def histogram(plot: Histogram) -> HistogramPlot | None:
    """The groups that have a value; None where none has, or where the axis has no length."""
    groups = {name: counts for name, counts in sorted(plot.counts.items()) if any(counts)}
    if not groups or plot.edges[0] == plot.edges[-1]:
        return None
    top = LINE * len(plot.marks)
    x = Scale(*padded([plot.edges[0], plot.edges[-1], *plot.marks.values()], 0.02), SIDE, WIDTH - SIDE)
    style = styles(groups)
    ridges = []
    for index, (name, counts) in enumerate(groups.items()):
        base = top + RIDGE * (index + 1)
        outline = _outline(plot.edges, counts, x, base)
        ridges.append(Ridge(name, style[name], sum(counts), outline, base, base - RIDGE + LINE))
    ordered = sorted(plot.marks.items(), key=lambda mark: (mark[1], mark[0]))
    marks = tuple(_upright(name, x(value), LINE * (index + 1) - 4.0) for index, (name, value) in enumerate(ordered))
    return HistogramPlot(top + RIDGE * len(groups) + 36.0, x, tuple(ridges), marks)


def scatter(plot: Scatter, height: float = 300.0) -> Plane | None:
    """The points, None where there is none: the largest group behind the others, of equal ones the last by name."""
    groups = {name: points for name, points in sorted(plot.points.items()) if points}
    if not groups:
        return None
    across, up = zip(*(point for points in groups.values() for point in points), strict=True)
    x, y = Scale(*padded(across, 0.04), 1.0, WIDTH - 1.0), Scale(*padded(up, 0.04), height - 20.0, 20.0)
    style = styles(groups)
    clouds = [
        Group(name, style[name], len(points), "", _markers(_thinned(points, MOST_POINTS), style[name], x, y))
        for name, points in groups.items()
    ]
    return Plane(height, x, y, tuple(sorted(clouds, key=lambda cloud: (cloud.total, cloud.name), reverse=True)))


def curves(plot: Lines, height: float = 240.0, *, log: bool = False) -> Plane | None:
    """The lines, or None where none has a point.

    Args:
        plot: what to draw.
        height: of the plot.
        log: whether the vertical axis is logarithmic where all is positive and spans decades.
    """
    known = {name: points for name, points in sorted(plot.lines.items()) if points}
    if not known:
        return None
    across, up = zip(*(point for points in known.values() for point in points), strict=True)
    heights = [*up, *plot.marks.values()]
    log = log and min(heights) > 0.0 and max(heights) / min(heights) > 30.0
    low, high = (min(heights) / 1.15, max(heights) * 1.15) if log else padded(heights, 0.08)
    x, y = Scale(*padded(across, 0.0), 46.0, WIDTH - SIDE), Scale(low, high, height - 36.0, 22.0, log)
    style = styles(known)
    groups = []
    for name, points in known.items():
        kept = _thinned(points, MOST_POINTS)
        marked = _markers(_thinned(kept, MARKED_POINTS), style[name], x, y)
        groups.append(Group(name, style[name], len(points), " ".join(f"{x(a)},{y(b)}" for a, b in kept), marked))
    labels = _apart({name: y(value) - 4.0 for name, value in plot.marks.items()}, LINE - 2.0, y.start - 4.0)
    marks = tuple(Mark(name, y(value), x.end - 4.0, labels[name], "end") for name, value in sorted(plot.marks.items()))
    return Plane(height, x, y, tuple(groups), marks)


def loss_lines(curve: LossCurve) -> Lines:
    """The course of the optimisation; without lines where fewer than two steps were logged."""
    terms = {name: list(zip(curve.steps, values, strict=False)) for name, values in curve.terms.items()}
    return Lines(
        title="Course of the optimisation",
        axes=("optimiser step", "loss"),
        lines={name: tuple((float(a), b) for a, b in points) for name, points in terms.items() if len(points) > 1},
    )


def styles(names: Iterable[str]) -> dict[str, int]:
    """A style for each group: the usual one of its first word where that is free, else the next free one."""
    ordered, chosen = sorted(names), dict[str, int]()
    for name in ordered:
        usual = next((style for word, style in _USUAL_STYLES.items() if name.lower().startswith(word)), None)
        if usual is not None and usual not in chosen.values():
            chosen[name] = usual
    free = [style for style in range(len(MARKERS)) if style not in chosen.values()]
    others = [name for name in ordered if name not in chosen]
    return chosen | {name: free[index % len(free)] for index, name in enumerate(others)}


def middle_half(edges: Sequence[float], counts: Sequence[int]) -> Point:
    """The quartiles, in so far as bins tell them: values are taken as spread evenly within each."""
    ends = []
    for share in (0.25, 0.75):
        left = share * sum(counts)
        for low, high, count in zip(edges, edges[1:], counts, strict=False):
            if left <= count:
                ends.append(low + (high - low) * left / max(count, 1))
                break
            left -= count
    return ends[0], ends[1]


def _outline(edges: Sequence[float], counts: Sequence[int], x: Scale, base: float) -> str:
    """The upper edge of the bars; their areas are the counts, also where bins differ in width."""
    bins = [
        (x(low), x(high), count / (high - low))
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
        if high > low
    ]
    most = max(density for _, _, density in bins) or 1.0
    tops = [(low, high, round(base - (RIDGE - LINE - 6.0) * density / most, 2)) for low, high, density in bins]
    return f"M{x(edges[0])},{base}" + "".join(f"V{top}H{high}" for _, high, top in tops) + f"V{base}Z"


def _upright(name: str, at: float, label_y: float) -> Mark:
    """A vertical mark, its name on the side that has more room."""
    right = at < WIDTH / 2
    return Mark(name, at, at + 4.0 if right else at - 4.0, label_y, "start" if right else "end")


def _markers(points: Sequence[Point], style: int, x: Scale, y: Scale) -> str:
    return "".join(f"M{x(a)},{y(b)}{MARKERS[style]}" for a, b in points)


def _thinned(points: Sequence[Point], most: int) -> list[Point]:
    """About ``most`` of the points, evenly, the last one kept."""
    stride = math.ceil(len(points) / most)
    kept = list(points[::stride])
    return kept if (len(points) - 1) % stride == 0 else [*kept, points[-1]]


def _apart(places: Mapping[str, float], gap: float, floor: float) -> dict[str, float]:
    """Move labels up until neighbours are ``gap`` apart and none lies below ``floor``."""
    moved: dict[str, float] = {}
    limit = floor
    for name, place in sorted(places.items(), key=lambda item: (-item[1], item[0])):
        moved[name] = round(min(place, limit), 2)
        limit = moved[name] - gap
    return moved
