"""Continual strategies of the platform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.normalization import Unnormalized
from benchmarks.parts import build, find
from clients.objectives.cross_entropy import CrossEntropy
from clients.predictor import NetworkPredictor
from strategies.continual.contract import Continual
from strategies.continual.stream import learn_stream
from strategies.contract import Learning
from strategies.table import STRATEGIES
from tests.performance.pace import Pace
from tests.performance.problem import Problem
from tests.performance.sides.contract import Run, Told
from tests.performance.sides.ours import encoder, ignore, learning, loss_of
from tests.performance.sides.plain_stream import training
from tests.performance.sides.stopwatch import Stopwatch


def continual(problem: Problem, name: str, values: Mapping[str, Any]) -> Continual:
    """The strategy of that name with these values of a study file."""
    given = {
        "normalization": Unnormalized(),
        "encoder": encoder(problem),
        "objective": CrossEntropy(class_weights="none"),
        "training": training(problem),
    }
    kind = find(name, STRATEGIES, "strategy", Continual)
    made: Continual = build(kind, given, {**values, "epochs": problem.epochs}, "strategy")
    return made


def learned(strategy: Continual, given: Learning, pace: Pace) -> NetworkPredictor:
    """What `Continual.fit` does, with a stopwatch before the strategy's own plugins."""
    return learn_stream(
        given,
        ignore,
        normalization=strategy.normalization,
        encoder=strategy.encoder,
        objective=strategy.objective,
        training=strategy.training,
        epochs=strategy.epochs,
        patience=strategy.patience,
        plugins=[Stopwatch(pace), *strategy.plugins(given, lambda step, values: None)],
    )


def stream(problem: Mapping[str, Any], strategy: Mapping[str, Any]) -> Run:
    """Side: one stream without validation windows; it tells what `Pace` tells, and the loss of all subjects at its end.

    Parameters
    ----------
    problem : mapping
        Of `Problem`.
    strategy : mapping
        As a study file says it: its name, and its values.
    """
    work = Problem.of(problem)
    given = learning(work, work.everybody)
    made = continual(work, strategy["name"], {name: value for name, value in strategy.items() if name != "name"})

    def run() -> Told:
        pace = Pace(work)
        predictor = learned(made, given, pace)
        pace.stream_ends()
        return lambda: {**pace.told(), "loss": loss_of(predictor, given.training)}

    return run
