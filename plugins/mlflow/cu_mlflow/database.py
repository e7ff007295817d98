"""A new SQLite tracker, made beside its place: MLflow cannot use a database whose making was cut short."""

from __future__ import annotations

import os
from pathlib import Path

_SQLITE = "sqlite:///"


def make_database(uri: str) -> None:
    """Make the SQLite file that ``uri`` names and move it to its place in one rename; nothing to do for other trackers.

    A file that is there already is left alone. The caller holds the workspace's lock.
    """
    if not uri.startswith(_SQLITE) or (path := Path(uri.removeprefix(_SQLITE))).exists():
        return
    from mlflow import MlflowClient

    draft = path.with_name(f".{path.name}.partial")
    for leftover in (draft, draft.with_name(f"{draft.name}-journal")):
        leftover.unlink(missing_ok=True)
    aside = f"{_SQLITE}{draft}"
    client = MlflowClient(tracking_uri=aside, registry_uri=aside)
    client.search_experiments(max_results=1)
    client.search_registered_models(max_results=1)
    with draft.open("rb") as stream:
        os.fsync(stream.fileno())
    draft.rename(path)
