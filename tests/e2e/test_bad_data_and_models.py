"""Data and models that cannot be used: exit code 4, nothing named that may not be named, and an untouched workspace."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.e2e.office import Done, Office, refused


def missing(path: Path) -> None:
    path.unlink()


def changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500])


def not_an_image(path: Path) -> None:
    path.write_text("This is a letter, not a picture.\n", encoding="utf-8")


def names_nobody(office: Office, done: Done) -> bool:
    secret = {"s17", *(path.name for path in office.forget_files()), *(path.stem for path in office.forget_files())}
    return not any(word in done.err + done.out for word in secret)


@pytest.mark.parametrize("damage", [missing, changed, truncated])
def test_a_file_that_is_not_the_pinned_one_is_refused(office: Office, damage: Callable[[Path], None]) -> None:
    damage(office.forget_files()[0])
    before = office.snapshot()
    done = office.apply()
    assert refused(done, 4), done
    assert "faces" in done.err
    assert names_nobody(office, done)
    assert office.snapshot() == before


def test_a_file_that_was_versioned_but_is_not_an_image_is_refused(office: Office) -> None:
    """The pin agrees, so that only decoding can find it; it does so before anything is changed."""
    not_an_image(office.forget_files()[0])
    office.tool("dvc", "add", "--quiet", "data/faces")
    office.tool("git", "commit", "--quiet", "--all", "--message", "Add a broken file")
    office.tool("git", "tag", "faces-v2")
    office.change_workspace_file("revision: faces-v1", "revision: faces-v2")
    before = office.snapshot()
    done = office.apply()
    assert refused(done, 4), done
    assert names_nobody(office, done)
    assert office.snapshot() == before


def cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100_000])


def another_architecture(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 192}), encoding="utf-8")


class _Trap:
    """Leaves a file behind if somebody unpickles it."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("../workspace/opened",)


def a_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"weights": _Trap()}, folder / "pytorch_model.bin")


def a_pickle_in_disguise(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps(_Trap()))


@pytest.mark.parametrize(
    "damage",
    [cut_short, another_architecture, a_pickle, a_pickle_in_disguise],
)
def test_a_model_that_cannot_be_used_is_refused(office: Office, damage: Callable[[Path], None]) -> None:
    damage(office.link.resolve())
    before = office.snapshot()
    done = office.apply()
    assert refused(done, 4), done
    assert office.snapshot() == before


def test_a_model_that_is_not_there_is_refused(office: Office) -> None:
    office.link.unlink()
    before = office.snapshot()
    done = office.apply()
    assert refused(done, 4), done
    assert office.snapshot() == before


def test_a_second_model_that_cannot_be_used_is_found_before_the_first_is_changed(office: Office) -> None:
    text = office.workspace_file.read_text(encoding="utf-8")
    start, end = text.index("  face-mae:"), text.index("evidence:")
    second = text[start:end].replace("face-mae", "other-mae")
    office.workspace_file.write_text(text[:end] + second + text[end:], encoding="utf-8")
    broken = office.root / "models" / "other-mae" / "original"
    broken.mkdir(parents=True)
    for path in office.link.resolve().iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    cut_short(broken)
    (broken.parent / "current").symlink_to("original")
    before = office.snapshot()
    done = office.apply()
    assert refused(done, 4), done
    assert office.snapshot() == before
