"""Small learning problems of Gaussian cohorts whose subjects are shifted against each other, and observers."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from benchmarks.normalization import Geometry
from benchmarks.randomness import generator
from benchmarks.windows import Windows, concatenate
from strategies.contract import Learning, Predictor


def gaussian_windows(
    subjects: Sequence[str],
    per_class: int = 20,
    features: int = 4,
    shift: float = 0.0,
    seed: int = 0,
    *,
    classes: int = 2,
    distance: float = 3.0,
) -> Windows:
    """Feature vectors of unit variance: class k lies `distance` along axis k, each subject is moved by N(0, shift^2).

    A subject's windows are a function of its name and the seed, whoever else is in the cohort.
    """
    return concatenate([_vectors(name, per_class, features, shift, seed, classes, distance) for name in subjects])


def _vectors(
    name: str, per_class: int, features: int, shift: float, seed: int, classes: int, distance: float
) -> Windows:
    rng = generator(seed, "gaussian", name)
    y = np.repeat(np.arange(classes), per_class)
    means = distance * np.eye(classes, features)
    x = means[y] + rng.normal(0, shift, features) + rng.standard_normal((len(y), features))
    return labelled(x, y, name)


def covariance_windows(
    subjects: Sequence[str],
    per_class: int = 20,
    channels: int = 3,
    shift: float = 0.0,
    seed: int = 0,
    *,
    classes: int = 2,
    samples: int = 60,
) -> Windows:
    """Covariance matrices: class k has a tenfold variance in source k, each subject mixes the sources its own way.

    The mixing is the identity plus N(0, shift^2) in each entry.
    """
    parts = []
    for name in subjects:
        rng = generator(seed, "covariance", name)
        y = np.repeat(np.arange(classes), per_class)
        mixing = np.eye(channels) + rng.normal(0, shift, (channels, channels))
        spread = np.sqrt(1 + 9 * np.eye(classes, channels))[y]
        signals = mixing @ (spread[:, :, None] * rng.standard_normal((len(y), channels, samples)))
        parts.append(labelled(signals @ signals.transpose(0, 2, 1) / samples, y, name))
    return concatenate(parts)


def labelled(x: np.ndarray, y: np.ndarray, subject: str) -> Windows:
    """Windows of one subject, each class in a trial of its own."""
    return Windows(
        x=x,
        subject=np.full(len(y), subject),
        session=np.full(len(y), "1"),
        trial=np.array([f"trial{label}" for label in y]),
        y=y.astype(np.int64),
    )


def timed(windows: Windows, *, class_s: float = 100.0, spread_s: float = 25.0) -> Windows:
    """The windows with onsets: class k is recorded around k times `class_s`, give or take N(0, spread_s^2)."""
    noise = generator("timed", *windows.subjects).standard_normal(len(windows))
    return replace(windows, onset=windows.labels * class_s + spread_s * noise)


def learning(
    windows: Windows, *, validation: Sequence[str] = (), geometry: Geometry = "vector", seed: int = 0
) -> Learning:
    """Learning problem of all subjects in `windows`; those named in `validation` are kept apart as such."""
    assert windows.y is not None
    return Learning(
        training=windows.of([name for name in windows.subjects if name not in validation]),
        validation=windows.of(validation) if validation else None,
        classes=tuple(f"class{label}" for label in range(int(windows.y.max()) + 1)),
        geometry=geometry,
        seed=seed,
    )


def balanced_accuracy(predictor: Predictor, windows: Windows) -> float:
    """Mean recall of the classes present."""
    assert windows.y is not None
    guess = predictor.predict(windows.without(labels=True)).probabilities.argmax(axis=1)
    return float(np.mean([(guess[windows.y == label] == label).mean() for label in np.unique(windows.y)]))


def ignore(step: int, predictor: Predictor) -> None:
    """Observer that does nothing."""


class Recorder:
    """Observer that keeps steps, predictors, what each predicted of `windows` when it was new, and what it hears."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows.without(labels=True)
        self.steps: list[int] = []
        self.predictors: list[Predictor] = []
        self.probabilities: list[np.ndarray] = []
        self.measures: dict[int, dict[str, float]] = {}

    def __call__(self, step: int, predictor: Predictor) -> None:
        self.steps.append(step)
        self.predictors.append(predictor)
        self.probabilities.append(predictor.predict(self.windows).probabilities)

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        self.measures.setdefault(step, {}).update(values)


def disturb(step: int, predictor: Predictor) -> None:
    """Observer at its worst: draws from every global source, changes the network's mode and spoils its weights."""
    random.seed(step)
    random.random()
    np.random.seed(step + 1)
    torch.manual_seed(step)
    torch.rand(7)
    for part in (predictor, *getattr(predictor, "members", {}).values()):
        network = getattr(part, "network", None)
        if network is not None:
            network.eval()
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.fill_(float("nan"))


def draws() -> tuple[float, float, float]:
    """What the global sources say next."""
    return random.random(), float(np.random.random()), float(torch.rand(()))
