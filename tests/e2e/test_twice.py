"""Applying the same plan twice does the work once."""

from __future__ import annotations

from tests.e2e.conftest import Finished
from tests.e2e.office import NO_STEPS, Office

GIT_INDEX = "workspace/.git/index"
"""Git refreshes the times in it whenever it looks at files."""


def but_the_index(snapshot: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in snapshot.items() if name != GIT_INDEX}


def test_the_second_time_says_the_same_and_changes_nothing(compliant: Finished, finished: Office) -> None:
    before = but_the_index(finished.snapshot())
    first, again = compliant.done.json, finished.apply("--json")
    assert again.code == 0, again.err
    assert again.json["plan_digest"] == first["plan_digest"]
    assert again.json["ledger_entry"] == first["ledger_entry"]
    assert again.json["tracker"] == first["tracker"]
    assert again.json["models"] == first["models"]
    assert but_the_index(finished.snapshot()) == before
    assert len(finished.ledger) == 1
    assert len(finished.tracked_runs()) == 1


def test_a_failed_plan_is_not_tried_again_either(not_compliant: Finished) -> None:
    office = not_compliant.office
    before = but_the_index(office.snapshot())
    again = office.apply("--json")
    assert again.code == 3
    assert again.json["plan_digest"] == not_compliant.done.json["plan_digest"]
    assert but_the_index(office.snapshot()) == before
    assert len(office.ledger) == 1


def test_a_plan_tells_that_it_was_carried_out(finished: Office) -> None:
    plan = finished.cu("plan", "policies/request.yaml", "--json")
    assert plan.code == 0
    assert plan.json["already_done"] is True


def test_another_threshold_is_another_plan(compliant: Finished, finished: Office) -> None:
    finished.write_policy(NO_STEPS)
    plan = finished.cu("plan", "policies/request.yaml", "--json")
    assert plan.json["already_done"] is False
    assert plan.json["plan_digest"] != compliant.done.json["plan_digest"]
