"""Federations of the platform, called as a user's own script would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from benchmarks.normalization import Unnormalized
from benchmarks.windows import Windows
from clients.encoders.contract import Encoder
from clients.encoders.mlp import MLP
from clients.lesson import Learned, Lesson, Trainer
from clients.objectives.cross_entropy import CrossEntropy
from clients.training import Training
from strategies.contract import Learning, Observer, Predictor
from strategies.federated.averaging import FedAvg
from strategies.federated.federation import Federation
from strategies.grids.auto import Auto
from strategies.grids.contract import Client, Opened, Place
from strategies.grids.in_process import InProcess
from strategies.grids.stacked import Stacked
from tests.performance.networks import NETWORKS
from tests.performance.problem import Problem
from tests.performance.sides.contract import Run, Told


@dataclass(frozen=True)
class Named(Encoder):
    """A network of the benchmarks as an encoder."""

    name: str

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """See `Encoder`."""
        return NETWORKS[self.name](shape, outputs, 0)


@dataclass(frozen=True)
class Idle(Stacked):
    """All that a federation does besides training: its clients learn nothing, in no time."""

    def engine(self, clients: Mapping[str, Client], trainer: Trainer) -> Opened:
        """See `Place`."""
        del trainer
        return super().engine(clients, _learn_nothing)


def _learn_nothing(lessons: Sequence[Lesson]) -> list[Learned | Exception]:
    return [Learned(lesson.weights, 0.0, 0) for lesson in lessons]


GRIDS: Mapping[str, Place] = {
    "auto": Auto(),
    "in_process": InProcess(),
    "stacked": Stacked(),
    "idle": Idle(),
}


def encoder(problem: Problem) -> Encoder:
    """The network of a problem."""
    return MLP(hidden=(problem.hidden,)) if problem.network == "mlp" else Named(problem.network)


def federation(problem: Problem, grid: str, fraction: float = 1.0) -> Federation:
    """The federation of a problem."""
    return Federation(
        normalization=Unnormalized(),
        encoder=encoder(problem),
        objective=CrossEntropy(class_weights="none"),
        training=Training(optimizer="sgd", learning_rate=problem.learning_rate, batch_size=problem.batch_size),
        aggregator=FedAvg(fraction=fraction),
        grid=GRIDS[grid],
        rounds=problem.rounds,
        local_epochs=problem.epochs,
    )


def learning(problem: Problem, subjects: Sequence[int], seed: int = 0) -> Learning:
    """What is learned from."""
    x, y = problem.everything(subjects)
    names = np.repeat([f"S{subject:05d}" for subject in subjects], problem.windows)
    return Learning(
        training=Windows(x=x, subject=names, session=np.full(len(y), "1"), trial=y.astype(np.str_), y=y),
        validation=None,
        classes=tuple(f"class{label}" for label in range(problem.classes)),
        geometry="vector" if len(problem.shape) == 1 else "channels",
        seed=seed,
    )


def ignore(step: int, predictor: Predictor) -> None:
    """Observer that does nothing."""


def loss_of(predictor: Predictor, windows: Windows) -> float:
    """Mean loss of all windows."""
    said = predictor.predict(windows.without(labels=True)).probabilities
    return float(-np.log(said[np.arange(len(said)), windows.labels]).mean())


def fit_side_by_side(strategy: Federation, learnings: Sequence[Learning]) -> list[Predictor]:
    """Predictor of each fold; what one of them raises is raised."""
    observers: list[Observer] = [ignore] * len(learnings)
    predictors = []
    for outcome in strategy.fit_many(learnings, observers):
        if isinstance(outcome, Exception):
            raise outcome
        predictors.append(outcome)
    return predictors


def fit_one_by_one(strategy: Federation, learnings: Sequence[Learning]) -> list[Predictor]:
    """Predictor of each fold."""
    return [strategy.fit(learning, ignore) for learning in learnings]


def study(problem: Mapping[str, Any], folds: Sequence[Sequence[int]], grid: str, alike: bool = True) -> Run:
    """Side: the federations of all folds side by side, where the grid can; a single one alone.

    Unless they are to be `alike`, a subject's windows differ by millionths from fold to fold, as they do where folds
    normalise by their own statistics: then they are not read once for all.
    """
    work = Problem.of(problem)
    learnings = [learning(work, fold) for fold in folds]
    if not alike:
        learnings = [_scaled(one, np.float32(1 + number * 1e-6)) for number, one in enumerate(learnings)]
    return timed(federation(work, grid), learnings)


def _scaled(one: Learning, factor: np.float32) -> Learning:
    return replace(one, training=replace(one.training, x=one.training.x * factor))


def timed(strategy: Federation, learnings: Sequence[Learning]) -> Run:
    """What is timed of a study."""
    fit = fit_side_by_side if len(learnings) > 1 else fit_one_by_one

    def run() -> Told:
        predictors = fit(strategy, learnings)

        def told() -> dict[str, float]:
            pairs = zip(predictors, learnings, strict=True)
            return {"loss": float(np.mean([loss_of(predictor, given.training) for predictor, given in pairs]))}

        return told

    return run
