"""A workspace with an MLflow database that was made once, and a bundle to publish."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cu_audit.bundle import Bundle
from cu_mlflow.params import MlflowParams
from cu_mlflow.settings import prepare_import, quiet
from cu_mlflow.sink import MlflowSink

from tests.bundles import build_bundle

prepare_import()


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database; making one takes seconds, copying it does not."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    with quiet():
        from mlflow import MlflowClient

        MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def root(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = tmp_path / "workspace"
    root.mkdir()
    shutil.copy(database, root / "mlflow.db")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    yield root
    assert list(elsewhere.iterdir()) == [], "publishing wrote into the current folder"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return build_bundle(tmp_path / "gdpr-req-123-ab12cd34")


@pytest.fixture
def sink(root: Path) -> MlflowSink:
    return MlflowSink(MlflowParams(), root)
