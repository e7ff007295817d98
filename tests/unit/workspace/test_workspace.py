"""The workspace on disk: its key is made once and stays secret, and no path leads out of it."""

import hashlib
import shutil
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from compliance_unlearn.api import WorkspaceError
from compliance_unlearn.workspace import Workspace
from tests.unit.workspace.examples import ready_workspace, workspace_file


def snapshot(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_loading_changes_nothing(tmp_path: Path) -> None:
    Workspace.load(workspace_file(tmp_path))
    assert not (tmp_path / "root").exists()


def test_a_workspace_that_was_not_set_up_says_what_to_do(tmp_path: Path) -> None:
    workspace = Workspace.load(workspace_file(tmp_path))
    for use in (workspace.require_ready, lambda: workspace.request_key("r"), workspace.lock):
        with pytest.raises(WorkspaceError, match="run `cu init` first"):
            use()


def test_only_the_owner_can_read_the_key(tmp_path: Path) -> None:
    state = ready_workspace(tmp_path).state
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE((state / "key").stat().st_mode) == 0o600
    assert len((state / "key").read_bytes()) == 32


def test_setting_up_twice_changes_nothing(tmp_path: Path) -> None:
    workspace = ready_workspace(tmp_path)
    before = snapshot(workspace.root)
    workspace.initialise()
    assert snapshot(workspace.root) == before


def test_no_new_key_is_made_beside_evidence_of_an_old_one(tmp_path: Path) -> None:
    workspace = ready_workspace(tmp_path)
    (workspace.root / "evidence").mkdir()
    (workspace.root / "evidence" / "ledger.jsonl").write_text("{}\n")
    workspace.initialise()
    shutil.rmtree(workspace.state)
    before = snapshot(tmp_path)
    with pytest.raises(WorkspaceError, match=r"\.cu/key, is missing; restore it from a backup"):
        workspace.initialise()
    assert snapshot(tmp_path) == before
    assert not workspace.state.exists()


def test_the_state_is_kept_out_of_git_and_other_entries_stay(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / ".gitignore").write_text("/data")
    workspace = ready_workspace(tmp_path)
    assert (workspace.root / ".gitignore").read_text() == "/data\n/.cu/\n"


def test_two_workspaces_have_different_keys(tmp_path: Path) -> None:
    keys = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        keys.add(ready_workspace(tmp_path / name).request_key("gdpr-req-123"))
    assert len(keys) == 2


def test_the_key_of_a_request_is_derived_by_hkdf(tmp_path: Path) -> None:
    workspace = ready_workspace(tmp_path)
    secret = (workspace.state / "key").read_bytes()
    expected = HKDF(SHA256(), 32, salt=None, info=b"compliance-unlearn request gdpr-req-123").derive(secret)
    assert workspace.request_key("gdpr-req-123") == expected
    assert workspace.request_key("gdpr-req-124") != expected


def test_a_damaged_key_is_refused(tmp_path: Path) -> None:
    workspace = ready_workspace(tmp_path)
    (workspace.state / "key").write_bytes(b"short")
    with pytest.raises(WorkspaceError, match="is damaged"):
        workspace.request_key("gdpr-req-123")


def test_a_path_below_the_root_has_one_relative_form(tmp_path: Path) -> None:
    workspace = ready_workspace(tmp_path)
    assert workspace.path("data/faces") == workspace.root / "data" / "faces"
    assert workspace.relative(workspace.root / "data" / "faces") == "data/faces"


@pytest.mark.parametrize("way_out", ["../elsewhere", "link/file", "/etc"])
def test_no_path_leads_out_of_the_root(tmp_path: Path, way_out: str) -> None:
    workspace = ready_workspace(tmp_path)
    (workspace.root / "link").symlink_to(tmp_path)
    with pytest.raises(WorkspaceError, match="leads out of the workspace"):
        workspace.path(way_out)
