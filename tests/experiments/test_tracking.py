from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from experiments import tracking
from experiments.results import Results
from experiments.statistics import summary
from experiments.tracking import DIGEST, Tracker, TrackingUnavailable
from tests.experiments.stores import closed_port, contents_of, deleted_of, runs_of, silent_server
from tests.experiments.studies import START, SmallStudy, cell_of, failure_of, header_of, outcome_of

FILES = {"confusion_matrix.png", "subjects.png", "rows.parquet"}
SCORES = {"majority": [0.5, 0.5, 0.5], "lda": [0.75, 0.625, 1.0]}


@pytest.fixture
def study(tmp_path: Path) -> SmallStudy:
    study = SmallStudy(tmp_path / "small.sqlite", header_of("majority", "lda", notes=("Windows of 4 s.",)))
    study.fill(SCORES, curve=[0.25, 0.5])
    return study


def tracker_of(study: SmallStudy, store: str) -> Tracker:
    return Tracker(store, study.path.parent / "artifacts", study.header)


def publish(study: SmallStudy, store: str, tracker: Tracker | None = None) -> None:
    with Results(study.path, writable=False) as results:
        (tracker or tracker_of(study, store)).publish(results)


def publish_folds(study: SmallStudy, tracker: Tracker, *folds: tuple[str, str]) -> None:
    with Results(study.path, writable=False) as results:
        tracker.publish_folds(results, folds)


def ids_of(store: str) -> dict:
    return {key: run.info.run_id for key, run in runs_of(store).items()}


def folder_of(store: str, configuration: str) -> Path:
    return Path(runs_of(store)[configuration, None].info.artifact_uri.removeprefix("file://"))


def files_below(folder: Path) -> dict[Path, int]:
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


# --- what is published ----------------------------------------------------------------------------------------------


def test_a_run_a_configuration_and_a_nested_run_a_held_out_subject(study, store):
    publish(study, store)
    contents = contents_of(store)
    assert set(contents) == {(c, f) for c in SCORES for f in (None, "S00", "S01", "S02")}
    assert {content["status"] for content in contents.values()} == {"FINISHED"}
    for (configuration, fold), content in contents.items():
        assert content["parent"] == (None if fold is None else (configuration, None))
        assert content["name"] == (fold or configuration)


def test_scores_of_a_subject_are_means_over_seeds_and_orders(tmp_path, store):
    study = SmallStudy(tmp_path / "small.sqlite", header_of("lda"))
    for seed, stream, value, first in ((0, 0, 0.25, 0.0), (1, 0, 0.5, 0.25), (0, 1, 0.75, 0.5), (1, 1, 1.0, 1.0)):
        study.add(cell_of("lda", "S00", seed, stream), outcome_of("S00", value, curve=[first, value]))
    publish(study, store)
    values = contents_of(store)["lda", "S00"]["values"]
    ended = int(1000 * (START + 3))
    assert values == {
        **{
            f"{level}/{metric}": [(0, "0.625", ended)]
            for level in ("window", "trial")
            for metric in ("balanced_accuracy", "macro_f1")
        },
        "curve/window/balanced_accuracy": [(0, "0.4375", ended), (1, "0.625", ended)],
    }


def test_a_configuration_carries_its_statistics_and_its_comparison(study, store):
    publish(study, store)
    runs = runs_of(store)
    metrics = runs["lda", None].data.metrics
    told = summary(np.array(SCORES["lda"]))
    for name in ("sd", "median", "worst"):
        assert metrics[f"window/balanced_accuracy/{name}"] == getattr(told, name)
    assert "window/balanced_accuracy/low" not in metrics, "three subjects are too few for an interval"
    assert metrics["window/balanced_accuracy"] == told.mean
    assert metrics["trial/macro_f1"] == told.mean
    assert metrics["to_reference/difference"] == pytest.approx(0.875 / 3)
    # Three subjects, all better: the smallest p there is; one comparison, so Holm leaves it.
    assert metrics["to_reference/p"] == metrics["to_reference/p_holm"] == 0.25
    assert (metrics["subjects"], metrics["cells"], metrics["failed_cells"], metrics["compute_s"]) == (3, 3, 0, 1.5)
    assert not any(name.startswith("to_reference") for name in runs["majority", None].data.metrics)


