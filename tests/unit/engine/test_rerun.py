"""Measuring again: what counts as a figure that does not repeat."""

from __future__ import annotations

import pytest

from compliance_unlearn.engine.rerun import Difference, Rerun, _everything, _figures, _pairs


def differences(one: object, other: object) -> list[Difference]:
    return [pair for pair in _pairs("model", one, other) if pair.recorded != pair.found]


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


CHECK = {"name": "drift", "set": "retain", "verdict": "passed", "value": -2.0, "threshold": None, "interval": None}


def test_elsewhere_a_figure_near_zero_is_judged_by_the_size_of_its_check() -> None:
    one = {"checks": {"drift on retain": {**CHECK, "p_value": 1e-9, "controls": [{"value": 1e-6}], "sample_size": 9}}}
    other = {"checks": {"drift on retain": {**CHECK, "p_value": 9e-9, "controls": [{"value": 9e-6}], "sample_size": 9}}}
    found = differences(one, other)
    assert [pair.where.rpartition(".")[2] for pair in found] == ["p_value", "value"]
    assert [pair.relative for pair in found] == pytest.approx([8e-9, 4e-6])
    (alone,) = differences({"psnr": {"after": 1e-6}}, {"psnr": {"after": 9e-6}})
    assert alone.relative == pytest.approx(8 / 9)


def test_elsewhere_what_rests_on_new_training_and_what_is_drawn_is_left_out() -> None:
    result = {
        "checks": [CHECK, {**CHECK, "name": "relearning"}],
        "metrics": {"psnr": {}, "steps": {}},
        "plots": [{"title": "Relearning"}],
        "repeats": [{"seed": 1}],
    }
    assert _figures(result, left_out={"relearning", "steps"}) == {
        "checks": {"drift on retain": CHECK},
        "metrics": {"psnr": {}},
    }
    everything = _everything(result)
    assert list(everything["checks"]) == ["drift on retain", "relearning on retain"]
    assert (everything["metrics"], everything["plots"], everything["repeats"]) == (
        result["metrics"],
        result["plots"],
        result["repeats"],
    )


def test_elsewhere_small_differences_and_sentences_are_granted() -> None:
    assert rerun("m.checks.0.value", 7.5, 7.5001, same=False).repeats
    assert not rerun("m.checks.0.value", 7.5, 7.6, same=False).repeats
    assert rerun("m.checks.0.reason", "7.50 dB", "7.51 dB", same=False).repeats
