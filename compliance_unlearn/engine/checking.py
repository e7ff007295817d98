"""Running the checks of a plan on one model, and giving each result the weight that the plan gives it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cu_audit.records import FORGET, BeforeAfter, CheckResult, Plot, Verdict

from compliance_unlearn.api import Check, CheckContext, CheckSpec, Measurement, ModelError
from compliance_unlearn.api.plan import PlannedCheck
from compliance_unlearn.engine.reporting import Reporter
from compliance_unlearn.registry import Registry


@dataclass
class Checked:
    """What checks found on one model.

    Attributes:
        results: with their weights.
        metrics: metric -> set -> figures.
        plots: for the report.
        trained_anew: names of metrics of checks that train a model for some of their results.
    """

    results: list[CheckResult] = field(default_factory=list)
    metrics: dict[str, dict[str, BeforeAfter]] = field(default_factory=dict)
    plots: list[Plot] = field(default_factory=list)
    trained_anew: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Checks:
    """The checks of one plan.

    Attributes:
        made: each check with what the plan says of it, in the order of the plan.
    """

    made: Sequence[tuple[PlannedCheck, Check]]

    @classmethod
    def of(cls, planned: Iterable[PlannedCheck], registry: Registry) -> Checks:
        """Make them."""
        return cls([(each, _made(each, registry)) for each in planned])

    @property
    def deciding(self) -> Checks:
        """Those that the outcome of the run depends on."""
        return Checks([(planned, check) for planned, check in self.made if planned.decides])

    def require(self) -> None:
        """Find out whether what the checks need is there that the policy names.

        Raises:
            ModelError: something is missing.
        """
        for planned, check in self.made:
            if planned.demanded:
                check.require()

    def run(self, context: CheckContext, title: str, reporter: Reporter) -> Checked:
        """Run all checks; one that nobody demanded is skipped if something is missing that it needs.

        Args:
            context: the measured worlds of one model.
            title: for the person who waits.
            reporter: shows progress.

        Raises:
            ModelError: something is missing that a check needs which the policy names.
        """
        found = Checked()
        with reporter.phase(title, len(self.made)) as advance:
            for planned, check in self.made:
                measurement = _measurement(planned, check, context)
                found.results += [weighed(result, planned, context) for result in measurement.results]
                if any(result.trained_anew for result in measurement.results):
                    found.trained_anew |= set(measurement.metrics)
                found.plots += measurement.plots
                found.metrics |= {name: dict(sets) for name, sets in measurement.metrics.items()}
                advance(1, planned.name)
        return found


def weighed(result: CheckResult, planned: PlannedCheck, context: CheckContext) -> CheckResult:
    """A result with the weight that the plan gives it.

    A check that nobody demanded decides nothing, and one with fewer records than it was found fit for does not pass.
    """
    if not planned.decides:
        return result.model_copy(update={"gates": False})
    count = context.counts.get(FORGET, 0)
    if result.verdict is not Verdict.PASSED or count >= planned.decides_from:
        return result
    reason = (
        f"{result.reason}; but {planned.name} was found to pass too easily with fewer than {planned.decides_from} "
        f"records to forget, here there are {count}"
    )
    return result.model_copy(update={"verdict": Verdict.INCONCLUSIVE, "reason": reason})


def _made(planned: PlannedCheck, registry: Registry) -> Check:
    registered = registry.find(CheckSpec, planned.name)
    check = registry.make(registered, registry.params(registered, planned.params))
    assert isinstance(check, Check)
    return check


def _measurement(planned: PlannedCheck, check: Check, context: CheckContext) -> Measurement:
    if not planned.demanded:
        try:
            check.require()
        except ModelError as error:
            return Measurement(results=(_skipped(planned, str(error)),))
    return check.run(context)


def _skipped(planned: PlannedCheck, reason: str) -> CheckResult:
    return CheckResult(
        name=planned.name,
        set="model",
        claim="This was not measured.",
        verdict=Verdict.SKIPPED,
        gates=planned.decides,
        value=None,
        interval=None,
        threshold=None,
        sample_size=0,
        reason=reason,
        not_tested=f"What `{planned.name}` tests.",
    )
