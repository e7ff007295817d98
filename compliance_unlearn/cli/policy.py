"""`cu policy`: check a policy, and print the JSON Schemas of the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from compliance_unlearn.policy import LoadedPolicy
    from compliance_unlearn.registry import Registry

policy_app = typer.Typer(no_args_is_help=True, help="Check policy files.", rich_markup_mode=None)


@policy_app.command(
    epilog="Examples:\n\n"
    "  cu policy check policies/gdpr_req_123.yaml\n\n"
    "  cu policy check --json policies/gdpr_req_123.yaml"
)
def check(
    policy: Annotated[Path, typer.Argument(help="The policy file.", metavar="POLICY")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Check the form of a policy, and all names and parameters in it. Reads neither data nor models."""
    from compliance_unlearn.policy import LoadedPolicy
    from compliance_unlearn.registry import check_names, load_registry
    from compliance_unlearn.workspace import Workspace

    loaded, registry = LoadedPolicy.load(policy), load_registry()
    check_names(loaded, Workspace.find(policy), registry)
    summary = summarise(loaded, registry)
    typer.echo(json.dumps(summary) if as_json else in_words(summary), err=not as_json)


@policy_app.command(
    epilog="Examples:\n\n"
    "  cu policy schema > policy.schema.json\n\n"
    "  cu policy schema --workspace > workspace.schema.json"
)
def schema(
    workspace: Annotated[bool, typer.Option("--workspace", help="The schema of workspace.yaml.")] = False,
) -> None:
    """Print the JSON Schema of policy files, for editors and other tools."""
    from compliance_unlearn.policy import policy_schema
    from compliance_unlearn.workspace import workspace_schema

    typer.echo(schema_text(workspace_schema() if workspace else policy_schema()), nl=False)


def schema_text(data: dict[str, Any]) -> str:
    """A schema as it is printed and committed."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def summarise(loaded: LoadedPolicy, registry: Registry) -> dict[str, Any]:
    """What a policy asks for. Values of selectors are left out: they may name a subject, and output ends up in logs."""
    from compliance_unlearn.api import DEFAULT_PROFILE
    from compliance_unlearn.policy import describe

    policy = loaded.policy
    always = {spec.name for spec in registry.checks_of(policy.verify or DEFAULT_PROFILE)}
    return {
        "ok": True,
        "request": policy.request.id,
        "ground": policy.request.ground,
        "received": policy.request.received.isoformat(),
        "due": policy.request.due.isoformat(),
        "forget": f"records of `{policy.forget.dataset}` where {describe(loaded.forget_selector)}",
        "models": policy.models if policy.models == "affected" else list(policy.models),
        "retain": policy.retain.use,
        "strategy": policy.strategy.use,
        "checks": sorted(always | set(policy.accept)),
    }


def in_words(summary: dict[str, Any]) -> str:
    """The summary for a person."""
    models = summary["models"]
    return "\n".join(
        [
            f"ok: request {summary['request']} ({summary['ground']})",
            f"  received {summary['received']}, due {summary['due']}",
            f"  forget   {summary['forget']}",
            f"  models   {'all that were trained on them' if models == 'affected' else ', '.join(models)}",
            f"  strategy {summary['strategy']}, retain: {summary['retain']}",
            f"  checks   {', '.join(summary['checks'])}",
        ]
    )
