"""Cells that compute a lot, on Ray workers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.cohort import Cohort
from benchmarks.protocols.leave_one_subject_out import LeaveOneSubjectOut
from experiments.cell import Job
from experiments.engine import cluster, compute_all
from experiments.records import Outcome
from tests.performance.problem import Problem
from tests.performance.sides.contract import Run, Told
from tests.performance.sides.ours import federation, learning


def cells(problem: Mapping[str, Any], workers: int) -> Run:
    """Side: a cell for each fold, a group each; it tells ``compute_s``, from the first to the last, on warm workers."""
    work = Problem.of(problem)
    given = learning(work, work.everybody)
    cohort = Cohort("made", "made", given.classes, given.geometry, given.training, (), "made", simulated=True)

    def run() -> Told:
        with cluster(workers, "local") as at_once:
            # The first cell of a worker waits for imports.
            _computed(replace(work, rounds=1), cohort, at_once)
            started = time.perf_counter()
            _computed(work, cohort, at_once)
            seconds = time.perf_counter() - started
        return lambda: {"compute_s": seconds}

    return run


def _computed(problem: Problem, cohort: Cohort, at_once: int) -> None:
    strategy = federation(problem, "in_process")
    jobs = [
        Job(strategy, fold, seed=0, stream=0, validation_subjects=0, metrics={}, curve_metrics={})
        for fold in LeaveOneSubjectOut(validation_subjects=0).folds(cohort.windows.subjects)
    ]
    for fold, outcomes in compute_all([(job.fold.name, "made", [job]) for job in jobs], {"made": cohort}, at_once):
        refuse_failures(f"fold {fold}", outcomes)


def refuse_failures(told: str, outcomes: Sequence[Outcome]) -> None:
    """Raise the cause of a cell that failed: its time says nothing."""
    for outcome in outcomes:
        if outcome.cause is not None:
            raise RuntimeError(f"{told}: {outcome.cause}")
