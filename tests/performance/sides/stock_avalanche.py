"""Avalanche's own template and plugins, as their user would write them, without metrics.

Its SI changes nothing on a CPU, where what it takes for copies of the weights are the weights themselves; but it costs
what it costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import DataAttribute
from avalanche.benchmarks.utils.classification_dataset import ClassificationDataset
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import EvaluationPlugin, EWCPlugin, MASPlugin, SynapticIntelligencePlugin
from avalanche.training.supervised import Naive
from torch import nn
from torch.utils.data import TensorDataset

from tests.performance.pace import Pace
from tests.performance.problem import Problem
from tests.performance.sides.contract import Run, Told
from tests.performance.sides.ours import learning
from tests.performance.sides.plain_loop import Data, fresh_network, loss_of
from tests.performance.sides.plain_stream import people, training
from tests.performance.sides.stopwatch import Stopwatch

PLUGINS: Mapping[str, Callable[[float], Sequence[SupervisedPlugin]]] = {
    "naive": lambda strength: (),
    "ewc_separate": lambda strength: (EWCPlugin(strength, mode="separate"),),
    "ewc_online": lambda strength: (EWCPlugin(strength, mode="online", decay_factor=0.9),),
    "si": lambda strength: (SynapticIntelligencePlugin(strength),),
    "mas": lambda strength: (MASPlugin(strength),),
}
"""What is done against forgetting, with a strength, by name."""


def learn(
    network: nn.Module, subjects: Sequence[Data], problem: Problem, pace: Pace, plugins: Sequence[SupervisedPlugin] = ()
) -> None:
    """Train a network in place on one subject after another, each with an optimiser that starts anew.

    Parameters
    ----------
    network : torch.nn.Module
        Holds the weights that it starts from.
    subjects : sequence of (Tensor, Tensor)
        Windows and labels of each.
    problem : Problem
        How to train.
    pace : Pace
        Takes the time.
    plugins : sequence of SupervisedPlugin
        What is done against forgetting.
    """
    template = Naive(
        model=network,
        optimizer=training(problem).optimizer_of(network.parameters()),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=problem.batch_size,
        train_epochs=problem.epochs,
        plugins=[Stopwatch(pace), *plugins],
        evaluator=EvaluationPlugin(),
    )
    datasets = [
        ClassificationDataset([TensorDataset(x, y)], data_attributes=[DataAttribute(y, "targets")]) for x, y in subjects
    ]
    for experience in benchmark_from_datasets(train=datasets).train_stream:
        template.train(experience, eval_streams=[], reset_optimizer_state=True)


def stream(problem: Mapping[str, Any], plugin: str, strength: float = 0.0) -> Run:
    """Side: one stream; it tells what `Pace` tells, and the loss of all subjects at its end."""
    work = Problem.of(problem)
    given = learning(work, work.everybody)
    subjects = people(given)

    def run() -> Told:
        pace = Pace(work)
        network = fresh_network(work, given.seed)
        # Torch's own source draws the orders of windows.
        torch.manual_seed(given.seed)
        learn(network, subjects, work, pace, PLUGINS[plugin](strength))
        pace.stream_ends()
        return lambda: {**pace.told(), "loss": loss_of(network, subjects)}

    return run
