"""From results to the outcome of a run."""

from __future__ import annotations

import itertools

import pytest
from cu_audit.records import CheckResult, Outcome, Verdict

from compliance_unlearn.engine.verdict import decide, sentence

DECIDING = (Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.SKIPPED, Verdict.VOID)


def result(verdict: Verdict, *, gates: bool = True, name: str = "check") -> CheckResult:
    return CheckResult(
        name=name,
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


def test_no_sentence_claims_erasure() -> None:
    for outcome in Outcome:
        words = sentence(outcome, {"model": [result(Verdict.PASSED)]}).lower()
        assert not any(claim in words for claim in ("prove", "erased", "deleted", "guarantee"))
