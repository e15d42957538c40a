"""What is reached without looking at a signal."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.archive import Archive
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

    def archive(self) -> Archive:
        """See `Archivable`."""
        return Archive("constant", arrays={"probabilities": self.probabilities})

    @classmethod
    def restore(cls, archive: Archive, trusted: AbstractSet[str]) -> Constant:
        """See `Archivable`."""
        del trusted
        return cls(archive.array("probabilities", 1))


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


@dataclass(frozen=True)
class ClassPrior(Strategy):
    """The frequencies of the classes among the training windows, as the probabilities of every window."""

    stochastic: ClassVar[bool] = False
    needs_features: ClassVar[bool] = False
    control: ClassVar[bool] = True

    def fit(self, learning: Learning, observer: Observer) -> Constant:
        """See `Strategy`."""
        check_classes(learning)
        classes = len(learning.classes)
        observer(0, guess(classes))
        predictor = Constant(class_counts(learning.labels, classes) / len(learning.labels))
        observer(1, predictor)
        return predictor
