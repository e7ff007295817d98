"""Building the demonstration workspace; every step finds out what is there already."""

from __future__ import annotations

from pathlib import Path

import torch

from compliance_unlearn.api import PolicyError
from compliance_unlearn.demo.faces import write_faces
from compliance_unlearn.engine.planning import open_lineage_store
from compliance_unlearn.engine.reporting import Reporter
from compliance_unlearn.engine.training import FIRST_VERSION, train_base_model
from compliance_unlearn.registry import Registry
from compliance_unlearn.workspace import Workspace

DATASET = "faces"
POLICIES = ("workspace.yaml", "gdpr_req_123.yaml")


def build_demo(workspace: Workspace, registry: Registry, *, reporter: Reporter, device: torch.device) -> None:
    """Set the workspace up, version the faces, and train every model of the workspace that has no weights.

    Raises:
        PolicyError: the workspace has no data set `faces`.
    """
    if DATASET not in workspace.file.datasets:
        raise PolicyError(
            f"{workspace.located.path} has no data set {DATASET}: it is not the demonstration's workspace"
        )
    entry = workspace.file.datasets[DATASET]
    workspace.initialise()
    store = open_lineage_store(workspace, registry)
    with reporter.phase("Versioning the faces", 1) as advance:
        store.initialise()
        write_faces(workspace.path(entry.path))
        store.track(entry.path, "Add the faces of the demonstration", tag=entry.revision)
        advance()
    for name, model in workspace.file.models.items():
        train_base_model(workspace, registry, name, reporter=reporter, device=device)
        version = Path(model.weights).parent / FIRST_VERSION
        with reporter.phase(f"Versioning {name}", 1) as advance:
            store.track(version.as_posix(), f"Add the model {name}, trained on {entry.revision}")
            advance()


def write_policies(folder: Path) -> None:
    """Write the demonstration's workspace file and policy, from the installed package or from its repository."""
    packaged = Path(__file__).parent / "templates"
    source = packaged if packaged.exists() else Path(__file__).parents[2] / "policies"
    folder.mkdir(parents=True, exist_ok=True)
    for name in POLICIES:
        if not (folder / name).exists():
            (folder / name).write_bytes((source / name).read_bytes())
