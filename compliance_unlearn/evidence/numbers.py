"""Numbers of the report in words: rounded, with units, and never better than they are."""

from __future__ import annotations

import math

DASH = "\u2013"
"""Stands for a value that does not exist."""


NO_BREAK = "\u00a0"


MINUS = "\u2212"


def number(value: float | None, digits: int = 3) -> str:
    """A number with ``digits`` significant digits, fewer if it has no more, never one before the point lost.

    A dash stands for None.
    """
    if value is None:
        return DASH
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(_rounded(value, digits))))
    if exponent < -4 or exponent >= 9:
        mantissa = f"{value:.{digits - 1}e}".split("e")[0]
        text = f"{mantissa}{NO_BREAK}\u00d7{NO_BREAK}10{_raised(exponent)}"
    else:
        text = f"{value:,.{max(digits - 1 - exponent, 0)}f}"
        if "." in text and _rounded(value, digits) == value:
            text = text.rstrip("0").rstrip(".")
    return text.replace("-", MINUS)


def signed(value: float) -> str:
    """A difference with its sign."""
    text = number(value, 3 if abs(value) >= 1 else 2)
    return f"+{text}" if value > 0 else text


def figure(value: float | None, unit: str = "", beside: float | None = None) -> str:
    """A value with its unit, shares in percent.

    Digits are added until the text differs from that of ``beside``, a limit that the value is compared with: rounding
    must not make a value that misses its threshold look as if it met it.
    """
    if value is None:
        return DASH
    factor, suffix = (100.0, percent(unit)) if is_share(unit) else (1.0, f"{NO_BREAK}{unit}" if unit else "")
    limits = [beside, *((0.0, 1.0) if is_share(unit) else ())]
    others = [limit * factor for limit in limits if limit is not None and limit != value]
    digits = 3
    while digits < 12 and any(_rounded(other, digits) == _rounded(value * factor, digits) for other in others):
        digits += 1
    return number(value * factor, digits) + suffix


def duration(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 60:
        return f"{number(seconds, 2)}{NO_BREAK}s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    parts = ((hours, "h"), (minutes, "min"), (rest if not hours else 0, "s"))
    return " ".join(f"{count}{NO_BREAK}{unit}" for count, unit in parts if count)


def count(amount: int, noun: str) -> str:
    """A count with its noun: ``1 image``, ``2 images``."""
    return f"{amount:,}{NO_BREAK}{noun}{'' if amount == 1 else 's'}"


def is_share(unit: str) -> bool:
    """Whether figures of this unit are parts of one, to be read as percent: ``share``, or ``share of the outputs``."""
    return unit.partition(" ")[0] in {"share", "fraction", "probability", "rate"}


def percent(unit: str) -> str:
    """The sign for a unit that `is_share`, and of what: ``share of the outputs`` -> ``% of the outputs``."""
    _, _, of_what = unit.partition(" ")
    return f"{NO_BREAK}% {of_what}".rstrip()


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits - 1}e}")


def _raised(exponent: int) -> str:
    return str(exponent).translate(
        str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")
    )
