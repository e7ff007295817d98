"""A workspace with a data set and a model, made once with the real git and DVC and copied for every test."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cu_dvc.store import DvcLineageStore

from compliance_unlearn.api import LineageStep

SUBJECT = "subject-alice"
FILES = 12

Tool = Callable[..., str]

STEP = LineageStep(
    name="gdpr-req-123.face-mae",
    command="cu apply policies/gdpr_req_123.yaml",
    inputs=("data/faces", "models/face-mae/original", "evidence/bundle-1/policy.yaml"),
    output="models/face-mae/gdpr-req-123-ab12cd34",
)


def make_files(root: Path) -> None:
    folder = root / "data" / "faces" / SUBJECT
    folder.mkdir(parents=True)
    for number in range(FILES):
        (folder / f"{number:03}.png").write_bytes(f"picture {number}".encode() * 500)
    for name, text in (
        ("models/face-mae/original/model.safetensors", "original weights"),
        ("models/face-mae/gdpr-req-123-ab12cd34/model.safetensors", "unlearned weights"),
        ("evidence/bundle-1/policy.yaml", "version: 1\n"),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template") / "workspace"
    make_files(root)
    store = DvcLineageStore(root)
    store.initialise()
    store.track("data/faces", "Add the faces", tag="faces-v1")
    store.track("models/face-mae/original", "Add the model")
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "workspace", symlinks=True))


@pytest.fixture
def store(root: Path) -> DvcLineageStore:
    return DvcLineageStore(root)


def run_tool(root: Path, *command: str) -> str:
    program = [sys.executable, "-m", "dvc"] if command[0] == "dvc" else [command[0]]
    done = subprocess.run([*program, *command[1:]], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def tool(root: Path) -> Tool:
    """Runs git or DVC as a person would, in the workspace."""
    return lambda *command: run_tool(root, *command)
