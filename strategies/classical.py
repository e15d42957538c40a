"""Classical models of all training subjects together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal, Protocol

import numpy as np
from pydantic import Field
from pyriemann.geometry.mean import mean_riemann
from pyriemann.geometry.tangentspace import tangent_space
from scipy.special import softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from benchmarks.archive import Archive, Unarchivable, archived, restored
from benchmarks.errors import LearningError
from benchmarks.normalization import NORMALIZERS, Geometry, Normalization, Normalizer, fitted
from benchmarks.predictions import Predictions
from benchmarks.windows import FloatArray, Windows
from strategies.baselines import guess
from strategies.contract import Learning, Observer, Strategy, check_classes, check_geometry


class Classifier(Protocol):
    """A fitted model, of scikit-learn or as its models are asked."""

    def predict_proba(self, X: FloatArray) -> FloatArray:
        """Class probabilities (n, K) of features (n, p)."""
        ...


@dataclass(frozen=True, eq=False)
class LinearSoftmax:
    """Softmax of one score a class, each linear in the features: what is left of a linear model once it is fitted.

    Parameters
    ----------
    weights : ndarray, shape (K, p)
        Of each class's score.
    intercept : ndarray, shape (K,)
        Score of each class where all features are zero.
    """

    weights: FloatArray
    intercept: FloatArray

    @classmethod
    def of(cls, model: LinearDiscriminantAnalysis | LogisticRegression) -> LinearSoftmax:
        """The same probabilities as those of a fitted model of scikit-learn."""
        weights, intercept = model.coef_, model.intercept_
        if len(weights) == 1:
            # Of two classes scikit-learn keeps the difference of the scores alone.
            weights = np.concatenate([np.zeros_like(weights), weights])
            intercept = np.concatenate([np.zeros_like(intercept), intercept])
        return cls(weights, intercept)

    def predict_proba(self, X: FloatArray) -> FloatArray:
        """Class probabilities (n, K) of features (n, p)."""
        probabilities: FloatArray = softmax(X @ self.weights.T + self.intercept, axis=1)
        return probabilities

    def archive(self) -> Archive:
        """See `Archivable`."""
        return Archive("linear_softmax", arrays={"weights": self.weights, "intercept": self.intercept})

    @classmethod
    def restore(cls, archive: Archive, trusted: AbstractSet[str]) -> LinearSoftmax:
        """See `Archivable`."""
        del trusted
        weights, intercept = archive.array("weights", 2), archive.array("intercept", 1)
        if len(weights) != len(intercept):
            raise archive.refused(f"it has weights of {len(weights)} classes and intercepts of {len(intercept)}")
        return cls(weights, intercept)


CLASSIFIERS: Mapping[str, str] = {"linear_softmax": "strategies.classical:LinearSoftmax"}
"""Classifiers that can be archived, by kind."""


@dataclass(frozen=True, eq=False)
class ClassifierPredictor:
    """Classifier with the way from windows to its features.

    Parameters
    ----------
    normalizer : Normalizer
        Of the windows.
    features : callable
        From normalised windows (n, ...) to features (n, p).
    classifier : Classifier
        Fitted on all classes, so that its columns are theirs.
    """

    normalizer: Normalizer
    features: Callable[[FloatArray], FloatArray]
    classifier: Classifier

    def predict(self, windows: Windows, subject: str | None = None) -> Predictions:
        """Class probabilities (n, K)."""
        del subject
        return Predictions(self.classifier.predict_proba(self.features(self.normalizer(windows))))

    def archive(self) -> Archive:
        """See `Archivable`; only features of this file have one."""
        parts = {
            "normalizer": archived(self.normalizer, NORMALIZERS),
            "features": _told(self.features),
            "classifier": archived(self.classifier, CLASSIFIERS),
        }
        return Archive("classifier", parts=parts)

    @classmethod
    def restore(cls, archive: Archive, trusted: AbstractSet[str]) -> ClassifierPredictor:
        """See `Archivable`."""
        return cls(
            normalizer=restored(archive.part("normalizer"), NORMALIZERS, "normaliser", trusted),
            features=_features(archive.part("features")),
            classifier=restored(archive.part("classifier"), CLASSIFIERS, "classifier", trusted),
        )


@dataclass(frozen=True)
class LDA(Strategy):
    """Linear discriminant analysis of features, with a shrunk covariance.

    Parameters
    ----------
    normalization : Normalization
        Whose statistics make subjects comparable.
    shrinkage : "auto" or float
        Weight of the diagonal target in the covariance; ``"auto"`` is Ledoit and Wolf's (2004,
        doi:10.1016/S0047-259X(03)00096-4).
    priors : {"equal", "empirical"}
        Class probabilities before looking: all the same, or as frequent as among the training windows.
    """

    stochastic: ClassVar[bool] = False
    geometries: ClassVar[tuple[Geometry, ...]] = ("vector",)

    normalization: Normalization
    shrinkage: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] = "auto"
    priors: Literal["equal", "empirical"] = "equal"

    def fit(self, learning: Learning, observer: Observer) -> ClassifierPredictor:
        """See `Strategy`."""
        check_geometry(type(self), learning.geometry)
        check_classes(learning)
        classes = len(learning.classes)
        observer(0, guess(classes))
        normalizer = fitted(self.normalization, learning.training, learning.geometry)
        priors = {"equal": np.full(classes, 1 / classes), "empirical": None}[self.priors]
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=self.shrinkage, priors=priors)
        model.fit(_flat(normalizer(learning.training)), learning.labels)
        predictor = ClassifierPredictor(normalizer, _flat, LinearSoftmax.of(model))
        observer(1, predictor)
        return predictor


@dataclass(frozen=True)
class TangentSpace(Strategy):
    """Logistic regression on covariance matrices seen from their Riemannian mean.

    Barachant et al. 2012, doi:10.1109/TBME.2011.2172210; with the normalisation ``subject_unlabelled`` each
    subject is re-centred first (Zanini et al. 2018, doi:10.1109/TBME.2017.2742541).

    Parameters
    ----------
    normalization : Normalization
        Whose mean the matrices are centred on.
    C : float
        Inverse of the strength of the L2 penalty.
    class_weights : {"balanced", "none"}
        ``"balanced"`` weights a window of class k by n / (K n_k).
    """

    stochastic: ClassVar[bool] = False
    geometries: ClassVar[tuple[Geometry, ...]] = ("spd",)

    normalization: Normalization
    C: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    class_weights: Literal["balanced", "none"] = "balanced"

    def fit(self, learning: Learning, observer: Observer) -> ClassifierPredictor:
        """See `Strategy`."""
        check_geometry(type(self), learning.geometry)
        check_classes(learning)
        observer(0, guess(len(learning.classes)))
        normalizer = fitted(self.normalization, learning.training, learning.geometry)
        matrices = normalizer(learning.training)
        features = partial(_tangent, reference=_riemannian_mean(matrices))
        weights = {"balanced": "balanced", "none": None}[self.class_weights]
        model = LogisticRegression(C=self.C, class_weight=weights, max_iter=10_000)
        model.fit(features(matrices), learning.labels)
        predictor = ClassifierPredictor(normalizer, features, LinearSoftmax.of(model))
        observer(1, predictor)
        return predictor


def _flat(x: FloatArray) -> FloatArray:
    return x.reshape(len(x), -1)


def _riemannian_mean(matrices: FloatArray) -> FloatArray:
    try:
        # Normalised matrices, subject by subject or all at once, have the identity for their mean, since the
        # logarithms of each part sum to zero there: from the identity the search then ends at once.
        with np.errstate(invalid="ignore", divide="ignore"):
            mean: FloatArray = mean_riemann(matrices, init=np.eye(matrices.shape[-1]))
    except ValueError as error:
        raise LearningError(_NOT_POSITIVE) from error
    return mean


def _tangent(matrices: FloatArray, reference: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        vectors: FloatArray = tangent_space(matrices, reference, metric="riemann")
    if not np.isfinite(vectors).all():
        raise LearningError(_NOT_POSITIVE)
    return vectors


@dataclass(frozen=True)
class _Way:
    """From windows to features, and the names of the arrays that it needs."""

    function: Callable[..., FloatArray]
    arrays: tuple[str, ...] = ()


_WAYS: Mapping[str, _Way] = {"flat": _Way(_flat), "tangent": _Way(_tangent, ("reference",))}
"""Features that can be archived, by kind."""


def _told(features: Callable[[FloatArray], FloatArray]) -> Archive:
    bound = partial(features)  # of a function that is bound already, all of it
    for kind, way in _WAYS.items():
        if bound.func is way.function and not bound.args:
            return Archive(kind, arrays=bound.keywords)
    raise Unarchivable(f"Features of {features!r} are none of those that are read again: {', '.join(_WAYS)}.")


def _features(archive: Archive) -> Callable[[FloatArray], FloatArray]:
    if archive.kind not in _WAYS:
        raise archive.refused(f"it is none of {', '.join(_WAYS)}")
    way = _WAYS[archive.kind]
    return partial(way.function, **{name: archive.array(name, 2) for name in way.arrays})


_NOT_POSITIVE = (
    "A covariance matrix is not positive definite: a channel is flat or a sum of others, or a window has fewer "
    "samples than channels. Leave the channel out, make windows longer, or use a shrinking estimator."
)
