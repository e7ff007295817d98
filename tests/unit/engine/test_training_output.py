"""The folder that a training makes: it goes on, it is told again, and it never undoes what came later."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compliance_unlearn.api import PolicyError
from compliance_unlearn.engine.picture_training import in_workspace
from compliance_unlearn.engine.training_output import TrainingOutput, require_place

SETTINGS = {"loop": 1}
OTHER = {"loop": 2}


def finished(folder: Path) -> TrainingOutput:
    """A training that went well."""
    output = TrainingOutput(folder, SETTINGS)
    with output.held():
        output.describe({"steps": 2})
        output.weights.mkdir()
        output.finish()
    return output


def test_a_finished_training_is_told_again(tmp_path: Path) -> None:
    output = finished(tmp_path / "model")
    assert output.look() == {"steps": 2}
    assert (output.folder / "current").readlink() == Path("original")
    with pytest.raises(PolicyError, match="a training with other loop"):
        TrainingOutput(output.folder, OTHER).look()


def test_a_link_to_a_version_that_has_forgotten_stays(tmp_path: Path) -> None:
    output = finished(tmp_path / "model")
    link = output.folder / "current"
    for version in ("unlearned", "not-on-this-disk"):
        link.unlink()
        link.symlink_to(version)
        assert output.look() == {"steps": 2}
        assert link.readlink() == Path(version)


def test_a_training_that_came_to_no_checkpoint_blocks_no_other(tmp_path: Path) -> None:
    output = TrainingOutput(tmp_path / "model", SETTINGS)
    with output.held():
        (output.folder / "held-out.txt").touch()
        (output.folder / ".training.json.0123.tmp").touch()
        output.preview(1).touch()
    other = TrainingOutput(output.folder, OTHER)
    assert other.look() is None
    with other.held():
        assert not output.preview(1).exists()
        (output.state / "checkpoint.pt").touch()
    assert other.look() is None
    with pytest.raises(PolicyError, match="a training with other loop"):
        output.look()
    with pytest.raises(PolicyError, match="a training with other loop"), output.held():
        pass


def test_a_kill_before_anything_was_written_leaves_a_new_folder(tmp_path: Path) -> None:
    output = TrainingOutput(tmp_path / "model", SETTINGS)
    output.state.mkdir(parents=True)
    (output.state / "lock").touch()
    assert output.look() is None
    (output.folder / "notes.txt").touch()
    with pytest.raises(PolicyError, match="is not empty and holds no training"):
        output.look()


@pytest.mark.parametrize("name", ["file", "file/model", "link", "file/deep/model"])
def test_a_place_where_no_folder_can_be_is_refused_early(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(PolicyError, match=f"--out .*{name}: .* is no folder"):
        require_place(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_refused_early(tmp_path: Path) -> None:
    finished(tmp_path / "closed" / "old")
    for folder in ("closed/old", "closed"):
        (tmp_path / folder).chmod(0o500)
    require_place(tmp_path / "closed" / "old")
    with pytest.raises(PolicyError, match="may not be written to"):
        require_place(tmp_path / "closed" / "new")


def test_paths_are_those_of_the_nearest_workspace_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert in_workspace(Path("models/pets/current")) == "models/pets/current"
    assert in_workspace(tmp_path / "models/pets/current") == "PATH-FROM-WORKSPACE-FILE/pets/current"
    assert in_workspace(Path("../pets/current")) == "PATH-FROM-WORKSPACE-FILE/pets/current"
    (tmp_path / "office" / "models" / "pets").mkdir(parents=True)
    (tmp_path / "office" / "workspace.yaml").touch()
    (tmp_path / "office" / "models" / "pets" / "current").symlink_to("original")
    for path in (Path("office/models/pets/current"), tmp_path / "office/models/pets/current"):
        assert in_workspace(path) == "models/pets/current"
