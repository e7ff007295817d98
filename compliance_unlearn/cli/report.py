"""`cu report`: find and copy the page that people read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from compliance_unlearn.api.errors import PolicyError


def report(
    request: Annotated[str | None, typer.Argument(help="Id of the request; without it, all runs are listed.")] = None,
    folder: Annotated[Path, typer.Option("--workspace", help="A folder in the workspace.")] = Path(),
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Copy the page there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON on stdout.")] = False,
) -> None:
    """Find the report of a request, or list all runs.

    \b
    Examples:
      cu report --workspace policies
      cu report gdpr-req-123 --workspace policies
      cu report gdpr-req-123 --workspace policies --output report.html
    """
    from compliance_unlearn.cli.console import print_json
    from compliance_unlearn.evidence.ledger import Ledger
    from compliance_unlearn.workspace import Workspace

    workspace = Workspace.find(folder)
    ledger = Ledger(workspace.evidence)
    entries = ledger.entries if request is None else ledger.of_request(request)
    if request is not None and not entries:
        known = ", ".join(sorted({entry.request for entry in ledger.entries})) or "none"
        raise PolicyError(f"there is no run of request {request} in this workspace (known: {known})")
    if output is not None and request is None:
        raise PolicyError("--output needs the id of a request")
    pages = [ledger.bundle(entry).folder / "report.html" for entry in (entries if request is None else entries[-1:])]
    shown = entries if request is None else entries[-1:]
    if output is not None:
        shutil.copyfile(pages[0], output)
        pages = [output]
    if as_json:
        print_json(
            [{**entry.model_dump(mode="json"), "report": str(page)} for entry, page in zip(shown, pages, strict=True)]
        )
        return
    for entry, page in zip(shown, pages, strict=True):
        typer.echo(f"{entry.recorded:%Y-%m-%d %H:%M}  {entry.request}  {entry.verdict.value}  {page}")
    if not shown:
        typer.echo("no runs yet", err=True)
