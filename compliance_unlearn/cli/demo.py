"""`cu demo`: build a demonstration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of the workspace file and the policies; made if absent.  [default: policies, "
            "policies/examples/digits, policies/examples/garments]"
        ),
    ] = None,
    example: Annotated[str, typer.Option(help="faces, digits or garments.")] = "faces",
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder of the four files of Fashion-MNIST, for garments.")
    ] = None,
) -> None:
    """Build a demonstration; reuses what is there.

    Puts real pictures under DVC, faces, digits or garments, and trains small models on them.

    \b
    Examples:
      cu demo
      cu apply policies/gdpr_req_123.yaml     # afterwards: make it forget one person
      cu demo --example digits
      cu apply policies/examples/digits/forget_digit.yaml
      cu apply policies/examples/digits/forget_digit_diffusion.yaml
      cu demo somewhere --example garments --from fashion-mnist
    """
    import torch

    from compliance_unlearn.cli.console import ConsoleReporter
    from compliance_unlearn.demo.build import build_demo
    from compliance_unlearn.demo.examples import WORKSPACE, find_example, write_policies
    from compliance_unlearn.registry import load_registry
    from compliance_unlearn.workspace import Workspace

    found = find_example(example, source)
    place = folder or found.folder
    write_policies(found, place)
    workspace = Workspace.load(place / WORKSPACE)
    build_demo(found, workspace, load_registry(), reporter=ConsoleReporter(), device=torch.device("cpu"))
    next_commands = " and ".join(f"cu apply {place / policy}" for policy in found.policies)
    typer.echo(f"The demonstration is ready. Next: {next_commands}", err=True)
