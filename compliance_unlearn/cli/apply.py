"""`cu apply`: carry a request out."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compliance_unlearn.api.errors import PolicyError
from compliance_unlearn.cli.plan import Seeds, Verify, WithReference

if TYPE_CHECKING:
    from cu_audit.records import ModelResult

    from compliance_unlearn.engine.run import Applied

NOT_COMPLIANT = 3


def apply(
    policy: Annotated[Path, typer.Argument(help="The policy file of the request.")],
    plan_digest: Annotated[
        str | None, typer.Option("--plan", help="Refuse to run unless the plan still has this digest (see cu plan).")
    ] = None,
    verify: Verify = None,
    with_reference: WithReference = False,
    seeds: Seeds = 1,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
) -> None:
    """Carry a request out, and keep the evidence.

    Makes the affected models forget, measures it, seals the evidence, and promotes what passed. Run it
    again after an interruption: it carries on, and never does the same plan twice.

    \b
    Examples:
      cu apply policies/gdpr_req_123.yaml
      cu apply policies/gdpr_req_123.yaml --plan hmac-sha256:1f0c…
      cu apply policies/gdpr_req_123.yaml --verify thorough --with-reference
      cu apply policies/gdpr_req_123.yaml --seeds 3
      cu apply policies/gdpr_req_123.yaml --json > result.json
    """
    from compliance_unlearn.cli.console import ConsoleReporter, print_json
    from compliance_unlearn.cli.plan import resolve
    from compliance_unlearn.engine.room import require_room
    from compliance_unlearn.workspace import Workspace

    reporter = ConsoleReporter()
    workspace = Workspace.find(policy.parent)
    workspace.require_ready()
    require_room(workspace.root)
    with workspace.lock():
        resolved = resolve(policy, verify, with_reference, seeds)
        if plan_digest is not None and plan_digest != resolved.digest:
            raise PolicyError(
                "the plan is stale: the policy, the data or a model changed since it was made; look at `cu plan` again"
            )
        for finding in resolved.findings:
            reporter.note(f"{finding.severity}: {finding.message}")

        from compliance_unlearn.engine.run import Run

        run = Run(resolved, reporter=reporter, clock=lambda: datetime.now(UTC), device=device_named(device))
        applied = run.apply()
    if as_json:
        print_json(as_data(applied))
    else:
        _print(applied)
    _exit(applied)


def as_data(applied: Applied) -> dict[str, Any]:
    """The result as JSON data."""
    result = applied.bundle.result
    receipts = applied.receipts
    return {
        "request": result.request.id,
        "plan_digest": result.plan_digest,
        "verdict": result.verdict.value,
        "sentence": result.sentence,
        "bundle": str(applied.bundle.folder),
        "ledger_entry": applied.entry.model_dump(mode="json"),
        "tracker": {
            "run_id": receipts[0].run_id if receipts else None,
            "published": bool(receipts) and applied.unpublished is None,
        },
        "lineage": result.lineage.model_dump(mode="json"),
        "models": [_model(model) for model in result.models],
    }


def _model(model: ModelResult) -> dict[str, Any]:
    keys = {"name", "adapter", "strategy", "promoted", "counts", "seconds", "metrics", "checks", "repeats", "notes"}
    return {
        **model.model_dump(mode="json", include=keys),
        "candidate": {"path": model.candidate.path, "sha256": model.candidate.sha256},
    }


def device_named(name: str) -> Any:
    """Where to compute, deterministically.

    Raises:
        PolicyError: this machine cannot compute there.
    """
    import torch

    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise PolicyError(f"--device {name}: this machine cannot compute there") from error
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return device


def _print(applied: Applied) -> None:
    from rich.console import Console
    from rich.table import Table

    from compliance_unlearn.evidence import spread

    result, console = applied.bundle.result, Console(stderr=True, markup=False, emoji=False)
    for model in result.models:
        checks = Table("check on set", "verdict", "value", "interval", "asked", title=model.name)
        for check in model.checks:
            bounds = "-" if check.value is None else "exact"
            if check.interval:
                bounds = f"{check.interval.low:.3f} to {check.interval.high:.3f}"
            checks.add_row(
                f"{check.name} on {check.set} ({check.sample_size})" + ("" if check.gates else ", reported"),
                check.verdict.value,
                f"{_number(check.value)} {check.unit}",
                bounds,
                _number(check.threshold),
            )
        console.print(checks)
        for check in model.checks:
            if check.gates and check.verdict.value != "passed":
                console.print(f"{check.name} on {check.set}: {check.verdict.value}: {check.reason}", highlight=False)
        if model.repeats:
            seeds = Table("check on set", "this model", "lowest", "highest", "passed", title=spread.summary(model))
            for row in spread.rows(model):
                values = [_number(value) for value in (row.own, row.lowest, row.highest)]
                seeds.add_row(f"{row.name} on {row.set}", *values, row.tally)
            console.print(seeds)
        metrics = Table("figure on set", "before", "after", title=f"{model.name}: before and after")
        for name, sets in model.metrics.items():
            for set_name, figures in sets.items():
                metrics.add_row(f"{name} on {set_name}", _number(figures.before), _number(figures.after))
        console.print(metrics)
    if applied.reused:
        console.print("This plan was carried out before; this is its result.", highlight=False)
    console.print(result.sentence, style="bold", highlight=False)
    typer.echo(applied.bundle.folder)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _exit(applied: Applied) -> None:
    from cu_audit.records import Outcome

    if applied.unpublished is not None:
        typer.echo(f"cu: {applied.unpublished}", err=True)
    if applied.bundle.result.verdict is not Outcome.COMPLIANT:
        raise typer.Exit(NOT_COMPLIANT)
    if applied.unpublished is not None:
        raise typer.Exit(applied.unpublished.exit_code)
