"""Publishing to a real MLflow server, and to servers that are dead, unknown or broken."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cu_audit.bundle import Bundle
from cu_mlflow.params import MlflowParams
from cu_mlflow.sink import MlflowSink

from compliance_unlearn.api import PublishError
from tests.bundles import MODEL, build_bundle


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an MLflow server with its own database and artifact store."""
    home = tmp_path_factory.mktemp("server")
    shutil.copy(database, home / "mlflow.db")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = [
        "--backend-store-uri",
        f"sqlite:///{home / 'mlflow.db'}",
        "--artifacts-destination",
        str(home / "artifacts"),
    ]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([*command, *stores], cwd=home, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the MLflow server did not start")


def ask(server: str, endpoint: str, **query: str) -> Any:
    address = f"{server}/api/2.0/mlflow/{endpoint}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(address, timeout=10) as answer:
        return json.load(answer)


def test_a_server_shows_the_run_its_report_and_the_model(server: str, tmp_path: Path, bundle: Bundle) -> None:
    sink = MlflowSink(MlflowParams(tracking_uri=server), tmp_path)
    receipt = sink.publish(bundle)
    assert sink.publish(bundle) == receipt
    run = ask(server, "runs/get", run_id=receipt.run_id)["run"]
    assert receipt.location == f"{server}/#/experiments/{run['info']['experiment_id']}/runs/{receipt.run_id}"
    assert run["info"]["status"] == "FINISHED"
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert tags["cu.verdict"] == "compliant"
    files = ask(server, "artifacts/list", run_id=receipt.run_id, path="bundle")["files"]
    assert {item["path"] for item in files} == {f"bundle/{path.name}" for path in bundle.folder.iterdir()}
    found = ask(server, "model-versions/search", filter=f"name='{MODEL}'")["model_versions"]
    assert [version["run_id"] for version in found] == [receipt.run_id]
    page = f"{server}/get-artifact?" + urllib.parse.urlencode(
        {"path": "bundle/report.html", "run_uuid": receipt.run_id}
    )
    with urllib.request.urlopen(page, timeout=10) as answer:
        assert answer.read() == (bundle.folder / "report.html").read_bytes()


class Broken(BaseHTTPRequestHandler):
    """Answers every request with 500, and says things that nobody should repeat."""

    def do_GET(self) -> None:
        self.send_error(500, "secret of the server")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def broken_server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Broken) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def publish_error(uri: str, root: Path, bundle: Bundle) -> tuple[str, float]:
    start = time.monotonic()
    with pytest.raises(PublishError) as caught:
        MlflowSink(MlflowParams(tracking_uri=uri), root).publish(bundle)
    return str(caught.value), time.monotonic() - start


def test_a_server_that_is_off_costs_seconds_and_says_what_to_do(tmp_path: Path, bundle: Bundle) -> None:
    message, seconds = publish_error(f"http://127.0.0.1:{free_port()}", tmp_path, bundle)
    assert "cannot be reached" in message
    assert "`cu publish`" in message
    assert bundle.folder.name in message
    assert seconds < 15


def test_an_unknown_host_costs_seconds_and_no_password_is_repeated(tmp_path: Path, bundle: Bundle) -> None:
    message, seconds = publish_error("http://ada:pass-word@no-such-host.invalid:5000", tmp_path, bundle)
    assert "no-such-host.invalid:5000" in message
    assert "pass-word" not in message
    assert seconds < 15


def test_a_broken_server_costs_seconds_and_its_text_is_not_repeated(
    broken_server: str, tmp_path: Path, bundle: Bundle
) -> None:
    message, seconds = publish_error(broken_server, tmp_path, bundle)
    assert "`cu publish`" in message
    assert "secret" not in message
    assert seconds < 15


def test_a_server_that_accepts_and_never_answers_costs_seconds(tmp_path: Path, bundle: Bundle) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        message, seconds = publish_error(f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path, bundle)
    assert "`cu publish`" in message
    assert seconds < 15


def test_what_could_not_be_published_is_published_later_and_once(tmp_path: Path, server: str) -> None:
    bundle = build_bundle(tmp_path / "later", steps=3)
    publish_error(f"http://127.0.0.1:{free_port()}", tmp_path, bundle)
    sink = MlflowSink(MlflowParams(tracking_uri=server, experiment="later"), tmp_path)
    assert sink.publish(bundle) == sink.publish(bundle)
    experiment = ask(server, "experiments/get-by-name", experiment_name="later")["experiment"]["experiment_id"]
    body = json.dumps({"experiment_ids": [experiment]}).encode()
    request = urllib.request.Request(f"{server}/api/2.0/mlflow/runs/search", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert len(json.load(answer)["runs"]) == 1
