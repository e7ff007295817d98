"""A data set is pinned to a commit and a digest, and differences are found and never spelled out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cu_dvc.store import DvcLineageStore

from compliance_unlearn.api import DataError, LineageStep
from tests.integration.dvc.conftest import FILES, STEP, SUBJECT, Tool


def pictures(root: Path) -> list[Path]:
    return sorted((root / "data" / "faces" / SUBJECT).iterdir())


def assert_names_nobody(message: str) -> None:
    assert SUBJECT not in message
    assert ".png" not in message


def test_a_tag_is_resolved_to_the_full_commit_and_the_digest_that_dvc_states(
    store: DvcLineageStore, root: Path, tool: Tool
) -> None:
    tree = store.open("faces", "data/faces", "faces-v1")
    assert tree.pin.revision == tool("git", "rev-parse", "faces-v1").strip()
    assert f"md5: {tree.pin.digest}" in (root / "data" / "faces.dvc").read_text()
    assert len(tree.files()) == FILES
    assert set(tree.files()) == {f"{SUBJECT}/{number:03}.png" for number in range(FILES)}


def test_an_untouched_data_set_is_accepted_and_progress_adds_up(store: DvcLineageStore) -> None:
    tree = store.open("faces", "data/faces", "faces-v1")
    done: list[int] = []
    tree.verify(sorted(tree.files()), done.append)
    assert sum(done) == FILES


def test_changed_missing_linked_and_foreign_files_are_counted_but_not_named(store: DvcLineageStore, root: Path) -> None:
    tree = store.open("faces", "data/faces", "faces-v1")
    first, second, third, fourth, *_ = pictures(root)
    first.write_bytes(b"changed")
    second.write_bytes(b"changed too")
    third.unlink()
    shutil.move(fourth, root / "elsewhere.png")
    fourth.symlink_to(root / "elsewhere.png")
    with pytest.raises(DataError) as caught:
        tree.verify([*tree.files(), "../../workspace.yaml"])
    message = str(caught.value)
    assert f"2 of {FILES + 1} files of data set faces differ from revision {tree.pin.revision[:7]}" in message
    assert "1 is missing" in message
    assert "1 is a symbolic link" in message
    assert "1 is not part of it" in message
    assert "`dvc status`" in message
    assert_names_nobody(message)


def test_a_data_folder_that_is_a_link_out_of_the_workspace_is_refused(
    store: DvcLineageStore, root: Path, tmp_path: Path
) -> None:
    tree = store.open("faces", "data/faces", "faces-v1")
    shutil.move(root / "data" / "faces", tmp_path / "faces")
    (root / "data" / "faces").symlink_to(tmp_path / "faces")
    with pytest.raises(DataError, match=f"{FILES} are symbolic links"):
        tree.verify(sorted(tree.files()))


def test_bytes_are_those_of_the_revision_whatever_the_working_copy_holds(store: DvcLineageStore, root: Path) -> None:
    path = f"{SUBJECT}/000.png"
    truth = pictures(root)[0].read_bytes()
    tree = store.open("faces", "data/faces", "faces-v1")
    assert tree.read(path) == truth
    pictures(root)[0].write_bytes(b"changed")
    assert tree.read(path) == truth
    shutil.rmtree(root / "data" / "faces")
    assert tree.read(path) == truth


def test_bytes_come_from_a_remote_when_the_cache_is_empty(
    store: DvcLineageStore, root: Path, tmp_path: Path, tool: Tool
) -> None:
    tool("dvc", "remote", "add", "-d", "shelf", str(tmp_path / "shelf"))
    tool("git", "commit", "-qam", "Add a remote")
    tool("dvc", "push", "-q")
    truth = pictures(root)[0].read_bytes()
    shutil.rmtree(root / ".dvc" / "cache")
    shutil.rmtree(root / "data" / "faces")
    assert store.open("faces", "data/faces", "HEAD").read(f"{SUBJECT}/000.png") == truth


def test_a_file_that_is_nowhere_any_more_is_an_error_without_its_name(store: DvcLineageStore, root: Path) -> None:
    tree = store.open("faces", "data/faces", "faces-v1")
    shutil.rmtree(root / ".dvc" / "cache")
    shutil.rmtree(root / "data" / "faces")
    with pytest.raises(DataError, match="data set faces") as caught:
        tree.read(f"{SUBJECT}/000.png")
    assert_names_nobody(str(caught.value))


def test_a_file_outside_the_data_set_cannot_be_read(store: DvcLineageStore) -> None:
    tree = store.open("faces", "data/faces", "faces-v1")
    with pytest.raises(DataError, match="not part of"):
        tree.read("../../dvc.yaml")


def test_an_old_revision_keeps_its_files_after_the_data_set_has_changed(store: DvcLineageStore, root: Path) -> None:
    old = store.open("faces", "data/faces", "faces-v1")
    truth = pictures(root)[0].read_bytes()
    pictures(root)[0].write_bytes(b"a new picture")
    pictures(root)[1].unlink()
    store.track("data/faces", "Change the faces", tag="faces-v2")
    new = store.open("faces", "data/faces", "faces-v2")
    assert new.pin.digest != old.pin.digest
    assert len(new.files()) == FILES - 1
    assert store.open("faces", "data/faces", "faces-v1").pin == old.pin
    assert old.read(f"{SUBJECT}/000.png") == truth
    new.verify(sorted(new.files()))


def test_a_forged_listing_in_the_cache_is_noticed_by_who_has_not_read_it_before(
    store: DvcLineageStore, root: Path
) -> None:
    digest = store.open("faces", "data/faces", "faces-v1").pin.digest
    shutil.rmtree(root / ".dvc" / "tmp")
    listing = root / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
    items = json.loads(listing.read_text())
    listing.chmod(0o644)
    listing.write_text(json.dumps(items[1:]))
    with pytest.raises(DataError, match="missing or damaged"):
        store.open("faces", "data/faces", "faces-v1")


def test_a_commit_that_leaves_the_data_set_alone_leaves_its_pin_alone(
    store: DvcLineageStore, root: Path, tool: Tool
) -> None:
    pin = store.open("faces", "data/faces", "HEAD").pin
    assert pin.revision == tool("git", "rev-parse", "faces-v1").strip()
    (root / "notes.txt").write_text("unrelated")
    tool("git", "add", "notes.txt")
    tool("git", "commit", "-qm", "Unrelated")
    tool("git", "tag", "later")
    store.record(STEP)
    for revision in ("HEAD", "main", "later", "faces-v1", pin.revision):
        assert store.open("faces", "data/faces", revision).pin == pin


def test_a_data_set_that_a_stage_made_is_pinned_to_the_commit_that_made_it(
    store: DvcLineageStore, root: Path, tool: Tool
) -> None:
    command = "mkdir -p data/small && cp data/faces/subject-alice/000.png data/small"
    tool("dvc", "stage", "add", "-q", "-n", "shrink", "-d", "data/faces", "-o", "data/small", command)
    for message in ("First", "Second"):
        tool("dvc", "repro", "-q", "shrink")
        tool("git", "add", "-A")
        tool("git", "commit", "-qm", message)
        made = tool("git", "rev-parse", "HEAD").strip()
        step = LineageStep(message, "cu apply", ("data/small",), f"models/face-mae/{message}")
        shutil.copytree(root / STEP.output, root / step.output)
        store.record(step)
        assert tool("git", "rev-parse", "HEAD").strip() != made
        assert store.open("small", "data/small", "HEAD").pin.revision == made
        pictures(root)[0].write_bytes(b"a new picture")
        store.track("data/faces", "Change the faces")


@pytest.mark.parametrize("revision", ["no-such-tag", "0" * 40, "--all", ""])
def test_an_unknown_revision_says_how_to_list_the_known_ones(store: DvcLineageStore, revision: str) -> None:
    with pytest.raises(DataError, match="`git log`"):
        store.open("faces", "data/faces", revision)


@pytest.mark.parametrize("path", ["data/birds", f"data/faces/{SUBJECT}", "models/face-mae", "evidence"])
def test_a_folder_that_is_not_tracked_by_itself_says_how_to_track_it(store: DvcLineageStore, path: str) -> None:
    with pytest.raises(DataError, match="`dvc add"):
        store.open("faces", path, "HEAD")


@pytest.mark.parametrize("path", ["../faces", "/etc", ""])
def test_a_path_outside_the_workspace_is_refused(store: DvcLineageStore, path: str) -> None:
    with pytest.raises(DataError, match="inside the workspace"):
        store.open("faces", path, "HEAD")


def test_a_workspace_without_git_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="`cu init`"):
        DvcLineageStore(tmp_path).open("faces", "data/faces", "HEAD")
