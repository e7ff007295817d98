"""`cu init`: set a workspace up."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

TEMPLATES = {"workspace.yaml": "workspace.yaml", "policies/example.yaml": "policy.yaml"}


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the workspace; made if it does not exist.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON on stdout.")] = False,
) -> None:
    """Set a workspace up; overwrites nothing.

    Makes a commented workspace.yaml, an example policy, a key, and a git and DVC repository.

    \b
    Examples:
      cu init my-workspace
      cu init              # in the folder of an existing workspace.yaml: makes what is missing
    """
    from compliance_unlearn.cli.console import print_json
    from compliance_unlearn.engine.planning import open_lineage_store
    from compliance_unlearn.registry import load_registry
    from compliance_unlearn.workspace import Workspace

    made = _write_templates(folder)
    workspace = Workspace.load(folder / "workspace.yaml")
    workspace.initialise()
    open_lineage_store(workspace, load_registry()).initialise()
    if as_json:
        print_json({"root": str(workspace.root), "made": made})
        return
    typer.echo(f"The workspace {workspace.root} is ready.", err=True)
    if made:
        typer.echo(
            f"Made {', '.join(made)}. Say there where data and models are, then run `cu plan policies/example.yaml`.",
            err=True,
        )


def _write_templates(folder: Path) -> list[str]:
    """Write the templates; a folder that has a workspace.yaml is left as it is."""
    if (folder / "workspace.yaml").exists():
        return []
    made = []
    for name, template in TEMPLATES.items():
        target = folder / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(files("compliance_unlearn.cli").joinpath("templates", template).read_bytes())
            made.append(name)
    return made
