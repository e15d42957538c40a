from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from experiments import live
from experiments.live import LivePublisher
from experiments.results import Results
from experiments.tracking import Tracker
from tests.experiments.stores import closed_port, contents_of, deleted_of, runs_of, silent_server
from tests.experiments.studies import SmallStudy, cell_of, header_of, outcome_of

SCORES = {"majority": [0.5, 0.5], "lda": [0.75, 0.625]}
FOLDS = [(configuration, f"S{number:02d}") for configuration in SCORES for number in range(2)]


@pytest.fixture
def study(tmp_path: Path) -> SmallStudy:
    study = SmallStudy(tmp_path / "small.sqlite", header_of("majority", "lda"))
    study.fill(SCORES, seeds=2, curve=[0.25, 0.5])
    return study


def publisher_of(study: SmallStudy, store: str) -> LivePublisher:
    return LivePublisher(store, study.path.parent / "artifacts", study.header, study.path)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def published_at_once(study: SmallStudy, empty_store: Path) -> dict:
    path = study.path.parent / "at_once.db"
    path.write_bytes(empty_store.read_bytes())
    with Results(study.path, writable=False) as results:
        Tracker(f"sqlite:///{path}", study.path.parent / "artifacts", study.header).publish(results)
    return contents_of(f"sqlite:///{path}")


# --- what it does ---------------------------------------------------------------------------------------------------


def test_folds_appear_while_the_study_runs_and_all_of_it_at_the_end(study, store, empty_store, monkeypatch):
    monkeypatch.setattr(live, "_EVERY_S", 0.01)
    with publisher_of(study, store) as publisher:
        publisher.subject_done("lda", "S01")
        wait_for(lambda: _has(store, ("lda", "S01")))
        assert ("lda", "S00") not in runs_of(store)
        assert runs_of(store)["lda", None].info.status == "RUNNING"
    assert publisher.problem is None
    contents = contents_of(store)
    for key, content in published_at_once(study, empty_store).items():
        if content["parent"] is not None:
            assert contents[key] == content
        else:
            last = {name: points[-1] for name, points in contents[key]["values"].items()}
            assert last == {name: points[-1] for name, points in content["values"].items()}
            assert contents[key]["files"] == content["files"] != {}


def _has(store: str, key: tuple[str, str]) -> bool:
    there = MlflowClient(store).get_experiment_by_name("small") is not None
    return there and key in runs_of(store) and runs_of(store)[key].info.status == "FINISHED"


def test_a_study_with_nothing_left_to_compute_is_published_too(study, store, empty_store):
    with publisher_of(study, store):
        pass
    assert contents_of(store) == published_at_once(study, empty_store)


def test_publishing_again_changes_nothing(study, store):
    with publisher_of(study, store):
        pass
    contents = contents_of(store)
    with publisher_of(study, store) as publisher:
        for fold in FOLDS:
            publisher.subject_done(*fold)
    assert contents_of(store) == contents
    assert deleted_of(store) == 0


def test_somebody_else_may_publish_the_running_study(study, store, empty_store, monkeypatch):
    monkeypatch.setattr(live, "_EVERY_S", 0.01)
    with publisher_of(study, store) as publisher:
        for fold in FOLDS:
            publisher.subject_done(*fold)
            with Results(study.path, writable=False) as results:
                Tracker(store, study.path.parent / "artifacts", study.header).publish(results)
    assert publisher.problem is None
    assert contents_of(store) == published_at_once(study, empty_store)


def test_its_time_is_told_apart(study, store):
    with publisher_of(study, store) as publisher:
        publisher.subject_done("lda", "S00")
    assert publisher.setup_seconds > 0
    assert publisher.seconds > 0
    assert publisher.waited_seconds > 0


def test_results_are_read_and_never_written(study, store):
    before = study.path.read_bytes()
    with publisher_of(study, store) as publisher:
        publisher.subject_done("lda", "S00")
    assert study.path.read_bytes() == before


# --- what may not happen to a study ---------------------------------------------------------------------------------


