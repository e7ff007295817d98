"""`cu verify`: is a bundle intact, and do its figures repeat?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compliance_unlearn.api.errors import PolicyError, WorkspaceError

if TYPE_CHECKING:
    from cu_audit.bundle import Bundle

    from compliance_unlearn.engine.planning import ResolvedPlan
    from compliance_unlearn.engine.rerun import Rerun

DIFFERS = 3
SHOWN = 10


def verify(
    bundle: Annotated[Path, typer.Argument(help="Folder of the evidence bundle, as cu apply prints it.")],
    rerun: Annotated[bool, typer.Option("--rerun", help="Measure again, and compare the figures.")] = False,
    policy: Annotated[
        Path | None, typer.Option(help="Policy of the run; without it, it is looked for beside workspace.yaml.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
) -> None:
    """Verify a bundle: its files, its place in the ledger, and with --rerun its figures. Changes nothing.

    On the machine and with the packages of the run every figure must repeat to the last bit; elsewhere
    within the tolerance that the bundle states, but for what rests on models that are trained anew: it
    is left out there, and named.

    \b
    Examples:
      cu verify demo-workspace/evidence/gdpr-req-123-1f0c…
      cu verify demo-workspace/evidence/gdpr-req-123-1f0c… --rerun
      cu verify BUNDLE --rerun --policy policies/gdpr_req_123.yaml --json
    """
    from compliance_unlearn.cli.console import print_json
    from compliance_unlearn.evidence.ledger import Ledger, open_bundle

    opened = open_bundle(bundle)
    ledger = Ledger(opened.folder.absolute().parent)
    if opened.sha256 not in {entry.bundle_sha256 for entry in ledger.entries}:
        raise WorkspaceError(f"evidence is damaged: the ledger beside {opened.folder.name} does not list it")
    found = _again(opened, policy, device) if rerun else None
    if as_json:
        print_json(as_data(opened, found))
    else:
        _print(opened, found)
    if found is not None and not found.repeats:
        raise typer.Exit(DIFFERS)


def as_data(bundle: Bundle, found: Rerun | None) -> dict[str, Any]:
    """The result as JSON data."""
    data: dict[str, Any] = {
        "bundle": str(bundle.folder),
        "bundle_sha256": bundle.sha256,
        "verdict": bundle.result.verdict.value,
        "files": "intact",
        "rerun": None,
    }
    if found is not None:
        data["rerun"] = {
            "repeats": found.repeats,
            "compared": found.compared,
            "different": len(found.differences),
            "beyond": [each.where for each in found.beyond],
            "same_environment": found.same_environment,
            "tolerance": found.tolerance,
            "left_out": list(found.left_out),
        }
    return data


def _again(bundle: Bundle, policy: Path | None, device: str) -> Rerun:
    from compliance_unlearn.cli.apply import device_named
    from compliance_unlearn.cli.console import ConsoleReporter
    from compliance_unlearn.engine.rerun import require_bundle_of, rerun

    resolved = _plan_of(bundle, policy)
    require_bundle_of(resolved, bundle)
    return rerun(resolved, bundle, reporter=ConsoleReporter(), device=device_named(device))


def _plan_of(bundle: Bundle, policy: Path | None) -> ResolvedPlan:
    """The plan of a bundle, made again from the policy that the bundle itself holds only redacted."""
    from cu_audit.bundle import PLAN

    from compliance_unlearn.api.plan import Plan
    from compliance_unlearn.engine.extent import Extent
    from compliance_unlearn.engine.planning import Planner
    from compliance_unlearn.evidence.ledger import Ledger
    from compliance_unlearn.policy import Policy
    from compliance_unlearn.registry import check_names, load_registry
    from compliance_unlearn.workspace import Workspace

    path = policy or _policy_of(bundle)
    workspace, registry = Workspace.find(path.parent), load_registry()
    ledger = Ledger(workspace.evidence)
    entries = [entry for entry in ledger.entries if entry.bundle_sha256 == bundle.sha256]
    if not entries:
        raise PolicyError("this bundle is not in the ledger of the workspace that its policy belongs to")
    loaded = Policy.load(path)
    check_names(loaded, workspace, registry)
    plan = Plan.model_validate_json((bundle.folder / PLAN).read_bytes())
    return Planner(loaded, workspace, registry, Extent.of(plan)).of_entry(entries[0])


def _policy_of(bundle: Bundle) -> Path:
    """The policy file of the bundle's request beside the ``workspace.yaml`` of a folder above or beside the bundle."""
    from compliance_unlearn.policy import Policy

    request = bundle.result.request.id
    for folder in bundle.folder.absolute().parents:
        for file in (*folder.glob("workspace.yaml"), *folder.glob("*/workspace.yaml")):
            for path in sorted(file.parent.glob("*.yaml")):
                try:
                    if path != file and Policy.load(path).policy.request.id == request:
                        return path
                except PolicyError:
                    continue
    raise PolicyError(f"no policy of request {request} was found near the bundle; name it with --policy")


def _print(bundle: Bundle, found: Rerun | None) -> None:
    typer.echo(f"{bundle.folder.name}: intact; {bundle.result.sentence}")
    if found is None:
        return
    where = "the environment of the run" if found.same_environment else "another environment than that of the run"
    typer.echo(f"measured again in {where}: {found.compared} figures and words compared")
    for each in found.beyond[:SHOWN]:
        typer.echo(f"  {each.where}: recorded {each.recorded}, found {each.found}")
    if len(found.beyond) > SHOWN:
        typer.echo(f"  and {len(found.beyond) - SHOWN} more")
    if not found.repeats:
        typer.echo(f"{len(found.beyond)} do not repeat")
    elif not found.differences:
        typer.echo("all of these repeat to the last bit")
    else:
        typer.echo(f"{len(found.differences)} differ, by no more than the bundle grants: {found.tolerance:g}")
    if not found.same_environment:
        typer.echo("not compared here: sentences, plots, unlearnings of other seeds")
    if found.left_out:
        typer.echo("not compared here, since a model is trained for them, which is another one on every machine:")
        for name in found.left_out:
            typer.echo(f"  {name}")
