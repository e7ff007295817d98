"""The version in use changes in one step, and only where a link allows that."""

from pathlib import Path

import pytest

from compliance_unlearn.api import ModelError, WorkspaceError
from compliance_unlearn.workspace import ModelEntry, Workspace, current_version, promote, require_promotable
from tests.unit.workspace.examples import ready_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = ready_workspace(tmp_path)
    for version in ("1", "2"):
        (workspace.root / "models" / "faces-echo" / version).mkdir(parents=True)
    return workspace


@pytest.fixture
def entry(workspace: Workspace) -> ModelEntry:
    return workspace.file.models["faces-echo"]


def test_without_weights_there_is_no_version(workspace: Workspace, entry: ModelEntry) -> None:
    with pytest.raises(ModelError, match="models/faces-echo/current do not exist"):
        current_version(workspace, entry)


def test_the_first_version_makes_the_link(workspace: Workspace, entry: ModelEntry) -> None:
    first = workspace.root / "models" / "faces-echo" / "1"
    promote(workspace, entry, first)
    assert current_version(workspace, entry) == first


def test_a_promoted_version_takes_the_place_and_the_old_one_stays(workspace: Workspace, entry: ModelEntry) -> None:
    folder = workspace.root / "models" / "faces-echo"
    promote(workspace, entry, folder / "1")
    promote(workspace, entry, folder / "2")
    assert current_version(workspace, entry) == folder / "2"
    assert (folder / "1").is_dir()
    assert (folder / "current").readlink() == Path("2")


def test_the_link_still_leads_there_when_the_workspace_moves(workspace: Workspace, entry: ModelEntry) -> None:
    promote(workspace, entry, workspace.root / "models" / "faces-echo" / "1")
    moved = workspace.root.rename(workspace.root.with_name("moved"))
    assert (moved / entry.weights).resolve() == moved / "models" / "faces-echo" / "1"


def test_promoting_what_is_current_changes_nothing(workspace: Workspace, entry: ModelEntry) -> None:
    version = workspace.root / "models" / "faces-echo" / "1"
    promote(workspace, entry, version)
    before = (workspace.root / entry.weights).lstat()
    promote(workspace, entry, version)
    assert (workspace.root / entry.weights).lstat() == before


def test_a_plain_folder_is_not_replaced_and_the_error_says_what_to_do(workspace: Workspace, entry: ModelEntry) -> None:
    (workspace.root / entry.weights).mkdir()
    with pytest.raises(WorkspaceError, match=r"is a plain folder.*a link `current`"):
        require_promotable(workspace, entry)
    with pytest.raises(WorkspaceError, match="is a plain folder"):
        promote(workspace, entry, workspace.root / "models" / "faces-echo" / "1")
    assert current_version(workspace, entry) == workspace.root / entry.weights


def test_a_version_must_exist_below_the_root(workspace: Workspace, entry: ModelEntry, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        promote(workspace, entry, workspace.root / "models" / "faces-echo" / "3")
    with pytest.raises(WorkspaceError, match="leads out of the workspace"):
        promote(workspace, entry, tmp_path)
