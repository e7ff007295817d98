"""A bundle becomes one finished run with all that it says, and the candidate one version in the registry."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cu_audit.bundle import Bundle
from cu_audit.records import FORGET, RETAIN, Outcome
from cu_mlflow.params import MlflowParams
from cu_mlflow.settings import quiet
from cu_mlflow.sink import MlflowSink

from compliance_unlearn.api import PublishError
from tests.bundles import COUNTS, LINEAGE, MODEL, build_bundle

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion


def client_of(root: Path) -> MlflowClient:
    from mlflow import MlflowClient

    uri = f"sqlite:///{root / 'mlflow.db'}"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def all_runs(root: Path) -> list[Run]:
    client = client_of(root)
    return list(client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]))


def versions(root: Path, name: str = MODEL) -> list[ModelVersion]:
    return list(client_of(root).search_model_versions(f"name = '{name}'"))


def test_figures_before_and_after_are_metrics_of_each_set(sink: MlflowSink, root: Path, bundle: Bundle) -> None:
    run = client_of(root).get_run(sink.publish(bundle).run_id)
    for metric, sets in bundle.result.models[0].metrics.items():
        for name, figures in sets.items():
            assert run.data.metrics[f"{metric}.{name}.before"] == figures.before
            assert run.data.metrics[f"{metric}.{name}.after"] == figures.after
    assert run.data.metrics["check.noise-envelope.forget-all"] == 1.0
    assert "check.retrieval-leak.forget-held-out" not in run.data.metrics


def test_the_loss_curve_keeps_every_step(sink: MlflowSink, root: Path, bundle: Bundle) -> None:
    receipt = sink.publish(bundle)
    history = client_of(root).get_metric_history(receipt.run_id, "loss.forget")
    curve = bundle.result.models[0].loss
    assert [(point.step, point.value) for point in history] == list(
        zip(curve.steps, curve.terms["forget"], strict=True)
    )


def test_verdict_checks_request_and_digests_are_tags(sink: MlflowSink, root: Path, bundle: Bundle) -> None:
    tags = client_of(root).get_run(sink.publish(bundle).run_id).data.tags
    assert tags["cu.verdict"] == "compliant"
    assert tags["cu.check.noise-envelope.forget-all"] == "passed"
    assert tags["cu.check.retrieval-leak.forget-held-out"] == "skipped"
    assert tags["cu.request"] == "gdpr-req-123"
    assert tags["cu.due"] == "2026-12-02"
    assert tags["cu.plan_digest"] == bundle.result.plan_digest
    assert tags["cu.bundle_sha256"] == bundle.sha256
    assert tags["cu.plugin.mae"] == "compliance-unlearn-mae 0.1.0"


def test_settings_are_parameters(sink: MlflowSink, root: Path, bundle: Bundle) -> None:
    params = client_of(root).get_run(sink.publish(bundle).run_id).data.params
    assert params["adapter"] == "mae"
    assert params["strategy"] == "encoder-alignment"
    assert params["task"] == "inpaint"
    assert params["task.area"] == "0.25"
    assert params["alpha"] == "0.25"
    assert params["learning_rate"] == "0.0003"


def test_the_data_set_is_an_input_with_its_digest_context_and_revision(
    sink: MlflowSink, root: Path, bundle: Bundle
) -> None:
    run = client_of(root).get_run(sink.publish(bundle).run_id)
    assert run.inputs is not None
    [used] = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == (LINEAGE.dataset, LINEAGE.digest)
    tags = {tag.key: tag.value for tag in used.tags}
    assert tags["mlflow.data.context"] == "forget, retain"
    assert tags["cu.revision"] == LINEAGE.revision
    assert tags["cu.records.forget"] == str(COUNTS[FORGET])
    assert tags["cu.records.retain"] == str(COUNTS[RETAIN])


def test_the_description_holds_outcome_checks_figures_limits_and_how_to_verify(
    sink: MlflowSink, root: Path, bundle: Bundle
) -> None:
    note = client_of(root).get_run(sink.publish(bundle).run_id).data.tags["mlflow.note.content"]
    assert note.startswith("**COMPLIANT**")
    assert bundle.result.sentence in note
    rows = note.replace("&nbsp;", "")
    assert (
        "| noise-envelope | forget-all | **passed** | 1 share | 0.692 to 1 (95%) | 0.95 share | 10 | 10 of 10" in rows
    )
    assert "| psnr | forget | 24.31 | 11.42 |" in rows
    assert "not reached — backups" in note
    assert "not tested — retrieval-leak: retrieval by a face recogniser" in note
    assert bundle.sha256 in note


def test_a_long_description_is_cut_with_a_word_about_it_and_still_says_how_to_verify(
    sink: MlflowSink, root: Path, tmp_path: Path
) -> None:
    bundle = build_bundle(tmp_path / "long", reason=", and so on" * 300)
    note = client_of(root).get_run(sink.publish(bundle).run_id).data.tags["mlflow.note.content"]
    assert len(note) <= 8000
    assert "Cut here" in note
    assert bundle.sha256 in note


def test_the_whole_bundle_is_among_the_artifacts_bit_by_bit(
    sink: MlflowSink, root: Path, bundle: Bundle, tmp_path: Path
) -> None:
    client = client_of(root)
    receipt = sink.publish(bundle)
    folder = client.download_artifacts(receipt.run_id, "bundle", str(tmp_path / "elsewhere"))
    assert Bundle(Path(folder)).sha256 == bundle.sha256
    shutil.rmtree(folder)


def test_the_candidate_is_registered_with_its_lineage(sink: MlflowSink, root: Path, bundle: Bundle) -> None:
    receipt = sink.publish(bundle)
    [version] = versions(root)
    model = bundle.result.models[0]
    assert version.run_id == receipt.run_id
    assert version.tags["cu.candidate"] == model.candidate.sha256
    assert version.tags["cu.source"] == model.source.sha256
    assert version.tags["cu.dataset.revision"] == LINEAGE.revision
    assert version.tags["cu.dataset.digest"] == LINEAGE.digest
    assert version.tags["cu.plan_digest"] == bundle.result.plan_digest
    assert version.tags["cu.promoted"] == "yes"
    assert version.tags["cu.verdict"] == "compliant"
    assert model.candidate.path in (version.description or "")


def test_publishing_again_leaves_one_run_and_one_version(sink: MlflowSink, root: Path, bundle: Bundle) -> None:
    first = sink.publish(bundle)
    assert sink.publish(bundle) == first
    assert len(all_runs(root)) == 1
    assert len(versions(root)) == 1


def test_two_bundles_are_two_runs_and_two_versions(
    sink: MlflowSink, root: Path, bundle: Bundle, tmp_path: Path
) -> None:
    other = build_bundle(tmp_path / "other", outcome=Outcome.NOT_COMPLIANT)
    assert sink.publish(bundle).run_id != sink.publish(other).run_id
    assert {version.tags["cu.promoted"] for version in versions(root)} == {"yes", "no"}


def test_names_carry_the_model_where_there_are_several(sink: MlflowSink, root: Path, tmp_path: Path) -> None:
    bundle = build_bundle(tmp_path / "two", models=("face-mae", "face-vqgan"))
    run = client_of(root).get_run(sink.publish(bundle).run_id)
    assert run.data.metrics["face-vqgan.psnr.forget.after"] == 11.42
    assert run.data.params["face-mae.strategy"] == "encoder-alignment"
    assert run.data.tags["cu.check.face-mae.noise-envelope.forget-all"] == "passed"
    assert len(versions(root, "face-vqgan")) == 1


def test_nothing_of_this_machine_enters_the_record(
    sink: MlflowSink, root: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "somebody-real")
    monkeypatch.setenv("LOGNAME", "somebody-real")
    run = client_of(root).get_run(sink.publish(bundle).run_id)
    assert run.info.user_id in ("", "compliance-unlearn", "unknown")
    [version] = versions(root)
    told = str(run.data.to_dictionary()) + str(version.tags) + str(version.description)
    assert "somebody-real" not in told
    assert str(root) not in told
    assert "git" not in " ".join(key for key in run.data.tags if key.startswith("mlflow."))


def test_a_run_lasts_as_long_as_the_bundle_says(sink: MlflowSink, root: Path, bundle: Bundle) -> None:
    info = client_of(root).get_run(sink.publish(bundle).run_id).info
    assert info.status == "FINISHED"
    assert info.start_time == bundle.result.started.timestamp() * 1000
    assert info.end_time == bundle.result.finished.timestamp() * 1000


PUBLISH = """
import sys
from pathlib import Path
from cu_audit.bundle import Bundle
from cu_mlflow.params import MlflowParams
from cu_mlflow.settings import prepare_import
from cu_mlflow.sink import MlflowSink
prepare_import()
import mlflow, sqlalchemy
print("ready", flush=True)
print(MlflowSink(MlflowParams(), Path(sys.argv[1])).publish(Bundle(Path(sys.argv[2]))).run_id)
"""


@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.5])
def test_killed_half_way_the_next_call_ends_in_one_finished_run(
    sink: MlflowSink, root: Path, bundle: Bundle, seconds: float
) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PUBLISH, str(root), str(bundle.folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    receipt = sink.publish(bundle)
    [run] = all_runs(root)
    assert (run.info.run_id, run.info.status) == (receipt.run_id, "FINISHED")
    assert len(versions(root)) == 1
    history = client_of(root).get_metric_history(receipt.run_id, "loss.forget")
    assert len(history) == len(bundle.result.models[0].loss.steps)


def test_a_database_whose_making_was_cut_short_is_made_again(tmp_path: Path, bundle: Bundle) -> None:
    root = tmp_path / "workspace"
    root.mkdir()
    command = [sys.executable, "-W", "ignore", "-c", PUBLISH, str(root), str(bundle.folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while not any(path.stat().st_size for path in root.iterdir()):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (root / "mlflow.db").exists()
    subprocess.run(command, check=True, capture_output=True)
    with quiet():
        assert [run.info.status for run in all_runs(root)] == ["FINISHED"]
    assert sorted(path.name for path in root.iterdir()) == ["mlartifacts", "mlflow.db"]


def test_a_new_database_is_made_without_a_word(
    tmp_path: Path, bundle: Bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", PUBLISH, str(tmp_path), str(bundle.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=bundle.folder.parent)
    assert done.stderr == ""
    assert len(done.stdout.split()) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [bundle.folder.name, "mlartifacts", "mlflow.db"]


def test_a_locked_database_is_a_publish_error(sink: MlflowSink, root: Path, bundle: Bundle) -> None:
    sink.publish(bundle)
    other = build_bundle(root.parent / "other", outcome=Outcome.NOT_COMPLIANT)
    lock = sqlite3.connect(root / "mlflow.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    start = time.monotonic()
    try:
        with pytest.raises(PublishError, match="`cu publish`"):
            sink.publish(other)
    finally:
        lock.close()
    assert time.monotonic() - start < 15
    sink.publish(other)
    assert len(all_runs(root)) == 2


def test_a_deleted_experiment_says_how_to_restore_it(sink: MlflowSink, root: Path, bundle: Bundle) -> None:
    client = client_of(root)
    client.delete_experiment(client.create_experiment("compliance-unlearn"))
    with pytest.raises(PublishError, match="mlflow experiments restore"):
        sink.publish(bundle)


def test_a_relative_database_may_not_leave_the_workspace() -> None:
    with pytest.raises(ValueError, match="inside the workspace"):
        MlflowParams(tracking_uri="sqlite:///../mlflow.db")
    with pytest.raises(ValueError, match="for a file"):
        MlflowParams(tracking_uri="./mlruns")
