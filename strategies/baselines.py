"""What is reached without looking at a signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.predictions import Predictions
from benchmarks.windows import FloatArray, Windows
from clients.training import class_counts
from strategies.contract import Learning, Observer, Strategy, check_classes


@dataclass(frozen=True, eq=False)
class Constant:
    """Predictor that says the same of every window.

    Parameters
    ----------
    probabilities : ndarray, shape (K,)
        Of each class.
    """

    probabilities: FloatArray

    def predict(self, windows: Windows, subject: str | None = None) -> Predictions:
        """The same class probabilities, (n, K), for all windows."""
        del subject
        return Predictions(np.tile(self.probabilities, (len(windows), 1)))


def guess(classes: int) -> Constant:
    """Predictor before any learning of a strategy that learns in one go: all classes are equally likely."""
    return Constant(np.full(classes, 1 / classes))


@dataclass(frozen=True)
class Majority(Strategy):
    """Always the most frequent training class; of equally frequent ones, the first."""

    stochastic: ClassVar[bool] = False
    needs_features: ClassVar[bool] = False
    control: ClassVar[bool] = True

    def fit(self, learning: Learning, observer: Observer) -> Constant:
        """See `Strategy`."""
        check_classes(learning)
        classes = len(learning.classes)
        observer(0, guess(classes))
        predictor = Constant(np.eye(classes)[class_counts(learning.labels, classes).argmax()])
        observer(1, predictor)
        return predictor
