"""Do all names in a policy and its workspace exist, and do their parameters fit? Needs neither data nor weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from compliance_unlearn.api import (
    DEFAULT_PROFILE,
    AdapterSpec,
    CheckSpec,
    DataSourceSpec,
    LineageStoreSpec,
    PluginError,
    PolicyError,
    SinkSpec,
    Spec,
    StrategySpec,
)
from compliance_unlearn.policy.errors import details, did_you_mean, error_lines, line
from compliance_unlearn.policy.model import LoadedPolicy
from compliance_unlearn.policy.yaml import Located, Location
from compliance_unlearn.registry.registry import Registered, Registry, UnknownName
from compliance_unlearn.registry.settings import strategy_params
from compliance_unlearn.workspace.model import ModelEntry
from compliance_unlearn.workspace.workspace import Workspace

SpecT = TypeVar("SpecT", bound=Spec)


def check_names(loaded: LoadedPolicy, workspace: Workspace, registry: Registry) -> None:
    """Check every name and parameter that the request touches.

    Raises:
        PolicyError: a line ``file:line:column: key: what is wrong`` for each error, in the policy or the workspace.
        PluginError: the same, if a plugin that is named is broken.
    """
    _Names(loaded, workspace, registry).check()


class _Names:
    """Collects the errors of one check."""

    def __init__(self, loaded: LoadedPolicy, workspace: Workspace, registry: Registry) -> None:
        self.policy = loaded.policy
        self.located = loaded.located
        self.workspace = workspace
        self.registry = registry
        self.lines: list[str] = []
        self.plugin_failed = False

    def check(self) -> None:
        self._datasets()
        self._models()
        self._checks()
        self._workspace_wide()
        if self.lines:
            raise (PluginError if self.plugin_failed else PolicyError)("\n".join(dict.fromkeys(self.lines)))

    def _datasets(self) -> None:
        self._dataset(self.located, ("forget", "dataset"), self.policy.forget.dataset)
        if self.policy.retain.dataset is not None:
            self._dataset(self.located, ("retain", "dataset"), self.policy.retain.dataset)

    def _dataset(self, located: Located, location: Location, name: str) -> None:
        if self._known(located, location, "data set", name, self.workspace.file.datasets):
            entry = self.workspace.file.datasets[name]
            at: Location = ("datasets", name)
            source = self._find(self.workspace.located, (*at, "source"), DataSourceSpec, entry.source)
            self._params(self.workspace.located, (*at, "params"), source, entry.params)
            self.workspace.showable_selector(name)

    def _models(self) -> None:
        strategy = self._find(self.located, ("strategy",), StrategySpec, self.policy.strategy.use)
        models = self.workspace.file.models
        named = tuple(models) if self.policy.models == "affected" else self.policy.models
        for index, name in enumerate(named):
            if self._known(self.located, ("models", index), "model", name, models):
                self._model(name, models[name])
                self._strategy(name, models[name], strategy)

    def _model(self, name: str, entry: ModelEntry) -> None:
        located, at = self.workspace.located, ("models", name)
        adapter = self._find(located, (*at, "adapter"), AdapterSpec, entry.adapter)
        self._params(located, (*at, "params"), adapter, entry.params)
        if adapter is not None and entry.task.kind not in adapter.spec.tasks:
            tasks = ", ".join(adapter.spec.tasks)
            self._add(located, (*at, "task"), f"`{entry.adapter}` cannot do `{entry.task.kind}`; it can do: {tasks}")
        self._dataset(located, (*at, "training", "dataset"), entry.training.dataset)
        self.workspace.training_selector(name)
        for other in entry.strategies:
            self._find(located, (*at, "strategies", other), StrategySpec, other)

    def _strategy(self, name: str, entry: ModelEntry, strategy: Registered[StrategySpec] | None) -> None:
        """Merged parameters: an error stands where the value came from, a missing key in the policy."""
        if strategy is None:
            return
        use = self.policy.strategy
        at: Location = ("models", name, "strategies", use.use, "params")
        try:
            self.registry.params(strategy, strategy_params(use, entry))
        except ValidationError as error:
            for detail in details(error):
                key = detail["loc"][0] if detail["loc"] else ""
                if key not in use.params and (*at, key) in self.workspace.located.values:
                    self._report(self.workspace.located, at, strategy, [detail])
                else:
                    self._report(self.located, ("strategy", "params"), strategy, [detail])
        except PluginError as error:
            self._add(self.located, ("strategy",), str(error), plugin=True)

    def _checks(self) -> None:
        for name, params in self.policy.accept.items():
            check = self._find(self.located, ("accept", name), CheckSpec, name)
            self._params(self.located, ("accept", name), check, params)
        known = [each.spec for each in self.registry.specs(CheckSpec)]
        forgetting = sorted(spec.name for spec in known if spec.tests_forgetting)
        if not set(forgetting) & set(self.policy.accept) and set(self.policy.accept) <= {spec.name for spec in known}:
            needed = ", ".join(forgetting) or "none is installed"
            self._add(self.located, ("accept",), f"names no check that tests forgetting; name one of: {needed}")
        for spec in self.registry.checks_of(self.policy.verify or DEFAULT_PROFILE):
            if spec.name not in self.policy.accept:
                self._params(self.located, ("accept",), self.registry.find(CheckSpec, spec.name), {})

    def _workspace_wide(self) -> None:
        located, file = self.workspace.located, self.workspace.file
        store = self._find(located, ("lineage",), LineageStoreSpec, file.lineage.use)
        self._params(located, ("lineage", "params"), store, file.lineage.params)
        for name, params in file.evidence.sinks.items():
            sink = self._find(located, ("evidence", "sinks", name), SinkSpec, name)
            self._params(located, ("evidence", "sinks", name), sink, params)

    def _find(self, located: Located, at: Location, kind: type[SpecT], name: str) -> Registered[SpecT] | None:
        try:
            return self.registry.find(kind, name)
        except (UnknownName, PluginError) as error:
            self._add(located, at, str(error), plugin=isinstance(error, PluginError), of_key=at[-1] == name)
            return None

    def _params(self, located: Located, at: Location, found: Registered[SpecT] | None, raw: Mapping[str, Any]) -> None:
        if found is None:
            return
        try:
            self.registry.params(found, raw)
        except ValidationError as error:
            self._report(located, at, found, details(error))
        except PluginError as error:
            self._add(located, at, str(error), plugin=True)

    def _report(self, located: Located, at: Location, found: Registered[SpecT], errors: list[ErrorDetails]) -> None:
        self.lines.extend(error_lines(errors, located, at, self.registry.params_model(found)))

    def _known(self, located: Located, at: Location, what: str, name: str, known: Iterable[str]) -> bool:
        if name in known:
            return True
        self._add(located, at, f"the workspace has no {what} `{name}`{did_you_mean(name, known)}")
        return False

    def _add(self, located: Located, at: Location, message: str, *, plugin: bool = False, of_key: bool = False) -> None:
        self.plugin_failed = self.plugin_failed or plugin
        self.lines.append(line(located, located.within(at), message, of_key=of_key))
