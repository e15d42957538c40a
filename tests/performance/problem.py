"""The work that all sides do: a simulated cohort, and how a network learns from it.

NumPy alone is needed here, so that peers in another environment read the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

_DISTANCE = 4.0
"""Length of the vector from the origin to the mean of a class; the windows scatter by one along each axis."""


@dataclass(frozen=True)
class Problem:
    """Federated averaging of a small network by plain gradient descent, or a stream of subjects that it meets by Adam.

    Parameters
    ----------
    subjects : int
        Clients, or subjects of the stream.
    windows : int
        Windows of each of them.
    shape : tuple of int
        Shape of a window.
    classes : int
        Number of classes, K.
    network : str
        One of `tests.performance.networks.NETWORKS`.
    hidden : int
        Units of the hidden layer of an MLP; other networks do not look at it.
    rounds, epochs : int
        How often weights are joined, and training epochs of a client in each round; a stream has no rounds, and so many
        training epochs with each subject.
    batch_size : int
        Windows in a minibatch.
    learning_rate : float
        Step size.
    """

    subjects: int = 15
    windows: int = 512
    shape: tuple[int, ...] = (160,)
    classes: int = 3
    network: str = "mlp"
    hidden: int = 64
    rounds: int = 10
    epochs: int = 1
    batch_size: int = 64
    learning_rate: float = 0.05

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Problem:
        """Reverse of `values`, also of what JSON makes of it."""
        return cls(**{**values, "shape": tuple(values["shape"])})

    def values(self) -> dict[str, Any]:
        """All that it is made of, for another process."""
        return asdict(self)

    @property
    def everybody(self) -> tuple[int, ...]:
        """Numbers of the subjects."""
        return tuple(range(self.subjects))

    @property
    def folds(self) -> tuple[tuple[int, ...], ...]:
        """Who is learned from where each subject is left out once."""
        return tuple(tuple(other for other in self.everybody if other != left_out) for left_out in self.everybody)

    @property
    def minibatches(self) -> int:
        """Steps with a subject, in a round or in a stream."""
        return self.epochs * -(-self.windows // self.batch_size)

    def data(self, subject: int) -> tuple[np.ndarray, np.ndarray]:
        """Windows (n, *shape) in float32 and labels (n,) in int64 of a subject; a function of its number alone."""
        # The same at all times of a window, so that convolutions find it too.
        means = np.random.default_rng(0).standard_normal((self.classes, self.shape[0]))
        means *= _DISTANCE / np.linalg.norm(means, axis=1, keepdims=True)
        rng = np.random.default_rng((1, subject))
        y = rng.integers(self.classes, size=self.windows)
        x = rng.standard_normal((self.windows, *self.shape), dtype=np.float32)
        x += means[y].reshape(self.windows, self.shape[0], *(1 for _ in self.shape[1:]))
        return x, y.astype(np.int64)

    def everything(self, subjects: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Windows and labels of several subjects, one after another."""
        # Filled in place: twice the data would stand in the peak of a process's memory.
        x = np.empty((len(subjects) * self.windows, *self.shape), dtype=np.float32)
        y = np.empty(len(x), dtype=np.int64)
        for place, subject in enumerate(subjects):
            mine = slice(place * self.windows, (place + 1) * self.windows)
            x[mine], y[mine] = self.data(subject)
        return x, y


W = Problem()
"""The work that most benchmarks are about: 15 clients of 512 windows, ten rounds."""

THOUSAND = Problem(hidden=6)
"""W with a network of 987 parameters."""

STREAM = Problem(subjects=5, epochs=20, batch_size=32, learning_rate=1e-4)
"""A stream of five subjects, 320 minibatches each.

Steps are so small that sides with other orders of windows still reach the same loss: it shows that they did the same.
"""

REDUCED = {"subjects": 4, "windows": 128, "rounds": 2, "epochs": 1}
"""What makes a problem so small that its times mean nothing: to see that all sides run."""
