"""Where a run took place, in so far as it can change the figures. No host, user or path."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import torch
from cu_audit.records import Environment

from compliance_unlearn.registry import Registry

PACKAGES = (
    "compliance-unlearn",
    "compliance-unlearn-audit",
    "numpy",
    "pillow",
    "safetensors",
    "scipy",
    "torch",
    "torchmetrics",
    "transformers",
)


def environment(registry: Registry) -> Environment:
    """Describe this machine and the code that took part."""
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        processor=str(torch.cpu.get_capabilities().get("cpu_name", "unknown")),
        threads=torch.get_num_threads(),
        packages={name: found for name in PACKAGES if (found := _version(name))},
        plugins=tuple(plugin.provenance for plugin in registry.plugins if plugin.error is None),
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
