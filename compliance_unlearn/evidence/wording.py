"""Words of the report: plain for the compliance officer, exact enough for the expert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from cu_audit.records import (
    FORGET,
    FORGET_ALL,
    FORGET_HELD_OUT,
    RETAIN,
    RETAIN_HELD_OUT,
    BeforeAfter,
    CheckResult,
    Control,
    Interval,
    Outcome,
    Verdict,
)

from compliance_unlearn.evidence.numbers import NO_BREAK, count, figure, is_share, number

SETS = {
    FORGET: "To forget: images the model was trained on",
    FORGET_HELD_OUT: "To forget: images the model never saw",
    FORGET_ALL: "To forget: all images",
    RETAIN: "To keep: images the model was trained on",
    RETAIN_HELD_OUT: "To keep: images the model never saw",
    "worst-subject": "To keep: the person or class that lost most",
    "near-neighbours": "To keep: the tenth of images most like those to forget",
    "far-neighbours": "To keep: the nine tenths of images less like those to forget",
    "retain-kernel-distance": "To keep: images the model was trained on, by kernel distance",
    "encoder-attacked": "To forget: images unknown to the attacker, who trains the encoder",
    "decoder-attacked": "To forget: images unknown to the attacker, who trains the decoder",
    "everything-attacked": "To forget: images unknown to the attacker, who trains the whole model",
    "with-forget-pictures": "To forget: images unknown to an attacker who has others of them",
    "without-forget-pictures": "To forget: images unknown to an attacker who has none of them",
    "8-bit": "To forget: images the model was trained on, weights rounded to 8 bits",
    "4-bit": "To forget: images the model was trained on, weights rounded to 4 bits",
    "weights": "The exported weights",
    "model": "The whole model",
}

SHORT_SETS = {
    FORGET: "Forget, trained on",
    FORGET_HELD_OUT: "Forget, never seen",
    FORGET_ALL: "Forget, all",
    RETAIN: "Keep, trained on",
    RETAIN_HELD_OUT: "Keep, never seen",
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
    "psnr_near-neighbours": ("Likeness to the true image (PSNR), of the tenth most like those to forget", "dB"),
    "psnr_far-neighbours": ("Likeness to the true image (PSNR), of the nine tenths less like those to forget", "dB"),
    "ssim": ("Likeness to the true image in structure (SSIM)", ""),
    "similarity": ("Likeness to the true image as a network sees it (embedding similarity)", ""),
    "frechet": ("Unlikeness of all outputs together to the true images (Fr\u00e9chet distance)", ""),
    "kid": ("Unlikeness of all outputs together to the true images (kernel distance)", ""),
    "class_score": ("How clear and varied the outputs are to a network (class score)", ""),
    "retrieval_mrr": ("How high the true content ranks among candidates, 1 is first (mean reciprocal rank)", ""),
    "information": ("What an output tells about the hidden content (information, a lower bound)", "nats"),
    "divergence_from_noise": ("Unlikeness of all outputs together to outputs on noise (divergence)", "nats"),
    "information_objective": ("What unlearning should make large: information kept, likeness to noise", "nats"),
    "probe": ("How well a probe reads the hidden content from the encoder (correlation)", ""),
    "residual_recovery": ("How much better outputs on changed inputs fit their own image than others'", "dB"),
}
"""Figures that many plugins report; any other one is shown under its own name."""


def set_words(name: str) -> str:
    """A set in words; a set that we do not know under its own name."""
    return SETS.get(name, plain(name))


def short_set(name: str) -> str:
    """A set as the head of a column."""
    return SHORT_SETS.get(name, plain(name))


def metric_words(name: str) -> str:
    """A metric in words, its unit included; ``kid_inception`` is the metric ``kid`` with an addition."""
    known = max((key for key in METRICS if f"{name}_".startswith(f"{key}_")), key=len, default="")
    if not known:
        return plain(name)
    words, unit = METRICS[known]
    addition = name[len(known) + 1 :].replace("_", " ")
    return ", ".join(part for part in (words, addition, unit) if part)


def plain(name: str) -> str:
    """An identifier as words: ``worst_subject-drop`` -> ``Worst subject drop``."""
    words = name.replace("-", " ").replace("_", " ")
    return words[:1].upper() + words[1:]


def sentence(text: str) -> str:
    """What a check wrote, with a capital letter and a full stop."""
    stop = "" if not text or text[-1] in ".!?" else "."
    return text[:1].upper() + text[1:] + stop


def interval_words(interval: Interval, unit: str, threshold: float | None) -> str:
    """The ends of an interval, the unit behind the second one."""
    low = figure(interval.low, "share" if is_share(unit) else "", threshold)
    return f"{low} to {figure(interval.high, unit, threshold)}"


def level_words(interval: Interval) -> str:
    """How an interval was made."""
    return f"{number(round(interval.level * 100, 6))}{NO_BREAK}% interval, {interval.method}"


def control_words(control: Control) -> str:
    """Whether a control did what it must."""
    return "behaved as expected" if control.behaved else "did not behave as expected"


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
    deciding = [check for check in checks if check.gates]
    if not deciding:
        return "No test was set to decide on this model."
    return f"Of {count(len(deciding), 'deciding test')}: {endings(deciding)}."


def effect_words(check: CheckResult) -> str:
    """What the sample could have shown, for a result that has such a figure."""
    smallest = figure(check.detectable, check.unit, check.threshold)
    return f"Smallest effect that this sample would have shown: {smallest}."


def probability_words(value: float) -> str:
    """A p-value, in so far as its digits mean something."""
    return f"p{NO_BREAK}<{NO_BREAK}0.0001" if value < 1e-4 else f"p{NO_BREAK}={NO_BREAK}{number(value, 2)}"


def shortened(text: str, most: int) -> str:
    """A text that fits into a plot."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "\u2026"


def sets_of(metrics: Mapping[str, Mapping[str, BeforeAfter]]) -> list[str]:
    """All sets of which there are figures, those that every run has first."""
    found = list(dict.fromkeys(name for sets in metrics.values() for name in sets))
    return [name for name in SHORT_SETS if name in found] + [name for name in found if name not in SHORT_SETS]


def endings(checks: Sequence[CheckResult]) -> str:
    """How tests ended: ``2 passed, 1 void``."""
    verdicts = [check.verdict for check in checks]
    return ", ".join(
        f"{verdicts.count(verdict)} {words.lower()}" for verdict, (_, words) in VERDICTS.items() if verdict in verdicts
    )
