"""Runs of a study: groups that are partly finished, folds that fail, who hears of what, and when Ray is started."""

from __future__ import annotations

import io
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from benchmarks.cache import Cache
from benchmarks.cohort import Cohort
from benchmarks.datasets.contract import Places
from benchmarks.errors import DataError
from experiments import engine, runner
from experiments.cell import Job, compute_many
from experiments.folders import Folders
from experiments.plan import Plan
from experiments.records import Outcome
from experiments.results import Results
from experiments.runner import Report, run
from experiments.study import Study

STUDY: dict[str, Any] = {
    "study": "small",
    "dataset": {"name": "simulated", "subjects": 5, "channels": 3},
    "windows": {"length_s": 4},
    "protocol": {"name": "loso", "validation_subjects": 1},
    "seeds": 2,
    "normalization": "subject_unlabelled",
    "encoder": {"name": "mlp", "hidden": [4]},
    "controls": ["majority"],
    "configurations": {
        "pooled": {"strategy": {"name": "pooled", "epochs": 2}},
        "federated": {"strategy": {"name": "federated", "rounds": 2}},
    },
}
CELLS = 5 + 5 * 2 + 5 * 2


class Heard:
    """Publisher that only notes what it is told."""

    seconds = waited_seconds = 0.0
    problem = None

    def __init__(self, *_: object) -> None:
        self.subjects: list[tuple[str, str]] = []
        heard.append(self)

    def __enter__(self) -> Heard:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def subject_done(self, configuration: str, fold: str) -> None:
        self.subjects.append((configuration, fold))


heard: list[Heard] = []


@pytest.fixture(autouse=True)
def _without_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    heard.clear()
    monkeypatch.setattr(runner, "LivePublisher", Heard)


