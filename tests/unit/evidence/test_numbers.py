from __future__ import annotations

import pytest

from compliance_unlearn.evidence.numbers import count, duration, figure, number, signed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\u2013"),
        (0.0, "0"),
        (19.724, "19.7"),
        (0.5, "0.5"),
        (100.0, "100"),
        (12345.6, "12,346"),
        (-0.18, "\u22120.18"),
        (0.0123456, "0.0123"),
        (3e-6, "3.00 \u00d7 10\u207b\u2076"),
        (9.996, "10.0"),
    ],
)
def test_numbers_keep_three_significant_digits(value: float | None, text: str) -> None:
    assert number(value).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("value", "unit", "beside", "text"),
    [
        (0.25, "share", None, "25 %"),
        (0.9996, "share", None, "99.96 %"),
        (1.0, "share", None, "100 %"),
        (0.94999, "share", 0.95, "94.999 %"),
        (0.95, "share", 0.95, "95 %"),
        (0.50004, "dB", 0.5, "0.50004 dB"),
        (0.52, "share of the outputs", None, "52 % of the outputs"),
        (7.0, "", None, "7"),
        (None, "share", 0.95, "\u2013"),
    ],
)
def test_figures_have_units_and_differ_from_a_limit_that_they_miss(
    value: float | None, unit: str, beside: float | None, text: str
) -> None:
    assert figure(value, unit, beside).replace("\u00a0", " ") == text


def test_differences_have_a_sign() -> None:
    assert [signed(value) for value in (6.781, -0.1799, 0.0)] == ["+6.78", "\u22120.18", "0"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.21, "0.21 s"), (24.3, "24 s"), (72.4, "1 min 12 s"), (7260, "2 h 1 min")]
)
def test_durations_are_read_without_arithmetic(seconds: float, text: str) -> None:
    assert duration(seconds).replace("\u00a0", " ") == text


def test_counts_agree_with_their_noun() -> None:
    assert [count(amount, "image").replace("\u00a0", " ") for amount in (0, 1, 1200)] == [
        "0 images",
        "1 image",
        "1,200 images",
    ]
