"""Reading and writing small files, with errors that say what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compliance_unlearn.api import ModelError, WorkspaceError


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelError: the file is not one.
    """
    return parse_json(path.read_bytes(), path)


def parse_json(content: bytes, path: Path) -> dict[str, Any]:
    """Parse a JSON object; ``path`` is for the message.

    Raises:
        ModelError: it is not one.
    """
    try:
        value = json.loads(content)
    except ValueError as error:
        raise ModelError(f"{path}: not valid JSON") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: must hold a JSON object")
    return value


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
