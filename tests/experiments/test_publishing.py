from __future__ import annotations

import json
import math
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from benchmarks.errors import DataError, ResultsError
from benchmarks.windows import Windows
from experiments.artifacts import Artifacts
from experiments.folders import Folders
from experiments.publishing import publish
from experiments.results import Results
from experiments.tracking import TrackingUnavailable
from strategies.archives import packed
from strategies.baselines import Constant
from tests.experiments.stores import (
    closed_port,
    contents_of,
    deleted_of,
    files_of,
    mlflow_server,
    runs_of,
    started_server,
)
from tests.experiments.studies import SmallStudy, cell_of, failure_of, header_of, outcome_of

PEOPLE = ("S00", "S01", "S02")
FILES = {"confusion_matrix.png", "subjects.png", "rows.parquet"}


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "results")


@pytest.fixture
def study(folders: Folders) -> SmallStudy:
    """A control, a weak configuration and a strong one, whose fitted predictors are kept."""
    header = header_of("majority", "weak", "strong", controls=("majority",))
    study = SmallStudy(folders.results("small"), header)
    fill(study, {"majority": [0.5, 0.5, 0.5], "weak": [0.625, 0.5, 0.5], "strong": [0.75, 0.875, 1.0]})
    return study


def model_of(share: float) -> bytes:
    """A packed predictor that gives this share to the first class."""
    one = np.array([""])
    content = packed(Constant(np.array([share, 1 - share])), Windows(np.zeros((1, 3)), one, one, one))
    assert content is not None
    return content


def fill(study: SmallStudy, scores: dict[str, list[float]], *, target: str = "unseen", kept: bool = True) -> None:
    for configuration, values in scores.items():
        study.add_all(
            (
                cell_of(configuration, person),
                replace(
                    outcome_of(person, value, curve=[0.25], target=target),
                    model=model_of((1 + number) / 8) if kept else None,
                ),
            )
            for number, value in enumerate(values)
            for person in [f"S{number:02d}"]
        )


def models_of(store: str) -> dict[str, str]:
    """How the configuration with a model was chosen, by its name."""
    runs = {key: run for key, run in runs_of(store).items() if "model" in files_of(store, run)}
    assert {key for key, run in runs_of(store).items() if "best" in run.data.tags} == set(runs)
    for run in runs.values():
        assert len(json.loads(run.data.tags["mlflow.log-model.history"])) == 1, "what MLflow's page calls its models"
    return {configuration: run.data.tags["best"] for (configuration, _), run in runs.items()}


# --- twice is as good as once ---------------------------------------------------------------------------------------


def test_publishing_twice_equals_publishing_once(study, folders, store):
    told = publish("small", folders, store)
    assert "3 configurations, 9 subjects" in told
    assert "12 runs were written, 0 removed" in told
    contents, places = contents_of(store), {run.info.artifact_uri for run in runs_of(store).values()}
    assert set(contents["strong", None]["files"]) == {*FILES, "model"}
    assert "0 runs were written, 0 removed" in publish("small", folders, store)
    assert contents_of(store) == contents
    assert {run.info.artifact_uri for run in runs_of(store).values()} == places
    assert deleted_of(store) == 0


def test_the_results_are_read_and_never_written(study, folders, store):
    before = {path: path.read_bytes() for path in folders.root.iterdir()}
    publish("small", folders, store)
    assert {path: path.read_bytes() for path in folders.root.iterdir()} == before


def test_a_study_that_is_not_complete_is_published_and_says_so(study, folders, store):
    with Results(study.path) as results:
        results.set_plan(study.header, [*study.digests, "not", "computed"])
    assert "2 cells of the study have no result yet. No model:" in publish("small", folders, store)
    assert models_of(store) == {}
    with Results(study.path) as results:
        results.set_plan(study.header, study.digests)
    assert "no result yet" not in publish("small", folders, store)
    assert list(models_of(store)) == ["strong"], "the same cells, and now they are all"
    with Results(study.path) as results:
        results.set_plan(study.header, [*study.digests, "not computed"])
    publish("small", folders, store)
    assert models_of(store) == {}, "what had the best mean may not have it in the end"


# --- the model ------------------------------------------------------------------------------------------------------


def test_the_best_configurations_predictors_are_a_model(study, folders, store):
    told = publish("small", folders, store)
    (chosen,) = models_of(store).values()
    assert chosen in told
    assert chosen.startswith("best mean balanced_accuracy (window) of 2 configurations; chosen by the very people")
    assert "0.875 is an optimistic pick" in chosen
    run = runs_of(store)["strong", None]
    assert chosen in run.data.tags["mlflow.note.content"]
    model = mlflow.pyfunc.load_model(f"{run.info.artifact_uri}/model")
    for number, person in enumerate(PEOPLE):
        assert model.predict(np.zeros((2, 3)), params={"subject": person})["rest"].tolist() == [(1 + number) / 8] * 2
    assert model.predict(np.zeros((1, 3)))["rest"].tolist() == [pytest.approx(2 / 8)]


