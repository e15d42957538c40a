"""Looking into an MLflow store, as its own client sees it."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

_OF_ITS_OWN = ("mlflow.parentRunId", "mlflow.log-model.history")
"""Tags with numbers and times of a run's own."""


def runs_of(uri: str, study: str = "small") -> dict[tuple[str, str | None], Any]:
    """Active runs by configuration and fold (None for a configuration's own)."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(study)
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    runs = {(run.data.tags.get("configuration"), run.data.tags.get("fold")): run for run in found}
    assert len(runs) == len(found)
    return runs


def contents_of(uri: str, study: str = "small") -> dict[tuple[str, str | None], Any]:
    """All that the runs say, their own numbers replaced by what they stand for."""
    client = MlflowClient(uri)
    runs = runs_of(uri, study)
    names = {run.info.run_id: key for key, run in runs.items()}
    return {
        key: {
            "name": run.info.run_name,
            "status": run.info.status,
            "ended": run.info.end_time,
            "params": run.data.params,
            "tags": {name: value for name, value in run.data.tags.items() if name not in _OF_ITS_OWN},
            "parent": names.get(run.data.tags.get("mlflow.parentRunId", "")),
            "files": files_of(uri, run) if key[1] is None else {},
            "values": {
                name: [
                    (point.step, repr(point.value), point.timestamp)
                    for point in client.get_metric_history(run.info.run_id, name)
                ]
                for name in run.data.metrics
            },
        }
        for key, run in runs.items()
    }


def files_of(uri: str, run: Any) -> dict[str, str]:
    """Digests of a run's files by name; of a model, which carries the time of its making, only that it is there."""
    store = get_artifact_repository(run.info.artifact_uri, tracking_uri=uri)
    there = [file.path for file in store.list_artifacts()]
    with TemporaryDirectory() as folder:
        return {
            name: "" if name == "model" else hashlib.sha256(_fetched(store, name, folder).read_bytes()).hexdigest()
            for name in there
        }


def _fetched(store: Any, name: str, folder: str) -> Path:
    return Path(store.download_artifacts(name, folder))


def deleted_of(uri: str, study: str = "small") -> int:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(study)
    return len(client.search_runs([experiment.experiment_id], run_view_type=ViewType.DELETED_ONLY, max_results=1000))


def closed_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def silent_server() -> Iterator[str]:
    """Address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            # A thread that waits in accept() does not notice close() alone.
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for connection in held:
                connection.close()


@dataclass(frozen=True)
class Server:
    """A server that a test started, in a group of processes of its own."""

    uri: str
    process: subprocess.Popen[bytes]

    def end(self, how: signal.Signals) -> None:
        """Send a signal to the server and to its workers."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, how)


@contextmanager
def mlflow_server(uri: str, *options: str, port: int | None = None) -> Iterator[str]:
    """Address of an MLflow server over a store; it takes files unless an option says otherwise."""
    with started_server(uri, *options, port=port) as server:
        yield server.uri


@contextmanager
def started_server(uri: str, *options: str, port: int | None = None) -> Iterator[Server]:
    """The same server, for who wants to end it."""
    port = port or closed_port()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port), *options]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    process = subprocess.Popen(
        command,
        env={**os.environ, **quiet},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(uri.removeprefix("sqlite:///")).parent,
        start_new_session=True,
    )
    server = Server(f"http://127.0.0.1:{port}", process)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        until = time.monotonic() + 120
        while True:
            with suppress(OSError):
                direct.open(f"{server.uri}/health", timeout=5).close()
                break
            assert process.poll() is None, "the server has stopped"
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.2)
        yield server
    finally:
        server.end(signal.SIGTERM)
        process.wait(30)
