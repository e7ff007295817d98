"""Words and numbers of the report: plain for the compliance officer, exact enough for the expert."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import date, datetime

from cu_audit.records import (
    FORGET,
    FORGET_ALL,
    FORGET_HELD_OUT,
    RETAIN,
    RETAIN_HELD_OUT,
    CheckResult,
    Control,
    Interval,
    Outcome,
    Verdict,
)

from compliance_unlearn.evidence.plots import is_share as is_share

DASH = "\u2013"
"""Stands for a value that does not exist."""

NO_BREAK = "\u00a0"
MINUS = "\u2212"

SETS = {
    FORGET: "To forget: images the model was trained on",
    FORGET_HELD_OUT: "To forget: images the model never saw",
    FORGET_ALL: "To forget: all images",
    RETAIN: "To keep: images the model was trained on",
    RETAIN_HELD_OUT: "To keep: images the model never saw",
    "worst-subject": "To keep: the person or class that lost most",
    "weights": "The exported weights",
}

OUTCOMES = {
    Outcome.COMPLIANT: ("\u2713", "Compliant"),
    Outcome.NOT_COMPLIANT: ("\u2717", "Not compliant"),
    Outcome.INCONCLUSIVE: ("?", "Inconclusive"),
}

VERDICTS = {
    Verdict.PASSED: ("\u2713", "Passed"),
    Verdict.FAILED: ("\u2717", "Failed"),
    Verdict.INCONCLUSIVE: ("?", "Inconclusive"),
    Verdict.SKIPPED: ("\u2013", "Skipped"),
    Verdict.VOID: ("!", "Void"),
}

METRICS = {
    "psnr": ("Likeness to the true image, pixel by pixel (PSNR)", "dB"),
    "ssim": ("Likeness to the true image in structure (SSIM)", ""),
    "retrieval_mrr": ("How high the true content ranks among candidates, 1 is first (mean reciprocal rank)", ""),
}
"""Figures that many plugins report; any other one is shown under its own name."""


def set_words(name: str) -> str:
    """A set in words; a set that we do not know under its own name."""
    return SETS.get(name, plain(name))


def metric_words(name: str) -> str:
    """A metric in words, its unit included."""
    words, unit = METRICS.get(name, (plain(name), ""))
    return f"{words}, {unit}" if unit else words


def plain(name: str) -> str:
    """An identifier as words: ``worst_subject-drop`` -> ``Worst subject drop``."""
    words = name.replace("-", " ").replace("_", " ")
    return words[:1].upper() + words[1:]


def sentence(text: str) -> str:
    """What a check wrote, with a capital letter and a full stop."""
    stop = "" if not text or text[-1] in ".!?" else "."
    return text[:1].upper() + text[1:] + stop


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
    factor, suffix = (100.0, NO_BREAK + "%") if is_share(unit) else (1.0, f"{NO_BREAK}{unit}" if unit else "")
    limits = [beside, *((0.0, 1.0) if is_share(unit) else ())]
    others = [limit * factor for limit in limits if limit is not None and limit != value]
    digits = 3
    while digits < 12 and any(_rounded(other, digits) == _rounded(value * factor, digits) for other in others):
        digits += 1
    return number(value * factor, digits) + suffix


def interval_words(interval: Interval, unit: str, threshold: float | None) -> str:
    """The ends of an interval."""
    low, high = (figure(end, unit, threshold) for end in (interval.low, interval.high))
    return f"{low} to {high}"


def level_words(interval: Interval) -> str:
    """How an interval was made."""
    return f"{number(interval.level * 100)}{NO_BREAK}% interval, {interval.method}"


def bar_words(check: CheckResult) -> str:
    """The bar of a check for who cannot see it."""
    parts = [f"value {figure(check.value, check.unit, check.threshold)}"]
    if check.interval is not None:
        parts.append(f"interval {interval_words(check.interval, check.unit, check.threshold)}")
    if check.threshold is not None:
        parts.append(f"threshold {figure(check.threshold, check.unit)}")
    return ", ".join(parts)


def control_words(control: Control) -> str:
    """Whether a control did what it must."""
    return "behaved as expected" if control.behaved else "did not behave as expected"


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


def moment(at: datetime) -> str:
    """A moment in words."""
    zone = f" {at.tzname()}" if at.tzinfo else ""
    return f"{at:%Y-%m-%d %H:%M}{zone}"


def clock(due: str, finished: datetime) -> str:
    """How the run lies to its deadline; empty if ``due`` is not a date."""
    try:
        left = (date.fromisoformat(due) - finished.date()).days
    except ValueError:
        return ""
    if left < 0:
        return f"this run ended {count(-left, 'day')} after it"
    return f"this run ended {count(left, 'day')} before it" if left else "this run ended on that day"


def tally(checks: Sequence[CheckResult]) -> str:
    """How many deciding tests ended in which way, in one sentence."""
    deciding = [check.verdict for check in checks if check.gates]
    if not deciding:
        return "No test was set to decide on this model."
    found = [
        f"{deciding.count(verdict)} {words.lower()}" for verdict, (_, words) in VERDICTS.items() if verdict in deciding
    ]
    return f"Of {count(len(deciding), 'deciding test')}: {', '.join(found)}."


def not_tested(checks: Iterable[CheckResult]) -> list[tuple[str, list[str]]]:
    """What no check speaks about, each limit once, with the names of the checks that state it."""
    limits: dict[str, list[str]] = {}
    for check in checks:
        names = limits.setdefault(check.not_tested, []) if check.not_tested else [check.name]
        if check.name not in names:
            names.append(check.name)
    return list(limits.items())


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits - 1}e}")


def _raised(exponent: int) -> str:
    return str(exponent).translate(
        str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")
    )
