"""Is there room on the disk? Asked before anything is read or written: on a full disk even a lock cannot be taken."""

from __future__ import annotations

import shutil
from pathlib import Path

from compliance_unlearn.api import WorkspaceError

SPACE_FACTOR = 10
"""A run needs this many times the size of the weights: two checkpoints with optimiser state, candidate, DVC's copy."""

SPARE_BYTES = 64 * 2**20
"""What it needs beside: evidence, tracker, commits."""


def require_room(root: Path, weights: int = 0, outputs: int = 0) -> None:
    """Check that a run has room.

    Args:
        root: of the workspace.
        weights: size of all models of the run in bytes; 0 where it is not known yet.
        outputs: size of all that the models make and that is kept for the time of the run; 0 where it is not known yet.

    Raises:
        WorkspaceError: it has not.
    """
    needed, free = SPACE_FACTOR * weights + outputs + SPARE_BYTES, shutil.disk_usage(root).free
    if free < needed:
        raise WorkspaceError(
            f"the disk is full: the run needs {needed // 2**20} MB, {free // 2**20} MB are free; nothing was changed"
        )
