"""A workspace that is right, and a way to make it wrong."""

from pathlib import Path

from compliance_unlearn.workspace import Workspace

WORKSPACE = """\
version: 1
root: ../root
lineage: echo-journal
datasets:
  faces:
    source: echo-folder
    path: data/faces
    showable: {subject: s01}
models:
  faces-echo:
    adapter: echo
    weights: models/faces-echo/current
    task: {kind: random-mask, ratio: 0.5}
    training: {dataset: faces}
    strategies:
      echo-alignment:
        params: {forget_weight: 2.0}
        loop: {steps: 3}
evidence:
  sinks:
    echo-folder: {}
copies_not_reached: [backups older than 30 days]
"""


def workspace_file(folder: Path, *changes: tuple[str, str]) -> Path:
    """Write the workspace file with some of its text replaced."""
    text = WORKSPACE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "policies" / "workspace.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def ready_workspace(folder: Path) -> Workspace:
    """A workspace that was initialised, without data and models."""
    workspace = Workspace.load(workspace_file(folder))
    workspace.initialise()
    return workspace
