"""Other unlearnings beside the one that counts."""

from __future__ import annotations

from cu_audit.records import CheckResult, ModelResult, Outcome, Repeat, Verdict

from compliance_unlearn.evidence.spread import rows, summary
from tests.bundles import build_result


def check(name: str, value: float | None, verdict: Verdict = Verdict.PASSED, *, gates: bool = True) -> CheckResult:
    return CheckResult(
        name=name,
        set="forget",
        claim="A claim.",
        verdict=verdict,
        gates=gates,
        value=value,
        interval=None,
        threshold=None,
        sample_size=1,
        reason="",
    )


def model(*own: CheckResult, others: list[tuple[CheckResult, ...]]) -> ModelResult:
    [result] = build_result(("face-mae",), Outcome.COMPLIANT, 2).models
    repeats = tuple(
        Repeat(
            seed=seed,
            outcome=Outcome.COMPLIANT if all(c.verdict is Verdict.PASSED for c in checks) else Outcome.NOT_COMPLIANT,
            checks=checks,
        )
        for seed, checks in enumerate(others, start=1)
    )
    return result.model_copy(update={"checks": own, "repeats": repeats})


def test_each_deciding_test_has_its_range_over_all_unlearnings_the_own_one_included() -> None:
    found = rows(
        model(
            check("envelope", 0.97),
            check("drift", 0.1),
            check("reported", 5.0, gates=False),
            others=[
                (check("envelope", 0.99), check("drift", 0.4, Verdict.FAILED)),
                (check("envelope", 0.95), check("drift", -0.2)),
            ],
        )
    )
    assert [(row.name, row.lowest, row.highest, row.passed, row.seeds) for row in found] == [
        ("envelope", 0.95, 0.99, 3, 3),
        ("drift", -0.2, 0.4, 2, 3),
    ]


def test_a_value_that_does_not_exist_has_no_place_in_the_range_and_is_not_a_pass() -> None:
    own = check("drift", None, Verdict.VOID)
    [row] = rows(model(own, others=[(check("drift", 0.3),)]))
    assert (row.own, row.lowest, row.highest, row.tally) == (None, 0.3, 0.3, "1 of 2, 1 without a value")
    [empty] = rows(model(own, others=[(own,)]))
    assert (empty.lowest, empty.highest, empty.passed) == (None, None, 0)


def test_the_summary_counts_unlearnings_that_passed_everything() -> None:
    failed = check("drift", 2.0, Verdict.FAILED)
    found = model(check("drift", 0.1), others=[(failed,), (check("drift", 0.2),)])
    assert summary(found) == "2 of 3\u00a0unlearnings passed all tests that decide"
    assert summary(model(failed, others=[(failed,)])) == "0 of 2\u00a0unlearnings passed all tests that decide"


def test_a_test_that_only_another_unlearning_has_is_a_row_and_nothing_that_decides_is_no_pass() -> None:
    found = model(others=[(check("probe", 0.7, Verdict.FAILED),)])
    [row] = rows(found)
    assert (row.name, row.own, row.tally) == ("probe", None, "0 of 2, 1 without a value")
    assert summary(found) == "0 of 2\u00a0unlearnings passed all tests that decide"
