"""Cells of a study of streams: all of them on Ray workers, or one in this process with a look at its parts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.cohort import Cohort, build_cohort
from benchmarks.datasets.contract import Places
from clients.predictor import NetworkPredictor
from experiments.cell import Job, Witness, compute, compute_many
from experiments.engine import cluster, compute_all
from experiments.plan import Group, Plan
from experiments.study import Study
from strategies.continual.quadratic import QuadraticPenalty
from strategies.continual.stopping import EarlyStopping
from strategies.continual.template import StreamTemplate
from strategies.contract import Strategy
from tests.performance.sides.contract import Run, Told
from tests.performance.sides.workers import refuse_failures

Methods = Sequence[tuple[type, str]]

PARTS: Mapping[str, Methods] = {
    "training": [(StreamTemplate, "training_epoch")],
    "validation": [(EarlyStopping, "after_training_epoch")],
    "importance": [(QuadraticPenalty, "after_training_exp")],
    "snapshots": [(NetworkPredictor, "snapshot"), (Witness, "__call__")],
    "learning": [(Strategy, "fit_many")],
}
"""What a cell's time goes to, by the methods in which it is spent. Learning holds all the others, and a rest."""


def cells(study: Mapping[str, Any], workers: int) -> Run:
    """Side: all cells of a study; it tells ``compute_s``, from the first to the last, on warm workers.

    It tells the processor time of all cells too, ``cells_s``, and their number, ``cells``.

    Parameters
    ----------
    study : mapping
        What stands in a study file; all of its configurations have one representation.
    workers : int
        Cells that are computed at once.
    """
    plan, cohort = _planned(json.dumps(study))
    groups = list(plan.groups())

    def run() -> Told:
        with cluster(workers, "local") as at_once:
            # The first cell of a worker waits for imports.
            _computed(plan, cohort, groups[: 2 * at_once], at_once)
            started = time.perf_counter()
            spent_s = _computed(plan, cohort, groups, at_once)
            seconds = time.perf_counter() - started
        return lambda: {"compute_s": seconds, "cells_s": sum(spent_s), "cells": len(spent_s)}

    return run


def one(study: Mapping[str, Any], configuration: str) -> Run:
    """Side: the first cell of a configuration; it tells the shares of `PARTS`, and of all that is no learning.

    Parameters
    ----------
    study : mapping
        As for `cells`.
    configuration : str
        Its label.
    """
    plan, cohort = _planned(json.dumps(study))
    job = next(plan.job(cell) for cell in plan.cells() if cell.configuration.label == configuration)

    def run() -> Told:
        seconds, spent_s = spent(cohort, job)
        shares = {f"share_of_{part}": each / seconds for part, each in spent_s.items()}
        # Choosing what is learned from is so little that it is not told apart.
        return lambda: {**shares, "share_of_scoring": 1 - shares["share_of_learning"]}

    return run


def group(study: Mapping[str, Any], configuration: str, way: str) -> Run:
    """Side: the cells of the first group of a configuration.

    Parameters
    ----------
    study, configuration
        As for `one`.
    way : {"side_by_side", "one_by_one"}
        As a study computes them, or each by itself.
    """
    plan, cohort = _planned(json.dumps(study))
    first = next(group for group in plan.groups() if group.configuration.label == configuration)
    jobs = [plan.job(cell) for cell in first.cells]
    handed = {"side_by_side": [jobs], "one_by_one": [[job] for job in jobs]}[way]

    def run() -> Told:
        outcomes = [outcome for each in handed for outcome in compute_many(cohort, each)]
        refuse_failures(configuration, outcomes)
        return lambda: {"cells": len(outcomes)}

    return run


def spent(cohort: Cohort, job: Job) -> tuple[float, dict[str, float]]:
    """Seconds that a cell takes, and those of `PARTS` of them."""
    started = time.perf_counter()
    with _watched(PARTS) as spent_s:
        outcome = compute(cohort, job)
    seconds = time.perf_counter() - started
    refuse_failures(type(job.strategy).__name__, [outcome])
    return seconds, spent_s


@cache
def _planned(study: str) -> tuple[Plan, Cohort]:
    """Plan and cohort of a study, which all sides of a process share."""
    here = Path()
    plan = Plan(Study.model_validate_json(study), Places(here, here, here))
    recipe = plan.recipe(plan.configurations[0])
    return plan, build_cohort(plan.dataset, plan.task_name, plan.subjects, recipe, None)


def _computed(plan: Plan, cohort: Cohort, groups: Sequence[Group], at_once: int) -> list[float]:
    """Processor seconds of each cell."""
    tasks = ((group.configuration.label, "made", [plan.job(cell) for cell in group.cells]) for group in groups)
    spent_s = []
    for label, outcomes in compute_all(tasks, {"made": cohort}, at_once):
        refuse_failures(label, outcomes)
        spent_s += [outcome.compute_s for outcome in outcomes]
    return spent_s


@contextmanager
def _watched(parts: Mapping[str, Methods]) -> Iterator[dict[str, float]]:
    """Inside, methods look at the clock as they begin and end: a few times an epoch, so that nothing gets slower."""
    spent_s = dict.fromkeys(parts, 0.0)

    def timed(part: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def with_clock(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                spent_s[part] += time.perf_counter() - started

        return with_clock

    with ExitStack() as stack:
        for part, methods in parts.items():
            for owner, name in methods:
                stack.enter_context(patch.object(owner, name, timed(part, getattr(owner, name))))
        yield spent_s
