"""Writing so that a kill or a power cut leaves the old state or the new one, never half of one."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compliance_unlearn.api import WorkspaceError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def full_disk_is_an_error(folder: Path) -> Iterator[None]:
    """Turn "no space left" and its kin into a `WorkspaceError`; any other `OSError` passes.

    Args:
        folder: what is being written to, for the message.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        reason = os.strerror(error.errno)
        raise WorkspaceError(f"the disk is full: {reason}, in {folder}; free some space and run again") from error


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file, or make it, durably.

    Raises:
        WorkspaceError: the disk is full; the file is as it was, and no temporary file stays.
    """
    temporary = _temporary(path)
    try:
        with full_disk_is_an_error(path.parent):
            with temporary.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
            _fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def publish_folder(temporary: Path, final: Path) -> None:
    """Make a finished folder appear under its final name, durably; both lie on one file system.

    Raises:
        WorkspaceError: there is something under that name already, or the disk is full.
    """
    if final.exists() or final.is_symlink():
        raise WorkspaceError(f"{final} exists already; it is never overwritten")
    with full_disk_is_an_error(final.parent):
        for path in sorted(temporary.rglob("*"), reverse=True):
            if not path.is_symlink():
                _fsync(path)
        _fsync(temporary)
        temporary.rename(final)
        _fsync(final.parent)


def replace_symlink(link: Path, target: Path) -> None:
    """Point a symbolic link to ``target`` (taken as it is: relative to the link's folder, or absolute), atomically.

    Raises:
        WorkspaceError: ``link`` is a file or folder, or the disk is full.
    """
    if link.exists() and not link.is_symlink():
        raise WorkspaceError(f"{link} is not a link; it is never overwritten")
    temporary = _temporary(link)
    try:
        with full_disk_is_an_error(link.parent):
            temporary.symlink_to(target)
            temporary.replace(link)
            _fsync(link.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
