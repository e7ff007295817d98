"""From check results to the outcome of a run: pure functions, nothing measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cu_audit.records import CheckResult, Outcome, Verdict

LEVEL = 0.05
"""Probability, at most, that any test of a run passes although its claim is false."""


def holm(results: Sequence[CheckResult]) -> list[CheckResult]:
    """Correct the deciding results of a run for their number (Holm, 1979).

    The smallest p-value of m must not exceed 0.05 / m, the next one 0.05 / (m - 1), and so on; from the first that does
    on, what passed by itself is inconclusive. Results without a p-value take no part: they are exact, or have no error
    rate to share.

    Args:
        results: of all models of one run.

    Returns:
        The same results in the same order.
    """
    tested = [index for index, result in enumerate(results) if result.gates and result.p_value is not None]
    corrected, holds = list(results), True
    for rank, index in enumerate(sorted(tested, key=lambda index: results[index].p_value or 0.0)):
        result, left = results[index], len(tested) - rank
        holds = holds and (result.p_value or 0.0) <= LEVEL / left
        if not holds and result.verdict is Verdict.PASSED:
            said = f"{result.reason}; too close to tell among {len(tested)} tests (Holm's correction)"
            corrected[index] = result.model_copy(update={"verdict": Verdict.INCONCLUSIVE, "reason": said})
    return corrected


def decide(results: Sequence[CheckResult]) -> Outcome:
    """Compliant only if every gating result passed; inconclusive if none failed but one could not tell.

    A void check is a broken instrument, and a skipped one was not run: neither is evidence of compliance or of the
    contrary.
    """
    gating = [result.verdict for result in results if result.gates]
    if Verdict.FAILED in gating:
        return Outcome.NOT_COMPLIANT
    if gating and all(verdict is Verdict.PASSED for verdict in gating):
        return Outcome.COMPLIANT
    return Outcome.INCONCLUSIVE


def sentence(outcome: Outcome, models: Mapping[str, Sequence[CheckResult]]) -> str:
    """The outcome in words, no stronger than the results.

    Args:
        outcome: of all results together, see `decide`.
        models: results of each model, by its name.
    """
    gating = [(name, result) for name, results in models.items() for result in results if result.gates]
    others = [(name, result) for name, result in gating if result.verdict is not Verdict.PASSED]
    passed = len(gating) - len(others)
    if outcome is Outcome.COMPLIANT:
        tests = f"all {passed} tests that decide, fixed before the run, passed on the unlearned weights"
        return f"Compliant with the policy: {tests}.{_reported_failures(models)}"
    several = len(models) > 1
    kept = "No model was replaced." if several else "The model was not replaced."
    found = ", ".join(
        sorted({f"{result.name}{f' of {name}' if several else ''} ({result.verdict})" for name, result in others})
    )
    if outcome is Outcome.NOT_COMPLIANT:
        return f"Not compliant: {found}; {passed} of {len(gating)} deciding tests passed. {kept}"
    return f"Inconclusive: {found or 'no test decides'}; the data do not allow a verdict. {kept}"


def _reported_failures(models: Mapping[str, Sequence[CheckResult]]) -> str:
    """What must be said beside a good outcome: tests that failed and that the policy does not ask for."""
    failed = {
        result.name
        for results in models.values()
        for result in results
        if not result.gates and result.verdict is Verdict.FAILED
    }
    return f" Failed, but not asked for by the policy: {', '.join(sorted(failed))}." if failed else ""