def test_parameters_are_the_choices_and_all_their_values(study, store):
    publish(study, store)
    params = runs_of(store)["lda", None].data.params
    assert params["normalization"] == "training"
    assert params["strategy"] == "pooled"
    assert params["strategy.part"] == "strategies.pooled:Pooled"
    assert params["strategy.epochs"] == "3"
    assert params["strategy.encoder.hidden"] == "[64]"
    assert params["recipe.windows.length_s"] == "4.0"
    # What is not there is not told.
    assert not {"representation.part", "recipe.windows.step_s"} & params.keys()


def test_tags_tell_where_the_numbers_come_from(study, store):
    publish(study, store)
    tags = runs_of(store)["lda", None].data.tags
    expected = {
        "study": "small", "dataset": "eegmat", "task": "rest_vs_arithmetic", "configuration": "lda",
        "simulated": "false", "transductive": "false", "chance": "0.5 balanced_accuracy",
        "data_fingerprint": "f" * 64, "git_commit": "c" * 40, "version.torch": "2.9.0", "version.mne": "1.10",
    }  # fmt: skip
    assert expected.items() <= tags.items()


def test_commits_of_a_study_that_went_on_are_all_told(study, store):
    cell = cell_of("lda", "S03")
    study.add(replace(cell, provenance={**cell.provenance, "commit": "d" * 40}), outcome_of("S03", 0.5))
    publish(study, store)
    assert runs_of(store)["lda", None].data.tags["git_commit"] == f"{'c' * 40}, {'d' * 40}"


def test_simulated_and_transductive_stand_in_names_and_tags(tmp_path, store):
    study = SmallStudy(tmp_path / "small.sqlite", header_of("lda", simulated=True))
    study.add(cell_of("lda", "S00", simulated=True, transductive=True), outcome_of("S00", 0.5))
    publish(study, store)
    for key, name in ((("lda", None), "lda"), (("lda", "S00"), "S00")):
        run = runs_of(store)[key]
        assert run.info.run_name == f"{name} (simulated, transductive)"
        assert (run.data.tags["simulated"], run.data.tags["transductive"]) == ("true", "true")
    experiment = MlflowClient(store).get_experiment_by_name("small")
    assert experiment.tags["simulated"] == "true"
    assert "Simulated people." in experiment.tags["mlflow.note.content"]


def test_the_experiment_tells_the_question_and_how_to_show_it(study, store):
    study.fill({name: [*values, 0.5, 0.625] for name, values in SCORES.items()})
    publish(study, store)
    experiment = MlflowClient(store).get_experiment_by_name("small")
    assert experiment.tags["mlflow.note.content"] == "Does it work on the next person?\n\nWindows of 4 s."
    assert experiment.artifact_location == (study.path.parent / "artifacts" / "small").as_uri()
    view = json.loads(experiment.tags["mlflow.sharedViewState.study"])
    shown = MlflowClient(store).search_runs([experiment.experiment_id], filter_string=view["searchFilter"])
    assert {run.info.run_name for run in shown} == set(SCORES)
    there = {f"metrics.`{name}`" for name in runs_of(store)["lda", None].data.metrics}
    assert {name for name in view["selectedColumns"] if name.startswith("metrics")} <= there


def test_times_are_those_of_the_cells(study, store):
    publish(study, store)
    runs = runs_of(store)
    assert runs["majority", None].info.start_time == int(1000 * (START - 0.5))
    assert runs["majority", None].info.end_time == int(1000 * (START + 2))
    assert runs["lda", "S01"].info.start_time == int(1000 * (START + 4 - 0.5))
    assert runs["lda", "S01"].info.end_time == int(1000 * (START + 4))


