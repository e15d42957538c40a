"""The one contract of all strategies: fit on learning windows, report to an observer, return a predictor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

from benchmarks.errors import LearningError, StudyError
from benchmarks.normalization import Geometry, Normalization
from benchmarks.predictions import Predictions
from benchmarks.windows import IntArray, Windows

Target = Literal["unseen", "seen"]
"""Whether the person that is scored was never learned from, or was, in other windows than the scored ones."""


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

    @property
    def labels(self) -> IntArray:
        """Labels of the training windows, shape (n,); raises as `Windows.labels`."""
        return self.training.labels


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
"""Called with (0, predictor) before any learning and with (step, predictor) after each subject, round or epoch.

What it does with the predictor never reaches the strategy, and a predictor that it keeps stays as it was handed over.
It may be a plain function, or an object that also listens to `measured`.
"""


@runtime_checkable
class Listener(Protocol):
    """An observer that also hears what learning cost or showed besides its predictors."""

    def __call__(self, step: int, predictor: Predictor) -> None:
        """See `Observer`."""
        ...

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        """Take note of measurements of a step by name; they never reach the strategy."""
        ...


def report(observer: Observer, step: int, values: Mapping[str, float]) -> None:
    """Tell an observer that listens what a step cost or showed, such as the bytes that travelled in a round."""
    if isinstance(observer, Listener):
        observer.measured(step, values)


class Strategy(ABC):
    """How knowledge moves between subjects.

    A concrete strategy is a frozen dataclass. Its fields are values of the study file, and those among
    ``normalization``, ``encoder``, ``objective`` and ``training`` that it needs. A normalisation that does not suit
    it is refused when it is made.

    Attributes
    ----------
    stochastic : bool
        Whether the seed changes the result; if not, a study computes one seed only.
    sequential : bool
        Whether subjects are met one after another, so that the order is part of the cell.
    order_matters : bool
        Whether the order changes the result, where subjects are met in sequence; if not, a study computes one order
        only.
    uses_validation : bool
        Whether something is chosen on validation subjects; if not, they are learned from like all others.
    needs_target : bool
        Whether it learns from the held-out subject's unlabelled windows (results are marked transductive).
    needs_onset : bool
        Whether it may see when a window was recorded; only control baselines may.
    needs_features : bool
        Whether it looks at the representation at all.
    control : bool
        Whether it shows what can be told without looking at the physiology, or without learning from it: a baseline
        that others have to beat.
    target : {"unseen", "seen"}
        Whether it learns from other people than the scored one (an unseen person), or from the scored one's own earlier
        windows, as an upper bound (a seen person): it is scored on later ones then, and learns from nobody else.
    geometries : tuple of {"vector", "channels", "spd"}
        Representations that it can learn from.
    """

    stochastic: ClassVar[bool] = True
    sequential: ClassVar[bool] = False
    order_matters: ClassVar[bool] = True
    uses_validation: ClassVar[bool] = False
    needs_target: ClassVar[bool] = False
    needs_onset: ClassVar[bool] = False
    needs_features: ClassVar[bool] = True
    control: ClassVar[bool] = False
    target: ClassVar[Target] = "unseen"
    geometries: ClassVar[tuple[Geometry, ...]] = ("vector", "channels", "spd")

    def __post_init__(self) -> None:
        if self.needs_onset and not self.control:
            raise StudyError(
                f"{type(self).__name__} asks for the onset of windows, which only a control may: a model of time looks "
                f"like a model of states. Let it say control = True."
            )
        mode = getattr(self, "normalization", None)
        if mode is not None:
            check_normalization(type(self), mode)

    @property
    def lockstep(self) -> bool:
        """Whether `fit_many` learns side by side: folds, and of subjects in sequence orders and seeds too.

        Their numbers then belong together: a study computes such a group of cells whole.
        """
        return False

    def at_once(self, learning: Learning, wanted: int) -> int:
        """How many of the learnings that are wanted should be handed to `fit_many` at once, where it is in lockstep.

        What all of them have shown their observers is kept until the last is done.
        """
        del learning
        return wanted

    @abstractmethod
    def fit(self, learning: Learning, observer: Observer) -> Predictor:
        """Learn, calling `observer` at step 0 before any learning and after each step.

        Raises
        ------
        LearningError
            Learning is impossible with these windows, or it diverged.
        """

    def fit_many(self, learnings: Sequence[Learning], observers: Sequence[Observer]) -> list[Predictor | Exception]:
        """Learn several times; what is raised by one of them stands in its place, and the others go on.

        Parameters
        ----------
        learnings : sequence of Learning
            What is learned from each time.
        observers : sequence of Observer
            One for each of them.
        """
        return [self._attempt(*one) for one in zip(learnings, observers, strict=True)]

    def _attempt(self, learning: Learning, observer: Observer) -> Predictor | Exception:
        try:
            return self.fit(learning, observer)
        except Exception as error:  # Whatever a part throws, the other folds go on.
            return error


def check_normalization(strategy: type[Strategy], mode: Normalization) -> None:
    """Refuse a normalisation mode that makes no sense for the way in which a strategy meets subjects.

    Raises
    ------
    StudyError
        A mode for subjects in sequence where they are met together, or the reverse.
    """
    name, kind = strategy.__name__, type(mode).__name__
    if mode.order == "in_sequence" and not strategy.sequential:
        raise StudyError(
            f"Normalisation {kind} grows subject by subject, but {name} meets all subjects together: "
            "use training, subject_unlabelled or none."
        )
    if mode.order == "together" and strategy.sequential:
        raise StudyError(
            f"Normalisation {kind} needs all training subjects at once, but {name} meets them one after another, "
            "so statistics of subjects still to come would leak: use stream, subject_unlabelled or none."
        )


def check_geometry(strategy: type[Strategy], geometry: Geometry) -> None:
    """Refuse a representation that a strategy cannot learn from.

    Raises
    ------
    LearningError
        The strategy does not take that geometry.
    """
    if geometry not in strategy.geometries:
        wanted = " or ".join(_MEANING[name] for name in strategy.geometries)
        raise LearningError(f"{strategy.__name__} learns from {wanted}, found {_MEANING[geometry]}.")


_MEANING: Mapping[Geometry, str] = {
    "vector": "feature vectors (such as representation: differential_entropy)",
    "channels": "raw windows",
    "spd": "covariance matrices (representation: covariance)",
}


def check_classes(learning: Learning) -> None:
    """Refuse training windows that lack a class: a model that never met it would never predict it.

    Raises
    ------
    LearningError
        A class has no window among the training subjects.
    """
    absent = [name for label, name in enumerate(learning.classes) if not (learning.labels == label).any()]
    if absent:
        raise LearningError(
            f"No training window of class {', '.join(map(repr, absent))} among subjects "
            f"{', '.join(learning.training.subjects)}. Each class of the task must occur among the training "
            "subjects: look at the task, at what quality dropped, and at the number of validation subjects."
        )
