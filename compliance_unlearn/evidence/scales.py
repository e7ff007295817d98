"""Axes of the report's small plots: from figures to places, and the round numbers that are written beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A map from ``low .. high`` to ``start .. end``, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Position of ``value``, kept inside the plot; rounded, so that equal results give equal bytes."""
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


def padded(figures: Iterable[float], share: float) -> tuple[float, float]:
    """Ends of an axis that leave some room around the figures, also where all are the same."""
    known = list(figures)
    low, high = min(known), max(known)
    margin = share * (high - low)
    if low == high:
        margin = 0.1 * abs(low) or 1.0
    return low - margin, high + margin


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(factor for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough * (1 - 1e-9))