def test_an_undefined_score_is_nan_with_its_reason_counted(study, store):
    study.add(cell_of("lda", "S03"), outcome_of("S03", math.nan, reason="one class only"))
    publish(study, store)
    run = runs_of(store)["lda", "S03"]
    assert math.isnan(run.data.metrics["window/balanced_accuracy"])
    assert "window/balanced_accuracy: one class only (in 1 score)" in run.data.tags["undefined"]
    assert runs_of(store)["lda", None].data.metrics["window/balanced_accuracy/undefined"] == 1


def test_a_fold_that_failed_is_a_failed_run_with_its_cause(study, store):
    study.add(cell_of("lda", "S03"), failure_of("LearningError: diverged"))
    study.add(cell_of("lda", "S02", seed=1), failure_of("worker died"))
    publish(study, store)
    contents = contents_of(store)
    assert contents["lda", "S03"]["status"] == "FAILED"
    assert contents["lda", "S03"]["tags"]["failed_cells"] == "1 of 1: LearningError: diverged (in 1 cell)"
    assert contents["lda", "S02"]["status"] == "FINISHED"
    assert contents["lda", "S02"]["tags"]["failed_cells"] == "1 of 2: worker died (in 1 cell)"
    told = "2 of 5: LearningError: diverged (in 1 cell); worker died (in 1 cell)"
    assert contents["lda", None]["tags"]["failed_cells"] == told


def test_a_configuration_has_its_figures_and_rows_and_a_subject_has_none(study, store):
    publish(study, store)
    for key, run in runs_of(store).items():
        names = {path.name for path in Path(run.info.artifact_uri.removeprefix("file://")).glob("*")}
        assert names == (FILES if key[1] is None else set())
    for name in ("confusion_matrix.png", "subjects.png"):
        assert (folder_of(store, "lda") / name).read_bytes().startswith(b"\x89PNG")
        assert (folder_of(store, "lda") / name).read_bytes() != (folder_of(store, "majority") / name).read_bytes()


def test_the_rows_of_a_configuration_are_all_of_the_results_file(study, store):
    study.add(cell_of("lda", "S03"), outcome_of("S03", math.nan, reason="one class only"))
    publish(study, store)
    with Results(study.path, writable=False) as results:
        expected = results.rows(digest for digest in study.digests if digest.startswith("lda"))
    there = pd.read_parquet(folder_of(store, "lda") / "rows.parquet")
    assert set(there["final"]) == {0, 1}
    pd.testing.assert_frame_equal(there, expected)


def test_a_configuration_whose_every_cell_failed_has_no_files_and_is_complete_all_the_same(study, store):
    study.header = replace(study.header, configurations=("majority", "lda", "broken"))
    study.add(cell_of("broken", "S00"), failure_of("no"))
    publish(study, store)
    assert contents_of(store)["broken", None]["files"] == {}
    assert contents_of(store)["broken", None]["status"] == "FAILED"
    ids = ids_of(store)
    publish(study, store)
    assert ids_of(store) == ids


def test_people_that_were_learned_from_are_shown_and_never_called_held_out(tmp_path, store):
    study = SmallStudy(tmp_path / "small.sqlite", header_of("majority", "personal", seen=("personal",)))
    study.fill({"majority": [0.5, 0.5]})
    for fold, value in (("S00", 0.875), ("S01", 0.625)):
        outcome = outcome_of(fold, value, target="seen", curve=[0.25])
        outcome = replace(outcome, scores=[replace(score, grouping="block") for score in outcome.scores])
        study.add(cell_of("personal", fold, strategy="personal"), outcome)
    publish(study, store)
    runs = runs_of(store)
    assert runs["personal", None].info.run_name == "personal (seen)"
    assert runs["personal", None].data.metrics["window/balanced_accuracy"] == 0.75
    assert "to_reference/difference" not in runs["personal", None].data.metrics
    assert runs["personal", "S01"].data.metrics["window/balanced_accuracy"] == 0.625
    assert runs["personal", "S01"].data.metrics["curve/window/balanced_accuracy"] == 0.25
    for fold, kind in ((None, "configuration"), ("S00", "seen subject"), ("S01", "seen subject")):
        expected = {"target": "seen", "grouping": "block", "run": kind}
        assert expected.items() <= runs["personal", fold].data.tags.items()
    for fold, kind in ((None, "configuration"), ("S00", "held-out subject")):
        expected = {"target": "unseen", "grouping": "trial", "run": kind}
        assert expected.items() <= runs["majority", fold].data.tags.items()


