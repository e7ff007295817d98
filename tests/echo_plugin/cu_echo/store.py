"""A lineage store that knows one revision, the files as they are, and writes down what it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cu_audit.canonical import file_sha256, files_sha256, folder_files

from compliance_unlearn.api import DataError, DataTree, LineageStep, LineageStore, Pin
from cu_echo.params import NoParams

JOURNAL = "echo-journal.txt"


class EchoTree(DataTree):
    """The files as they were when the tree was opened."""

    def __init__(self, pin: Pin, root: Path, files: Mapping[str, str]) -> None:
        super().__init__(pin, root)
        self._files = files

    def files(self) -> Mapping[str, str]:
        """Relative path -> SHA-256."""
        return self._files

    def read(self, path: str) -> bytes:
        """Bytes of the working copy."""
        return (self.root / path).read_bytes()

    def verify(self, paths: Sequence[str], progress: Callable[[int], None] | None = None) -> None:
        """Compare with the state when the tree was opened."""
        wrong = sum(not self._is_unchanged(path) for path in paths)
        if wrong:
            raise DataError(f"{wrong} files of the data set are missing or changed")

    def _is_unchanged(self, path: str) -> bool:
        return (self.root / path).is_file() and file_sha256(self.root / path) == self._files[path]


class EchoStore(LineageStore):
    """Writes a journal into the root of the workspace."""

    def __init__(self, params: NoParams, root: Path) -> None:
        super().__init__(root)
        self.params = params

    def initialise(self) -> None:
        """Begin the journal."""
        (self.root / JOURNAL).touch()

    def open(self, dataset: str, path: str, revision: str) -> DataTree:
        """Pin the working copy; there is no other revision."""
        folder = self.root / path
        if revision != "HEAD" or not folder.is_dir():
            raise DataError(f"data set {dataset} has no revision {revision}")
        files = folder_files(folder)
        return EchoTree(Pin(dataset, revision, files_sha256(files)), folder, files)

    def track(self, path: str, message: str, tag: str | None = None) -> None:
        """Write a line."""
        self._write(f"track {path}: {message} {tag or ''}".rstrip())

    def record(self, step: LineageStep) -> None:
        """Write a line."""
        self._write(f"record {step.name}: {' '.join(step.inputs)} -> {step.output}")

    def _write(self, line: str) -> None:
        journal = self.root / JOURNAL
        lines = journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
        if line not in lines:
            journal.write_text("\n".join([*lines, line, ""]), encoding="utf-8")
