"""From entry points to plugins. Each plugin is loaded by itself: what one of them breaks, no other one notices."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

import pluggy

from compliance_unlearn.api import API_VERSION, PluginError, Spec, hookspecs
from compliance_unlearn.registry.provenance import code_sha256
from compliance_unlearn.registry.registry import REGISTERING_HOOKS, LoadedPlugin, Registry

GROUP = "compliance_unlearn"

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_IMPORT_STRING = re.compile(r"[\w.]+:[\w.]+")


def load_registry(points: Sequence[EntryPoint] | None = None) -> Registry:
    """Load every installed plugin. A broken one is listed with the reason, and raises only when it is asked for.

    Args:
        points: the entry points to load; by default those of group ``compliance_unlearn``.
    """
    found = entry_points(group=GROUP) if points is None else points
    plugins: list[LoadedPlugin] = []
    for point in sorted(found, key=lambda each: (each.name, each.value)):
        plugins.append(_refuse_duplicates(_load(point), plugins))
    return Registry(tuple(plugins))


def _load(point: EntryPoint) -> LoadedPlugin:
    distribution = point.dist
    plugin = LoadedPlugin(
        name=point.name,
        distribution=distribution.name if distribution else "unknown",
        version=distribution.version if distribution else "unknown",
        sha256=code_sha256(point.module),
    )
    try:
        hooks = _hooks(point)
        specs = tuple(spec for hook, kind in REGISTERING_HOOKS.items() for spec in _call(hooks, hook, kind))
        declared = tuple((spec.kind, spec.name) for spec in specs)
    except PluginError as error:
        return replace(plugin, error=str(error))
    problem = _problem(specs)
    if problem:
        return replace(plugin, error=problem, declared=declared)
    return replace(plugin, specs=specs, declared=declared, hooks=hooks)


def _hooks(point: EntryPoint) -> pluggy.PluginManager:
    """Import the hook module, and check its hooks against the specifications."""
    module = _import(point)
    unmarked = [name for name, value in vars(module).items() if name.startswith("cu_") and _unmarked(module, value)]
    if unmarked:
        raise PluginError(f"{', '.join(unmarked)}: mark hooks with `@hookimpl` of compliance_unlearn.api")
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(module, point.name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(_one_line(error)) from error
    if not manager.get_hookcallers(module):
        raise PluginError(f"{point.value} has no hook; mark its functions with `@hookimpl` of compliance_unlearn.api")
    return manager


def _unmarked(module: ModuleType, value: object) -> bool:
    own = inspect.isfunction(value) and value.__module__ == module.__name__
    return own and not hasattr(value, f"{hookspecs.PROJECT}_impl")


def _import(point: EntryPoint) -> ModuleType:
    try:
        module = point.load()
    except (Exception, SystemExit) as error:  # the plugin boundary: importing runs foreign code
        raise PluginError(f"cannot be imported: {type(error).__name__}: {_one_line(error)}") from error
    if not isinstance(module, ModuleType):
        raise PluginError(f"{point.value} is not a module; the entry point must name a hook module")
    return module


def _call(hooks: pluggy.PluginManager, hook: str, kind: type[Spec]) -> tuple[Spec, ...]:
    try:
        results = getattr(hooks.hook, hook)()
    except (Exception, SystemExit) as error:  # the plugin boundary: hooks are foreign code
        raise PluginError(f"{hook} raised {type(error).__name__}: {_one_line(error)}") from error
    if not results:
        return ()
    specs = results[0]
    if not isinstance(specs, list | tuple) or not all(type(spec) is kind for spec in specs):
        raise PluginError(f"{hook} must return a list of {kind.__name__}")
    if not all(isinstance(spec.name, str) for spec in specs):
        raise PluginError(f"{hook}: names must be text")
    return tuple(specs)


def _problem(specs: Sequence[Spec]) -> str | None:
    """What is wrong with the specs of one plugin."""
    names: set[tuple[str, str]] = set()
    for spec in specs:
        title = f"{spec.kind} `{spec.name}`"
        if spec.api_version != API_VERSION:
            return f"{title} was written for version {spec.api_version} of the API; this is version {API_VERSION}"
        if not _NAME.fullmatch(spec.name):
            return f"{title}: a name is made of lower-case words joined by hyphens"
        for value in (spec.params, spec.factory):
            if not isinstance(value, str) or not _IMPORT_STRING.fullmatch(value):
                return f"{title}: params and factory must read `package.module:name`"
        if not isinstance(spec.summary, str) or len(spec.summary.splitlines()) != 1:
            return f"{title}: the summary must be one line"
        if (spec.kind, spec.name) in names:
            return f"{title} is registered twice"
        names.add((spec.kind, spec.name))
    return None


def _refuse_duplicates(plugin: LoadedPlugin, before: Sequence[LoadedPlugin]) -> LoadedPlugin:
    """The earlier plugin, by name of the entry point, keeps a name that two plugins claim."""
    for other in before:
        if other.name == plugin.name:
            reason = f"{other.distribution} and {plugin.distribution} both have a plugin `{plugin.name}`"
            return replace(plugin, error=reason, specs=(), hooks=None)
        shared = sorted(set(other.declared or ()) & set(plugin.declared or ()))
        if shared and other.error is None and plugin.error is None:
            kind, name = shared[0]
            reason = f"{kind} `{name}` is registered by plugin `{other.name}` and again by `{plugin.name}`"
            return replace(plugin, error=reason, specs=(), hooks=None)
    return plugin


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
