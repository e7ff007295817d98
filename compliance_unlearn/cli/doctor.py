"""`cu doctor`: what is missing on this machine or in this workspace, and how to mend it."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from compliance_unlearn.api.errors import ComplianceError, WorkspaceError

ROOM_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    detail: str


def doctor(
    folder: Annotated[Path, typer.Argument(help="A folder in a workspace.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON on stdout.")] = False,
) -> None:
    """Say what would keep a run from working.

    Looks at this machine and at the workspace; changes nothing.

    \b
    Examples:
      cu doctor
      cu doctor policies
    """
    from compliance_unlearn.cli.console import print_json

    findings = [*_machine(), *_plugins(), *_workspace(folder)]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            typer.echo(f"{'ok     ' if finding.ok else 'PROBLEM'}  {finding.what}: {finding.detail}", err=True)
    problems = sum(not finding.ok for finding in findings)
    if problems:
        raise WorkspaceError(f"{problems} of {len(findings)} things need attention")


def _machine() -> list[Finding]:
    free = shutil.disk_usage(Path()).free
    git = shutil.which("git")
    return [
        Finding("Python", sys.version_info >= (3, 11), sys.version.split()[0]),
        Finding("git", git is not None, "found" if git else "not found; install git"),
        Finding(
            "disk", free > ROOM_BYTES, f"{free / 2**30:.1f} GiB free, at least {ROOM_BYTES / 2**30:.0f} GiB are wanted"
        ),
    ]


def _plugins() -> list[Finding]:
    from compliance_unlearn.registry import load_registry

    plugins = load_registry().plugins
    found = [
        Finding(f"plugin {plugin.name}", plugin.error is None, plugin.error or plugin.version) for plugin in plugins
    ]
    return found or [Finding("plugins", False, "none is installed; try `pip install compliance-unlearn[all]`")]


def _workspace(folder: Path) -> list[Finding]:
    from compliance_unlearn.engine.planning import open_dataset, open_lineage_store
    from compliance_unlearn.evidence.ledger import Ledger
    from compliance_unlearn.registry import load_registry
    from compliance_unlearn.workspace import Workspace, current_version

    try:
        workspace = Workspace.find(folder)
        workspace.require_ready()
    except ComplianceError as error:
        return [Finding("workspace", False, str(error))]
    registry = load_registry()
    findings = [Finding("workspace", True, str(workspace.root))]
    for name, dataset in workspace.file.datasets.items():
        try:
            store = open_lineage_store(workspace, registry)
            opened = open_dataset(workspace, registry, store, name, dataset.revision)
            findings.append(
                Finding(
                    f"data set {name}",
                    True,
                    f"{len(opened.source.resolve(None))} records at {opened.tree.pin.revision[:10]}",
                )
            )
        except ComplianceError as error:
            findings.append(Finding(f"data set {name}", False, str(error)))
    for name, model in workspace.file.models.items():
        try:
            findings.append(Finding(f"model {name}", True, f"version {current_version(workspace, model).name}"))
        except ComplianceError as error:
            findings.append(Finding(f"model {name}", False, str(error)))
    try:
        ledger = Ledger(workspace.evidence)
        for entry in ledger.entries:
            ledger.bundle(entry)
        findings.append(Finding("evidence", True, f"{len(ledger.entries)} bundles, all unchanged"))
    except ComplianceError as error:
        findings.append(Finding("evidence", False, str(error)))
    return findings
