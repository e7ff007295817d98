"""`cu plan`: what would be done. Changes nothing, and loads no model."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compliance_unlearn.api.errors import PolicyError

if TYPE_CHECKING:
    from compliance_unlearn.api.plan import PlannedCheck, PlannedModel
    from compliance_unlearn.cli.console import ConsoleReporter
    from compliance_unlearn.engine.planning import ResolvedPlan


Verify = Annotated[
    str | None,
    typer.Option(help="How much to verify: quick, standard, thorough; at least what the policy demands."),
]
WithReference = Annotated[
    bool,
    typer.Option("--with-reference", help="Train a model without the records to forget, too, and compare."),
]

Seeds = Annotated[
    int,
    typer.Option(min=1, help="Unlearn so many times, to show the spread; the first one makes the candidate."),
]


def plan(
    policy: Annotated[Path, typer.Argument(help="The policy file of the request.")],
    verify: Verify = None,
    with_reference: WithReference = False,
    seeds: Seeds = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON on stdout.")] = False,
) -> None:
    """Show what a request would touch; changes nothing.

    Records, models, thresholds, what reviewers say, and copies of the data that will not be reached.

    \b
    Examples:
      cu plan policies/gdpr_req_123.yaml
      cu plan policies/gdpr_req_123.yaml --verify thorough
      cu plan policies/gdpr_req_123.yaml --json
    """
    from compliance_unlearn.cli.console import ConsoleReporter, print_json

    resolved = resolve(policy, verify, with_reference, seeds)
    if resolved.finished is None:
        _look_at_files(resolved, ConsoleReporter())
    if as_json:
        print_json(as_data(resolved))
    else:
        _print(resolved)
    if any(finding.severity == "block" for finding in resolved.findings):
        raise PolicyError(
            "the plan is blocked: " + "; ".join(f.message for f in resolved.findings if f.severity == "block")
        )


def resolve(policy: Path, verify: str | None = None, with_reference: bool = False, seeds: int = 1) -> ResolvedPlan:
    """Load and resolve a policy in its workspace.

    Raises:
        PolicyError: there is no such profile, or the policy demands more.
    """
    from compliance_unlearn.api import PROFILES
    from compliance_unlearn.engine.extent import Extent
    from compliance_unlearn.engine.planning import plan_policy
    from compliance_unlearn.registry import load_registry
    from compliance_unlearn.workspace import Workspace

    known = {str(profile): profile for profile in PROFILES}
    if verify is not None and verify not in known:
        raise PolicyError(f"--verify {verify}: there is no such profile (known: {', '.join(PROFILES)})")
    profile = None if verify is None else known[verify]
    workspace = Workspace.find(policy.parent)
    return plan_policy(policy, workspace, load_registry(), Extent(profile, with_reference, seeds))


def as_data(resolved: ResolvedPlan) -> dict[str, Any]:
    """The plan as JSON data."""
    return {
        "plan_digest": resolved.digest,
        "already_done": resolved.finished is not None,
        "findings": [finding.model_dump() for finding in resolved.findings],
        "plan": resolved.plan.model_dump(mode="json"),
    }


def _look_at_files(resolved: ResolvedPlan, reporter: ConsoleReporter) -> None:
    """Find now what `cu apply` would stop at: files that are missing or changed, and classes that cannot be read."""
    for name, sets in resolved.sets.items():
        with reporter.phase(f"Checking the files of {name}", 1) as advance:
            sets.look()
            advance()


def _in_words(model: PlannedModel) -> str:
    counts = model.counts
    return (
        f"{model.name}: {model.strategy}, {model.loop.steps} steps, data set {model.lineage.dataset} "
        f"at {model.lineage.revision[:10]}\n"
        f"  to forget: {counts['forget']} records it was trained on, {counts['forget-held-out']} it never saw\n"
        f"  to retain: {counts['retain']} records it was trained on, {counts['retain-held-out']} it never saw; "
        f"{counts['retain-used']} may be used"
    )


def _weight(check: PlannedCheck) -> str:
    if not check.decides:
        return "reported" + (": named, but it decides nothing with these settings" if check.demanded else "")
    return "decides" + (f", from {check.decides_from} records to forget on" if check.decides_from > 1 else "")


def _print(resolved: ResolvedPlan) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = resolved.plan
    console = Console(stderr=True, markup=False, emoji=False)
    left = (shown.due - date.today()).days
    console.print(
        Text.assemble("Request ", (shown.request, "bold"), f", {shown.ground}: received {shown.received}, "),
        f"due {shown.due} " + (f"({left} days left)" if left >= 0 else f"({-left} days overdue)"),
        sep="",
        highlight=False,
    )
    for model in shown.models:
        console.print(_in_words(model), highlight=False)
    if shown.seeds > 1:
        console.print(f"unlearned {shown.seeds} times, to show the spread", highlight=False)
    checks = Table("check", "settings", "outcome", title=f"verification: {shown.verify}")
    for check in shown.checks:
        settings = ", ".join(f"{key} {value}" for key, value in check.params.items() if value is not None)
        checks.add_row(check.name, settings or "-", _weight(check))
    console.print(checks)
    for finding in resolved.findings:
        console.print(f"{finding.severity}: {finding.message}", highlight=False)
    for copy in shown.not_reached:
        console.print(f"not reached: {copy}", highlight=False)
    if resolved.finished:
        console.print("This plan was carried out already; `cu apply` would show its result again.", highlight=False)
    console.print(f"plan digest {resolved.digest}", highlight=False, soft_wrap=True)
