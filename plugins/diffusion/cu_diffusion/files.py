"""Writing the files of a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from compliance_unlearn.api import WorkspaceError


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files by their path below an existing folder.

    Raises:
        WorkspaceError: they cannot be written.
    """
    try:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    except OSError as error:
        raise WorkspaceError(f"{folder}: the model cannot be written: {error.strerror}") from error
