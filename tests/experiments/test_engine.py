"""Cells as Ray tasks: the same numbers on one worker and two, and workers that die."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.errors import UnseenError
from experiments.cell import Job, compute
from experiments.engine import cluster, compute_all
from experiments.results import Outcome
from strategies.contract import Learning, Observer, Predictor
from tests.experiments.test_cell import POOLED, Sign, cohort, job

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Deadly(Sign):
    """Takes the whole worker process with it, as running out of memory does."""

    def fit(self, learning: Learning, observer: Observer) -> Predictor:
        os._exit(1)


def computed(jobs: dict[str, Job], workers: int) -> dict[str, Outcome]:
    with cluster(workers, "local") as at_once:
        assert at_once == workers
        tasks = ((key, "toy", job) for key, job in jobs.items())
        return dict(compute_all(tasks, {"toy": cohort()}, at_once))


def test_two_workers_give_the_numbers_of_one_and_of_none_and_a_dead_worker_harms_no_other_cell() -> None:
    jobs = {f"pooled {fold} {seed}": job(POOLED, fold, seed=seed) for fold in range(4) for seed in range(2)}
    here = {key: compute(cohort(), cell) for key, cell in jobs.items()}
    one, two = computed(jobs, 1), computed({"dead": job(Deadly()), **jobs}, 2)

    dead = two.pop("dead")
    assert dead.cause is not None
    assert dead.cause.startswith("The worker process failed")
    assert here.keys() == one.keys() == two.keys()
    for key, expected in here.items():
        assert expected.cause is None
        for other in (one[key], two[key]):
            assert other.scores == expected.scores
            assert other.predictions[0].probabilities.tobytes() == expected.predictions[0].probabilities.tobytes()


def test_a_long_folder_for_temporary_files_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert computed({"one": job(Sign())}, 1)["one"].cause is None


def test_an_address_without_a_cluster_is_told() -> None:
    with pytest.raises(UnseenError, match="No Ray cluster answers at '127.0.0.1:1'"), cluster(None, "127.0.0.1:1"):
        pass