def test_a_server_that_is_down_costs_nothing_and_is_told(study):
    begun = time.monotonic()
    with publisher_of(study, f"http://127.0.0.1:{closed_port()}") as publisher:
        for fold in FOLDS:
            publisher.subject_done(*fold)
    assert time.monotonic() - begun < 15
    assert publisher.problem is not None
    assert "refused" in publisher.problem
    assert "refused. Nothing is lost" in publisher.problem


def test_a_server_that_never_answers_does_not_hold_the_study(study, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with silent_server() as uri, publisher_of(study, uri) as publisher:
        begun = time.monotonic()
        for _ in range(1000):
            publisher.subject_done("lda", "S00")
        assert time.monotonic() - begun < 1
        publisher.close()
        assert time.monotonic() - begun < 15
    assert publisher.problem is not None
    assert "timed out" in publisher.problem


def test_closing_waits_no_longer_than_asked(study, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with silent_server() as uri:
        publisher = publisher_of(study, uri)
        publisher.__enter__()
        begun = time.monotonic()
        publisher.close(timeout=0.2)
        assert time.monotonic() - begun < 2
        assert "not done after 0.2 s" in (publisher.problem or "")
        publisher.close()


def test_a_store_that_comes_back_gets_what_it_missed(study, store, tmp_path, monkeypatch):
    monkeypatch.setattr(live, "_EVERY_S", 0.01)
    monkeypatch.setattr(live, "_AFTER_FAILURE_S", 0.0)
    folder = tmp_path / "later"
    folder.write_text("in the way")
    with publisher_of(study, f"sqlite:///{folder}/mlflow.db") as publisher:
        publisher.subject_done("lda", "S00")
        wait_for(lambda: publisher.problem is not None)
        folder.unlink()
        folder.mkdir()
        Path(store.removeprefix("sqlite:///")).rename(folder / "mlflow.db")
    assert publisher.problem is None
    assert {run.info.status for run in runs_of(f"sqlite:///{folder}/mlflow.db").values()} == {"FINISHED"}


def test_an_error_of_ours_is_told_and_not_thrown(study, store):
    study.path.unlink()
    with publisher_of(study, store) as publisher:
        publisher.subject_done("lda", "S00")
    assert "No results at" in (publisher.problem or "")


def test_an_error_of_the_study_passes_through_and_what_is_there_is_published(study, store):
    def stopped() -> None:
        with publisher_of(study, store) as publisher:
            publisher.subject_done("lda", "S00")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert {run.info.status for run in runs_of(store).values()} == {"FINISHED"}


def test_a_driver_that_is_killed_is_caught_up_with_by_the_next(study, store, empty_store):
    driver = f"""
        import os, signal, time
        from pathlib import Path
        from experiments import live
        from tests.experiments.studies import header_of
        live._EVERY_S = 0.01
        publisher = live.LivePublisher({store!r}, Path({str(study.path.parent / "artifacts")!r}),
                                       header_of("majority", "lda"), Path({str(study.path)!r})).__enter__()
        publisher.subject_done("lda", "S00")
        while publisher.seconds == 0:
            time.sleep(0.01)
        publisher.subject_done("lda", "S01")
        time.sleep(0.03)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", textwrap.dedent(driver)], cwd=root, timeout=120, check=False)
    assert ("lda", "S00") in runs_of(store)
    with publisher_of(study, store):
        pass
    assert contents_of(store) == published_at_once(study, empty_store)


def test_cells_that_are_written_meanwhile_are_seen(study, store):
    with Results(study.path) as results:
        cell = cell_of("lda", "S02")
        results.set_plan(study.header, [*study.digests, cell.digest])
        with publisher_of(study, store) as publisher:
            results.record(cell, outcome_of("S02", 1.0), 2e9)
            publisher.subject_done("lda", "S02")
    assert runs_of(store)["lda", "S02"].data.metrics["window/balanced_accuracy"] == 1.0


def test_mlflow_is_not_imported_with_the_runner():
    told = "import sys, experiments.live; print('mlflow' in sys.modules)"
    root = Path(__file__).parents[2]
    said = subprocess.run(
        [sys.executable, "-c", told], cwd=root, capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.strip() == "False"
