"""Many streams of fine-tuning, as a study has them in its orders and seeds: one after another, or side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.normalization import Unnormalized
from benchmarks.randomness import generator
from clients.lesson import Learned, Lesson
from clients.network import initial_network
from clients.objectives.cross_entropy import CrossEntropy
from clients.predictor import NetworkPredictor
from clients.stacked import StackedTrainer
from clients.training import class_counts, tensors
from strategies.contract import Learning
from tests.performance.problem import Problem
from tests.performance.sides.contract import Run, Told
from tests.performance.sides.our_stream import continual
from tests.performance.sides.ours import encoder, ignore, learning, loss_of
from tests.performance.sides.plain_stream import training

_OBJECTIVE = CrossEntropy(class_weights="none")


def one_by_one(problem: Problem, learnings: Sequence[Learning]) -> list[NetworkPredictor]:
    """Each stream by itself, as a cell of a study does."""
    strategy = continual(problem, "finetuning", {})
    return [strategy.fit(given, ignore) for given in learnings]


def side_by_side(problem: Problem, learnings: Sequence[Learning]) -> list[NetworkPredictor]:
    """All streams in step: their networks are one stack, in which each meets the next subject of its own order."""
    networks = [
        initial_network(encoder(problem), _OBJECTIVE, problem.shape, problem.classes, given.seed) for given in learnings
    ]
    trainer = StackedTrainer(networks[0], _OBJECTIVE, training(problem))
    data = {name: tensors(one.x, one.labels) for name, one in learnings[0].training.by_subject()}
    constants = {name: _OBJECTIVE.constants(class_counts(y.numpy(), problem.classes)) for name, (_, y) in data.items()}
    states = [network.state_dict() for network in networks]
    for met in zip(*(given.training.subjects for given in learnings), strict=True):
        lessons = [
            Lesson(name, *data[name], constants[name], weights, problem.epochs, (given.seed, "subject", name))
            for name, weights, given in zip(met, states, learnings, strict=True)
        ]
        states = [dict(_weights(outcome)) for outcome in trainer(lessons)]
    for network, weights in zip(networks, states, strict=True):
        network.load_state_dict(weights)
    return [NetworkPredictor(network, Unnormalized().start("vector"), _OBJECTIVE) for network in networks]


def _weights(outcome: Learned | Exception) -> Mapping[str, torch.Tensor]:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome.weights


WAYS: Mapping[str, Callable[[Problem, Sequence[Learning]], list[NetworkPredictor]]] = {
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


def study(problem: Mapping[str, Any], runs: int, way: str) -> Run:
    """Side: so many streams; it tells the mean loss at their ends."""
    work = Problem.of(problem)
    learnings = in_orders(work, runs)

    def run() -> Told:
        predictors = WAYS[way](work, learnings)

        def told() -> dict[str, float]:
            pairs = zip(predictors, learnings, strict=True)
            return {"loss": float(np.mean([loss_of(predictor, given.training) for predictor, given in pairs]))}

        return told

    return run
