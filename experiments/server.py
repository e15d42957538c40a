"""`unseen ui`: the MLflow server over a store, on this machine only, for as long as the command runs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from benchmarks.errors import ResultsError, UnseenError
from experiments.environment import NO_TELEMETRY
from experiments.folders import SQLITE
from experiments.runs import VIEW

HOST = "127.0.0.1"

_FIRST_PORT, _PORTS_TRIED = 5000, 100
_START_WITHIN_S = 120.0
_STOP_WITHIN_S = 10.0
_ASK_EVERY_S = 0.2
_ANSWER_WITHIN_S = 5.0
_STUDIES_TOLD = 100
_LINES_TOLD = 15
_STUDY_PAGE = f"viewStateShareKey={VIEW}&workflowType=machine_learning"
_SEARCH = "api/2.0/mlflow/experiments/search"


def serve(uri: str, artifact_root: Path, port: int | None = None) -> None:
    """Run the server until Ctrl-C, SIGTERM or SIGHUP, and print its address once it answers.

    Parameters
    ----------
    uri : str
        Store: ``sqlite:///...``.
    artifact_root : Path
        Folder for files of experiments that are made in the browser.
    port : int or None
        None takes 5000, or the next free one.

    Raises
    ------
    ResultsError
        There is no store yet.
    UnseenError
        The port is taken, or the server does not start; its last lines are in the message.
    """
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
        raise ResultsError(
            f"Nothing to browse: there is no {uri.removeprefix(SQLITE)}. Run a study first, or name its folder with "
            f"--results."
        )
    port = _port(port)
    # Stopped from outside, or with its terminal closed, the command still stops the server that it started.
    for stopped in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(stopped, signal.default_int_handler)
    console = Console()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log, suppress(KeyboardInterrupt):
        with _server(uri, artifact_root, port, log) as process:
            with console.status("MLflow starts"):
                _wait_until_it_answers(process, port, log)
            for line in _addresses(port):
                console.print(line, soft_wrap=True, markup=False)
            process.wait()
        raise UnseenError(f"The MLflow server has stopped by itself. Its last lines:\n{_end_of(log)}")


def _port(wanted: int | None) -> int:
    if wanted is not None:
        if not _is_free(wanted):
            raise UnseenError(
                f"Port {wanted} of {HOST} cannot be used, another program has it: name another one with --port, or "
                f"leave --port out for the next free one."
            )
        return wanted
    for port in range(_FIRST_PORT, _FIRST_PORT + _PORTS_TRIED):
        if _is_free(port):
            return port
    raise UnseenError(f"No free port from {_FIRST_PORT} to {port}: name one with --port.")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the server itself does: a port whose last connections are still being closed is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


@contextmanager
def _server(uri: str, artifact_root: Path, port: int, log: IO[str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--default-artifact-root", artifact_root.absolute().as_uri(), "--workers", "1"]
    command += ["--host", HOST, "--port", str(port)]
    # Its job runner starts processes of its own, for work that no study asks for.
    environment = {**NO_TELEMETRY, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}
    # A group of its own: MLflow starts the web server as a child, and both must go.
    process = subprocess.Popen(
        command, env=environment, stdout=log, stderr=log, text=True, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_it_answers(process: subprocess.Popen[str], port: int, log: IO[str]) -> None:
    until = time.monotonic() + _START_WITHIN_S
    while process.poll() is None and time.monotonic() < until:
        with suppress(OSError):
            _ask(port, "health")
            return
        time.sleep(_ASK_EVERY_S)
    raise UnseenError(f"The MLflow server did not start. Its last lines:\n{_end_of(log)}")


def _addresses(port: int) -> Iterator[str]:
    """Lines to print: where the server is, and where each study's configurations stand side by side."""
    yield f"MLflow: http://{HOST}:{port} (Ctrl-C stops it)"
    found: list[Any] = []
    # The first line is enough, should the server know no such question one day.
    with suppress(OSError, ValueError):
        found = json.loads(_ask(port, _SEARCH, {"max_results": _STUDIES_TOLD})).get("experiments", [])
    for experiment in found:
        if any(tag["key"].endswith(f".{VIEW}") for tag in experiment.get("tags", [])):
            page = f"#/experiments/{experiment['experiment_id']}/runs?{_STUDY_PAGE}"
            yield f"  {experiment['name']}: http://{HOST}:{port}/{page}"


def _ask(port: int, path: str, question: Mapping[str, Any] | None = None) -> bytes:
    # A proxy of the user's, meant for other machines, is not asked.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    data = None if question is None else json.dumps(question).encode()
    request = urllib.request.Request(
        f"http://{HOST}:{port}/{path}", data=data, headers={"Content-Type": "application/json"}
    )
    with direct.open(request, timeout=_ANSWER_WITHIN_S) as answer:
        content: bytes = answer.read()
    return content


def _end_of(log: IO[str]) -> str:
    log.seek(0)
    return "\n".join(log.read().splitlines()[-_LINES_TOLD:])
