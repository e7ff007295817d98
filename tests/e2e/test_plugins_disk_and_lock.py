"""A broken plugin, a full disk, a second run: the right code, and an untouched workspace."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Finished
from tests.e2e.office import POLICY, Office, refused


@pytest.fixture
def broken_plugin(tmp_path: Path) -> dict[str, str]:
    """A distribution whose hook module cannot be imported, on the path of Python."""
    folder = tmp_path / "site"
    information = folder / "cu_sick-1.0.dist-info"
    information.mkdir(parents=True)
    (folder / "cu_sick.py").write_text("import a_module_that_nobody_has\n", encoding="utf-8")
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: cu-sick\nVersion: 1.0\n", encoding="utf-8")
    (information / "entry_points.txt").write_text("[compliance_unlearn]\nsick = cu_sick\n", encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def test_a_plugin_that_is_named_and_cannot_be_imported_is_refused(
    office: Office, broken_plugin: dict[str, str]
) -> None:
    office.write_policy(POLICY.replace("use: encoder-alignment", "use: sick-method"))
    before = office.snapshot()
    done = office.apply(variables=broken_plugin)
    assert refused(done, 5), done
    assert "sick" in done.err
    assert "a_module_that_nobody_has" in done.err
    assert office.snapshot() == before


def test_a_broken_plugin_that_nobody_names_disturbs_nobody(office: Office, broken_plugin: dict[str, str]) -> None:
    plan = office.cu("plan", "policies/request.yaml", "--json", variables=broken_plugin)
    assert plan.code == 0, plan.err
    listed = office.cu("plugins", "list", "--json", variables=broken_plugin).json["plugins"]
    [sick] = [plugin for plugin in listed if plugin["name"] == "sick"]
    assert "a_module_that_nobody_has" in sick["error"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("filled", [False, True], ids=["little room", "no room at all"])
def test_a_disk_without_room_for_the_run_is_refused(template: Office, small_disk: Path, filled: bool) -> None:
    office = template.copy(small_disk / "office")
    if filled:
        with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(4096))
    before = office.snapshot()
    done = office.apply()
    assert refused(done, 4), done
    assert "disk is full" in done.err
    assert office.snapshot() == before


def no_file_larger_than(size: int) -> Callable[[], None]:
    """To be called in the child: as on a full disk, nothing can be written beyond ``size`` bytes of a file."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def fill_up(office: Office) -> bool:
    """Apply on a disk that fills up on the way: nothing stays but what lets the run go on later."""
    before = office.snapshot()
    done = office.apply(preexec_fn=no_file_larger_than(700_000))
    assert refused(done, 4), done
    assert "disk is full" in done.err or "File too large" in done.err
    kept = {name: digest for name, digest in office.snapshot().items() if not name.startswith("workspace/.cu/runs/")}
    return kept == before


def test_a_disk_that_fills_up_at_the_weights_leaves_the_old_model_and_no_evidence(office: Office) -> None:
    office.write_policy(POLICY.replace("checkpoint_every: 5", "checkpoint_every: 1000"))
    assert fill_up(office)


def test_a_disk_that_fills_up_at_a_checkpoint_changes_nothing_and_the_run_goes_on_when_there_is_room(
    office: Office, compliant: Finished
) -> None:
    assert fill_up(office)
    done = office.apply("--json")
    assert done.code == 0, done.err
    assert done.json["models"][0]["candidate"] == compliant.done.json["models"][0]["candidate"]
    assert len(office.ledger) == 1


def test_a_second_run_at_the_same_time_is_refused(office: Office) -> None:
    first = office.start("--json")
    lock = office.root / ".cu" / "lock"
    deadline = time.monotonic() + 60
    while not lock.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert lock.read_text() == str(first.pid)
    os.killpg(first.pid, signal.SIGSTOP)  # so that whatever changes now was changed by the second one
    before = office.snapshot()
    second = office.apply()
    after = office.snapshot()
    os.killpg(first.pid, signal.SIGCONT)
    first.communicate()
    assert refused(second, 4), second
    assert str(first.pid) in second.err
    assert after == before
    assert first.returncode == 0
    assert len(office.ledger) == 1