def test_controls_and_what_does_not_beat_them_are_told(tmp_path, store):
    header = header_of("majority", "time", "lda", "weak", controls=("majority", "time"))
    study = SmallStudy(tmp_path / "small.sqlite", header)
    people = range(10)
    study.fill(
        {
            "majority": [0.5 for _ in people],
            "time": [0.6 + 0.01 * person for person in people],
            "lda": [0.8 + 0.02 * person for person in people],
            "weak": [0.6 + 0.01 * (person + (-1) ** person) for person in people],
        }
    )
    publish(study, store)
    runs = runs_of(store)
    assert runs["time", None].info.run_name == "time (control)"
    assert runs["time", None].data.tags["control"] == "control"
    assert "best_control" not in runs["time", None].data.tags
    for configuration, told in (("lda", "beaten"), ("weak", "= control")):
        assert runs[configuration, None].data.tags["control"] == told
        assert runs[configuration, None].data.tags["best_control"] == "time"
    metrics = runs["lda", None].data.metrics
    assert metrics["to_control/difference"] == pytest.approx(0.2 + 0.045)
    # All ten better: p is 2 / 2^10, of two comparisons with a control.
    assert metrics["to_control/p_holm"] == pytest.approx(2 * 2 / 1024)
    view = json.loads(MlflowClient(store).get_experiment_by_name("small").tags["mlflow.sharedViewState.study"])
    assert "tags.`control`" in view["selectedColumns"]


def test_names_that_mlflow_does_not_take_are_mended(tmp_path, store):
    study = SmallStudy(tmp_path / "small.sqlite", header_of("lda(bands=[8, 13])/é"))
    cell = cell_of("lda(bands=[8, 13])/é", "S00")
    told = {**cell.provenance, "configuration": {"bands": {"α [8-13 Hz]": [8, 13]}, "long": "x" * 9000}}
    study.add(replace(cell, provenance=told), outcome_of("S00", 0.5))
    publish(study, store)
    params = runs_of(store)["lda(bands=[8, 13])/é", None].data.params
    assert params["bands.α _8-13 Hz_"] == "[8, 13]"


# --- publishing twice equals publishing once ------------------------------------------------------------------------


def test_publishing_twice_equals_publishing_once(study, store):
    publish(study, store)
    contents, ids = contents_of(store), ids_of(store)
    tracker = tracker_of(study, store)
    for _ in range(2):
        publish(study, store, tracker)
    assert contents_of(store) == contents
    assert ids_of(store) == ids
    assert deleted_of(store) == 0


def test_files_are_not_sent_twice(study, store):
    publish(study, store)
    before = files_below(study.path.parent / "artifacts")
    assert len(before) == 2 * len(FILES)
    publish(study, store)
    assert files_below(study.path.parent / "artifacts") == before


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_that_is_gone_comes_back(study, store, name):
    publish(study, store)
    contents = contents_of(store)
    (folder_of(store, "lda") / name).unlink()
    publish(study, store)
    assert contents_of(store) == contents


def test_a_run_that_is_written_anew_leaves_no_files_behind(study, store):
    publish(study, store)
    study.add(cell_of("lda", "S01"), outcome_of("S01", 0.875))
    publish(study, store)
    there = {path.parent for path in (study.path.parent / "artifacts").rglob("*") if path.is_file()}
    assert there == {folder_of(store, "lda"), folder_of(store, "majority")}


