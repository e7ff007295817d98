"""Policies that cannot be carried out: the code, the place of the error, and an untouched workspace."""

from __future__ import annotations

import pytest

from tests.e2e.office import POLICY, Office, refused

BROKEN = {
    "unknown key": (POLICY + "colour: blue\n", "colour"),
    "duplicate key": (POLICY + "version: 1\n", "version"),
    "alias": (POLICY.replace("{subject: s17}", "&who {subject: s17}") + "retain_too: *who\n", "alias"),
    "wrong type": (POLICY.replace("models: affected", "models: 7"), "models"),
    "impossible date": (POLICY.replace("2026-11-02", "2026-02-30"), "request.received"),
    "not a date": (POLICY.replace("2026-11-02", "yesterday"), "request.received"),
    "unknown data set": (POLICY.replace("dataset: faces", "dataset: places"), "places"),
    "unknown model": (POLICY.replace("models: affected", "models: [vq-gan]"), "vq-gan"),
    "unknown strategy": (POLICY.replace("use: encoder-alignment", "use: magic"), "magic"),
    "unknown check": (POLICY.replace("retrieval-leak:", "crystal-ball:"), "crystal-ball"),
    "unknown parameter": (POLICY.replace("at_most: 0.40", "at_least: 0.40"), "at_least"),
    "threshold out of range": (POLICY.replace("at_most: 0.40", "at_most: 40"), "at_most"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_wrong_policy_is_refused_with_the_place_of_the_error(office: Office, name: str) -> None:
    text, named = BROKEN[name]
    office.write_policy(text)
    before = office.snapshot()
    done = office.apply("--json")
    assert refused(done, 2), done
    assert "request.yaml:" in done.err
    assert named in done.err
    assert "s17" not in done.err
    assert done.out == ""
    assert office.snapshot() == before


def test_ten_megabytes_of_yaml_are_refused(office: Office) -> None:
    office.write_policy(POLICY + "# " + "x" * 10_000_000 + "\n")
    before = office.snapshot()
    done = office.apply()
    assert refused(done, 2), done
    assert office.snapshot() == before


def test_ten_megabytes_of_keys_are_refused(office: Office) -> None:
    office.write_policy(POLICY + "".join(f"key{number}: {{a: [1, 2]}}\n" for number in range(400_000)))
    before = office.snapshot()
    done = office.apply()
    assert refused(done, 2), done
    assert len(done.err) < 1000
    assert office.snapshot() == before


def test_a_policy_that_is_not_there_is_refused(office: Office) -> None:
    office.policy_file.unlink()
    before = office.snapshot()
    done = office.apply()
    assert refused(done, 2), done
    assert office.snapshot() == before


@pytest.mark.parametrize("where", ["{subject: s99}", "{split: train}", "{not: {subject: s99}}"])
def test_a_selector_that_matches_nothing_or_everything_is_refused(office: Office, where: str) -> None:
    office.write_policy(POLICY.replace("{subject: s17}", where))
    before = office.snapshot()
    done = office.apply("--json")
    assert refused(done, 4), done
    assert "forget.where" in done.err
    assert "s99" not in done.err
    assert office.snapshot() == before


def test_a_stale_plan_is_refused(office: Office) -> None:
    plan = office.cu("plan", "policies/request.yaml", "--json")
    office.write_policy(POLICY.replace("at_most: 0.40", "at_most: 0.39"))
    before = office.snapshot()
    done = office.apply("--plan", plan.json["plan_digest"])
    assert refused(done, 2), done
    assert "stale" in done.err
    assert office.snapshot() == before
