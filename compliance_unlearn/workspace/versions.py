"""Which version of a model is in use, and how another one takes its place."""

from __future__ import annotations

import os
from pathlib import Path

from compliance_unlearn.api import ModelError, WorkspaceError
from compliance_unlearn.workspace.files import replace_symlink
from compliance_unlearn.workspace.model import ModelEntry
from compliance_unlearn.workspace.workspace import Workspace


def current_version(workspace: Workspace, entry: ModelEntry) -> Path:
    """The folder of the weights in use, links resolved.

    Raises:
        ModelError: there is none.
        WorkspaceError: the link leads out of the workspace.
    """
    folder = workspace.path(entry.weights)
    if not folder.is_dir():
        raise ModelError(f"the model weights {entry.weights} do not exist in {workspace.root}")
    return folder


def require_promotable(workspace: Workspace, entry: ModelEntry) -> None:
    """Check that another version can take the place of the current one.

    Raises:
        WorkspaceError: the weights are a plain folder.
    """
    link = _link(workspace, entry)
    if link.exists() and not link.is_symlink():
        raise WorkspaceError(
            f"{entry.weights} is a plain folder, so no other version can take its place without a moment in between; "
            "move it to a folder of its own (such as versions/1), make a link `current` to it, and name that link as "
            "`weights` in the workspace file"
        )


def promote(workspace: Workspace, entry: ModelEntry, version_folder: Path) -> None:
    """Make a version the current one, atomically. The version before, if there is one, stays on disk.

    Raises:
        ModelError: the folder does not exist.
        WorkspaceError: the weights are a plain folder, or the version lies outside of the workspace.
    """
    require_promotable(workspace, entry)
    version = workspace.path(str(version_folder))
    if not version.is_dir():
        raise ModelError(f"the version {version_folder} does not exist")
    link = _link(workspace, entry)
    target = Path(os.path.relpath(version, link.parent))
    if not link.is_symlink() or link.readlink() != target:
        replace_symlink(link, target)


def _link(workspace: Workspace, entry: ModelEntry) -> Path:
    """Where the link itself lies: its folder is resolved, the link is not."""
    path = Path(entry.weights)
    return workspace.path(str(path.parent)) / path.name