def test_a_file_of_the_user_is_never_touched(study, store):
    publish(study, store)
    mine = folder_of(store, "lda") / "mine.txt"
    mine.write_text("mine")
    publish(study, store)
    assert mine.read_text() == "mine"
    study.add(cell_of("lda", "S01"), outcome_of("S01", 0.875))
    publish(study, store)
    assert mine.read_text() == "mine", "its run is deleted, and can be restored"


def test_a_view_of_another_version_is_written_anew(study, store):
    publish(study, store)
    contents, ids = contents_of(store), ids_of(store)
    client = MlflowClient(store)
    for configuration in SCORES:
        client.set_tag(ids[configuration, None], DIGEST, "of a version that made no files")
        for path in folder_of(store, configuration).iterdir():
            path.unlink()
    publish(study, store)
    assert contents_of(store) == contents
    assert ids_of(store)["lda", "S00"] == ids["lda", "S00"]


def test_a_storage_that_fails_leaves_the_values_and_is_made_up_for(study, store, empty_store, tmp_path, monkeypatch):
    def half(self, folder, artifact_path=None):
        first, *_ = sorted(Path(folder).iterdir())
        self.log_artifact(str(first), artifact_path)
        raise RuntimeError("the bucket is full")

    with monkeypatch.context() as patch:
        patch.setattr(LocalArtifactRepository, "log_artifacts", half)
        with pytest.raises(TrackingUnavailable, match="the bucket is full"):
            publish(study, store)
    left = contents_of(store)
    assert left["lda", None]["status"] == "RUNNING"
    assert left["lda", None]["values"]["subjects"][-1][1] == "3.0"
    assert left["lda", "S02"]["status"] == "FINISHED"
    publish(study, store)
    undisturbed = tmp_path / "undisturbed.db"
    undisturbed.write_bytes(empty_store.read_bytes())
    publish(study, f"sqlite:///{undisturbed}")
    assert contents_of(store) == contents_of(f"sqlite:///{undisturbed}")


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_folder_that_was_moved_or_copied_keeps_its_files(study, empty_store, tmp_path, how):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    (first / "mlflow.db").write_bytes(empty_store.read_bytes())
    with Results(study.path, writable=False) as results:
        Tracker(f"sqlite:///{first}/mlflow.db", first / "mlartifacts", study.header).publish(results)
        before, ids = contents_of(f"sqlite:///{first}/mlflow.db"), ids_of(f"sqlite:///{first}/mlflow.db")
        kept = files_below(first)
        if how == "moved":
            first.rename(second)
        else:
            shutil.copytree(first, second)
        Tracker(f"sqlite:///{second}/mlflow.db", second / "mlartifacts", study.header).publish(results)
    assert contents_of(f"sqlite:///{second}/mlflow.db") == before
    assert ids_of(f"sqlite:///{second}/mlflow.db") == ids
    assert folder_of(f"sqlite:///{second}/mlflow.db", "lda").is_relative_to(second / "mlartifacts")
    assert not first.exists() if how == "moved" else files_below(first) == kept


def test_what_changed_is_written_anew_and_nothing_else(study, store):
    publish(study, store)
    before = ids_of(store)
    study.add(cell_of("lda", "S01"), outcome_of("S01", 0.875))
    publish(study, store)
    after = ids_of(store)
    # The subject and the two configurations, whose comparison rests on it.
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {("lda", "S01"), ("lda", None), ("majority", None)}
    assert contents_of(store)["lda", "S01"]["values"]["window/balanced_accuracy"][0][1] == "0.875"
    assert {content["parent"] for key, content in contents_of(store).items() if key[1]} == {
        ("lda", None), ("majority", None),
    }  # fmt: skip


def test_a_success_replaces_the_failed_run(study, store):
    study.add(cell_of("lda", "S03"), failure_of("no"))
    publish(study, store)
    study.add(cell_of("lda", "S03"), outcome_of("S03", 0.5))
    publish(study, store)
    assert contents_of(store)["lda", "S03"]["status"] == "FINISHED"


