"""Where a model comes from, asked of DVC and MLflow in their own words."""

from __future__ import annotations

from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.e2e.conftest import Finished
from tests.e2e.office import Office


@pytest.fixture(scope="module")
def run(compliant: Finished) -> Any:
    [run] = compliant.office.tracked_runs()
    return run


def stage(office: Office) -> Any:
    [(_, found)] = YAML(typ="safe").load(office.root / "dvc.lock")["stages"].items()
    return found


def test_dvc_shows_what_the_model_was_made_from(compliant: Finished) -> None:
    office, result = compliant.office, compliant.done.json
    dag = office.tool("dvc", "dag", "--dot")
    edges = [line for line in dag.splitlines() if "->" in line]
    made = f"face-mae-{result['ledger_entry']['bundle']}"
    assert any("data/faces.dvc" in edge and made in edge for edge in edges)
    assert any("models/face-mae/original.dvc" in edge and made in edge for edge in edges)


def test_dvc_lock_pins_policy_data_model_in_and_model_out(compliant: Finished) -> None:
    office, result = compliant.office, compliant.done.json
    inputs = {item["path"]: item["md5"] for item in stage(office)["deps"]}
    bundle = result["ledger_entry"]["bundle"]
    assert set(inputs) == {"data/faces", "models/face-mae/original", f"evidence/{bundle}/policy.yaml"}
    assert inputs["data/faces"] == result["lineage"]["digest"]
    [output] = stage(office)["outs"]
    assert output["path"] == result["models"][0]["candidate"]["path"]


def test_dvc_brings_a_lost_candidate_back(finished: Office) -> None:
    before = finished.version()
    folder = finished.link.resolve()
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    finished.tool("dvc", "checkout", "--quiet", folder.relative_to(finished.root).as_posix())
    assert finished.version() == before


def test_the_revision_of_the_data_is_a_commit_and_the_candidate_is_committed(compliant: Finished) -> None:
    office, result = compliant.office, compliant.done.json
    assert office.tool("git", "rev-parse", "faces-v1^{commit}").strip() == result["lineage"]["revision"]
    assert office.tool("git", "status", "--porcelain", "dvc.yaml", "dvc.lock", "models/face-mae/.gitignore") == ""
    assert result["models"][0]["candidate"]["path"] in office.tool("git", "show", "HEAD:dvc.lock")


def test_the_tracker_holds_the_data_set_with_its_digest_and_revision(compliant: Finished, run: Any) -> None:
    lineage = compliant.done.json["lineage"]
    found = [(item.dataset.name, item.dataset.digest, item.tags) for item in run.inputs.dataset_inputs]
    assert found
    for name, digest, tags in found:
        assert (name, digest) == ("faces", lineage["digest"])
        assert lineage["revision"] in {tag.value for tag in tags}


def test_the_tracker_holds_figures_before_and_after(compliant: Finished, run: Any) -> None:
    psnr = compliant.done.json["models"][0]["metrics"]["psnr"]
    for name, figures in psnr.items():
        for moment in ("before", "after"):
            assert run.data.metrics[f"psnr.{name}.{moment}"] == pytest.approx(figures[moment])


def test_the_tracker_holds_the_loss_curve(compliant: Finished, run: Any) -> None:
    points = compliant.office.tracker().get_metric_history(run.info.run_id, "loss.forget")
    assert len(points) > 10
    assert points[-1].value < points[0].value


def test_the_tracker_holds_verdict_checks_and_plugins(compliant: Finished, run: Any) -> None:
    tags = run.data.tags
    assert tags["cu.verdict"] == "compliant"
    for check in compliant.done.json["models"][0]["checks"]:
        assert tags[f"cu.check.{check['name']}.{check['set']}"] == check["verdict"]
    assert tags["cu.plugin.mae"].startswith("compliance-unlearn-mae ")
    assert run.info.run_id == compliant.done.json["tracker"]["run_id"]


def test_the_tracker_holds_a_description_the_report_and_a_model_version(compliant: Finished, run: Any) -> None:
    client = compliant.office.tracker()
    assert "gdpr-req-123" in run.data.tags["mlflow.note.content"]
    assert "bundle/report.html" in {item.path for item in client.list_artifacts(run.info.run_id, "bundle")}
    [version] = client.search_model_versions("name = 'face-mae'")
    assert version.run_id == run.info.run_id
    assert version.tags["cu.candidate"] == compliant.done.json["models"][0]["candidate"]["sha256"]
    assert version.tags["cu.dataset.digest"] == compliant.done.json["lineage"]["digest"]
