"""A quick look whether the tracker is alive, since MLflow's own client finds out slowly."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

SECONDS = 5.0

_SQLITE = "sqlite:///"


def probe(uri: str) -> None:
    """Ask for a sign of life; whatever else a server may answer is left to the client.

    Raises:
        OSError: no server answers within seconds.
        sqlite3.OperationalError: another process keeps the database locked.
    """
    if uri.startswith("http"):
        import requests

        requests.head(uri, timeout=SECONDS, allow_redirects=True)
    elif uri.startswith(_SQLITE) and Path(uri.removeprefix(_SQLITE)).exists():
        with closing(sqlite3.connect(uri.removeprefix(_SQLITE), timeout=SECONDS, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