def test_what_left_the_plan_leaves_the_view_and_comes_back(study, store):
    publish(study, store)
    contents = contents_of(store)
    header, digests = study.header, list(study.digests)
    with Results(study.path) as results:
        results.set_plan(replace(header, configurations=("majority",)), digests[:3])
    study.header = replace(header, configurations=("majority",))
    publish(study, store)
    assert {configuration for configuration, _ in runs_of(store)} == {"majority"}
    with Results(study.path) as results:
        results.set_plan(header, digests)
    study.header = header
    publish(study, store)
    assert contents_of(store) == contents


def test_runs_of_the_user_are_never_touched(study, store):
    publish(study, store)
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("small").experiment_id
    mine = client.create_run(experiment, run_name="mine", tags={"configuration": "mine", "mlflow.note.content": "x"})
    client.log_metric(mine.info.run_id, "window/balanced_accuracy", 1.0)
    study.add(cell_of("lda", "S01"), outcome_of("S01", 0.875))
    publish(study, store)
    assert client.get_run(mine.info.run_id).info.lifecycle_stage == "active"
    assert client.get_run(mine.info.run_id).data.metrics == {"window/balanced_accuracy": 1.0}


def test_an_experiment_that_was_deleted_in_the_browser_comes_back(study, store):
    publish(study, store)
    contents = contents_of(store)
    client = MlflowClient(store)
    client.delete_experiment(client.get_experiment_by_name("small").experiment_id)
    publish(study, store)
    assert contents_of(store) == contents


class Interrupted(MlflowClient):
    """A client whose store stops answering after some requests that write."""

    left = 0

    def _count(self):
        if self.left == 0:
            raise MlflowException("the store is gone")
        self.left -= 1

    def create_run(self, *args, **kwargs):
        self._count()
        return super().create_run(*args, **kwargs)

    def log_batch(self, *args, **kwargs):
        self._count()
        return super().log_batch(*args, **kwargs)

    def set_terminated(self, *args, **kwargs):
        self._count()
        return super().set_terminated(*args, **kwargs)


@pytest.mark.parametrize("requests", [0, 1, 3, 4, 7, 21, 22, 23])
def test_an_interrupted_publishing_is_mended_by_the_next(study, store, empty_store, tmp_path, requests):
    tracker = tracker_of(study, store)
    tracker._client = Interrupted(store)
    tracker._client.left = requests
    with pytest.raises(TrackingUnavailable, match="the store is gone"):
        publish(study, store, tracker)
    publish(study, store)
    undisturbed = tmp_path / "undisturbed.db"
    undisturbed.write_bytes(empty_store.read_bytes())
    publish(study, f"sqlite:///{undisturbed}")
    assert contents_of(store) == contents_of(f"sqlite:///{undisturbed}")


def test_doubles_that_a_repeated_request_left_are_removed(study, store):
    publish(study, store)
    ids, original = ids_of(store), runs_of(store)["lda", "S00"]
    client = MlflowClient(store)
    twin = client.create_run(original.info.experiment_id, tags=dict(original.data.tags))
    publish(study, store)
    assert client.get_run(twin.info.run_id).info.lifecycle_stage == "deleted"
    assert ids_of(store) == ids


# --- two publishers at once ------------------------------------------------------------------------------------------


def test_two_publishers_that_were_opened_before_either_wrote_double_nothing(study, store):
    first, second = tracker_of(study, store), tracker_of(study, store)
    publish(study, store, first)
    contents, ids = contents_of(store), ids_of(store)
    publish(study, store, second)
    publish(study, store, first)
    assert contents_of(store) == contents
    assert ids_of(store) == ids
    assert deleted_of(store) == 0


def test_publishers_in_threads_wait_for_each_other(study, store, empty_store, tmp_path):
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: publish(study, store), range(3)))
    at_once = tmp_path / "at_once.db"
    at_once.write_bytes(empty_store.read_bytes())
    publish(study, f"sqlite:///{at_once}")
    assert contents_of(store) == contents_of(f"sqlite:///{at_once}")
    assert deleted_of(store) == 0


