"""`kill -9` at any moment of `cu apply`, then `cu apply` again: the same weights, and everything once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Finished
from tests.e2e.office import Office

SEED = 20261102


def kill_after(office: Office, seconds: float) -> bool:
    """Run `cu apply` and kill it and all its children; says whether there was still something to kill."""
    process = office.start("--json")
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True
    return False


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


@pytest.mark.parametrize("share", [0.45, 0.65, 0.85])
def test_a_killed_run_goes_on_to_the_same_bits(office: Office, compliant: Finished, share: float) -> None:
    kill_after(office, share * compliant.seconds)
    assert holds_the_old_model_or_the_new_one(office, compliant)
    assert goes_on_to_the_same_end(office, compliant)


@pytest.mark.slow
def test_twenty_random_moments(template: Office, compliant: Finished, tmp_path: Path) -> None:
    moments = random.Random(SEED)
    killed = 0
    for number in range(20):
        office = template.copy(tmp_path / f"office-{number}")
        killed += kill_after(office, moments.uniform(0.0, compliant.seconds))
        assert holds_the_old_model_or_the_new_one(office, compliant)
        assert goes_on_to_the_same_end(office, compliant)
    assert killed >= 15


@pytest.mark.slow
def test_killed_again_and_again(office: Office, compliant: Finished) -> None:
    """The same run, killed at ten growing moments before it may end."""
    moments = sorted(random.Random(SEED).uniform(0.3 * compliant.seconds, compliant.seconds) for _ in range(10))
    for moment in moments:
        kill_after(office, moment)
        assert holds_the_old_model_or_the_new_one(office, compliant)
    assert goes_on_to_the_same_end(office, compliant)


@pytest.mark.slow
def test_killed_while_the_tracker_makes_its_database(template: Office, compliant: Finished, tmp_path: Path) -> None:
    moments = random.Random(SEED)
    for number in range(5):
        office = template.copy(tmp_path / f"office-{number}")
        (office.root / "mlflow.db").unlink()
        kill_after(office, moments.uniform(0.85 * compliant.seconds, compliant.seconds + 5.0))
        assert holds_the_old_model_or_the_new_one(office, compliant)
        assert goes_on_to_the_same_end(office, compliant)
