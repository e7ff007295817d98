"""`kill -9` at any moment of `cu apply`, then `cu apply` again: the same weights, and everything once."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Finished
from tests.e2e.office import Office

SEED = 20261102


def kill_after(office: Office, seconds: float) -> float | None:
    """Run `cu apply` and kill it and all its children; None, or how long the run took if it ended before."""
    started = time.monotonic()
    process = office.start("--json")
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None
    return time.monotonic() - started


def killed(template: Office, folder: Path, share: float, seconds: float) -> tuple[Office, float]:
    """A workspace whose run was killed when about a share of it was done, and what a whole run takes now.

    Other processes come and go, and a run that ended before it was killed shows nothing: then it is tried again.
    """
    office = template.copy(folder / "office")
    while (ended := kill_after(office, share * seconds)) is not None:
        seconds = ended
        shutil.rmtree(office.folder)
        office = template.copy(folder / "office")
    return office, seconds


def holds_the_old_model_or_the_new_one(office: Office, undisturbed: Finished) -> bool:
    return office.version() in (undisturbed.before.version(), undisturbed.office.version())


def goes_on_to_the_same_end(office: Office, undisturbed: Finished) -> bool:
    """Apply again, and compare everything that a run leaves with the run that nobody disturbed."""
    again = office.apply("--json")
    assert again.code == 0, again.err
    expected = undisturbed.done.json
    assert again.json["models"][0]["candidate"] == expected["models"][0]["candidate"]
    assert again.json["plan_digest"] == expected["plan_digest"]
    assert again.json["verdict"] == expected["verdict"]
    assert office.version() == undisturbed.office.version()
    assert len(office.ledger) == 1
    assert [run.info.status for run in office.tracked_runs()] == ["FINISHED"]
    assert len(office.tracker().search_model_versions()) == 1
    assert len(office.tool("git", "log", "--oneline", "--grep", "^Record ").splitlines()) == 1
    assert not unfinished(office)
    return True


def unfinished(office: Office) -> list[Path]:
    """Drafts that nobody will finish."""
    folders = [office.root / name for name in (".cu", "models", "evidence")]
    found = [path for folder in folders for path in folder.rglob("*")]
    return [path for path in found if path.name.endswith((".tmp", ".partial")) or path.name == "checkpoint.pt"]


@pytest.mark.parametrize("share", [0.5, 0.85])
def test_a_killed_run_goes_on_to_the_same_bits(
    template: Office, compliant: Finished, share: float, tmp_path: Path
) -> None:
    office, _ = killed(template, tmp_path, share, compliant.seconds)
    assert holds_the_old_model_or_the_new_one(office, compliant)
    assert goes_on_to_the_same_end(office, compliant)


@pytest.mark.slow
def test_twenty_random_moments(template: Office, compliant: Finished, tmp_path: Path) -> None:
    moments, seconds = random.Random(SEED), compliant.seconds
    for number in range(20):
        office, seconds = killed(template, tmp_path / str(number), moments.uniform(0.0, 0.99), seconds)
        assert holds_the_old_model_or_the_new_one(office, compliant)
        assert goes_on_to_the_same_end(office, compliant)


@pytest.mark.slow
def test_killed_again_and_again(office: Office, compliant: Finished) -> None:
    """The same run, killed at ten growing moments before it may end."""
    moments = sorted(random.Random(SEED).uniform(0.3, 0.99) for _ in range(10))
    for moment in moments:
        kill_after(office, moment * compliant.seconds)
        assert holds_the_old_model_or_the_new_one(office, compliant)
    assert goes_on_to_the_same_end(office, compliant)


@pytest.mark.slow
def test_killed_while_the_tracker_makes_its_database(template: Office, compliant: Finished, tmp_path: Path) -> None:
    """The workspace's first run, which makes the database for some seconds; all other tests start from one."""
    without = template.copy(tmp_path / "without")
    (without.root / "mlflow.db").unlink()
    started = time.monotonic()
    assert without.copy(tmp_path / "undisturbed").apply().code == 0
    moments, seconds = random.Random(SEED), time.monotonic() - started
    for number in range(5):
        office, seconds = killed(without, tmp_path / str(number), moments.uniform(0.6, 0.99), seconds)
        assert holds_the_old_model_or_the_new_one(office, compliant)
        assert goes_on_to_the_same_end(office, compliant)
