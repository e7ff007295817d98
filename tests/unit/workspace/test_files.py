"""Whatever happens, a file, folder or link is the old one or the new one."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from compliance_unlearn.api import WorkspaceError
from compliance_unlearn.workspace import publish_folder, replace_symlink, write_atomic
from compliance_unlearn.workspace.files import full_disk_is_an_error

WRITE_FOR_EVER = """
import sys
from pathlib import Path
from compliance_unlearn.workspace import write_atomic
while True:
    for letter in b"ab":
        write_atomic(Path(sys.argv[1]), bytes([letter]) * 2_000_000)
"""

LINK_FOR_EVER = """
import sys
from pathlib import Path
from compliance_unlearn.workspace import replace_symlink
while True:
    for target in "ab":
        replace_symlink(Path(sys.argv[1]), Path(target))
"""

WRITE_TOO_MUCH = """
import resource, signal, sys
from pathlib import Path
from compliance_unlearn.api import WorkspaceError
from compliance_unlearn.workspace import write_atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomic(Path(sys.argv[1]), b"new" * 1000)
except WorkspaceError as error:
    print(error)
"""


def kill_after(seconds: float, program: str, path: Path) -> None:
    """Run a program on ``path`` and kill it, some time after it began to write."""
    with subprocess.Popen([sys.executable, "-c", program, str(path)]) as process:
        for _ in range(1000):
            if path.exists() or process.poll() is not None:
                break
            time.sleep(0.01)
        time.sleep(seconds)
        process.kill()


@pytest.mark.parametrize("seconds", [0.01, 0.037, 0.071])
def test_a_kill_leaves_a_whole_file(tmp_path: Path, seconds: float) -> None:
    path = tmp_path / "file"
    kill_after(seconds, WRITE_FOR_EVER, path)
    assert path.read_bytes() in (b"a" * 2_000_000, b"b" * 2_000_000)


def test_a_kill_leaves_a_link_that_leads_somewhere(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    kill_after(0.05, LINK_FOR_EVER, tmp_path / "current")
    assert str((tmp_path / "current").readlink()) in ("a", "b")


def test_writing_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"old")
    write_atomic(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_write_that_does_not_fit_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    command = [sys.executable, "-c", WRITE_TOO_MUCH, str(path)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown.startswith("the disk is full: ")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_an_error_that_says_so(tmp_path: Path) -> None:
    refused = pytest.raises(WorkspaceError, match="the disk is full: No space left on device")
    with refused, full_disk_is_an_error(tmp_path), Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"x")


def test_any_other_error_of_the_system_is_not_called_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "absent" / "file", b"x")


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    (tmp_path / "partial" / "sub").mkdir(parents=True)
    (tmp_path / "partial" / "sub" / "file").write_text("x")
    publish_folder(tmp_path / "partial", tmp_path / "final")
    assert (tmp_path / "final" / "sub" / "file").read_text() == "x"
    assert not (tmp_path / "partial").exists()


def test_a_folder_never_replaces_another(tmp_path: Path) -> None:
    (tmp_path / "partial").mkdir()
    (tmp_path / "final").mkdir()
    with pytest.raises(WorkspaceError, match="exists already"):
        publish_folder(tmp_path / "partial", tmp_path / "final")
    assert (tmp_path / "partial").exists()


def test_a_link_never_replaces_a_folder(tmp_path: Path) -> None:
    (tmp_path / "current").mkdir()
    with pytest.raises(WorkspaceError, match="is not a link"):
        replace_symlink(tmp_path / "current", Path("a"))
