"""Changes to the workspace's small files that are either finished or undone, also after ``kill -9``.

DVC writes ``dvc.yaml``, ``dvc.lock`` and ``*.dvc`` in place, so a process that dies at the wrong moment leaves half a
file. The files are therefore copied aside first. Who comes next finds the copies and puts them back before it starts.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from compliance_unlearn.api import WorkspaceError
from cu_dvc.paths import write_atomically

_PATIENCE = 60.0


class Journal:
    """Guards the files of one workspace; ``folder`` is where the lock and the copies are kept."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._folder = folder
        self._copies = folder / "journal"

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Keep other processes out; undo what a dead one left. Yields the descriptor that children must keep open.

        Raises:
            WorkspaceError: somebody else holds the lock for a minute.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("ab") as stream:
            _acquire(stream.fileno())
            self._undo()
            yield stream.fileno()

    @contextmanager
    def changing(self, paths: Sequence[str]) -> Iterator[None]:
        """Put ``paths`` back as they were if the block raises or this process dies in it. Needs the lock."""
        self._begin(paths)
        try:
            yield
        except BaseException:
            self._undo()
            raise
        self._forget()

    def _begin(self, paths: Sequence[str]) -> None:
        draft = self._folder / "journal.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        present = [path for path in paths if (self._root / path).is_file()]
        for number, path in enumerate(present):
            shutil.copyfile(self._root / path, draft / str(number))
        absent = [path for path in paths if path not in present]
        (draft / "index.json").write_text(json.dumps({"present": present, "absent": absent}), encoding="utf-8")
        draft.rename(self._copies)

    def _undo(self) -> None:
        if not self._copies.exists():
            return
        index = json.loads((self._copies / "index.json").read_text(encoding="utf-8"))
        for number, path in enumerate(index["present"]):
            write_atomically(self._root / path, (self._copies / str(number)).read_bytes())
        for path in index["absent"]:
            (self._root / path).unlink(missing_ok=True)
        self._forget()

    def _forget(self) -> None:
        """One rename ends the change; removing the copies can be cut short without harm."""
        done = self._folder / "journal.done"
        shutil.rmtree(done, ignore_errors=True)
        self._copies.rename(done)
        shutil.rmtree(done, ignore_errors=True)


def _acquire(descriptor: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.set_inheritable(descriptor, False)
            return
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise WorkspaceError(
                    "another process is recording lineage in this workspace; wait until it ends, then try again"
                ) from error
        time.sleep(0.1)
