"""Building the workspace of a demonstration; every step finds out what is there already."""

from __future__ import annotations

from pathlib import Path

import torch

from compliance_unlearn.api import PolicyError
from compliance_unlearn.demo.examples import Example
from compliance_unlearn.engine.planning import open_lineage_store
from compliance_unlearn.engine.reporting import Reporter
from compliance_unlearn.engine.training import FIRST_VERSION, train_base_model
from compliance_unlearn.registry import Registry
from compliance_unlearn.workspace import Workspace


def build_demo(
    example: Example, workspace: Workspace, registry: Registry, *, reporter: Reporter, device: torch.device
) -> None:
    """Set the workspace up, version the data set, and train every model of the workspace that has no weights.

    Raises:
        PolicyError: the workspace does not have the data set.
        DataError: the pictures are not there, or cannot be read.
    """
    name = example.dataset
    if name not in workspace.file.datasets:
        raise PolicyError(f"{workspace.located.path} has no data set {name}: it is not the demonstration's workspace")
    entry = workspace.file.datasets[name]
    workspace.initialise()
    store = open_lineage_store(workspace, registry)
    with reporter.phase(f"Versioning the {name}", 1) as advance:
        store.initialise()
        example.write(workspace.path(entry.path))
        store.track(entry.path, f"Add the {name} of the demonstration", tag=entry.revision)
        advance()
    for model_name, model in workspace.file.models.items():
        train_base_model(workspace, registry, model_name, reporter=reporter, device=device)
        version = Path(model.weights).parent / FIRST_VERSION
        with reporter.phase(f"Versioning {model_name}", 1) as advance:
            store.track(version.as_posix(), f"Add the model {model_name}, trained on {entry.revision}")
            advance()
