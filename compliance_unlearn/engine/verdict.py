"""From check results to the outcome of a run: pure functions, nothing measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cu_audit.records import CheckResult, Outcome, Verdict


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
        return f"Compliant with the policy: {tests}."
    several = len(models) > 1
    kept = "No model was replaced." if several else "The model was not replaced."
    found = ", ".join(
        sorted({f"{result.name}{f' of {name}' if several else ''} ({result.verdict})" for name, result in others})
    )
    if outcome is Outcome.NOT_COMPLIANT:
        return f"Not compliant: {found}; {passed} of {len(gating)} deciding tests passed. {kept}"
    return f"Inconclusive: {found or 'no test decides'}; the data do not allow a verdict. {kept}"
