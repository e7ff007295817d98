"""`cu demo`: build the demonstration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    folder: Annotated[Path, typer.Argument(help="Folder of the workspace file and the policy; made if absent.")] = Path(
        "policies"
    ),
) -> None:
    """Build the demonstration; reuses what is there.

    Puts real faces under DVC and trains a small model on them.

    \b
    Examples:
      cu demo
      cu demo somewhere/policies
      cu apply policies/gdpr_req_123.yaml     # afterwards: make it forget one person
    """
    import torch

    from compliance_unlearn.cli.console import ConsoleReporter
    from compliance_unlearn.demo.build import build_demo, write_policies
    from compliance_unlearn.registry import load_registry
    from compliance_unlearn.workspace import Workspace

    write_policies(folder)
    workspace = Workspace.load(folder / "workspace.yaml")
    build_demo(workspace, load_registry(), reporter=ConsoleReporter(), device=torch.device("cpu"))
    typer.echo(f"The demonstration is ready. Next: cu apply {folder / 'gdpr_req_123.yaml'}", err=True)
