"""What a person sees on stderr: phases with bars, notes, tables. stdout is for results alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from compliance_unlearn.engine.reporting import Advance


class ConsoleReporter:
    """Shows phases as progress bars with the time left, on stderr."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, markup=False, emoji=False)

    @contextmanager
    def phase(self, title: str, total: int) -> Iterator[Advance]:
        """A bar while the phase lasts, and a line with its duration afterwards."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=self.console, disable=not self.console.is_terminal, transient=True) as progress:
            task = progress.add_task(title, total=total, note="")

            def advance(done: int = 1, note: str = "") -> None:
                if note:
                    progress.update(task, note=note)
                progress.advance(task, done)

            yield advance
            elapsed = progress.tasks[0].elapsed or 0.0
        self.console.print(f"{title}: done in {elapsed:.1f} s", highlight=False)

    def note(self, message: str) -> None:
        """A line of prose."""
        self.console.print(message, highlight=False)


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
