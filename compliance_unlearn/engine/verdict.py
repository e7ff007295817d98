"""From check results to the outcome of a run: pure functions, nothing measured here."""

from __future__ import annotations

from collections.abc import Sequence

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


def sentence(outcome: Outcome, results: Sequence[CheckResult]) -> str:
    """The outcome in words, no stronger than the results."""
    gating = [result for result in results if result.gates]
    passed = sum(result.verdict is Verdict.PASSED for result in gating)
    others = sorted({f"{result.name} ({result.verdict})" for result in gating if result.verdict is not Verdict.PASSED})
    if outcome is Outcome.COMPLIANT:
        tests = f"all {passed} tests that decide, fixed before the run, passed on the unlearned weights"
        return f"Compliant with the policy: {tests}."
    if outcome is Outcome.NOT_COMPLIANT:
        passes = f"{passed} of {len(gating)} deciding tests passed"
        return f"Not compliant: {', '.join(others)}; {passes}. The model was not replaced."
    why = ", ".join(others) or "no test decides"
    return f"Inconclusive: {why}; the data do not allow a verdict. The model was not replaced."