def test_publishing_into_the_store_of_a_running_study_leaves_it_as_published_once(study, store, empty_store, tmp_path):
    live, beside = tracker_of(study, store), tracker_of(study, store)
    publish_folds(study, live, ("lda", "S00"))
    publish(study, store, beside)
    publish_folds(study, live, ("lda", "S01"))
    publish_folds(study, live, ("majority", "S00"))
    publish(study, store, live)
    at_once = tmp_path / "at_once.db"
    at_once.write_bytes(empty_store.read_bytes())
    publish(study, f"sqlite:///{at_once}")
    assert contents_of(store) == contents_of(f"sqlite:///{at_once}")


def test_who_waits_in_vain_is_told_whom_for(study, store, monkeypatch):
    holder, waiting = tracker_of(study, store), tracker_of(study, store)
    monkeypatch.setattr(tracking, "_PATIENCE_S", 0.1)
    with holder._alone(), ThreadPoolExecutor(1) as pool:
        told = rf"'small' is being published to .*mlflow\.db by process {os.getpid()} on .*after 0\.1 s"
        with pytest.raises(TrackingUnavailable, match=told):
            pool.submit(publish, study, store, waiting).result()
        assert runs_of(store) == {}
    publish(study, store, waiting)
    assert len(runs_of(store)) == 8


def test_another_study_of_the_same_store_does_not_wait(study, store, monkeypatch):
    monkeypatch.setattr(tracking, "_PATIENCE_S", 0.1)
    other = Tracker(store, None, replace(study.header, study="other"))
    with other._alone(), ThreadPoolExecutor(1) as pool:
        pool.submit(publish, study, store).result()
    assert len(runs_of(store)) == 8


def test_what_two_publishers_without_a_lock_doubled_is_removed_by_the_next(study, store, monkeypatch):
    """As on a server: one publishes all, after the other one has looked and before it writes."""

    @contextmanager
    def unlocked(self: Tracker) -> Iterator[bool]:
        yield True

    monkeypatch.setattr(Tracker, "_alone", unlocked)
    slow = tracker_of(study, store)
    quick = tracker_of(study, store)

    class Slow(MlflowClient):
        def create_run(self, *args, **kwargs):
            if not quick._seen:
                publish(study, store, quick)
            return super().create_run(*args, **kwargs)

    slow._client = Slow(store)
    publish(study, store, slow)
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("small").experiment_id
    assert len(client.search_runs([experiment])) == 2 * 8
    publish(study, store)
    assert len(runs_of(store)) == 8
    assert deleted_of(store) == 8
    contents = contents_of(store)
    assert {content["parent"] for key, content in contents.items() if key[1]} == {("lda", None), ("majority", None)}
    assert {frozenset(content["files"]) for key, content in contents.items() if not key[1]} == {frozenset(FILES)}


# --- while the study runs -------------------------------------------------------------------------------------------


def test_a_running_configuration_shows_its_mean_so_far_and_ends_as_if_published_at_once(
    study, store, empty_store, tmp_path
):
    tracker = tracker_of(study, store)
    with Results(study.path) as results:
        digests = results.planned()
        for number in (1, 2):
            done = [d for d in digests if d.split("-")[0] == "lda" and d.split("-")[1] < f"S{number:02d}"]
            results.set_plan(study.header, done)
            tracker.publish_folds(results, {("lda", f"S{number - 1:02d}")})
        running = contents_of(store)
        assert set(running) == {("lda", None), ("lda", "S00"), ("lda", "S01")}
        assert running["lda", None]["status"] == "RUNNING"
        assert running["lda", None]["params"]["strategy.epochs"] == "3"
        shown = running["lda", None]["values"]["window/balanced_accuracy"]
        assert [(step, value) for step, value, _ in shown] == [(1, "0.75"), (2, "0.6875")]
        assert running["lda", "S01"]["status"] == "FINISHED"
        ids = ids_of(store)
        results.set_plan(study.header, digests)
    publish(study, store, tracker)
    assert {key: ids_of(store)[key] for key in ids} == ids
    at_once = tmp_path / "at_once.db"
    at_once.write_bytes(empty_store.read_bytes())
    publish(study, f"sqlite:///{at_once}")
    live, plain = contents_of(store), contents_of(f"sqlite:///{at_once}")
    for contents in (live, plain):
        for content in contents.values():
            if content["parent"] is None:
                # The way there stays visible; the last value is the same.
                content["values"] = {name: points[-1] for name, points in content["values"].items()}
    assert live == plain


