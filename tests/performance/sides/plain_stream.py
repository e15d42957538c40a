"""One subject after another as a plain loop in torch: the peer of continual strategies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.windows import IntArray
from clients.objectives.contract import Loss
from clients.objectives.cross_entropy import CrossEntropy
from clients.training import Training, class_counts, torch_generator
from strategies.contract import Learning
from tests.performance.pace import Pace
from tests.performance.problem import Problem
from tests.performance.sides.contract import Run, Told
from tests.performance.sides.ours import learning
from tests.performance.sides.plain_loop import Data, fresh_network, loss_of

LOSSES: Mapping[str, Callable[[IntArray], Loss]] = {
    "torch": lambda _: functional.cross_entropy,
    "ours": lambda counts: CrossEntropy(class_weights="none").loss(counts),
}
"""Mean cross-entropy for so many windows of each class: torch's, in one operation, or an objective of ours."""


def training(problem: Problem) -> Training:
    """How weights are updated by all that meet a stream: Adam, fused."""
    return Training(learning_rate=problem.learning_rate, batch_size=problem.batch_size)


def people(given: Learning) -> list[Data]:
    """Windows and labels of each subject."""
    return [(torch.from_numpy(one.x), torch.from_numpy(one.labels)) for _, one in given.training.by_subject()]


def learn(network: nn.Module, given: Learning, problem: Problem, pace: Pace, loss: str = "torch") -> None:
    """Train a network in place on one subject after another, each with an optimiser that starts anew.

    Parameters
    ----------
    network : torch.nn.Module
        Holds the weights that it starts from.
    given : Learning
        The subjects, and the seed of their orders of windows.
    problem : Problem
        How to train.
    pace : Pace
        Takes the time.
    loss : str
        One of `LOSSES`.
    """
    for name, (x, y) in zip(given.training.subjects, people(given), strict=True):
        shuffling = torch_generator(given.seed, "subject", name)
        mean_loss = LOSSES[loss](class_counts(y.numpy(), problem.classes))
        optimizer = training(problem).optimizer_of(network.parameters())
        network.train()
        pace.subject_begins()
        for _ in range(problem.epochs):
            order = torch.randperm(len(x), generator=shuffling)
            # In order once, minibatches are views: an index for each would take longer.
            shuffled = (torch.split(part[order], problem.batch_size) for part in (x, y))
            for batch, labels in zip(*shuffled, strict=True):
                optimizer.zero_grad()
                mean_loss(network(batch), labels).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        pace.subject_ends()


def stream(problem: Mapping[str, Any], loss: str = "torch") -> Run:
    """Side: one stream; it tells what `Pace` tells, and the loss of all subjects at its end."""
    work = Problem.of(problem)
    given = learning(work, work.everybody)

    def run() -> Told:
        pace = Pace(work)
        network = fresh_network(work, given.seed)
        learn(network, given, work, pace, loss)
        pace.stream_ends()
        return lambda: {**pace.told(), "loss": loss_of(network, people(given))}

    return run
