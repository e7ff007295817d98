"""Geometry of the report's small plots. The templates draw it as SVG; nothing here knows HTML.

Coordinates are in the units of the plot's view box, rounded to two decimals so that equal results give equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cu_audit.records import BeforeAfter, CheckResult, LossCurve

MOST_POINTS = 400
"""Points of a line beyond this are thinned out: the plot is 640 units wide."""


@dataclass(frozen=True)
class Scale:
    """A map from ``low .. high`` to ``start .. end``, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Position of ``value``, kept inside the plot."""
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        share = min(max((at - low) / (high - low), 0.0), 1.0)
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self, most: int) -> list[float]:
        """Round numbers inside the scale: powers of ten, or multiples of 1, 2 or 5."""
        if self.log:
            lowest, highest = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            every = max(1, math.ceil((highest - lowest + 1) / most))
            return [10.0**exponent for exponent in range(lowest, highest + 1, every)]
        step = _round_step((self.high - self.low) / most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


@dataclass(frozen=True)
class IntervalBar:
    """Value, interval and threshold of one check on one axis; `None` for what does not exist."""

    scale: Scale
    value: float
    low: float | None
    high: float | None
    threshold: float | None


@dataclass(frozen=True)
class Line:
    """One line of a plot: ``points`` as SVG writes them, and where its label goes."""

    name: str
    points: str
    label_y: float


@dataclass(frozen=True)
class LossPlot:
    """The loss curve: lines over steps."""

    x: Scale
    y: Scale
    lines: tuple[Line, ...]


def interval_bar(check: CheckResult, width: float = 200.0) -> IntervalBar | None:
    """The bar of a check, or None where there is nothing to compare the value with."""
    if check.value is None:
        return None
    ends = () if check.interval is None else (check.interval.low, check.interval.high)
    figures = [figure for figure in (check.value, check.threshold, *ends) if figure is not None]
    if min(figures) == max(figures):
        return None
    low, high = _padded(figures, 0.12)
    if is_share(check.unit) and min(figures) >= 0.0 and max(figures) <= 1.0:
        low, high = max(low, 0.0), min(high, 1.0)
    scale = Scale(low, high, 6.0, width - 6.0)
    low_at, high_at = (scale(ends[0]), scale(ends[1])) if ends else (None, None)
    return IntervalBar(
        scale, scale(check.value), low_at, high_at, None if check.threshold is None else scale(check.threshold)
    )


def metric_scale(sets: Mapping[str, BeforeAfter], width: float = 200.0) -> Scale | None:
    """One axis for all sets of a metric, or None where no figure exists."""
    figures = [figure for pair in sets.values() for figure in (pair.before, pair.after) if figure is not None]
    if not figures:
        return None
    low, high = _padded(figures, 0.08)
    return Scale(low, high, 8.0, width - 8.0)


def loss_plot(curve: LossCurve, width: float = 640.0, height: float = 220.0) -> LossPlot | None:
    """The loss curve, or None where it has fewer than two steps. Logarithmic where the terms span decades."""
    values = [value for term in curve.terms.values() for value in term]
    if not values or curve.steps[0] == curve.steps[-1]:
        return None
    log = min(values) > 0.0 and max(values) / min(values) > 30.0
    low, high = (min(values) / 1.15, max(values) * 1.15) if log else _padded([*values, 0.0], 0.05)
    x = Scale(float(curve.steps[0]), float(curve.steps[-1]), 52.0, width - 130.0)
    y = Scale(low, high, height - 30.0, 10.0, log)
    ends = {name: y(term[-1]) for name, term in sorted(curve.terms.items()) if term}
    labels = _apart(ends, 14.0, height - 30.0)
    lines = (Line(name, _points(curve, name, x, y), labels[name]) for name in ends)
    return LossPlot(x, y, tuple(lines))


def is_share(unit: str) -> bool:
    """Whether figures of this unit are parts of one, to be read as percent."""
    return unit in {"share", "fraction", "probability", "rate"}


def _points(curve: LossCurve, name: str, x: Scale, y: Scale) -> str:
    pairs = list(zip(curve.steps, curve.terms[name], strict=False))
    stride = math.ceil(len(pairs) / MOST_POINTS)
    kept = pairs[::stride] if pairs[-1] in pairs[::stride] else [*pairs[::stride], pairs[-1]]
    return " ".join(f"{x(step)},{y(value)}" for step, value in kept)


def _padded(figures: Iterable[float], share: float) -> tuple[float, float]:
    """Ends of an axis that leave some room around the figures, also where all are the same."""
    known = list(figures)
    low, high = min(known), max(known)
    margin = share * (high - low) or 0.1 * abs(low) or 1.0
    return low - margin, high + margin


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(factor for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough * (1 - 1e-9))


def _apart(places: Mapping[str, float], gap: float, floor: float) -> dict[str, float]:
    """Move labels up and down until neighbours are ``gap`` apart and none lies below ``floor``."""
    moved: dict[str, float] = {}
    limit = floor
    for name, place in sorted(places.items(), key=lambda item: (-item[1], item[0])):
        moved[name] = round(min(place, limit), 2)
        limit = moved[name] - gap
    return moved