def test_a_model_that_is_gone_comes_back_and_stays_one(study, folders, store):
    publish("small", folders, store)
    place = Path(runs_of(store)["strong", None].info.artifact_uri.removeprefix("file://"))
    for path in sorted((place / "model").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (place / "model").rmdir()
    publish("small", folders, store)
    assert list(models_of(store)) == ["strong"]


def test_a_model_follows_the_best_configuration(study, folders, store):
    publish("small", folders, store)
    fill(study, {"weak": [1.0, 1.0, 1.0]})
    publish("small", folders, store)
    assert list(models_of(store)) == ["weak"]
    assert len([*(store_folder(store)).rglob("MLmodel")]) == 1


def store_folder(store: str) -> Path:
    return Path(store.removeprefix("sqlite:///")).parent / "mlartifacts"


def test_neither_a_control_nor_a_bound_is_offered(study, folders, store):
    configurations = ("majority", "weak", "strong", "personal")
    study.header = replace(study.header, configurations=configurations, seen=("personal",))
    fill(study, {"personal": [1.0, 1.0, 1.0]}, target="seen")
    fill(study, {"majority": [1.0, 1.0, 1.0]})
    publish("small", folders, store)
    assert list(models_of(store)) == ["strong"]


@pytest.mark.parametrize("lack", ["no predictor", "a fold that failed", "a fold that is not computed"])
def test_a_configuration_without_a_predictor_of_every_fold_is_passed_over_and_told(study, folders, store, lack):
    study.header = replace(study.header, configurations=(*study.header.configurations, "perfect"))
    fill(study, {"perfect": [1.0, 1.0, 1.0]}, kept=lack != "no predictor")
    if lack == "a fold that is not computed":
        study.digests.remove("perfect-S02-0-0")
        study.add_all([])
    elif lack == "a fold that failed":
        study.digests.remove("perfect-S02-0-0")
        study.add(cell_of("perfect", "S02", seed=1), failure_of("no"))
    publish("small", folders, store)
    (chosen,) = models_of(store).values()
    assert "of 3 configurations, 1 better ones of which no predictor is kept left out" in chosen
    assert list(models_of(store)) == ["strong"]


def test_predictors_are_those_of_the_first_order_and_seed(study, folders, store):
    for person in PEOPLE:
        outcome = replace(outcome_of(person, 1.0), model=model_of(1.0))
        study.add(cell_of("strong", person, seed=1), outcome)
        study.add(cell_of("strong", person, stream=1), outcome)
    publish("small", folders, store)
    model = mlflow.pyfunc.load_model(f"{runs_of(store)['strong', None].info.artifact_uri}/model")
    assert model.predict(np.zeros((1, 3)))["rest"].tolist() == [pytest.approx(2 / 8)]
    assert model.metadata.metadata["seed"] == 0


def test_of_errors_the_lowest_is_the_best(study, folders, store):
    study.header = replace(study.header, metric="brier")
    with Results(study.path) as results:
        results.set_plan(study.header, study.digests)
    db = sqlite3.connect(study.path)
    with db:
        db.execute("UPDATE scores SET metric = 'brier' WHERE metric = 'balanced_accuracy'")
    db.close()
    publish("small", folders, store)
    assert list(models_of(store)) == ["weak"]


@pytest.mark.parametrize(
    ("people", "doubt"),
    [(3, "too few people to tell whether it beats its best control"), (6, "it does not beat its best control")],
)
def test_a_configuration_alone_is_no_pick_but_what_it_does_not_beat_is_told(folders, store, people, doubt):
    study = SmallStudy(folders.results("small"), header_of("majority", "lda", controls=("majority",)))
    fill(study, {"majority": [0.5] * people, "lda": [0.75] * (people - 1) + [0.25]})
    publish("small", folders, store)
    assert models_of(store) == {
        "lda": f"the only configuration that is no control and learns from other people; {doubt}, majority."
    }
    control = runs_of(store)["lda", None].data.tags.get("control")
    assert control == (None if people == 3 else "= control")


def test_folds_may_have_names_of_their_own_and_several_people(folders, store):
    study = SmallStudy(folders.results("small"), header_of("majority", "lda", controls=("majority",)))
    folds = {"fold 1": ("S00", "S01"), "fold 2": ("S02",)}
    for configuration, value in (("majority", 0.5), ("lda", 0.75)):
        for number, (fold, people) in enumerate(folds.items()):
            outcomes = [outcome_of(person, value) for person in people]
            both = replace(
                outcomes[0],
                scores=[score for outcome in outcomes for score in outcome.scores],
                predictions=[record for outcome in outcomes for record in outcome.predictions],
                model=model_of((1 + number) / 8),
            )
            study.add(cell_of(configuration, fold), both)
    publish("small", folders, store)
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("small").experiment_id
    (run,) = client.search_runs([experiment], filter_string="tags.run = 'configuration' AND tags.best != ''")
    assert run.data.tags["configuration"] == "lda"
    model = mlflow.pyfunc.load_model(f"{run.info.artifact_uri}/model")
    for person, share in {"S00": 1 / 8, "S01": 1 / 8, "S02": 2 / 8}.items():
        assert model.predict(np.zeros((1, 3)), params={"subject": person})["rest"].tolist() == [share]
    with pytest.raises(DataError, match="'fold 1' is nobody"):
        model.predict(np.zeros((1, 3)), params={"subject": "fold 1"})


def test_features_that_the_cells_name_stand_in_the_model(folders, store):
    study = SmallStudy(folders.results("small"), header_of("majority", "lda"))
    fill(study, {"majority": [0.5] * 3}, kept=False)
    for person in PEOPLE:
        cell = cell_of("lda", person)
        cell = replace(cell, provenance={**cell.provenance, "features": ["scl_mean", "rate", "slope"]})
        study.add(cell, replace(outcome_of(person, 0.75), model=model_of(0.5)))
    publish("small", folders, store)
    model = mlflow.pyfunc.load_model(f"{runs_of(store)['lda', None].info.artifact_uri}/model")
    assert model.metadata.metadata["features"] == ["scl_mean", "rate", "slope"]


def test_no_configuration_with_predictors_is_told(folders, store):
    study = SmallStudy(folders.results("small"), header_of("majority", "lda"))
    fill(study, {"majority": [0.5, 0.5, 0.5], "lda": [0.75, 0.75, math.nan]}, kept=False)
    assert "No model" in publish("small", folders, store)
    assert models_of(store) == {}


# --- what can be wrong ----------------------------------------------------------------------------------------------


def test_a_study_that_was_never_run(folders, store):
    with pytest.raises(ResultsError, match=r"No results at .*small\.sqlite: run the study first"):
        publish("small", folders, store)
    assert not folders.root.exists()


def test_a_study_without_a_finished_cell(study, folders, store):
    with Results(study.path) as results:
        results.set_plan(study.header, ["not", "computed"])
    with pytest.raises(ResultsError, match="no finished cell of small: run the study first"):
        publish("small", folders, store)
    assert MlflowClient(store).get_experiment_by_name("small") is None


def test_a_file_that_is_no_results_file(study, folders, store):
    study.path.write_text("not a database" * 100)
    with pytest.raises(ResultsError, match="Cannot read results"):
        publish("small", folders, store)


def test_a_results_file_cut_in_half(study, folders, store):
    content = study.path.read_bytes()
    study.path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ResultsError, match="Cannot read"):
        publish("small", folders, store)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE predictions SET arrays = substr(arrays, 1, 200) WHERE digest = 'weak-S01-0-0'", "weak-S01-0-0"),
        ('UPDATE header SET content = \'{"study": "small"}\'', "Cannot read results"),
        ("UPDATE cells SET provenance = '{'", "Cannot read results"),
        ("UPDATE models SET archive = substr(archive, 1, 100) WHERE digest = 'strong-S01-0-0'", "damaged|archive"),
        ("UPDATE models SET archive = x'80049500'", "archive"),
    ],
)
def test_damage_inside_a_results_file(study, folders, store, damage, told):
    db = sqlite3.connect(study.path)
    with db:
        db.execute(damage)
    db.close()
    with pytest.raises(ResultsError, match=told):
        publish("small", folders, store)
    assert {run.info.status for run in runs_or_none(store).values()} <= {"FINISHED", "RUNNING"}


