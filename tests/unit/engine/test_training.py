"""Base training leaves a model alone that exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from compliance_unlearn.engine.reporting import Silent
from compliance_unlearn.engine.training import train_base_model
from compliance_unlearn.registry import load_registry
from tests.unit.engine.small import CPU
from tests.unit.workspace.examples import ready_workspace


@pytest.mark.parametrize("version", ["original", "unlearned", "not-on-this-disk"])
def test_a_link_that_is_there_is_never_moved(tmp_path: Path, version: str) -> None:
    workspace = ready_workspace(tmp_path)
    folder = workspace.root / "models" / "faces-echo"
    for name in ("original", "unlearned"):
        (folder / name).mkdir(parents=True)
    (folder / "current").symlink_to(version)
    assert train_base_model(workspace, load_registry(), "faces-echo", reporter=Silent(), device=CPU) is None
    assert (folder / "current").readlink() == Path(version)
    assert sorted(path.name for path in folder.iterdir()) == ["current", "original", "unlearned"]
