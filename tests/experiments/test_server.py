from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.errors import ResultsError, UnseenError
from experiments import server
from experiments.live import LivePublisher
from experiments.results import Results
from experiments.server import serve
from experiments.tracking import Tracker
from tests.experiments.stores import closed_port, contents_of
from tests.experiments.studies import SmallStudy, header_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def study(tmp_path: Path) -> SmallStudy:
    study = SmallStudy(tmp_path / "small.sqlite", header_of("majority", "lda"))
    study.fill({"majority": [0.5, 0.5], "lda": [0.75, 0.625]}, curve=[0.25, 0.5])
    return study


def answer(address: str, question: dict | None = None) -> bytes:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    data = None if question is None else json.dumps(question).encode()
    request = urllib.request.Request(address, data=data, headers={"Content-Type": "application/json"})
    with direct.open(request, timeout=10) as response:
        return response.read()


@contextlib.contextmanager
def running(uri: str, folder: Path, port: int) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """`unseen ui` over a store, and the addresses that it printed."""
    command = (
        f"from pathlib import Path; from experiments.server import serve; serve({uri!r}, Path({str(folder)!r}), {port})"
    )
    process = subprocess.Popen([sys.executable, "-c", command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        lines = [process.stdout.readline().strip() for _ in range(2)]
        yield process, [re.search(r"http://\S+", line)[0] for line in lines]
    finally:
        # Not killed: it has a server to stop.
        process.terminate()
        process.wait(30)
        process.stdout.close()


def stop(process: subprocess.Popen[str], home: str, how: signal.Signals) -> None:
    """Stop `unseen ui` by a signal; it says that all is well, and its server goes with it."""
    process.send_signal(how)
    assert process.wait(20) == 0
    until = time.monotonic() + 10
    while servers_on(int(home.rpartition(":")[2])):
        assert time.monotonic() < until, "the server outlives its command"
        time.sleep(0.1)


def servers_on(port: int) -> list[int]:
    """Processes whose command line names MLflow and the port."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if str(port).encode() in words and any(b"mlflow" in word for word in words):
                found.append(int(folder.name))
    return found


# --- ports and stores -----------------------------------------------------------------------------------------------


def test_a_port_that_is_taken(store, tmp_path, taken):
    with pytest.raises(UnseenError, match=rf"Port {taken} of 127\.0\.0\.1 cannot be used.*--port"):
        serve(store, tmp_path, taken)


def test_the_next_free_port_is_taken_by_default(monkeypatch, taken):
    monkeypatch.setattr(server, "_FIRST_PORT", taken)
    assert taken < server._port(None) < taken + 100


def test_no_free_port(monkeypatch, taken):
    monkeypatch.setattr(server, "_FIRST_PORT", taken)
    monkeypatch.setattr(server, "_PORTS_TRIED", 1)
    with pytest.raises(UnseenError, match="No free port"):
        server._port(None)


def test_nothing_to_browse(tmp_path):
    with pytest.raises(ResultsError, match=r"there is no .*mlflow\.db.*Run a study first"):
        serve(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_server_that_does_not_start_tells_why(tmp_path):
    (tmp_path / "mlflow.db").write_text("not a database" * 100)
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with pytest.raises(UnseenError, match=r"(?s)did not start. Its last lines:.*database"):
            serve(f"sqlite:///{tmp_path}/mlflow.db", tmp_path, closed_port())
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


# --- a real one -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_the_pages_load_at_the_printed_address_until_it_is_stopped(study, store, tmp_path, how):
    with Results(study.path, writable=False) as results:
        Tracker(store, tmp_path / "artifacts", study.header).publish(results)
    port = closed_port()
    with running(store, tmp_path / "artifacts", port) as (process, (home, page)):
        assert home == f"http://127.0.0.1:{port}"
        assert b'<div id="root"' in answer(home)
        experiment = re.search(r"/experiments/(\d+)/runs\?viewStateShareKey=study", page)[1]
        found = json.loads(answer(f"{home}/api/2.0/mlflow/runs/search", {"experiment_ids": [experiment]}))
        assert len(found["runs"]) == 6
        stop(process, home, how)
    assert not (ROOT / "mlruns").exists()


@pytest.mark.slow
def test_publishing_to_a_server_until_ctrl_c_equals_publishing_to_a_file(study, store, empty_store, tmp_path):
    other = tmp_path / "file.db"
    other.write_bytes(empty_store.read_bytes())
    with Results(study.path, writable=False) as results:
        Tracker(f"sqlite:///{other}", tmp_path / "artifacts", study.header).publish(results)
        # An experiment of ours must be there for the second line that `running` reads.
        Tracker(store, tmp_path / "artifacts", header_of("majority", study="another"))
    with running(store, tmp_path / "artifacts", closed_port()) as (process, (home, _)):
        with LivePublisher(home, None, study.header, study.path) as publisher:
            publisher.subject_done("lda", "S00")
        assert publisher.problem is None
        served = contents_of(home)
        stop(process, home, signal.SIGINT)
    on_file = contents_of(f"sqlite:///{other}")
    for contents in (served, on_file):
        for content in contents.values():
            content["values"] = {name: points[-1] for name, points in content["values"].items()}
    assert served == on_file
