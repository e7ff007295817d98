"""One run at a time, across processes, and a process that dies leaves no lock behind."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compliance_unlearn.api import WorkspaceError
from tests.unit.workspace.examples import ready_workspace

HOLD = """
import sys
from pathlib import Path
from compliance_unlearn.workspace import Workspace
with Workspace.load(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(file: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock until it is told otherwise."""
    command = [sys.executable, "-c", HOLD, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_process_is_refused_and_changes_not_one_byte(tmp_path: Path) -> None:
    workspace = ready_workspace(tmp_path)
    lock = workspace.state / "lock"
    with another_process(workspace.located.path) as holder:
        before = (lock.read_bytes(), lock.stat().st_mtime_ns)
        with pytest.raises(WorkspaceError, match=rf"another cu apply .* \(process {holder.pid}\)"), workspace.lock():
            pytest.fail("two processes hold the lock")
        assert (lock.read_bytes(), lock.stat().st_mtime_ns) == before


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    workspace = ready_workspace(tmp_path)
    with another_process(workspace.located.path) as holder:
        holder.kill()
        holder.wait()
        with workspace.lock():
            assert (workspace.state / "lock").read_bytes() == str(os.getpid()).encode()


def test_a_run_that_ends_in_an_error_lets_the_next_one_in(tmp_path: Path) -> None:
    workspace = ready_workspace(tmp_path)
    with pytest.raises(ZeroDivisionError), workspace.lock():
        _ = 1 / 0
    with workspace.lock():
        assert (workspace.state / "lock").read_bytes()
    assert (workspace.state / "lock").read_bytes() == b""
