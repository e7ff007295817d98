"""`cu plugins`: which plugins are installed, what they offer, and which are broken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

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

    from rich.console import Console

    console = Console(stderr=True)
    console.print(as_table(registry.plugins))
    for plugin in registry.broken:
        console.print(f"plugin {plugin.name} is broken: {plugin.error}", style="yellow", markup=False, highlight=False)


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


def as_table(plugins: tuple[LoadedPlugin, ...]) -> Table:
    """All plugins for a person, one row an object."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("plugin", "distribution", "kind", "name", "what it is")
    for plugin in plugins:
        origin = (escape(plugin.name), escape(f"{plugin.distribution} {plugin.version}"))
        if plugin.error is not None:
            table.add_row(*origin, "", "", "broken, see below")
        for spec in plugin.specs:
            table.add_row(*origin, spec.kind, spec.name, escape(spec.summary))
    return table
