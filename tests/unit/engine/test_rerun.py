"""Measuring again: what counts as a figure that does not repeat."""

from __future__ import annotations

import pytest

from compliance_unlearn.engine.rerun import Difference, Rerun, _pairs


def differences(one: object, other: object) -> list[Difference]:
    return [Difference(*pair) for pair in _pairs("model", one, other) if pair[1] != pair[2]]


def test_equal_results_have_no_difference_and_every_leaf_is_compared() -> None:
    result = {"checks": [{"value": 0.5, "verdict": "passed"}], "metrics": {"psnr": {"forget": {"after": 7.5}}}}
    assert differences(result, result) == []
    assert len(list(_pairs("model", result, result))) == 3


def test_a_changed_figure_is_found_by_its_path() -> None:
    (found,) = differences({"checks": [{"value": 0.5}]}, {"checks": [{"value": 0.25}]})
    assert (found.where, found.recorded, found.found) == ("model.checks.0.value", 0.5, 0.25)
    assert found.relative == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"metrics": {"psnr": 1.0}}, {"metrics": {}}),
        ({"metrics": {}}, {"metrics": {"psnr": 1.0}}),
        ({"checks": [1, 2]}, {"checks": [1]}),
        ({"verdict": "passed"}, {"verdict": "failed"}),
        ({"behaved": True}, {"behaved": False}),
    ],
)
def test_what_is_missing_added_or_no_number_is_never_within_a_tolerance(one: object, other: object) -> None:
    (found,) = differences(one, other)
    rerun = Rerun(compared=1, differences=(found,), same_environment=False, tolerance=1.0)
    assert not rerun.repeats


def rerun(where: str, one: float | str, other: float | str, *, same: bool) -> Rerun:
    found = (Difference(where, one, other),)
    return Rerun(compared=1, differences=found, same_environment=same, tolerance=1e-3)


def test_in_the_environment_of_the_run_every_bit_counts() -> None:
    assert not rerun("m.checks.0.value", 7.5, 7.5000001, same=True).repeats
    assert not rerun("m.checks.0.reason", "7.5 dB", "7.6 dB", same=True).repeats


def test_elsewhere_small_differences_and_sentences_are_granted() -> None:
    assert rerun("m.checks.0.value", 7.5, 7.5001, same=False).repeats
    assert not rerun("m.checks.0.value", 7.5, 7.6, same=False).repeats
    assert rerun("m.checks.0.reason", "7.50 dB", "7.51 dB", same=False).repeats
