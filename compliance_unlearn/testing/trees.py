"""Data trees for tests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from compliance_unlearn.api import DataError, DataTree, Pin


class FolderTree(DataTree):
    """A plain folder, pinned as it is when the tree is made: digests and files are kept in memory.

    For small test data. It honours the contract of `DataTree`, so that a test can change the folder afterwards and see
    what a data source makes of it.
    """

    def __init__(self, root: Path, dataset: str = "test") -> None:
        """Read all files below ``root``."""
        self._content = {
            path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
        }
        self._digests = {name: _md5(content) for name, content in self._content.items()}
        listing = "\n".join(f"{digest} {name}" for name, digest in self._digests.items()).encode()
        super().__init__(Pin(dataset, hashlib.sha1(listing, usedforsecurity=False).hexdigest(), _md5(listing)), root)

    def files(self) -> Mapping[str, str]:
        """Relative path -> MD5."""
        return self._digests

    def read(self, path: str) -> bytes:
        """Bytes as they were when the tree was made."""
        if path not in self._content:
            raise DataError("the file is not part of the data set's revision")
        return self._content[path]

    def verify(self, paths: Sequence[str], progress: Callable[[int], None] | None = None) -> None:
        """Compare the folder as it is now."""
        wrong = 0
        for path in paths:
            file = self.root / path
            if path not in self._digests:
                raise DataError("a file is not part of the data set's revision")
            wrong += not file.is_file() or _md5(file.read_bytes()) != self._digests[path]
            if progress is not None:
                progress(1)
        if wrong:
            raise DataError(f"{wrong} of {len(paths)} files are missing or changed")


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
