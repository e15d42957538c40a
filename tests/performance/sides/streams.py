"""Many streams of one strategy, as a study has them in its orders and seeds: one after another, or side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.randomness import generator
from clients.predictor import NetworkPredictor
from strategies.continual.contract import Continual
from strategies.contract import Learning, Predictor
from tests.performance.problem import Problem
from tests.performance.sides.contract import Run, Told
from tests.performance.sides.our_stream import continual
from tests.performance.sides.ours import ignore, learning, loss_of


def one_by_one(strategy: Continual, learnings: Sequence[Learning]) -> Sequence[Predictor | Exception]:
    """Each stream by itself."""
    return [strategy.fit(given, ignore) for given in learnings]


def side_by_side(strategy: Continual, learnings: Sequence[Learning]) -> Sequence[Predictor | Exception]:
    """All streams as a group of cells learns them."""
    return strategy.fit_many(learnings, [ignore] * len(learnings))


WAYS: Mapping[str, Callable[[Continual, Sequence[Learning]], Sequence[Predictor | Exception]]] = {
    "one_by_one": one_by_one,
    "side_by_side": side_by_side,
}
"""How streams are learned, by name."""


def in_orders(problem: Problem, runs: int) -> list[Learning]:
    """The same subjects in as many orders, each with a seed of its own."""
    given = learning(problem, problem.everybody)
    names = given.training.subjects
    orders = [[names[i] for i in generator("order", run).permutation(len(names))] for run in range(runs)]
    return [replace(given, training=given.training.of(order), seed=seed) for seed, order in enumerate(orders)]


def study(problem: Mapping[str, Any], strategy: Mapping[str, Any], runs: int, way: str) -> Run:
    """Side: so many streams; it tells the mean loss at their ends.

    Parameters
    ----------
    problem : mapping
        Of `Problem`.
    strategy : mapping
        As a study file says it: its name, and its values.
    runs : int
        How many streams.
    way : str
        Of `WAYS`.
    """
    work = Problem.of(problem)
    made = continual(work, strategy["name"], {name: value for name, value in strategy.items() if name != "name"})
    learnings = in_orders(work, runs)

    def run() -> Told:
        found = WAYS[way](made, learnings)
        return lambda: {"loss": float(np.mean(list(map(_loss, found, learnings))))}

    return run


def _loss(predictor: Predictor | Exception, given: Learning) -> float:
    if not isinstance(predictor, NetworkPredictor):
        raise TypeError(f"this stream was not learned: {predictor}")
    return loss_of(predictor, given.training)