def test_a_study_that_goes_on_replaces_what_a_stopped_one_left_running(study, store):
    stopped = tracker_of(study, store)
    publish_folds(study, stopped, ("lda", "S00"))
    left = ids_of(store)
    resumed = tracker_of(study, store)
    publish_folds(study, resumed, ("lda", "S01"))
    publish(study, store, resumed)
    contents, ids = contents_of(store), ids_of(store)
    assert {content["status"] for content in contents.values()} == {"FINISHED"}
    assert ids["lda", "S00"] == left["lda", "S00"]
    assert contents["lda", "S00"]["parent"] == ("lda", None)


def test_a_complete_run_stays_until_all_is_known(study, store):
    publish(study, store)
    before = contents_of(store)["lda", None]
    study.add(cell_of("lda", "S03"), outcome_of("S03", 0.0))
    tracker = tracker_of(study, store)
    publish_folds(study, tracker, ("lda", "S03"))
    assert contents_of(store)["lda", None] == before
    assert contents_of(store)["lda", "S03"]["parent"] == ("lda", None)
    publish(study, store, tracker)
    assert contents_of(store)["lda", None]["values"]["subjects"][-1][1] == "4.0"


# --- stores that do not answer --------------------------------------------------------------------------------------


@pytest.mark.parametrize("uri", ["localhost:5000", "results", "postgresql://user:secret@db/mlflow", "file:///tmp/x"])
def test_what_is_no_address_of_a_store(study, tmp_path, monkeypatch, uri):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    with pytest.raises(TrackingUnavailable, match="is no MLflow store: http://HOST:PORT") as told:
        Tracker(uri, None, study.header)
    assert "secret" not in str(told.value)
    assert set(tmp_path.iterdir()) == before


def test_files_of_a_store_in_a_file_lie_beside_it_unless_told(study, store, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with Results(study.path, writable=False) as results:
        Tracker(store, None, study.header).publish(results)
    assert folder_of(store, "lda").is_relative_to(tmp_path / "mlartifacts" / "small")
    assert list(elsewhere.iterdir()) == []


def test_a_port_that_nobody_listens_on(study):
    uri = f"http://user:secret@127.0.0.1:{closed_port()}"
    told = r"^MLflow at http://127\.0\.0\.1:\d+ cannot be used: .*refused$"
    with pytest.raises(TrackingUnavailable, match=told):
        Tracker(uri, None, study.header)


def test_a_server_that_never_answers_and_the_users_own_patience(study, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    begun = time.monotonic()
    with silent_server() as uri, pytest.raises(TrackingUnavailable, match="cannot be used"):
        Tracker(uri, None, study.header)
    assert time.monotonic() - begun < 8
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "1"


def test_a_store_in_a_folder_that_cannot_be_made(study, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingUnavailable, match="cannot be used"):
        Tracker(f"sqlite:///{tmp_path}/file/mlflow.db", tmp_path, study.header)


def test_a_store_that_is_no_store(study, tmp_path):
    (tmp_path / "mlflow.db").write_text("not a database" * 100)
    with pytest.raises(TrackingUnavailable, match="cannot be used"):
        Tracker(f"sqlite:///{tmp_path}/mlflow.db", tmp_path, study.header)


def test_nothing_is_left_where_the_command_is_given(study, store, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    publish(study, store)
    assert list(elsewhere.iterdir()) == []