def runs_or_none(store: str) -> dict:
    return {} if MlflowClient(store).get_experiment_by_name("small") is None else runs_of(store)


def test_a_server_that_is_not_there(study, folders):
    before = set(folders.root.rglob("*"))
    with pytest.raises(TrackingUnavailable, match="cannot be used: .*refused"):
        publish("small", folders, f"http://127.0.0.1:{closed_port()}")
    assert set(folders.root.rglob("*")) == before


def test_mlflow_and_matplotlib_are_not_imported_with_it():
    told = "import sys, experiments.publishing; print({'mlflow', 'matplotlib'} & set(sys.modules))"
    root = Path(__file__).parents[2]
    said = subprocess.run(
        [sys.executable, "-c", told], cwd=root, capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.strip() == "set()"


# --- servers --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_publishing_to_a_server_equals_publishing_to_a_file_and_twice_equals_once(
    study, folders, store, empty_store, tmp_path
):
    served = tmp_path / "served.db"
    served.write_bytes(empty_store.read_bytes())
    publish("small", folders, store)
    with mlflow_server(f"sqlite:///{served}", "--artifacts-destination", str(tmp_path / "kept")) as uri:
        assert f"Browse: {uri}/#/experiments/" in publish("small", folders, uri)
        contents = contents_of(uri)
        assert contents == contents_of(store)
        assert "0 runs were written" in publish("small", folders, uri)
        assert contents_of(uri) == contents
        assert deleted_of(uri) == 0
        sent = runs_of(uri)["strong", None]
        assert sent.info.artifact_uri.startswith("mlflow-artifacts:")
        study.add(cell_of("weak", "S01"), outcome_of("S01", 0.5625))
        assert "4 runs were written" in publish("small", folders, uri)
        rewritten = {run.info.run_id for run in runs_of(uri).values()}
    left = {path.parents[1].name for path in (tmp_path / "kept").rglob("*.parquet")}
    assert len(left) == 3
    assert left <= rewritten