@pytest.fixture
def clusters(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Cells are computed in this process; a name for each time that Ray would have been started."""
    started: list[str] = []

    @contextmanager
    def cluster(workers: int | None, address: str) -> Iterator[int]:
        started.append(address)
        yield 1

    def compute_all(
        groups: Iterable[tuple[Any, str, Sequence[Job]]], cohorts: Mapping[str, Cohort], at_once: int
    ) -> Iterator[tuple[Any, list[Outcome]]]:
        for key, name, jobs in groups:
            yield key, compute_many(cohorts[name], jobs)

    monkeypatch.setattr(engine, "cluster", cluster)
    monkeypatch.setattr(engine, "compute_all", compute_all)
    return started


def plan(folder: Path, **changes: Any) -> Plan:
    return Plan(Study.model_validate({**STUDY, **changes}), Places(folder, folder / "cache", folder))


def ran(folder: Path, made: Plan, results: str = "results", workers: int | None = None) -> tuple[Report, str]:
    told = io.StringIO()
    console = Console(file=told, width=200)
    report = run(made, Folders(folder / results), Cache(folder / "cache"), console, workers=workers)
    return report, told.getvalue()


def rows(path: Path) -> pd.DataFrame:
    with Results(path, writable=False) as results:
        return results.rows(results.planned())


def said(path: Path) -> dict[str, list[bytes]]:
    """Probabilities of all finished cells, to the bit."""
    with Results(path, writable=False) as results:
        digests = results.finished()
        return {d: [p.probabilities.tobytes() for p in results.predictions(d)] for d in digests}


def finished_at(path: Path) -> dict[str, float]:
    with sqlite3.connect(path) as db:
        return dict(db.execute("SELECT digest, finished_at FROM cells"))


def interrupted(path: Path, gone: Iterable[str]) -> None:
    """Take cells out of a results file: a run that was killed between two of them leaves it like this."""
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA foreign_keys = ON")
        db.executemany("DELETE FROM cells WHERE digest = ?", [(digest,) for digest in gone])


def some_of_each_group(made: Plan) -> list[str]:
    """Digests of two cells of each group that has several, and of one that is alone."""
    alone = next(group.cells[0].digest for group in made.groups() if group.configuration.label == "pooled")
    return [alone, *(cell.digest for group in made.groups() if group.cells[1:] for cell in group.cells[1:3])]


def test_a_group_of_which_a_cell_is_missing_is_computed_whole_and_only_what_is_missing_is_recorded(
    tmp_path: Path, clusters: list[str]
) -> None:
    made, path = plan(tmp_path), tmp_path / "results" / "small.sqlite"
    assert ran(tmp_path, made)[0].computed == CELLS
    whole, words, times = rows(path), said(path), finished_at(path)
    gone = some_of_each_group(made)
    assert len(gone) == 1 + 2 * 2
    interrupted(path, gone)
    assert len(rows(path)) < len(whole)

    report, told = ran(tmp_path, made)
    assert (report.computed, report.failed) == (len(gone), 0)
    assert f"{CELLS} of {CELLS} cells, 0 failed" in told
    pd.testing.assert_frame_equal(rows(path), whole, check_exact=True)
    assert said(path) == words
    assert {digest for digest, at in finished_at(path).items() if at != times[digest]} == set(gone)


def test_a_subject_is_told_to_be_done_once_when_its_last_cell_is_written(tmp_path: Path, clusters: list[str]) -> None:
    made = plan(tmp_path)
    ran(tmp_path, made)
    everything = Counter((cell.configuration.label, cell.fold.name) for cell in made.cells())
    assert Counter(heard[0].subjects) == dict.fromkeys(everything, 1)
    gone = [cell for cell in made.cells() if (cell.configuration.label, cell.seed) == ("federated", 1)][:2]
    interrupted(tmp_path / "results" / "small.sqlite", [cell.digest for cell in gone])
    ran(tmp_path, made)
    assert heard[1].subjects == [("federated", cell.fold.name) for cell in gone]


def test_ray_is_started_once_and_only_where_something_is_missing(tmp_path: Path, clusters: list[str]) -> None:
    made = plan(tmp_path)
    ran(tmp_path, made)
    assert clusters == ["local"]
    report, _ = ran(tmp_path, made)
    assert (report.computed, clusters) == (0, ["local"])


def one_sided(folder: Path) -> Plan:
    """A federation of three people of whom only the last shows both classes: nothing can be learned without her."""
    show = {"ann": "xx", "bob": "xx", "eve": "xy"}
    lines = [
        f"{who},{part},{label},{number + k},{number * k % 5}"
        for number, (who, labels) in enumerate(show.items())
        for part, label in enumerate(labels)
        for k in range(6)
    ]
    (folder / "t.csv").write_text("\n".join(["id,trial,label,f,g", *lines]))
    dataset = {"name": "table", "path": "t.csv", "subject": "id", "label": "label", "trial": "trial"}
    federated = {"federated": STUDY["configurations"]["federated"]}
    return plan(
        folder,
        dataset={**dataset, "features": ["f", "g"]},
        windows=None,
        protocol={"name": "loso", "validation_subjects": 0},
        seeds=1,
        configurations=federated,
    )


def test_a_fold_of_a_group_that_cannot_be_learned_fails_alone_and_is_tried_again(
    tmp_path: Path, clusters: list[str]
) -> None:
    made = one_sided(tmp_path)
    (group,) = [group for group in made.groups() if group.cells[1:]]
    # Without her, the control has not met both classes either.
    report, told = ran(tmp_path, made)
    assert (report.computed, report.failed) == (3 + 3, 1 + 1)
    assert "2 failed" in told
    with Results(tmp_path / "results" / "small.sqlite", writable=False) as results:
        cells = results.cells([cell.digest for cell in group.cells]).set_index("fold")
        done = results.finished()
    assert dict(cells["status"]) == {"ann": "done", "bob": "done", "eve": "failed"}
    assert cells["cause"]["eve"].startswith("No training window of class 'y' among subjects ann, bob.")
    assert {cell.digest for cell in group.cells[:2]} <= done

    again, _ = ran(tmp_path, made)
    assert (again.computed, again.failed) == (1 + 1, 1 + 1)


def test_scores_of_people_whom_a_strategy_is_not_for_are_no_part_of_what_is_shown(
    tmp_path: Path, clusters: list[str]
) -> None:
    made = plan(tmp_path, protocol={"name": "loso", "validation_subjects": 1, "seen": True}, seeds=1)
    _, told = ran(tmp_path, made)
    found = rows(tmp_path / "results" / "small.sqlite")
    final = found[(found.final == 1) & (found.level == "window") & (found.metric == "balanced_accuracy")]
    means = final[final.target == "unseen"].groupby("configuration")["value"].mean()
    both = final.groupby("configuration")["value"].mean()
    for label in ("pooled", "federated"):
        assert f"{means[label]:.3f}" != f"{both[label]:.3f}", "the test could not fail"
        assert f"{label} {means[label]:.3f}" in told


@pytest.mark.slow
def test_people_who_cannot_be_split_are_told_together_before_anything_is_computed(
    tmp_path: Path, clusters: list[str]
) -> None:
    """Trials of two windows each, too few to hold any out a window apart."""
    stream = {"name": "stream", "held_out": 1}
    entries = {"tuned": {"strategy": {"name": "finetuning", "epochs": 1}}}
    short = {"dataset": {"name": "simulated", "subjects": 5, "trials": 2, "trial_s": 8}, "windows": {"length_s": 4}}
    with pytest.raises(DataError) as caught:
        ran(tmp_path, plan(tmp_path, **short, protocol=stream, configurations=entries, seeds=1))
    *told, remedy = str(caught.value).splitlines()
    assert all("has no window left to" in line for line in told)
    names = [name for line in told for name in line.partition(": ")[0].split(", ")]
    assert len(set(names)) == len(names) == 4, "all who would be met, and nobody who is held out"
    assert len(told) < 4, "those of whom the same is wrong stand in one line"
    assert "each class needs three trials" in remedy
    assert str(caught.value).count("each class needs") == 1
    assert not clusters
    assert not list(tmp_path.rglob("*.sqlite"))


def test_one_worker_and_two_that_take_up_what_was_interrupted_give_the_same_rows(tmp_path: Path) -> None:
    made = plan(tmp_path)
    one, two = (tmp_path / name / "small.sqlite" for name in ("one", "two"))
    report, _ = ran(tmp_path, made, "one", workers=1)
    assert (report.computed, report.failed) == (CELLS, 0)
    two.parent.mkdir()
    shutil.copy(one, two)
    # Groups of several cells keep two of them, and are computed whole all the same.
    gone = {cell.digest for cell in made.cells()} - set(some_of_each_group(made))
    interrupted(two, gone)
    assert set(said(two)) == set(some_of_each_group(made))
    report, _ = ran(tmp_path, made, "two", workers=2)
    assert (report.computed, report.failed) == (len(gone), 0)
    assert said(one) == said(two)
    pd.testing.assert_frame_equal(rows(one), rows(two), check_exact=True)


STREAMS: dict[str, Any] = {
    "dataset": {"name": "simulated", "subjects": 5, "channels": 3},
    "protocol": {"name": "stream", "held_out": 1},
    "orders": 4,
    "normalization": "stream",
    "configurations": {
        "tuned": {"strategy": {"name": "finetuning", "epochs": 3, "diagnostics": True}},
        "si": {"strategy": {"name": "si", "strength": 1, "epochs": 3}},
    },
}


def test_orders_and_seeds_that_were_learned_side_by_side_come_again_to_the_bit_after_an_interruption(
    tmp_path: Path, clusters: list[str]
) -> None:
    made, path = plan(tmp_path, **STREAMS), tmp_path / "results" / "small.sqlite"
    groups = [group for group in made.groups() if group.cells[1:]]
    assert [len(group.cells) for group in groups] == [4 * 2, 4 * 2]
    report, _ = ran(tmp_path, made)
    assert (report.computed, report.failed) == (1 + 2 * 8, 0)
    whole, words = rows(path), said(path)
    assert len(set(map(str, words.values()))) > 2, "orders and seeds differ"

    gone = [cell.digest for group in groups for cell in group.cells[2:5]]
    interrupted(path, gone)
    assert ran(tmp_path, made)[0].computed == len(gone)
    pd.testing.assert_frame_equal(rows(path), whole, check_exact=True)
    assert said(path) == words


def test_more_orders_compute_new_groups_alone(tmp_path: Path, clusters: list[str]) -> None:
    eight = plan(tmp_path, **{**STREAMS, "orders": 8})
    ran(tmp_path, eight)
    report, told = ran(tmp_path, plan(tmp_path, **{**STREAMS, "orders": 10}))
    assert (report.computed, report.failed) == (2 * 2 * 2, 0), told
