"""The other commands: set up, look, and ask for help."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Finished
from tests.e2e.office import CU, Office, environment

COMMANDS = [
    "init",
    "demo",
    "plan",
    "apply",
    "publish",
    "report",
    "doctor",
    "policy check",
    "policy schema",
    "plugins list",
]

PROBE = """
import sys
from compliance_unlearn.cli.main import main
sys.argv = ["cu", *sys.argv[1:]]
try:
    main()
finally:
    print(sorted({"torch", "mlflow", "transformers"} & set(sys.modules)), file=sys.stderr)
"""


def test_init_makes_a_workspace_of_an_empty_folder(tmp_path: Path) -> None:
    office = Office(tmp_path)
    done = office.cu("init")
    assert done.code == 0, done.err
    made = {path.name for path in tmp_path.iterdir()}
    assert {"workspace.yaml", "policies", ".cu", ".git", ".dvc", ".gitignore"} <= made
    assert office.cu("policy", "check", "policies/example.yaml").code == 0


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    office = Office(tmp_path)
    assert office.cu("init").code == 0
    before = office.snapshot()
    assert office.cu("init").code == 0
    assert office.snapshot() == before


def test_doctor_finds_a_healthy_workspace_healthy(template: Office) -> None:
    done = template.cu("doctor", "policies", "--json")
    assert done.code == 0, done.err
    assert all(finding["ok"] for finding in done.json)
    assert {"workspace", "data set faces", "model face-mae", "evidence"} <= {finding["what"] for finding in done.json}


def test_doctor_finds_changed_evidence(finished: Office) -> None:
    report = finished.evidence / finished.ledger[0]["bundle"] / "report.html"
    report.write_bytes(report.read_bytes() + b" ")
    done = finished.cu("doctor", "policies")
    assert done.code == 4
    assert "PROBLEM  evidence" in done.err


def test_report_lists_the_runs_and_copies_the_page(finished: Office) -> None:
    listed = finished.cu("report", "--workspace", "policies", "--json")
    assert listed.code == 0
    [entry] = listed.json
    page = Path(entry["report"])
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    copied = finished.cu("report", "gdpr-req-123", "--workspace", "policies", "--output", "page.html")
    assert copied.code == 0
    assert (finished.folder / "page.html").read_bytes() == page.read_bytes()


def test_report_knows_what_it_does_not_know(template: Office) -> None:
    done = template.cu("report", "another-request", "--workspace", "policies")
    assert done.code == 2
    assert "another-request" in done.err


def test_plan_counts_what_it_would_touch_and_changes_nothing(office: Office) -> None:
    before = office.snapshot()
    done = office.cu("plan", "policies/request.yaml", "--json")
    assert done.code == 0, done.err
    assert office.snapshot() == before
    [model] = done.json["plan"]["models"]
    counts = {name: model["counts"][name] for name in ("forget", "forget-held-out", "retain", "retain-held-out")}
    assert counts == {"forget": 7, "forget-held-out": 3, "retain": 273, "retain-held-out": 117}
    assert done.json["plan"]["due"] == "2026-12-02"
    assert "The pictures themselves." in done.json["plan"]["not_reached"]


def test_apply_does_what_was_planned(office: Office, compliant: Finished) -> None:
    plan = office.cu("plan", "policies/request.yaml", "--json")
    assert plan.json["plan_digest"] == compliant.done.json["plan_digest"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples(template: Office, command: str) -> None:
    done = template.cu(*command.split(), "--help")
    assert done.code == 0
    assert "Examples:" in done.out
    assert f"cu {command}" in done.out.split("Examples:")[1]


def test_help_names_every_command_and_exit_code(template: Office) -> None:
    done = template.cu("--help")
    assert done.code == 0
    assert all(command.split()[0] in done.out for command in COMMANDS)
    assert all(f"{code} " in done.out for code in range(7))


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["apply", "--help"], ["policy", "check", "policies/request.yaml"], ["plan", "policies/request.yaml"]],
    ids=" ".join,
)
def test_looking_loads_neither_torch_nor_mlflow(template: Office, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        cwd=template.folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"


def test_the_schema_that_is_printed_is_json(template: Office) -> None:
    done = template.cu("policy", "schema")
    assert json.loads(done.out)["properties"]["request"]
    assert CU.exists()
