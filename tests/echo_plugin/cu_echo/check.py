"""The smallest checks."""

from __future__ import annotations

from cu_audit.records import FORGET, RETAIN, BeforeAfter, CheckResult, Verdict

from compliance_unlearn.api import Check, CheckContext, Measurement, World
from cu_echo.params import EchoCheckParams, NoParams


class EchoCheck(Check):
    """How far retain outputs moved."""

    def __init__(self, params: EchoCheckParams) -> None:
        self.params = params

    def _run(self, context: CheckContext) -> Measurement:
        before, after = context.outputs(World.ORIGINAL, RETAIN), context.outputs(World.CANDIDATE, RETAIN)
        value = float((before.images - after.images).abs().mean())
        passed = value <= self.params.at_most
        result = CheckResult(
            name="echo-drift",
            set=RETAIN,
            claim="Outputs of retained records stay near to what they were.",
            verdict=Verdict.PASSED if passed else Verdict.FAILED,
            gates=True,
            value=value,
            interval=None,
            threshold=self.params.at_most,
            sample_size=len(after),
            reason=f"the mean difference is {'at most' if passed else 'above'} the threshold",
        )
        return Measurement((result,), {"echo-drift": {RETAIN: BeforeAfter(before=0.0, after=value)}})


class EchoCounts(Check):
    """How many records are to be forgotten."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def _run(self, context: CheckContext) -> Measurement:
        count = context.counts[FORGET]
        result = CheckResult(
            name="echo-counts",
            set=FORGET,
            claim="There is something to forget.",
            verdict=Verdict.PASSED if count else Verdict.FAILED,
            gates=True,
            value=float(count),
            interval=None,
            threshold=1.0,
            sample_size=count,
            reason="counted",
        )
        return Measurement((result,))
