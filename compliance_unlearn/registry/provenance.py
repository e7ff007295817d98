"""Which code a plugin is made of, without importing it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from cu_audit.canonical import file_sha256, files_sha256


def code_sha256(module: str) -> str:
    """SHA-256 over the sorted relative paths and contents of all Python files of a module's top-level package."""
    files: dict[str, str] = {}
    top = module.partition(".")[0]
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is not None and spec.submodule_search_locations is not None:
        for folder in map(Path, spec.submodule_search_locations):
            files |= {path.relative_to(folder).as_posix(): file_sha256(path) for path in folder.rglob("*.py")}
    elif spec is not None and spec.origin is not None and Path(spec.origin).is_file():
        files[Path(spec.origin).name] = file_sha256(Path(spec.origin))
    return files_sha256(files)
