"""The calibration that is published: no check decides where it was found to be wrong too often."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cu_standard.hooks import cu_register_checks

from compliance_unlearn.engine.calibration import ALLOWED

CHECKS = {spec.name: spec for spec in cu_register_checks()}
PAGES = sorted((Path(__file__).parents[3] / "docs" / "results").glob("calibration-*.json"))
NEEDS_A_MODEL = {"artefact", "relearning", "fresh-encoder", "quantised-weights", "other-tasks", "residual"}


def models() -> Iterator[tuple[str, dict[str, Any]]]:
    for page in PAGES:
        for name, found in json.loads(page.read_bytes()).items():
            yield f"{page.stem} {name}", found


def rates(world: str) -> Iterator[dict[str, Any]]:
    """Rates of the checks that decide, in one world, at sizes at which they decide."""
    for where, found in models():
        for rate in found["rates"]:
            check = CHECKS.get(rate["check"])  # None: a companion that is only reported, such as same-as-noise-energy
            if check and rate["world"] == world and check.decides_by != () and rate["forget"] >= check.decides_from:
                yield {**rate, "where": where}


def test_every_check_that_can_be_calibrated_and_can_decide_was() -> None:
    known = {name for name, check in CHECKS.items() if check.decides_by != ()}
    calibrated = {rate["check"] for _, found in models() for rate in found["rates"]}
    assert known - calibrated == NEEDS_A_MODEL
    assert {name for _, found in models() for name in found["not_calibrated"]} <= NEEDS_A_MODEL | {"fidelity"}


def test_each_world_was_drawn_at_least_forty_times() -> None:
    assert len(PAGES) >= 3
    assert min(rate["runs"] for _, found in models() for rate in found["rates"]) >= 40


@pytest.mark.parametrize("world", ["nothing forgotten", "never trained"])
def test_what_was_not_forgotten_does_not_pass(world: str) -> None:
    found = [rate for rate in rates(world) if rate["claim_is_true"] is False]
    assert {rate["check"] for rate in found} >= {"noise-envelope", "retrieval-leak", "information", "probe"}
    wrong = [rate for rate in found if rate["wrong"]["share"] > ALLOWED]
    assert not wrong


@pytest.mark.parametrize("world", ["forgotten", "broken for all"])
def test_what_the_original_makes_of_noise_does_not_fail(world: str) -> None:
    found = [rate for rate in rates(world) if rate["claim_is_true"]]
    assert {rate["check"] for rate in found} >= {"noise-envelope", "retrieval-leak", "information", "probe"}
    wrong = [rate for rate in found if rate["wrong"]["share"] > ALLOWED]
    assert not wrong


def test_a_model_that_answers_noise_to_everything_never_ends_compliant() -> None:
    broken = [each for _, found in models() for each in found["outcomes"] if each["world"] == "broken for all"]
    assert len(broken) >= 7
    assert not any("compliant" in each["outcomes"] for each in broken)


def test_a_run_in_which_nothing_was_forgotten_never_ends_compliant() -> None:
    nothing = [each for _, found in models() for each in found["outcomes"] if each["world"] == "nothing forgotten"]
    assert len(nothing) >= 7
    assert not any("compliant" in each["outcomes"] for each in nothing)
