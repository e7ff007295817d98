"""How far the figures of a run are luck: what the deciding checks said of unlearnings with other seeds."""

from __future__ import annotations

from dataclasses import dataclass

from cu_audit.records import CheckResult, ModelResult, Outcome, Verdict

from compliance_unlearn.evidence.numbers import count


@dataclass(frozen=True)
class Row:
    """One deciding test over all unlearnings.

    Attributes:
        check: result of the unlearning that counts.
        lowest: smallest value of all; None where none has a value.
        highest: largest one.
        passed: unlearnings that passed this test.
        seeds: unlearnings that it was run on.
    """

    check: CheckResult
    lowest: float | None
    highest: float | None
    passed: int
    seeds: int


def rows(model: ModelResult) -> list[Row]:
    """A row for each deciding result of a model, in its order."""
    return [_row(check, model) for check in model.checks if check.gates]


def summary(model: ModelResult) -> str:
    """How many unlearnings passed everything that decides on this model."""
    seeds = len(model.repeats) + 1
    own = all(check.verdict is Verdict.PASSED for check in model.checks if check.gates)
    passed = own + sum(repeat.outcome is Outcome.COMPLIANT for repeat in model.repeats)
    return f"{passed} of {count(seeds, 'unlearning')} passed all tests that decide"


def _row(check: CheckResult, model: ModelResult) -> Row:
    others = [
        other
        for repeat in model.repeats
        for other in repeat.checks
        if (other.name, other.set) == (check.name, check.set)
    ]
    every = [check, *others]
    values = [each.value for each in every if each.value is not None]
    return Row(
        check=check,
        lowest=min(values, default=None),
        highest=max(values, default=None),
        passed=sum(each.verdict is Verdict.PASSED for each in every),
        seeds=len(every),
    )
