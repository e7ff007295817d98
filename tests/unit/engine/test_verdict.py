"""From results to the outcome of a run."""

from __future__ import annotations

import itertools
import random

import pytest
from cu_audit.records import CheckResult, Outcome, Verdict

from compliance_unlearn.engine.verdict import decide, holm, sentence

DECIDING = (Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.SKIPPED, Verdict.VOID)


def result(verdict: Verdict, *, gates: bool = True, name: str = "check", p_value: float | None = None) -> CheckResult:
    return CheckResult(
        name=name,
        p_value=p_value,
        set="forget",
        claim="A claim.",
        verdict=verdict,
        gates=gates,
        value=None,
        interval=None,
        threshold=None,
        sample_size=0,
        reason="planted",
    )


def test_one_check_decides_by_its_verdict() -> None:
    outcomes = {verdict: decide([result(verdict)]) for verdict in DECIDING}
    assert outcomes == {
        Verdict.PASSED: Outcome.COMPLIANT,
        Verdict.FAILED: Outcome.NOT_COMPLIANT,
        Verdict.INCONCLUSIVE: Outcome.INCONCLUSIVE,
        Verdict.SKIPPED: Outcome.INCONCLUSIVE,
        Verdict.VOID: Outcome.INCONCLUSIVE,
    }


@pytest.mark.parametrize("verdicts", list(itertools.product(DECIDING, repeat=3)), ids=lambda each: "-".join(each))
def test_all_must_pass_and_any_failure_decides(verdicts: tuple[Verdict, ...]) -> None:
    outcome = decide([result(verdict) for verdict in verdicts])
    if Verdict.FAILED in verdicts:
        assert outcome is Outcome.NOT_COMPLIANT
    else:
        assert (outcome is Outcome.COMPLIANT) == (set(verdicts) == {Verdict.PASSED})
        assert outcome is not Outcome.NOT_COMPLIANT


@pytest.mark.parametrize("verdict", DECIDING)
def test_results_that_do_not_gate_change_nothing(verdict: Verdict) -> None:
    reported = result(verdict, gates=False)
    assert decide([result(Verdict.PASSED), reported]) is Outcome.COMPLIANT
    assert decide([result(Verdict.FAILED), reported]) is Outcome.NOT_COMPLIANT


@pytest.mark.parametrize("results", [[], [result(Verdict.PASSED, gates=False)]])
def test_without_a_deciding_test_nothing_is_compliant(results: list[CheckResult]) -> None:
    assert decide(results) is Outcome.INCONCLUSIVE
    assert "no test decides" in sentence(Outcome.INCONCLUSIVE, {"model": results})


def test_the_sentence_names_what_stood_in_the_way() -> None:
    passed, failed, void = (
        result(Verdict.PASSED),
        result(Verdict.FAILED, name="leak"),
        result(Verdict.VOID, name="drift"),
    )
    assert sentence(Outcome.NOT_COMPLIANT, {"model": [passed, failed, void]}) == (
        "Not compliant: drift (void), leak (failed); 1 of 3 deciding tests passed. The model was not replaced."
    )
    assert "drift (void)" in sentence(Outcome.INCONCLUSIVE, {"model": [passed, void]})
    assert "all 1 tests" in sentence(Outcome.COMPLIANT, {"model": [passed]})


def test_of_several_models_the_sentence_names_the_one_that_stood_in_the_way() -> None:
    results = {"one": [result(Verdict.PASSED)], "other": [result(Verdict.FAILED, name="leak"), result(Verdict.PASSED)]}
    assert sentence(Outcome.NOT_COMPLIANT, results) == (
        "Not compliant: leak of other (failed); 2 of 3 deciding tests passed. No model was replaced."
    )
    assert "all 2 tests" in sentence(Outcome.COMPLIANT, {name: [result(Verdict.PASSED)] for name in results})


def test_a_good_outcome_names_the_tests_that_failed_without_being_asked_for() -> None:
    results = [
        result(Verdict.PASSED),
        result(Verdict.FAILED, gates=False, name="probe"),
        result(Verdict.FAILED, gates=False, name="information"),
        result(Verdict.INCONCLUSIVE, gates=False, name="membership"),
    ]
    assert sentence(Outcome.COMPLIANT, {"model": results}).endswith(
        "Failed, but not asked for by the policy: information, probe."
    )


def test_no_sentence_claims_erasure() -> None:
    for outcome in Outcome:
        words = sentence(outcome, {"model": [result(Verdict.PASSED)]}).lower()
        assert not any(claim in words for claim in ("prove", "erased", "deleted", "guarantee"))


def after_holm(*p_values: float | None) -> list[Verdict]:
    return [each.verdict for each in holm([result(Verdict.PASSED, p_value=p_value) for p_value in p_values])]


def test_the_smallest_p_value_is_asked_most_and_the_largest_least() -> None:
    assert after_holm(0.01, 0.02, 0.04) == [Verdict.PASSED] * 3
    assert after_holm(0.04, 0.01, 0.02) == [Verdict.PASSED] * 3


def test_from_the_first_that_is_too_large_on_nothing_passes() -> None:
    assert after_holm(0.001, 0.03, 0.03) == [Verdict.PASSED, Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE]
    assert after_holm(0.02, 0.021, 0.0211) == [Verdict.INCONCLUSIVE] * 3


def test_exact_results_take_no_part_in_the_correction() -> None:
    assert after_holm(None, 0.04, None) == [Verdict.PASSED] * 3


def test_results_that_decide_nothing_are_not_counted() -> None:
    reported = [result(Verdict.PASSED, gates=False, p_value=0.9) for _ in range(20)]
    assert holm([result(Verdict.PASSED, p_value=0.04), *reported]) == [result(Verdict.PASSED, p_value=0.04), *reported]


def test_what_did_not_pass_stays_and_still_counts() -> None:
    corrected = holm([result(Verdict.FAILED, p_value=1.0), result(Verdict.PASSED, p_value=0.03)])
    assert [each.verdict for each in corrected] == [Verdict.FAILED, Verdict.INCONCLUSIVE]
    assert "among 2 tests" in corrected[1].reason


@pytest.mark.parametrize("false", [1, 3, 8])
def test_false_claims_pass_in_at_most_one_run_of_twenty(false: int) -> None:
    """p-values of false claims are uniform; true ones beside them have tiny ones."""
    generator, passes = random.Random(false), 0
    for _ in range(2000):
        results = [result(Verdict.PASSED, p_value=generator.random()) for _ in range(false)]
        corrected = holm([*results, result(Verdict.PASSED, p_value=1e-9)])
        passes += any(each.verdict is Verdict.PASSED for each in corrected[:false])
    assert passes <= 2000 * 0.05 + 3 * (2000 * 0.05 * 0.95) ** 0.5
    assert passes > 0
