"""One workspace with real faces and a small MAE, made once with `cu demo` and copied for every test."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from cu_mlflow.settings import prepare_import, quiet
from PIL import Image

from tests.e2e.office import NO_STEPS, POLICY, WORKSPACE, Done, Office


@dataclass(frozen=True)
class Finished:
    """A request that was carried out, for tests that only look."""

    before: Office
    office: Office
    done: Done
    seconds: float


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """A workspace in which nothing was ever forgotten."""
    office = Office(tmp_path_factory.mktemp("template") / "office")
    office.policy_file.parent.mkdir(parents=True)
    office.workspace_file.write_text(WORKSPACE, encoding="utf-8")
    (office.policy_file.parent / "gdpr_req_123.yaml").write_text(POLICY, encoding="utf-8")
    done = office.cu("demo", "policies")
    assert done.code == 0, done.err
    (office.policy_file.parent / "gdpr_req_123.yaml").rename(office.policy_file)
    _add_strangers(office)
    _make_database(office)
    return office


def _add_strangers(office: Office) -> None:
    """A second data set, of pictures that the model never saw: three people's faces upside down."""
    folder = office.root / "data" / "strangers" / "train" / "upside-down"
    folder.mkdir(parents=True)
    for number, path in enumerate(sorted((office.root / "data" / "faces" / "images").iterdir())[:30]):
        with Image.open(path) as image:
            image.transpose(Image.Transpose.ROTATE_180).save(folder / f"{number:02}.png")
    office.tool("dvc", "add", "--quiet", "data/strangers")
    office.tool("git", "add", "data/strangers.dvc", "data/.gitignore")
    office.tool("git", "commit", "--quiet", "--message", "Add the strangers")
    office.tool("git", "tag", "strangers-v1")


def _make_database(office: Office) -> None:
    """An empty MLflow database: making one takes seconds, copying it does not."""
    prepare_import()
    with quiet():
        from mlflow import MlflowClient

        MlflowClient(tracking_uri=f"sqlite:///{office.root / 'mlflow.db'}").search_registered_models()


@pytest.fixture
def office(template: Office, tmp_path: Path) -> Office:
    return template.copy(tmp_path / "office")


@pytest.fixture(scope="session")
def compliant(template: Office, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The request was carried out and the verdict is compliant."""
    return _finish(template, tmp_path_factory.mktemp("compliant"), POLICY)


@pytest.fixture(scope="session")
def not_compliant(template: Office, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The request was carried out without a single step, so that nothing was forgotten."""
    return _finish(template, tmp_path_factory.mktemp("refused"), NO_STEPS)


def _finish(template: Office, folder: Path, policy: str) -> Finished:
    office = template.copy(folder / "office")
    office.write_policy(policy)
    started = time.monotonic()
    done = office.apply("--json")
    return Finished(template, office, done, time.monotonic() - started)


@pytest.fixture
def finished(compliant: Finished, tmp_path: Path) -> Office:
    """A copy of the workspace in which the request was carried out, for tests that change it."""
    return compliant.office.copy(tmp_path / "office")
