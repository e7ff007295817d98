"""A tracker that is not there costs seconds and loses nothing."""

from __future__ import annotations

import json
import socket

import pytest
from cu_audit.bundle import Bundle

from tests.e2e.office import Done, Office

SQLITE = "sqlite:///mlflow.db"


@pytest.fixture(scope="module")
def address() -> str:
    """Where nobody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def publish(office: Office) -> Done:
    return office.cu("publish", "--workspace", "policies")


def test_evidence_waits_for_the_tracker_and_is_published_once(office: Office, address: str) -> None:
    office.change_workspace_file(SQLITE, address)
    done = office.apply("--json")
    assert done.code == 6, done.err
    assert "cu publish" in done.err
    assert "Traceback" not in done.err
    assert done.json["verdict"] == "compliant"
    assert done.json["tracker"] == {"run_id": None, "published": False}
    assert Bundle(office.evidence / office.ledger[0]["bundle"]).result.models[0].promoted
    assert office.version_sha256() == done.json["models"][0]["candidate"]["sha256"]

    assert publish(office).code == 6
    assert office.tracked_runs() == []

    office.change_workspace_file(address, SQLITE)
    sent = publish(office)
    assert sent.code == 0, sent.err
    [run] = office.tracked_runs()
    assert run.info.status == "FINISHED"

    again = office.cu("publish", "--workspace", "policies", "--json")
    assert (again.code, json.loads(again.out)) == (0, [])
    assert "nothing to publish" in publish(office).err
    assert len(office.tracked_runs()) == 1
    assert len(office.ledger) == 1
