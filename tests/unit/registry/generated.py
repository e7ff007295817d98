"""Plugins that are written to disk by tests, with the metadata that pip would write, and found in the real way."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

HEADER = "from compliance_unlearn.api import AdapterSpec, CheckSpec, Finding, StrategySpec, hookimpl\n"

CHECK = (
    HEADER
    + """
@hookimpl
def cu_register_checks():
    return [CheckSpec(name="{name}", summary="a check", params="{module}.params:P", factory="{module}.things:make")]
"""
)


def write_plugin(folder: Path, name: str, hooks: str, **files: str) -> str:
    """Write distribution ``cu-test-<name>`` with package ``cu_test_<name>``; returns the name of the package."""
    package = f"cu_test_{name}"
    (folder / package).mkdir()
    for file, text in {"__init__": "", "hooks": hooks, **files}.items():
        (folder / package / f"{file}.py").write_text(text.replace("{module}", package))
    info = folder / f"{package}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: cu-test-{name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[compliance_unlearn]\n{name} = {package}.hooks\n")
    return package


@contextmanager
def installed(folder: Path) -> Iterator[Sequence[EntryPoint]]:
    """Put the folder on the import path; the entry points of the distributions in it."""
    sys.path.insert(0, str(folder))
    try:
        yield [
            point
            for distribution in distributions(path=[str(folder)])
            for point in distribution.entry_points.select(group="compliance_unlearn")
        ]
    finally:
        sys.path.remove(str(folder))
        for module in [name for name in sys.modules if name.startswith("cu_test_")]:
            del sys.modules[module]
        sys.path_importer_cache.pop(str(folder), None)
