"""One run at a time: an advisory lock that dies with its process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compliance_unlearn.api import WorkspaceError
from compliance_unlearn.workspace.files import full_disk_is_an_error


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file while the block runs. Who is refused changes nothing, and the file is empty afterwards.

    Raises:
        WorkspaceError: another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            raise WorkspaceError(
                f"another cu apply is using this workspace (process {holder or 'unknown'}); wait until it has finished"
            ) from None
        os.ftruncate(descriptor, 0)
        with full_disk_is_an_error(path.parent):
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
