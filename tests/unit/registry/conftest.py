"""A folder for plugins that tests write, and the plugin that is really installed."""

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from compliance_unlearn.registry import Registry, load_registry
from tests.unit.registry.generated import installed

Load = Callable[[], Registry]


@pytest.fixture
def echo() -> Registry:
    """The registry with the installed echo plugin alone."""
    return load_registry(list(entry_points(group="compliance_unlearn", name="echo")))


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """Where tests write plugins."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


@pytest.fixture
def load(plugins: Path) -> Load:
    """Load what was written, beside the echo plugin."""

    def load_written() -> Registry:
        with installed(plugins) as points:
            return load_registry([*points, *entry_points(group="compliance_unlearn", name="echo")])

    return load_written
