"""Strategies for a stream of small cohorts, and what they hand over step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from benchmarks.normalization import Unnormalized
from benchmarks.windows import Windows
from clients.encoders.mlp import MLP
from clients.objectives.cross_entropy import CrossEntropy
from clients.predictor import NetworkPredictor
from clients.training import Training
from strategies.continual.contract import Continual
from strategies.contract import Learning, Predictor
from tests.strategies.learnings import gaussian_windows, learning

SUBJECTS = ("carol", "alice", "bob")
EPOCHS, BATCH = 3, 16
REGULAR = MLP(hidden=(8,), dropout=0.3, batch_norm=True)
"""An encoder that draws while training, and learns something besides its weights."""

C = TypeVar("C", bound=Continual)


def made(kind: type[C], **values: object) -> C:
    """A strategy with a small network, and with what `values` name in the place of that."""
    parts: dict[str, object] = {
        "normalization": Unnormalized(),
        "encoder": MLP(hidden=(8,)),
        "objective": CrossEntropy(),
        "training": Training(learning_rate=1e-2, batch_size=BATCH),
        "epochs": EPOCHS,
    }
    return kind(**{**parts, **values})  # type: ignore[arg-type]


def stream(subjects: Sequence[str] = SUBJECTS, *, classes: int = 2, seed: int = 0) -> Learning:
    """Subjects one after another, shifted against each other."""
    return learning(gaussian_windows(subjects, shift=1.0, classes=classes), seed=seed)


def validated(problem: Learning, others: Windows | None = None) -> Learning:
    """The same stream with validation windows of the same subjects, which are noisier, so that training stops early."""
    windows = gaussian_windows(problem.training.subjects, per_class=10, shift=1.0, seed=7, distance=1.0)
    return replace(problem, validation=others or windows)


def of_one_class(problem: Learning, subject: str, label: int) -> Learning:
    """The same stream, in which a subject shows one class alone."""
    kept = (problem.training.subject != subject) | (problem.labels == label)
    return replace(problem, training=problem.training.select(kept))


def late(problem: Learning, label: int) -> Learning:
    """The same stream, in which the last subject alone shows a class."""
    kept = (problem.training.subject == problem.training.subjects[-1]) | (problem.labels != label)
    return replace(problem, training=problem.training.select(kept))


def predictors(strategy: Continual, problem: Learning) -> list[NetworkPredictor]:
    """What the observer is given, step by step."""
    kept: list[NetworkPredictor] = []

    def observer(step: int, predictor: Predictor) -> None:
        assert isinstance(predictor, NetworkPredictor)
        assert step == len(kept)
        kept.append(predictor)

    strategy.fit(problem, observer)
    return kept


def state(predictor: NetworkPredictor) -> Tensor:
    """All parameters and buffers of a network in one vector."""
    return torch.cat([tensor.double().flatten() for tensor in predictor.network.state_dict().values()])


def same(ours: NetworkPredictor, theirs: NetworkPredictor) -> bool:
    """Whether two networks agree to the bit."""
    return torch.equal(state(ours), state(theirs))


def said(predictor: Predictor, windows: Windows) -> np.ndarray:
    """Probabilities (n, K)."""
    return predictor.predict(windows.without(labels=True)).probabilities
