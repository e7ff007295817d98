"""The workspace is a git and DVC repository, and what happened can be read with DVC's own commands."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cu_dvc.repo import DvcRepository
from cu_dvc.store import DvcLineageStore
from ruamel.yaml import YAML

from compliance_unlearn.api import LineageStep, WorkspaceError
from tests.integration.dvc.conftest import STEP, Tool, make_files, run_tool


def commits(tool: Tool) -> list[str]:
    return tool("git", "log", "--format=%s").splitlines()


def lock_of(root: Path) -> dict[str, dict[str, str]]:
    """Parts of the one stage in ``dvc.lock``: deps and outs -> path -> md5."""
    [stage] = YAML(typ="safe").load(root / "dvc.lock")["stages"].values()
    return {part: {item["path"]: item["md5"] for item in stage[part]} for part in ("deps", "outs")}


def test_a_workspace_inside_another_repository_gets_its_own(tmp_path: Path) -> None:
    run_tool(tmp_path, "git", "init", "-q")
    root = tmp_path / "workspace"
    DvcLineageStore(root).initialise()
    before = run_tool(root, "git", "log", "--format=%H")
    DvcLineageStore(root).initialise()
    assert run_tool(root, "git", "rev-parse", "--show-toplevel").strip() == str(root)
    assert run_tool(root, "git", "log", "--format=%H") == before
    assert len(before.split()) == 1
    assert run_tool(root, "git", "branch", "--show-current").strip() == "main"
    assert run_tool(root, "dvc", "config", "core.analytics").strip() == "false"
    assert run_tool(root, "git", "status", "--porcelain") == ""


def test_an_author_is_set_only_where_git_knows_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "gitconfig"
    config.write_text("")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    DvcLineageStore(tmp_path / "one").initialise()
    author = run_tool(tmp_path / "one", "git", "log", "--format=%an <%ae>").strip()
    assert author == "compliance-unlearn <compliance-unlearn@localhost>"
    config.write_text("[user]\nname = Ada\nemail = ada@example.org\n")
    DvcLineageStore(tmp_path / "two").initialise()
    assert run_tool(tmp_path / "two", "git", "log", "--format=%an <%ae>").strip() == "Ada <ada@example.org>"


def test_variables_of_a_git_hook_do_not_lead_to_another_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_tool(tmp_path, "git", "init", "-q", "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    DvcLineageStore(tmp_path / "workspace").initialise()
    monkeypatch.delenv("GIT_DIR")
    assert run_tool(tmp_path / "workspace", "git", "log", "--format=%s").strip()


def test_a_half_made_repository_is_completed(tmp_path: Path) -> None:
    root = tmp_path / "workspace"
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc" / "config").write_text("")
    DvcLineageStore(root).initialise()
    make_files(root)
    DvcLineageStore(root).track("data/faces", "Add the faces")
    assert "cache" not in run_tool(root, "git", "ls-files")


def test_tracking_the_same_state_twice_commits_once(store: DvcLineageStore, tool: Tool) -> None:
    before = commits(tool)
    store.track("data/faces", "Add the faces again", tag="faces-v1")
    assert commits(tool) == before
    assert tool("git", "status", "--porcelain", "--", "data") == ""


def test_a_tag_never_moves_to_another_state(store: DvcLineageStore, root: Path) -> None:
    (root / "data" / "faces" / "new.png").write_bytes(b"new")
    with pytest.raises(WorkspaceError, match="'faces-v1' already names another state"):
        store.track("data/faces", "Change", tag="faces-v1")


def test_a_commit_takes_along_nothing_that_somebody_else_was_working_on(
    store: DvcLineageStore, root: Path, tool: Tool
) -> None:
    (root / "notes.txt").write_text("staged by hand")
    tool("git", "add", "notes.txt")
    (root / "data" / "faces" / "new.png").write_bytes(b"new")
    store.track("data/faces", "Change the faces")
    assert tool("git", "show", "--name-only", "--format=", "HEAD").split() == ["data/faces.dvc"]
    assert "A  notes.txt" in tool("git", "status", "--porcelain")


def test_lineage_is_read_back_with_dvcs_own_commands(store: DvcLineageStore, root: Path, tool: Tool) -> None:
    store.record(STEP)
    assert tool("dvc", "status").strip() == "Data and pipelines are up to date."
    graph = tool("dvc", "dag", "--dot")
    [stage] = [name for name in tool("dvc", "stage", "list", "--name-only").split() if name.startswith("gdpr-req-123")]
    assert f'"data/faces.dvc" -> "{stage}"' in graph
    assert f'"models/face-mae/original.dvc" -> "{stage}"' in graph
    assert STEP.output in tool("dvc", "dag", "--outs", "--dot")
    assert tool("git", "status", "--porcelain", "--", "dvc.yaml", "dvc.lock", "models") == ""


def test_the_lock_holds_the_digests_of_all_inputs_and_of_the_output(store: DvcLineageStore, root: Path) -> None:
    store.record(STEP)
    lock = lock_of(root)
    assert lock["deps"]["data/faces"] == store.open("faces", "data/faces", "HEAD").pin.digest
    assert set(lock["deps"]) == set(STEP.inputs)
    assert lock["outs"][STEP.output] == store.open("model", STEP.output, "HEAD").pin.digest


def test_an_erasure_is_never_run_again_by_dvc(store: DvcLineageStore, root: Path, tool: Tool) -> None:
    step = LineageStep(STEP.name, "touch it-was-run", STEP.inputs, STEP.output)
    store.record(step)
    (root / "evidence" / "bundle-1" / "policy.yaml").write_text("version: 1 # changed\n")
    tool("dvc", "repro", "-q")
    assert not (root / "it-was-run").exists()


def test_recording_twice_leaves_one_stage_and_one_commit(store: DvcLineageStore, root: Path, tool: Tool) -> None:
    store.record(STEP)
    before = commits(tool)
    store.record(STEP)
    assert commits(tool) == before
    assert len(tool("dvc", "stage", "list", "--name-only").split()) == 1


def test_a_recorded_step_stays_as_it_was_when_its_files_change_or_go(
    store: DvcLineageStore, root: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.record(STEP)
    before = tool("git", "rev-parse", "HEAD"), (root / "dvc.yaml").read_bytes(), (root / "dvc.lock").read_bytes()
    shutil.rmtree(root / "data" / "faces")
    shutil.rmtree(root / STEP.output)
    (root / "models" / "face-mae" / "original" / "model.safetensors").write_text("other weights")
    monkeypatch.setattr(DvcRepository, "add_stage", None)  # nothing may ask DVC to hash anything again
    store.record(STEP)
    after = tool("git", "rev-parse", "HEAD"), (root / "dvc.yaml").read_bytes(), (root / "dvc.lock").read_bytes()
    assert after == before


def test_a_step_that_was_written_but_not_committed_is_committed_as_it_was_written(
    store: DvcLineageStore, root: Path, tool: Tool
) -> None:
    store.record(STEP)
    before, lock = commits(tool), (root / "dvc.lock").read_bytes()
    tool("git", "reset", "-q", "--mixed", "HEAD~1")
    (root / "models" / "face-mae" / "original" / "model.safetensors").write_text("other weights")
    store.record(STEP)
    assert commits(tool) == before
    assert (root / "dvc.lock").read_bytes() == lock
    assert tool("git", "status", "--porcelain", "--", "dvc.yaml", "dvc.lock", "models") == ""


@pytest.mark.parametrize("damaged", [None, "stages: {", "stages: []", "schema: '2.0'"])
def test_a_stage_without_digests_is_completed(
    store: DvcLineageStore, root: Path, tool: Tool, damaged: str | None
) -> None:
    store.record(STEP)
    lock = lock_of(root)
    (root / "dvc.lock").unlink()
    tool("git", "commit", "-qam", "Lose the digests")
    if damaged is not None:
        (root / "dvc.lock").write_text(damaged)
    if damaged in (None, "schema: '2.0'"):
        store.record(STEP)
        assert lock_of(root) == lock
    else:
        with pytest.raises(WorkspaceError, match="`dvc status`"):
            store.record(STEP)


def test_another_step_under_the_same_name_is_recorded(store: DvcLineageStore, root: Path) -> None:
    store.record(STEP)
    store.record(LineageStep(STEP.name, "cu apply --again", STEP.inputs[:2], STEP.output))
    assert set(lock_of(root)["deps"]) == set(STEP.inputs[:2])


def test_signatures_hooks_and_templates_of_the_user_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "prepare-commit-msg", "commit-msg", "post-commit", "reference-transaction"):
        (hooks / name).write_text("#!/bin/sh\nexit 1\n")
        (hooks / name).chmod(0o755)
    (tmp_path / "gitconfig").write_text(
        "[user]\nname = Ada\nemail = ada@example.org\nsigningkey = ABC\n"
        "[commit]\ngpgsign = true\ntemplate = /nowhere/template\n[tag]\ngpgsign = true\nforceSignAnnotated = true\n"
        "[status]\nshowUntrackedFiles = no\n"
        f"[gpg]\nprogram = /bin/false\n[core]\nhooksPath = {hooks}\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    root = tmp_path / "workspace"
    make_files(root)
    store = DvcLineageStore(root)
    store.initialise()
    store.track("data/faces", "Add the faces", tag="faces-v1")
    store.record(STEP)
    assert run_tool(root, "git", "log", "--format=%s").count("\n") == 3
    assert store.open("faces", "data/faces", "faces-v1").files()


def test_a_later_step_may_build_on_the_output_of_an_earlier_one(store: DvcLineageStore, root: Path, tool: Tool) -> None:
    store.record(STEP)
    store.track(STEP.output, "Not needed", tag="unlearned-v1")
    assert not (root / f"{STEP.output}.dvc").exists()
    second = "models/face-mae/gdpr-req-124-00000000"
    (root / second).mkdir()
    (root / second / "model.safetensors").write_text("unlearned twice")
    store.record(LineageStep("gdpr-req-124", "cu apply", (STEP.output, "data/faces"), second))
    first_stage = next(name for name in tool("dvc", "stage", "list", "--name-only").split() if "123" in name)
    assert f'"{first_stage}" -> "gdpr-req-124"' in tool("dvc", "dag", "--dot")


def test_a_failed_step_leaves_the_workspace_as_it_was(store: DvcLineageStore, root: Path, tool: Tool) -> None:
    store.record(STEP)
    before = tool("git", "status", "--porcelain"), (root / "dvc.yaml").read_bytes(), (root / "dvc.lock").read_bytes()
    with pytest.raises(WorkspaceError, match="`dvc"):
        store.record(LineageStep("other", "cu apply", ("data/faces",), STEP.output))
    assert before == (
        tool("git", "status", "--porcelain"),
        (root / "dvc.yaml").read_bytes(),
        (root / "dvc.lock").read_bytes(),
    )


def test_a_step_with_a_missing_input_says_which(store: DvcLineageStore) -> None:
    with pytest.raises(WorkspaceError, match="'data/nothing', which does not exist"):
        store.record(LineageStep("other", "cu apply", ("data/nothing",), STEP.output))


def test_a_busy_dvc_is_an_error_that_says_so(store: DvcLineageStore, root: Path) -> None:
    import zc.lockfile  # type: ignore[import-untyped]

    lock = zc.lockfile.LockFile(str(root / ".dvc" / "tmp" / "lock"))
    try:
        with pytest.raises(WorkspaceError, match="another DVC process"):
            store.record(STEP)
    finally:
        lock.close()


def test_locks_of_dead_processes_do_not_stop_anybody(store: DvcLineageStore, root: Path, tool: Tool) -> None:
    hour_ago = time.time() - 3600
    index_lock = root / ".git" / "index.lock"
    index_lock.touch()
    busy = root / ".dvc" / "tmp" / "rwlock"
    # The number of a process that was started after the entry was written: this one.
    busy.write_text(json.dumps({"write": {str(root / STEP.output): {"pid": os.getpid(), "cmd": "dvc commit"}}}))
    for file in (index_lock, busy):
        os.utime(file, (hour_ago, hour_ago))
    store.record(STEP)
    assert tool("dvc", "status").strip() == "Data and pipelines are up to date."


RECORD = """
import sys
from pathlib import Path
from cu_dvc.store import DvcLineageStore
from tests.integration.dvc.conftest import STEP
print("ready", flush=True)
DvcLineageStore(Path(sys.argv[1])).record(STEP)
"""


@pytest.mark.parametrize(
    ("seconds", "with_children"), [(0.3, True), (0.5, False), (0.7, True), (0.9, False), (1.2, True)]
)
def test_killed_at_any_moment_the_next_call_ends_in_the_same_state(
    root: Path, tool: Tool, seconds: float, with_children: bool
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", RECORD, str(root)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(seconds)
    (os.killpg if with_children else os.kill)(process.pid, signal.SIGKILL)
    process.communicate()
    DvcLineageStore(root).record(STEP)
    assert tool("dvc", "status").strip() == "Data and pipelines are up to date."
    assert tool("git", "status", "--porcelain", "--", "dvc.yaml", "dvc.lock", "models") == ""
    assert sum(subject.startswith("Record") for subject in commits(tool)) == 1
    assert set(lock_of(root)["deps"]) == set(STEP.inputs)


def test_the_log_says_nothing_about_files(
    store: DvcLineageStore, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store.open("faces", "data/faces", "faces-v1")
    store.record(STEP)
    assert capfd.readouterr() == ("", "")
