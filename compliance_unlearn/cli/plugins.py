"""`cu plugins`: which plugins are installed, what they offer, and which are broken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from compliance_unlearn.registry import LoadedPlugin

plugins_app = typer.Typer(no_args_is_help=True, help="Look at the installed plugins.", rich_markup_mode=None)


@plugins_app.callback()
def plugins() -> None:
    """Look at the installed plugins."""


@plugins_app.command("list", epilog="Examples:\n\n  cu plugins list\n\n  cu plugins list --json")
def list_plugins(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """List all plugins with what they offer; the broken ones with the reason."""
    from compliance_unlearn.registry import load_registry

    registry = load_registry()
    if as_json:
        typer.echo(json.dumps({"plugins": [as_data(plugin) for plugin in registry.plugins]}))
        return

    show(registry.plugins)


def as_data(plugin: LoadedPlugin) -> dict[str, Any]:
    """One plugin as JSON data."""
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "sha256": plugin.sha256,
        "error": plugin.error,
        "objects": [{"kind": spec.kind, "name": spec.name, "summary": spec.summary} for spec in plugin.specs],
    }


def show(plugins: tuple[LoadedPlugin, ...]) -> None:
    """All plugins for a person, on stderr."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    for plugin in plugins:
        console.print(Text(plugin.name, style="bold"), Text(f"{plugin.distribution} {plugin.version}", style="dim"))
        table = Table.grid(padding=(0, 2, 0, 0))
        for spec in plugin.specs:
            table.add_row("", Text(spec.kind), Text(spec.name, no_wrap=True), Text(spec.summary))
        if plugin.error is not None:
            table.add_row("", Text("broken", style="bold yellow"), Text(plugin.error))
        console.print(table)
