"""How far the figures of a run are luck: what the deciding checks said of unlearnings with other seeds."""

from __future__ import annotations

from dataclasses import dataclass

from cu_audit.records import CheckResult, ModelResult, Verdict

from compliance_unlearn.evidence.numbers import count


@dataclass(frozen=True)
class Row:
    """One deciding test over all unlearnings.

    Attributes:
        name: of the test.
        set: of pictures.
        unit: of its values.
        threshold: that they are compared with.
        values: of the unlearnings that have one, the smallest first.
        own: the value of the unlearning that counts.
        passed: unlearnings that passed this test.
        seeds: all unlearnings.
    """

    name: str
    set: str
    unit: str
    threshold: float | None
    values: tuple[float, ...]
    own: float | None
    passed: int
    seeds: int

    @property
    def lowest(self) -> float | None:
        """Smallest value; None where there is none."""
        return self.values[0] if self.values else None

    @property
    def highest(self) -> float | None:
        """Largest value; None where there is none."""
        return self.values[-1] if self.values else None

    @property
    def tally(self) -> str:
        """How many passed, and how many have no value, such as those whose outputs are not numbers."""
        without = self.seeds - len(self.values)
        return f"{self.passed} of {self.seeds}" + (f", {without} without a value" if without else "")


def rows(model: ModelResult) -> list[Row]:
    """A row for each test that decides in any unlearning of a model."""
    runs = _runs(model)
    return [_row(key, runs) for key in dict.fromkeys(key for run in runs for key in run)]


def summary(model: ModelResult) -> str:
    """How many unlearnings passed everything that decides on this model."""
    runs = _runs(model)
    passed = sum(bool(run) and all(check.verdict is Verdict.PASSED for check in run.values()) for run in runs)
    return f"{passed} of {count(len(runs), 'unlearning')} passed all tests that decide"


def _runs(model: ModelResult) -> list[dict[tuple[str, str], CheckResult]]:
    """Deciding results of each unlearning by name and set, those of the one that counts first."""
    runs = [model.checks, *(repeat.checks for repeat in model.repeats)]
    return [{(check.name, check.set): check for check in checks if check.gates} for checks in runs]


def _row(key: tuple[str, str], runs: list[dict[tuple[str, str], CheckResult]]) -> Row:
    found = [run[key] for run in runs if key in run]
    own = runs[0].get(key)
    return Row(
        name=key[0],
        set=key[1],
        unit=found[0].unit,
        threshold=found[0].threshold,
        values=tuple(sorted(check.value for check in found if check.value is not None)),
        own=None if own is None else own.value,
        passed=sum(check.verdict is Verdict.PASSED for check in found),
        seeds=len(runs),
    )
