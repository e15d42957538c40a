"""Looking into an MLflow store, as its own client sees it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import ViewType


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
            "tags": {name: value for name, value in run.data.tags.items() if name != "mlflow.parentRunId"},
            "parent": names.get(run.data.tags.get("mlflow.parentRunId", "")),
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
