"""`cu publish`: send evidence that a sink does not have yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cu_audit.records import Receipt

    from compliance_unlearn.api import PublishError


def publish(
    request: Annotated[str | None, typer.Argument(help="Id of the request; without it, everything is sent.")] = None,
    folder: Annotated[Path, typer.Option("--workspace", help="A folder in the workspace.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print the receipts as JSON on stdout.")] = False,
) -> None:
    """Publish evidence that a sink does not have yet.

    Publishing twice leaves one record.

    \b
    Examples:
      cu publish --workspace policies
      cu publish gdpr-req-123 --workspace policies --json
    """
    from compliance_unlearn.cli.console import ConsoleReporter, print_json
    from compliance_unlearn.evidence.ledger import Ledger
    from compliance_unlearn.evidence.publishing import publish as publish_bundle
    from compliance_unlearn.evidence.publishing import unpublished
    from compliance_unlearn.registry import load_registry
    from compliance_unlearn.workspace import Workspace

    workspace, registry, reporter = Workspace.find(folder), load_registry(), ConsoleReporter()
    receipts: list[Receipt] = []
    failure: PublishError | None = None
    with workspace.lock():
        ledger = Ledger(workspace.evidence)
        entries = ledger.entries if request is None else ledger.of_request(request)
        for bundle in unpublished(workspace, (ledger.bundle(entry) for entry in entries)):
            found, failed = publish_bundle(bundle, workspace, registry, reporter)
            receipts += found
            failure = failure or failed
    if as_json:
        print_json([receipt.model_dump(mode="json") for receipt in receipts])
    else:
        typer.echo(f"{len(receipts)} published" if receipts else "nothing to publish", err=True)
    if failure:
        raise failure
