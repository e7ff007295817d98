"""One data set at one revision."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

from compliance_unlearn.api import DataError, DataTree, Pin
from compliance_unlearn.api.boundary import plugin_boundary
from cu_dvc.repo import Snapshot

_CHUNK = 64
_THREADS = 4

_CHANGED, _MISSING, _LINK, _FOREIGN = "changed", "missing", "link", "foreign"


class DvcTree(DataTree):
    """The files of a data set as DVC knows them at the pinned commit."""

    def __init__(self, pin: Pin, root: Path, files: Mapping[str, str], snapshot: Snapshot) -> None:
        """Take the listing; nothing is read yet.

        Args:
            pin: data set, full commit hash and ``.dir`` digest.
            root: folder of the working copy, below the resolved path of the workspace.
            files: relative path -> MD5.
            snapshot: where bytes come from that the working copy no longer has.
        """
        super().__init__(pin, root)
        self._files = MappingProxyType(dict(files))
        self._snapshot = snapshot
        self._real_root = str(root)

    def files(self) -> Mapping[str, str]:
        """Relative path -> MD5 of every file at the pinned revision."""
        return self._files

    def read(self, path: str) -> bytes:
        """Bytes at the pinned revision: the working copy where it is unchanged, else DVC's cache or remote."""
        expected = self._files.get(path)
        if expected is None:
            raise DataError(f"a file was asked for that is not part of {self._label}")
        local = self._local(path)
        if local is not None and _md5(local) == expected:
            return local
        with plugin_boundary("DvcTree", "read", DataError):
            try:
                data = self._snapshot.read(path)
            except OSError as error:
                raise DataError(
                    f"a file of {self._label} is not in DVC's cache; run `dvc fetch --all-commits`"
                ) from error
        if _md5(data) != expected:
            raise DataError(
                f"a file of {self._label} is damaged in DVC's cache; delete `.dvc/cache` and run `dvc fetch`"
            )
        return data

    def verify(self, paths: Sequence[str], progress: Callable[[int], None] | None = None) -> None:
        """Hash the working copy of ``paths`` and compare; symbolic links are refused, since they may lead anywhere."""
        chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
        wrong: Counter[str] = Counter()
        with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
            for chunk, found in zip(chunks, pool.map(self._wrong, chunks), strict=True):
                wrong.update(found)
                if progress is not None:
                    progress(len(chunk))
        if wrong:
            raise DataError(self._complaint(wrong, len(paths)))

    @property
    def _label(self) -> str:
        return f"data set {self.pin.dataset} at revision {self.pin.revision[:7]}"

    def _wrong(self, paths: Sequence[str]) -> Counter[str]:
        return Counter(fault for path in paths if (fault := self._fault(path)) is not None)

    def _fault(self, path: str) -> str | None:
        expected = self._files.get(path)
        if expected is None:
            return _FOREIGN
        full = os.path.join(self._real_root, path)  # noqa: PTH118 - hot loop on strings
        if os.path.realpath(full) != full:
            return _LINK
        try:
            with open(full, "rb") as stream:  # noqa: PTH123 - hot loop on strings
                found = hashlib.file_digest(stream, _new_md5).hexdigest()
        except FileNotFoundError:
            return _MISSING
        except OSError:
            return _CHANGED
        return None if found == expected else _CHANGED

    def _local(self, path: str) -> bytes | None:
        full = Path(self._real_root, path)
        if os.path.realpath(full) != str(full):
            return None
        try:
            return full.read_bytes()
        except OSError:
            return None

    def _complaint(self, wrong: Counter[str], total: int) -> str:
        words = {
            _MISSING: ("is missing", "are missing"),
            _LINK: ("is a symbolic link, which is refused", "are symbolic links, which are refused"),
            _FOREIGN: ("is not part of it", "are not part of it"),
        }
        others = [f" and {wrong[fault]} {words[fault][wrong[fault] > 1]}" for fault in words if wrong[fault]]
        differ = "differs" if wrong[_CHANGED] == 1 else "differ"
        return (
            f"{wrong[_CHANGED]} of {total} files of data set {self.pin.dataset} {differ} from revision "
            f"{self.pin.revision[:7]}{''.join(others)}; run `dvc status` in the workspace to see which"
        )


def _new_md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
