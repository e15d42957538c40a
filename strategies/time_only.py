"""What the clock alone tells: the controls that see when a window was recorded, and nothing of the physiology."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.errors import LearningError
from benchmarks.predictions import Predictions
from benchmarks.randomness import derive
from benchmarks.windows import FloatArray, Windows
from strategies.baselines import guess
from strategies.contract import Learning, Observer, Strategy, check_classes


@dataclass(frozen=True, eq=False)
class ClockPredictor:
    """Predictor that knows nothing of a window but its onset.

    Parameters
    ----------
    classifier : ClassifierMixin
        Model of scikit-learn, fitted on all classes, so that its columns are theirs.
    """

    classifier: ClassifierMixin

    def predict(self, windows: Windows, subject: str | None = None) -> Predictions:
        """Class probabilities (n, K); raises `LearningError` where onsets are not known."""
        del subject
        return Predictions(self.classifier.predict_proba(_clock(windows)))


@dataclass(frozen=True)
class TimeOnly(Strategy):
    """A classifier of the seconds from the start of the recording; a concrete one says which.

    The clock is the same for everyone: in an experiment whose conditions come in one order for all, it tells them apart
    in a new person too, and so may any signal that drifts. Where each condition is a recording of its own (EEGMAT), all
    clocks start at zero, and what they tell is how long a recording lasts.
    """

    needs_onset: ClassVar[bool] = True
    needs_features: ClassVar[bool] = False
    control: ClassVar[bool] = True

    @abstractmethod
    def classifier(self, seed: int) -> ClassifierMixin:
        """Model of scikit-learn, not fitted; each class weighs the same in it."""

    def fit(self, learning: Learning, observer: Observer) -> ClockPredictor:
        """See `Strategy`."""
        check_classes(learning)
        onset_s = _clock(learning.training)
        observer(0, guess(len(learning.classes)))
        predictor = ClockPredictor(self.classifier(learning.seed).fit(onset_s, learning.labels))
        observer(1, predictor)
        return predictor


@dataclass(frozen=True)
class TimeLinear(TimeOnly):
    """Logistic regression on the clock: tells earlier from later.

    Parameters
    ----------
    C : float
        Inverse of the strength of the L2 penalty, for time in standard deviations of the training windows.
    """

    stochastic: ClassVar[bool] = False

    C: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0

    def classifier(self, seed: int) -> ClassifierMixin:
        """See `TimeOnly`."""
        del seed
        return make_pipeline(StandardScaler(), LogisticRegression(C=self.C, class_weight="balanced", max_iter=10_000))


@dataclass(frozen=True)
class TimeForest(TimeOnly):
    """Random forest on the clock: tells any stretches of time apart.

    Parameters
    ----------
    trees : int
        Number of trees.
    """

    trees: Annotated[int, Field(gt=0)] = 100

    def classifier(self, seed: int) -> ClassifierMixin:
        """See `TimeOnly`."""
        return RandomForestClassifier(
            n_estimators=self.trees,
            class_weight="balanced",
            random_state=derive(seed, "forest") % 2**32,  # what scikit-learn takes for a seed
            n_jobs=1,
        )


def _clock(windows: Windows) -> FloatArray:
    """Onsets as the one feature, (n, 1)."""
    if windows.onset is None:
        raise LearningError(
            "The windows do not say when they start, and a control of time knows nothing else of them. Name the column "
            "of a feature table that does (dataset.onset), or leave the control out."
        )
    return windows.onset[:, None]
