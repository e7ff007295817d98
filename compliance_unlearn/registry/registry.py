"""The registry: a name in a policy or workspace -> the object of a plugin."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import pluggy
from cu_audit.records import PluginProvenance, RunResult
from pydantic import BaseModel

from compliance_unlearn.api import (
    PROFILES,
    AdapterSpec,
    CheckSpec,
    DataSourceSpec,
    Finding,
    LineageStoreSpec,
    Plan,
    PluginError,
    PolicyError,
    Profile,
    SinkSpec,
    Spec,
    StrategySpec,
)
from compliance_unlearn.api.boundary import plugin_boundary
from compliance_unlearn.registry.imports import import_string

SpecT = TypeVar("SpecT", bound=Spec)

REGISTERING_HOOKS: Mapping[str, type[Spec]] = {
    "cu_register_model_adapters": AdapterSpec,
    "cu_register_strategies": StrategySpec,
    "cu_register_checks": CheckSpec,
    "cu_register_data_sources": DataSourceSpec,
    "cu_register_lineage_stores": LineageStoreSpec,
    "cu_register_evidence_sinks": SinkSpec,
}


class UnknownName(PolicyError):  # noqa: N818 - it says what happened
    """A policy or workspace names something that no plugin offers."""


@dataclass(frozen=True)
class LoadedPlugin:
    """One plugin, loaded or broken.

    Attributes:
        name: of the entry point.
        distribution: that brought it.
        version: of the distribution.
        sha256: over its Python files.
        error: why it cannot be used, None if it can.
        specs: what it offers; empty if it is broken.
        declared: kind and name of all that it wanted to offer, None if it broke before it could say.
        hooks: its hooks, None if it is broken.
    """

    name: str
    distribution: str
    version: str
    sha256: str
    error: str | None = None
    specs: tuple[Spec, ...] = ()
    declared: tuple[tuple[str, str], ...] | None = None
    hooks: pluggy.PluginManager | None = field(default=None, repr=False, compare=False)

    @property
    def provenance(self) -> PluginProvenance:
        """What the evidence says about it."""
        return PluginProvenance(
            plugin=self.name, distribution=self.distribution, version=self.version, sha256=self.sha256
        )


@dataclass(frozen=True)
class Registered(Generic[SpecT]):
    """A spec, and the plugin that it came from."""

    spec: SpecT
    plugin: LoadedPlugin


class Registry:
    """All plugins. Reading it imports nothing heavy; `make` does."""

    def __init__(self, plugins: tuple[LoadedPlugin, ...]) -> None:
        self.plugins = plugins

    @property
    def broken(self) -> tuple[LoadedPlugin, ...]:
        """Plugins that cannot be used."""
        return tuple(plugin for plugin in self.plugins if plugin.error is not None)

    def specs(self, kind: type[SpecT]) -> tuple[Registered[SpecT], ...]:
        """All objects of one kind, sorted by name."""
        found = [Registered(spec, plugin) for plugin in self.plugins for spec in plugin.specs if isinstance(spec, kind)]
        return tuple(sorted(found, key=lambda each: each.spec.name))

    def find(self, kind: type[SpecT], name: str) -> Registered[SpecT]:
        """The object of that kind and name.

        Raises:
            PluginError: the plugin that has it, or may have it, is broken.
            UnknownName: no plugin has it; the message lists what there is.
        """
        for registered in self.specs(kind):
            if registered.spec.name == name:
                return registered
        message = f"there is no {kind.kind} `{name}`{_suggest(name, (each.spec.name for each in self.specs(kind)))}"
        holders = [each for each in self.broken if (kind.kind, name) in (each.declared or ())]
        suspects = holders or [each for each in self.broken if each.declared is None]
        if suspects:
            reasons = "; ".join(
                f"plugin `{each.name}` ({each.distribution}) is broken: {each.error}" for each in suspects
            )
            raise PluginError(f"{message}; {reasons}")
        raise UnknownName(message)

    def params(self, registered: Registered[SpecT], raw: Mapping[str, Any]) -> BaseModel:
        """Validate parameters with the plugin's own model.

        Raises:
            pydantic.ValidationError: for the caller, who knows where the parameters stand.
            PluginError: the model cannot be imported, or would let unknown keys pass.
        """
        return self.params_model(registered).model_validate(dict(raw))

    def params_model(self, registered: Registered[SpecT]) -> type[BaseModel]:
        """The pydantic model of an object's parameters.

        Raises:
            PluginError: it cannot be imported, or would let unknown keys pass: a misspelt threshold must never be lost.
        """
        title = _title(registered)
        model = import_string(registered.spec.params, title)
        if not isinstance(model, type) or not issubclass(model, BaseModel):
            raise PluginError(f"{title}: {registered.spec.params} is not a pydantic model")
        if model.model_config.get("extra") != "forbid":
            raise PluginError(
                f'{title}: {registered.spec.params} must have `model_config = ConfigDict(extra="forbid")`'
            )
        return model

    def make(self, registered: Registered[SpecT], *args: object) -> Any:
        """Import the factory and make the object; this is where heavy libraries are loaded.

        Raises:
            PluginError: the factory cannot be imported or raises.
        """
        title = _title(registered)
        factory = import_string(registered.spec.factory, title)
        if not callable(factory):
            raise PluginError(f"{title}: {registered.spec.factory} cannot be called")
        with plugin_boundary(title, "factory"):
            return factory(*args)

    def checks_of(self, profile: Profile) -> tuple[CheckSpec, ...]:
        """Checks that run under a profile, named by the policy or not."""
        included = PROFILES[: PROFILES.index(profile) + 1]
        return tuple(each.spec for each in self.specs(CheckSpec) if each.spec.profile in included)

    def review(self, plan: Plan) -> tuple[Finding, ...]:
        """What plugins say about a plan. A reviewer that fails blocks: nobody knows what it would have said."""
        findings: list[Finding] = []
        for plugin in self.plugins:
            if plugin.hooks is None:
                continue
            try:
                findings.extend(_review(plugin.hooks, plan.model_copy(deep=True)))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the plugin boundary: hooks are foreign code
                reason = f"plugin `{plugin.name}` could not review the plan: {type(error).__name__}"
                findings.append(Finding(severity="block", message=reason))
        return tuple(findings)

    def finished(self, result: RunResult) -> list[str]:
        """Tell plugins that a run is over; returns a warning for each one that raised."""
        warnings: list[str] = []
        for plugin in self.plugins:
            if plugin.hooks is None:
                continue
            try:
                plugin.hooks.hook.cu_run_finished(summary=result.model_copy(deep=True))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the plugin boundary: hooks are foreign code
                warnings.append(f"plugin `{plugin.name}`: cu_run_finished raised {type(error).__name__}")
        return warnings


def _review(hooks: pluggy.PluginManager, plan: Plan) -> list[Finding]:
    findings = [finding for findings in hooks.hook.cu_review_plan(plan=plan) for finding in findings]
    if not all(isinstance(finding, Finding) for finding in findings):
        raise TypeError("cu_review_plan must return findings")
    return findings


def _title(registered: Registered[SpecT]) -> str:
    return f"{registered.spec.kind} `{registered.spec.name}` (plugin `{registered.plugin.name}`)"


def _suggest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    return f"{hint} (known: {', '.join(names) or 'none'})"
