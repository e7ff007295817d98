"""`cu policy` and `cu plugins` as a person and a machine see them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.policy.examples import policy_file
from tests.unit.workspace.examples import workspace_file


def cu(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, and fail if that loads a heavy library."""
    program = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('LOADED', {'torch', 'mlflow'} & set(sys.modules), file=sys.stderr))\n"
        "from compliance_unlearn.cli.main import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", program, *arguments]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert "LOADED set()" in shown.stderr
    return shown


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    workspace_file(tmp_path)
    return tmp_path / "policies"


def test_a_right_policy_is_told_in_words(folder: Path) -> None:
    policy_file(folder)
    shown = cu("policy", "check", "request.yaml", folder=folder)
    assert shown.returncode == 0
    assert shown.stdout == ""
    for words in ("ok: request gdpr-req-123", "due 2026-12-02", "`faces` where `subject`", "echo-drift"):
        assert words in shown.stderr
    assert "s17" not in shown.stderr


def test_a_right_policy_is_told_to_machines(folder: Path) -> None:
    policy_file(folder)
    shown = cu("policy", "check", "--json", "request.yaml", folder=folder)
    summary = json.loads(shown.stdout)
    assert summary["ok"] is True
    assert (summary["request"], summary["due"], summary["models"]) == ("gdpr-req-123", "2026-12-02", "affected")
    assert "s17" not in shown.stdout


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("version: 1", "vershun: 1", "request.yaml:1:1: vershun"),
        ("2026-11-02", "2026-02-30", "request.yaml:5:13: request.received"),
        ("echo-drift", "no-such-check", "request.yaml:12:3: accept.no-such-check"),
        ("affected", "&a affected", "request.yaml:9:9: "),
    ],
)
def test_a_wrong_policy_gets_a_line_and_exit_code_2_and_changes_nothing(
    folder: Path, old: str, new: str, place: str
) -> None:
    policy_file(folder, (old, new))
    before = sorted(folder.parent.rglob("*"))
    shown = cu("policy", "check", "request.yaml", folder=folder)
    assert shown.returncode == 2
    assert place in shown.stderr
    assert "Traceback" not in shown.stderr
    assert sorted(folder.parent.rglob("*")) == before


def test_plugins_are_listed_for_machines_and_for_people(folder: Path) -> None:
    listed = json.loads(cu("plugins", "list", "--json", folder=folder).stdout)["plugins"]
    echo = next(each for each in listed if each["name"] == "echo")
    assert echo["distribution"] == "compliance-unlearn-echo"
    assert {"kind": "check", "name": "echo-counts", "summary": "there is something to forget"} in echo["objects"]
    shown = cu("plugins", "list", folder=folder)
    assert shown.stdout == ""
    assert "compliance-unlearn-echo 0.1.0" in shown.stderr


@pytest.mark.parametrize("command", [("policy", "check"), ("policy", "schema"), ("plugins", "list")])
def test_help_gives_examples(folder: Path, command: tuple[str, ...]) -> None:
    shown = cu(*command, "--help", folder=folder)
    assert f"cu {' '.join(command)}" in shown.stdout.partition("Examples:")[2]
