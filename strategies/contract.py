"""The one contract of all strategies: fit on learning windows, report to an observer, return a predictor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from benchmarks.normalization import Geometry
from benchmarks.predictions import Predictions
from benchmarks.windows import Windows


@dataclass(frozen=True, eq=False)
class Learning:
    """All that a strategy may learn from in one cell. Scored windows and their labels are not in it.

    Parameters
    ----------
    training : Windows
        Labelled windows of the training subjects, subject after subject in the order of the cell's stream.
    validation : Windows or None
        Labelled windows of the validation subjects; None unless the strategy declares that it uses them.
    classes : tuple of str
        Names of the classes; labels are indices into it.
    geometry : {"vector", "channels", "spd"}
        What normalisation means for the representation.
    seed : int
        Root of every random source of this cell.
    target : Windows or None
        Unlabelled windows of the held-out subject; None unless the strategy declares that it needs them.
    """

    training: Windows
    validation: Windows | None
    classes: tuple[str, ...]
    geometry: Geometry
    seed: int
    target: Windows | None = None


class Predictor(Protocol):
    """What a strategy returns."""

    def predict(self, windows: Windows, subject: str | None = None) -> Predictions:
        """Class probabilities of windows; it consumes no randomness and changes no mode.

        Parameters
        ----------
        windows : Windows
            Unlabelled windows. A transductive normalisation takes its statistics from them, so all windows of a
            subject are handed over in one call.
        subject : str or None
            Picks the personalised model of a subject that was learned from; None is the model for a new person.
        """
        ...


Observer = Callable[[int, Predictor], None]
"""Called with (0, predictor) before any learning and with (step, predictor) after each subject, round or epoch."""


class Strategy(ABC):
    """How knowledge moves between subjects.

    A concrete strategy is a frozen dataclass. Its fields are values of the study file, and those among
    ``normalization``, ``encoder``, ``objective`` and ``training`` that it needs.

    Attributes
    ----------
    stochastic : bool
        Whether the seed changes the result; if not, a study computes one seed only.
    sequential : bool
        Whether subjects are met one after another, so that the order is part of the cell.
    uses_validation : bool
        Whether something is chosen on validation subjects; if not, they are learned from like all others.
    needs_target : bool
        Whether it learns from the held-out subject's unlabelled windows (results are marked transductive).
    needs_onset : bool
        Whether it may see when a window was recorded; only control baselines may.
    needs_features : bool
        Whether it looks at the representation at all.
    """

    stochastic: ClassVar[bool] = True
    sequential: ClassVar[bool] = False
    uses_validation: ClassVar[bool] = False
    needs_target: ClassVar[bool] = False
    needs_onset: ClassVar[bool] = False
    needs_features: ClassVar[bool] = True

    @abstractmethod
    def fit(self, learning: Learning, observer: Observer) -> Predictor:
        """Learn, calling `observer` at step 0 before any learning and after each step.

        Raises
        ------
        LearningError
            Learning is impossible with these windows, or it diverged.
        """