@pytest.mark.slow
def test_a_server_that_goes_away_loses_nothing_and_is_made_up_for(
    study, folders, store, empty_store, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    served = tmp_path / "served.db"
    served.write_bytes(empty_store.read_bytes())
    before = study.path.read_bytes()
    options = ("--artifacts-destination", str(tmp_path / "kept"))
    put = Artifacts.put
    port = closed_port()
    with started_server(f"sqlite:///{served}", *options, port=port) as server:

        def last(self, run_id, place, folder):
            put(self, run_id, place, folder)
            server.end(signal.SIGKILL)

        with monkeypatch.context() as patch:
            patch.setattr(Artifacts, "put", last)
            with pytest.raises(TrackingUnavailable, match=f"MLflow at {server.uri} cannot be used"):
                publish("small", folders, server.uri)
    assert study.path.read_bytes() == before
    publish("small", folders, store)
    with mlflow_server(f"sqlite:///{served}", *options, port=port) as uri:
        publish("small", folders, uri)
        assert contents_of(uri) == contents_of(store)


@pytest.mark.slow
def test_a_server_whose_files_lie_on_its_own_machine_gets_the_values_and_says_what_to_do(
    study, folders, empty_store, tmp_path, monkeypatch
):
    served, here = tmp_path / "served.db", tmp_path / "here"
    served.write_bytes(empty_store.read_bytes())
    here.mkdir()
    monkeypatch.chdir(here)
    there = "/proc/a folder of another machine"
    with mlflow_server(f"sqlite:///{served}", "--no-serve-artifacts", "--default-artifact-root", there) as uri:
        with pytest.raises(TrackingUnavailable, match=r"a folder of the server's machine.*--serve-artifacts"):
            publish("small", folders, uri)
        assert runs_of(uri)["strong", None].data.metrics["window/balanced_accuracy"] == 0.875
        assert runs_of(uri)["strong", "S02"].info.status == "FINISHED"
    assert list(here.iterdir()) == []


def test_a_folder_that_the_server_does_not_see_is_not_left_behind(tmp_path, monkeypatch):
    """The server and this machine have a folder of the same name each, which are not the same."""
    monkeypatch.setattr("experiments.artifacts.http_request", lambda *_, **__: _Nothing())
    sent = tmp_path / "sent"
    sent.mkdir()
    pd.DataFrame({"value": [1.0]}).to_parquet(sent / "rows.parquet")
    (sent / "inner").mkdir()
    (sent / "inner" / "more.txt").write_text("more")
    place = tmp_path / "srv" / "mlruns" / "1" / "run" / "artifacts"
    with pytest.raises(OSError, match="does not share"):
        Artifacts("http://127.0.0.1:1").put("run", place.as_uri(), sent)
    assert not (tmp_path / "srv").exists()
    assert tmp_path.exists()


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_what_others_put_into_such_a_folder_stays(tmp_path, monkeypatch, when):
    sent, place = tmp_path / "sent", tmp_path / "srv" / "mlruns" / "1" / "run" / "artifacts"
    sent.mkdir()
    (sent / "rows.parquet").write_text("rows")
    theirs = [place / "theirs.txt", place.parents[2] / "2" / "theirs.txt"]

    def write():
        for path in theirs:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("theirs")

    def answer(*_, **__):
        assert (place / "rows.parquet").exists()
        if when == "meanwhile":
            write()
        return _Nothing()

    if when == "before":
        write()
    monkeypatch.setattr("experiments.artifacts.http_request", answer)
    with pytest.raises(OSError, match="does not share"):
        Artifacts("http://127.0.0.1:1").put("run", place.as_uri(), sent)
    assert sorted(path for path in (tmp_path / "srv").rglob("*") if path.is_file()) == sorted(theirs)


class _Nothing:
    status_code = 200

    def raise_for_status(self):
        """The answer of a server that sees no file."""

    def json(self):
        return {}
