from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cu_audit.records import FORGET_ALL, BeforeAfter, Interval
from cu_audit.records import SETS as SETS_OF_RECORDS
from cu_standard.checks import fresh_encoder, relearning
from cu_standard.checks.picture_quality import KERNEL_SET
from cu_standard.checks.quantised_weights import BITS
from cu_standard.checks.retain_drift import FAR, NEAR, WORST_SUBJECT

from compliance_unlearn.evidence.wording import (
    SETS,
    clock,
    interval_words,
    metric_words,
    plain,
    probability_words,
    sentence,
    set_words,
    sets_of,
    shortened,
)


def test_the_clock_of_the_request_is_told_in_days() -> None:
    finished = datetime(2026, 11, 10, tzinfo=UTC)
    said = [clock(due, finished).replace("\u00a0", " ") for due in ("2026-12-02", "2026-11-10", "2026-11-09", "soon")]
    assert said == [
        "this run ended 22 days before it",
        "this run ended on that day",
        "this run ended 1 day after it",
        "",
    ]


def test_what_a_check_wrote_becomes_a_sentence() -> None:
    assert [sentence(text) for text in ("all is well", "No.", "")] == ["All is well.", "No.", ""]


def test_an_unknown_set_keeps_its_name() -> None:
    assert set_words("retain-at-night") == "Retain at night"


@pytest.mark.parametrize(
    "name",
    [
        *SETS_OF_RECORDS,
        FORGET_ALL,
        WORST_SUBJECT,
        NEAR,
        FAR,
        KERNEL_SET,
        *(f"{attacker}-attacked" for attacker in relearning.ATTACKERS),
        *fresh_encoder.ATTACKERS,
        *(f"{bits}-bit" for bits in BITS),
        "weights",
        "model",
    ],
)
def test_the_sets_of_the_standard_checks_have_words(name: str) -> None:
    assert name in SETS


def test_no_two_sets_have_the_same_words() -> None:
    assert len(set(SETS.values())) == len(SETS)


@pytest.mark.parametrize(("value", "text"), [(0.0312, "p = 0.031"), (1.0, "p = 1"), (0.0, "p < 0.0001")])
def test_a_probability_has_no_more_digits_than_it_means(value: float, text: str) -> None:
    assert probability_words(value).replace("\u00a0", " ") == text


def test_texts_fit_into_plots() -> None:
    assert shortened("border", 10) == "border"
    assert shortened("border of the envelope", 10) == "border of\u2026"


def test_columns_begin_with_the_sets_that_every_run_has() -> None:
    pair = BeforeAfter(before=1.0, after=2.0)
    assert sets_of({"kid": {"far": pair, "retain": pair}, "psnr": {"retain": pair, "forget": pair}}) == [
        "forget",
        "retain",
        "far",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("psnr", "Likeness to the true image, pixel by pixel (PSNR), dB"),
        ("psnr_near-neighbours", "Likeness to the true image (PSNR), of the tenth most like those to forget, dB"),
        (
            "frechet_efficientnet-lite0",
            "Unlikeness of all outputs together to the true images (Fr\u00e9chet distance), efficientnet-lite0",
        ),
        ("class_score_inception", "How clear and varied the outputs are to a network (class score), inception"),
        (
            "probe_neural_with_other_pictures",
            "How well a probe reads the hidden content from the encoder (correlation), neural with other pictures",
        ),
        ("information", "What an output tells about the hidden content (information, a lower bound), nats"),
        ("information_objective", "What unlearning should make large: information kept, likeness to noise, nats"),
        ("psnrs", "Psnrs"),
        ("gradient_norm-of-all", "Gradient norm of all"),
    ],
)
def test_a_metric_is_known_by_the_beginning_of_its_name(name: str, text: str) -> None:
    assert metric_words(name) == text


@pytest.mark.parametrize(
    "name",
    [
        "psnr",
        "ssim",
        "retrieval_mrr",
        "psnr_near-neighbours",
        "psnr_far-neighbours",
        "information",
        "divergence_from_noise",
        "information_objective",
        "frechet_clip",
        "kid_clip",
        "similarity_dlib-face",
        "class_score_efficientnet-lite0",
        "probe_linear_with_some_of_the_pictures",
        "residual_recovery",
    ],
)
def test_the_figures_of_the_standard_checks_have_words(name: str) -> None:
    assert not metric_words(name).startswith(plain(name))


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        ("share", "10 % to 25 %"),
        ("share of outputs", "10 % to 25 % of outputs"),
        ("dB", "0.1 to 0.25 dB"),
        ("", "0.1 to 0.25"),
    ],
)
def test_an_interval_has_its_unit_once(unit: str, text: str) -> None:
    interval = Interval(low=0.1, high=0.25, method="bootstrap")
    assert interval_words(interval, unit, None).replace("\u00a0", " ") == text
