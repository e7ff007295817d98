"""Measuring again: what counts as a figure that does not repeat."""

from __future__ import annotations

import math

import pytest
from cu_audit.records import CheckResult, Verdict

from compliance_unlearn.engine.rerun import (
    Difference,
    Rerun,
    _by_name,
    _everything,
    _figures,
    _pairs,
    _with_recorded,
)
from compliance_unlearn.engine.verdict import holm


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


def rerun(where: str, one: float | str, other: float | str | None, *, same: bool) -> Rerun:
    found = (Difference(where, one, other),)
    return Rerun(compared=1, differences=found, same_environment=same, tolerance=1e-3)


def test_in_the_environment_of_the_run_every_bit_counts() -> None:
    assert not rerun("m.checks.0.value", 7.5, 7.5000001, same=True).repeats
    assert not rerun("m.checks.0.reason", "7.5 dB", "7.6 dB", same=True).repeats


CHECK = {
    "name": "drift",
    "set": "retain",
    "verdict": "passed",
    "value": -2.0,
    "threshold": None,
    "interval": {"low": -3.0, "high": 1e-6, "level": 0.9},
    "p_value": 1e-9,
    "sample_size": 9,
    "controls": [{"value": 1e-6}],
    "trained_anew": False,
}


def changed(**values: object) -> Rerun:
    """A rerun elsewhere that found other values in one check."""
    found = differences({"drift on retain": CHECK}, {"drift on retain": {**CHECK, **values}})
    return Rerun(compared=10, differences=tuple(found), same_environment=False, tolerance=1e-3)


def test_elsewhere_a_figure_near_zero_is_judged_by_the_size_of_its_check() -> None:
    assert changed(controls=[{"value": 9e-6}], interval={"low": -3.0, "high": 9e-6, "level": 0.9}).repeats
    assert not changed(controls=[{"value": 9e-3}]).repeats
    assert changed(p_value=9e-9).repeats
    assert not changed(p_value=0.01).repeats
    assert not changed(sample_size=10).repeats
    assert not changed(interval={"low": -3.0, "high": 1e-6, "level": 0.902}).repeats


@pytest.mark.parametrize(
    ("count", "unit", "found", "repeats"),
    [
        (400, "share", 0.52, True),
        (400, "share put into the right sample", 0.5175 - 0.0025, True),
        (400, "share", 0.5226, False),
        (400, "dB", 0.52, False),
        (199, "share", 0.52, False),
    ],
)
def test_elsewhere_a_share_of_many_records_may_differ_by_one(
    count: int, unit: str, found: float, repeats: bool
) -> None:
    one = {**CHECK, "unit": unit, "sample_size": count, "value": 0.5175, "interval": None}
    pairs = differences({"drift on retain": one}, {"drift on retain": {**one, "value": found}})
    assert len(pairs) == 1
    rerun = Rerun(compared=10, differences=tuple(pairs), same_environment=False, tolerance=1e-3)
    assert rerun.repeats == repeats


def test_elsewhere_a_metric_near_zero_is_judged_by_before_and_after() -> None:
    (found,) = differences({"psnr": {"before": 8.0, "after": 1e-6}}, {"psnr": {"before": 8.0, "after": 9e-6}})
    assert found.relative == pytest.approx(1e-6)
    (alone,) = differences({"psnr": {"before": None, "after": 1e-6}}, {"psnr": {"before": None, "after": 9e-6}})
    assert alone.relative == pytest.approx(8 / 9)


@pytest.mark.parametrize("name", ["value", "threshold", "interval", "level", "verdict", "before"])
def test_metrics_and_groups_of_plots_may_have_any_name(name: str) -> None:
    result = {
        "metrics": {name: {name: {"before": 1.0, "after": 2.0}, "after": {}}},
        "plots": [{"counts": {name: [1, 2]}}],
    }
    assert differences(result, result) == []


@pytest.mark.parametrize("found", [math.nan, math.inf, -math.inf, None, 1])
def test_what_is_no_finite_number_any_more_is_never_granted(found: float | None) -> None:
    assert not rerun("m.checks.0.value", 1.5, found, same=False).repeats
    assert not rerun("m.checks.0.value", 0.0, found, same=False).repeats


def test_a_measurement_in_which_nothing_could_be_compared_does_not_repeat() -> None:
    assert not Rerun(compared=0, differences=(), same_environment=False, tolerance=1e-3).repeats


def test_results_of_one_name_and_set_are_all_compared() -> None:
    one, other = {**CHECK, "value": 9.0}, {**CHECK, "value": 1.0}
    both = _by_name([one, other])
    assert both == {"drift on retain": one, "drift on retain (2)": other}
    assert [pair.where for pair in differences(both, _by_name([other, other]))] == ["model.drift on retain.value"]


def test_elsewhere_what_rests_on_new_training_and_what_is_drawn_is_left_out() -> None:
    result = {
        "checks": [CHECK, {**CHECK, "name": "relearning", "trained_anew": True}],
        "metrics": {"psnr": {}, "steps": {}},
        "plots": [{"title": "Relearning"}],
        "repeats": [{"seed": 1}],
    }
    assert _figures(result, without={"steps"}) == {"checks": {"drift on retain": CHECK}, "metrics": {"psnr": {}}}
    everything = _everything(result)
    assert list(everything["checks"]) == ["drift on retain", "relearning on retain"]
    assert all(everything[key] == result[key] for key in ("metrics", "plots", "repeats"))


def result(name: str, p_value: float, *, trained: bool = False) -> CheckResult:
    return CheckResult(
        name=name,
        set="forget",
        claim="c",
        verdict=Verdict.PASSED,
        gates=True,
        value=0.0,
        interval=None,
        threshold=None,
        sample_size=9,
        p_value=p_value,
        reason="r",
        trained_anew=trained,
    )


def test_elsewhere_results_that_rest_on_training_count_as_they_are_recorded() -> None:
    recorded = [result("information", 0.03), result("relearning", 0.001, trained=True)]
    found = _with_recorded([result("information", 0.03), result("relearning", 0.04, trained=True)], recorded)
    verdicts = {each.name: (each.verdict, each.p_value) for each in holm(found)}
    assert verdicts == {"information": (Verdict.PASSED, 0.03), "relearning": (Verdict.PASSED, 0.001)}
    skipped = result("relearning", 0.04).model_copy(update={"value": None, "verdict": Verdict.SKIPPED})
    assert _with_recorded([skipped], recorded) == recorded[1:]  # without a reference


def test_a_record_is_not_believed_that_a_result_rests_on_training() -> None:
    recorded = [result("information", 0.03, trained=True)]
    found = [result("information", 0.5)]
    assert _with_recorded(found, recorded) == found


def test_elsewhere_small_differences_and_sentences_are_granted() -> None:
    assert rerun("m.checks.0.value", 7.5, 7.5001, same=False).repeats
    assert not rerun("m.checks.0.value", 7.5, 7.6, same=False).repeats
    assert rerun("m.checks.0.reason", "7.50 dB", "7.51 dB", same=False).repeats
