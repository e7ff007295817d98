"""Writes the command reference and the JSON schemas; a test compares them with what is committed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMANDS = (
    (),
    ("init",),
    ("demo",),
    ("train",),
    ("policy", "check"),
    ("policy", "schema"),
    ("plan",),
    ("apply",),
    ("publish",),
    ("calibrate",),
    ("report",),
    ("verify",),
    ("plugins", "list"),
    ("doctor",),
)


def run_cu(*arguments: str) -> str:
    """Standard output of a `cu` command, at a fixed width."""
    command = [sys.executable, "-m", "compliance_unlearn", *arguments]
    environment = {"COLUMNS": "100", "PATH": "", "TERM": "dumb"}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout  # noqa: S603


def command_reference() -> str:
    """`docs/commands.md`: the help of every command."""
    parts = ["# Commands\n\nWritten by `make docs`.\n"]
    for command in COMMANDS:
        title = " ".join(("cu", *command))
        lines = [line.rstrip() for line in run_cu(*command, "--help").strip().splitlines()]
        parts.append(f"## {title}\n\n```\n" + "\n".join(lines) + "\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    (ROOT / "docs" / "commands.md").write_text(command_reference(), encoding="utf-8")
    for name, option in (("policy", ()), ("workspace", ("--workspace",))):
        schema = run_cu("policy", "schema", *option)
        (ROOT / "policies" / "schema" / f"{name}.schema.json").write_text(schema, encoding="utf-8")
