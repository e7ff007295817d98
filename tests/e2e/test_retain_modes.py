"""Retain data from the data set, from a proxy, or none at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from cu_audit.bundle import Bundle

from tests.e2e.office import POLICY, Office

MODES = {"proxy": ("{use: proxy, dataset: strangers}", 30), "none": ("{use: none}", 0)}


@pytest.mark.parametrize("mode", MODES)
def test_a_request_runs_through_in_every_retain_mode(office: Office, mode: str) -> None:
    text, used = MODES[mode]
    office.write_policy(POLICY.replace("retain: {use: dataset}", f"retain: {text}").replace("steps: 150", "steps: 40"))
    done = office.apply("--json")
    assert done.code in (0, 3), done.err
    [model] = done.json["models"]
    assert model["counts"]["retain"] == 273
    assert office.version_sha256() == (
        model["candidate"]["sha256"]
        if done.code == 0
        else Bundle(Path(done.json["bundle"])).result.models[0].source.sha256
    )
    plan = office.cu("plan", "policies/request.yaml", "--json").json["plan"]
    assert plan["retain"] == mode
    assert plan["models"][0]["counts"]["retain-used"] == used
    [run] = office.tracked_runs()
    assert run.data.params["retain"] == mode
    expected = {"faces", "strangers"} if mode == "proxy" else {"faces"}
    assert {item.dataset.name for item in run.inputs.dataset_inputs} == expected
