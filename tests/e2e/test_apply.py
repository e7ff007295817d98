"""`cu apply`: what it prints, what its exit code means, and what it does to the model in use."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cu_audit.bundle import Bundle

from tests.e2e.conftest import Finished
from tests.e2e.office import POLICY, REQUEST, Office

SETS = {"forget", "forget-held-out", "retain", "retain-held-out"}


def test_it_prints_one_object_of_the_documented_shape(compliant: Finished) -> None:
    result: dict[str, Any] = compliant.done.json
    documented = {"request", "plan_digest", "verdict", "bundle", "ledger_entry", "tracker", "lineage", "models"}
    assert documented <= set(result)
    assert result["request"] == REQUEST
    assert re.fullmatch(r"hmac-sha256:[0-9a-f]{64}", result["plan_digest"])
    assert Bundle(Path(result["bundle"])).result.plan_digest == result["plan_digest"]
    assert result["ledger_entry"] == compliant.office.ledger[0]
    assert set(result["tracker"]) == {"run_id", "published"}
    assert result["tracker"]["published"] is True
    assert set(result["lineage"]) == {"dataset", "revision", "digest"}
    assert result["lineage"]["digest"].endswith(".dir")


def test_it_prints_each_model_in_the_documented_shape(compliant: Finished) -> None:
    [model] = compliant.done.json["models"]
    documented = {"name", "adapter", "strategy", "candidate", "seconds", "metrics", "checks"}
    assert documented <= set(model)
    assert (model["name"], model["adapter"], model["strategy"]) == ("face-mae", "mae", "encoder-alignment")
    assert set(model["candidate"]) == {"path", "sha256"}
    assert (compliant.office.root / model["candidate"]["path"]).is_dir()
    assert all(seconds >= 0 for seconds in model["seconds"].values())
    assert set(model["metrics"]["psnr"]) == SETS
    assert all(set(figures) == {"before", "after"} for sets in model["metrics"].values() for figures in sets.values())


def test_it_prints_each_check_in_the_documented_shape(compliant: Finished) -> None:
    [model] = compliant.done.json["models"]
    documented = {"name", "set", "verdict", "value", "interval", "threshold", "controls", "reason"}
    assert all(documented <= set(check) for check in model["checks"])
    measured = [check for check in model["checks"] if check["verdict"] != "skipped"]
    assert {check["name"] for check in measured} == {"artefact", "retain-drift", "retrieval-leak"}
    assert {check["name"] for check in model["checks"]} == {
        "artefact",
        "like-retrained",
        "retain-drift",
        "retrieval-leak",
    }
    assert all(check["reason"] for check in model["checks"])
    assert all(check["controls"] for check in measured if check["set"] != "worst-subject")


def test_a_model_that_forgot_is_compliant_and_takes_the_place_of_the_original(compliant: Finished) -> None:
    assert compliant.done.code == 0, compliant.done.err
    result = compliant.done.json
    assert result["verdict"] == "compliant"
    [model] = result["models"]
    assert compliant.office.link.resolve() == compliant.office.root / model["candidate"]["path"]
    assert compliant.office.version_sha256() == model["candidate"]["sha256"]


def test_the_pictures_of_the_subject_become_worse_and_those_of_others_do_not(compliant: Finished) -> None:
    psnr = compliant.done.json["models"][0]["metrics"]["psnr"]
    lost = {name: figures["before"] - figures["after"] for name, figures in psnr.items()}
    assert lost["forget"] > 3.0
    assert lost["forget-held-out"] > 2.0
    assert lost["retain"] < 1.5
    assert lost["retain-held-out"] < 1.5


def test_without_a_step_the_verdict_is_not_compliant_and_the_model_stays(not_compliant: Finished) -> None:
    assert not_compliant.done.code == 3
    assert not_compliant.done.json["verdict"] == "not-compliant"
    assert not_compliant.done.json["models"][0]["promoted"] is False
    assert not_compliant.office.link.readlink() == not_compliant.before.link.readlink()
    assert not_compliant.office.version() == not_compliant.before.version()


def test_a_failed_run_leaves_evidence_and_is_published(not_compliant: Finished) -> None:
    bundle = Bundle(Path(not_compliant.done.json["bundle"]))
    assert bundle.result.verdict == "not-compliant"
    assert [entry["verdict"] for entry in not_compliant.office.ledger] == ["not-compliant"]
    [run] = not_compliant.office.tracked_runs()
    assert run.data.tags["cu.verdict"] == "not-compliant"


def test_the_report_withholds_forget_outputs_of_a_failed_run(compliant: Finished, not_compliant: Finished) -> None:
    passed = (Path(compliant.done.json["bundle"]) / "report.html").read_text(encoding="utf-8")
    failed = (Path(not_compliant.done.json["bundle"]) / "report.html").read_text(encoding="utf-8")
    assert passed.count("data:image/png") > failed.count("data:image/png") > 0


def test_a_bound_that_the_data_cannot_reach_is_inconclusive_and_the_model_stays(office: Office) -> None:
    """No hit among ten records leaves a leak of 26 % possible, so that 20 % cannot be shown."""
    office.write_policy(POLICY.replace("at_most: 0.40", "at_most: 0.20"))
    done = office.apply("--json")
    assert done.code == 3
    assert done.json["verdict"] == "inconclusive"
    assert office.link.readlink() == Path("original")
