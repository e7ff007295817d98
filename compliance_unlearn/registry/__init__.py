"""The registry: from the entry points of installed plugins to the objects that policies and workspaces name."""

from compliance_unlearn.registry.loader import load_registry
from compliance_unlearn.registry.names import check_names
from compliance_unlearn.registry.provenance import code_sha256
from compliance_unlearn.registry.registry import LoadedPlugin, Registered, Registry, UnknownName
from compliance_unlearn.registry.settings import loop_settings, strategy_params, training_settings

__all__ = [
    "LoadedPlugin",
    "Registered",
    "Registry",
    "UnknownName",
    "check_names",
    "code_sha256",
    "load_registry",
    "loop_settings",
    "strategy_params",
    "training_settings",
]
