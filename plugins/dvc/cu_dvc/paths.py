"""Paths relative to the workspace."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from compliance_unlearn.api import ComplianceError


def relative(path: str, error_class: type[ComplianceError]) -> str:
    """Normalise a path of the workspace to POSIX form without ``.``, ``..`` or a leading slash.

    Raises:
        ComplianceError: of class ``error_class``; the path is empty, absolute or leaves the workspace.
    """
    pure = PurePosixPath(path)
    if not pure.parts or pure.is_absolute() or ".." in pure.parts or "\\" in path:
        raise error_class(f"'{path}': give a path inside the workspace, relative to it, such as data/faces")
    return pure.as_posix()


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file by new bytes, so that it holds the old or the new ones whatever happens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with draft.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
