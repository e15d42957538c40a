"""Normalisation modes: whose statistics make the windows of different subjects comparable.

A mode is fitted from *statistics* of subjects, which merge; so a federation sums what its clients tell it, and a
stream grows subject by subject, through the same code that pools.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np

from benchmarks.archive import Archive, Unarchivable, archived, restored
from benchmarks.errors import LearningError
from benchmarks.windows import FloatArray, Windows

Geometry = Literal["vector", "channels", "spd"]
"""Vectors: a standard score per feature. Channels (n, C, T): per channel, over windows and time. SPD: congruence."""

Transform = Callable[[FloatArray], FloatArray]


class Statistics(ABC):
    """What is known of the windows met so far."""

    @abstractmethod
    def merge(self, other: Self) -> Self:
        """Statistics of the windows of both."""

    @abstractmethod
    def transform(self) -> Transform:
        """Map that makes windows with these statistics standard."""


@dataclass(frozen=True, eq=False)
class Moments(Statistics):
    """Number, mean and sum of squared deviations: they merge exactly.

    Missing values (NaN) are left out of all three.

    Parameters
    ----------
    count, mean, squares : ndarray
        Number of samples that were averaged, their mean and sum of squared deviations, in float64, shaped to broadcast
        against one window.

    Notes
    -----
    Merging is the pairwise update of Chan, Golub and LeVeque (1983, The American Statistician 37(3)).
    """

    count: FloatArray
    mean: FloatArray
    squares: FloatArray

    @classmethod
    def over(cls, x: FloatArray, axes: tuple[int, ...]) -> Moments:
        """Moments of x over `axes`; the first axis, windows, is dropped and the others stay with length one."""
        x = np.asarray(x, dtype=np.float64)
        known = ~np.isnan(x)
        count = known.sum(axis=axes, keepdims=True, dtype=np.float64)
        mean = x.sum(axis=axes, keepdims=True, where=known) / np.maximum(count, 1)
        squares = ((x - mean) ** 2).sum(axis=axes, keepdims=True, where=known)
        return cls(count[0], mean[0], squares[0])

    def merge(self, other: Moments) -> Moments:
        """Moments of the windows of both."""
        count = self.count + other.count
        whole = np.maximum(count, 1)
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / whole)
        squares = self.squares + other.squares + delta**2 * (self.count * other.count / whole)
        return Moments(count, mean, squares)

    def transform(self) -> Transform:
        """Standard score; a feature that never varies is only centred, and a missing one takes the mean, zero.

        A feature that no window has is zero for everyone: there is nothing to score it against.
        """
        scale = np.sqrt(self.squares / np.maximum(self.count, 1))
        # Rounding leaves a constant feature with a tiny spread; dividing by that would blow noise up.
        scale[scale <= 1e-12 * np.abs(self.mean)] = 1.0
        scale[self.count == 0] = np.inf
        return StandardScore(self.mean, scale)


@dataclass(frozen=True, eq=False)
class Covariances(Statistics):
    """Covariance matrices themselves: their Riemannian mean is no sum over subjects, so they cannot be told in short.

    Parameters
    ----------
    matrices : ndarray, shape (n, C, C)
        Symmetric positive definite.
    """

    matrices: FloatArray

    def merge(self, other: Covariances) -> Covariances:
        """All matrices of both."""
        return Covariances(np.concatenate([self.matrices, other.matrices]))

    def transform(self) -> Transform:
        """Congruence by the inverse root of the Riemannian mean (Zanini et al. 2018, doi:10.1109/TBME.2017.2742541).

        Raises
        ------
        LearningError
            A matrix is not positive definite.
        """
        from pyriemann.geometry.base import invsqrtm
        from pyriemann.geometry.mean import mean_riemann

        spectrum = np.linalg.eigvalsh(self.matrices)
        # pyRiemann would answer a singular matrix with NaN.
        definite = spectrum[:, 0] > np.finfo(np.float64).eps * spectrum.shape[1] * spectrum[:, -1]
        if not definite.all():
            raise LearningError(
                f"{np.sum(~definite)} of {len(definite)} covariance matrices are not positive definite: channels "
                f"depend on each other (an average reference, a dead one). Use a shrinkage estimator (oas), or fewer."
            )
        return Congruence(invsqrtm(mean_riemann(self.matrices)))


@dataclass(frozen=True, eq=False)
class StandardScore:
    """Map from values to how many `scale` they lie above `mean`; a missing one takes the mean, zero.

    Parameters
    ----------
    mean, scale : ndarray
        Shaped to broadcast against one window.
    """

    mean: FloatArray
    scale: FloatArray

    def __call__(self, x: FloatArray) -> FloatArray:
        """Standard scores of windows (n, ...)."""
        return completed((x - self.mean) / self.scale)

    def archive(self) -> Archive:
        """See `Archivable`."""
        return Archive("standard_score", arrays={"mean": self.mean, "scale": self.scale})

    @classmethod
    def restore(cls, archive: Archive, trusted: AbstractSet[str]) -> StandardScore:
        """See `Archivable`."""
        del trusted
        return cls(archive.array("mean"), archive.array("scale"))


@dataclass(frozen=True, eq=False)
class Congruence:
    """Map from matrices X to W X W.

    Parameters
    ----------
    whitener : ndarray, shape (C, C)
        W, symmetric.
    """

    whitener: FloatArray

    def __call__(self, x: FloatArray) -> FloatArray:
        """Matrices (n, C, C)."""
        return self.whitener @ x @ self.whitener

    def archive(self) -> Archive:
        """See `Archivable`."""
        return Archive("congruence", arrays={"whitener": self.whitener})

    @classmethod
    def restore(cls, archive: Archive, trusted: AbstractSet[str]) -> Congruence:
        """See `Archivable`."""
        del trusted
        return cls(archive.array("whitener", 2))


TRANSFORMS: Mapping[str, str] = {
    "standard_score": "benchmarks.normalization:StandardScore",
    "congruence": "benchmarks.normalization:Congruence",
}
"""Maps that can be archived, by kind."""


def completed(x: FloatArray) -> FloatArray:
    """Standard scores with the missing ones (NaN) imputed by the mean of those that they are scored against: zero."""
    missing = np.isnan(x)
    return np.where(missing, 0.0, x) if missing.any() else x


STATISTICS: Mapping[Geometry, Callable[[FloatArray], Statistics]] = {
    "vector": lambda x: Moments.over(x, (0,)),
    "channels": lambda x: Moments.over(x, (0, 2)),
    "spd": Covariances,
}
"""Statistics of windows x (n, ...) by geometry."""


class Normalizer(ABC):
    """Makes windows comparable; it learns by returning a new one, so a predictor keeps the one that it was given."""

    def learn(self, statistics: Statistics) -> Normalizer:
        """Normaliser that has met these statistics too; those that use no shared statistics return themselves."""
        del statistics
        return self

    @abstractmethod
    def __call__(self, windows: Windows) -> FloatArray:
        """Normalised representation, shape (n, ...), same order."""


class Identity(Normalizer):
    """Leaves windows as they are."""

    def __call__(self, windows: Windows) -> FloatArray:
        """See `Normalizer`.

        Raises
        ------
        LearningError
            Features are missing, and there are no statistics to impute them from.
        """
        if np.isnan(windows.x).any():
            raise LearningError(
                "Features are missing (NaN), and without normalisation there is nothing to impute them from: choose "
                "normalization: training or subject_unlabelled, or quality: drop."
            )
        return windows.x

    def archive(self) -> Archive:
        """See `Archivable`."""
        return Archive("identity")

    @classmethod
    def restore(cls, archive: Archive, trusted: AbstractSet[str]) -> Identity:
        """See `Archivable`."""
        del archive, trusted
        return cls()


class Shared(Normalizer):
    """One map for all subjects, from the statistics of those that were learned from; the identity before the first."""

    def __init__(self, statistics: Statistics | None = None) -> None:
        self._statistics = statistics
        self._transform = completed if statistics is None else statistics.transform()

    def learn(self, statistics: Statistics) -> Shared:
        """See `Normalizer`."""
        return Shared(statistics if self._statistics is None else self._statistics.merge(statistics))

    def __call__(self, windows: Windows) -> FloatArray:
        """See `Normalizer`."""
        return self._transform(windows.x)

    def archive(self) -> Archive:
        """The map alone, which is what `Fixed` has: statistics may be all the matrices that were met."""
        if self._statistics is None:
            raise Unarchivable("A normaliser that has met nobody has nothing to tell.")
        return Fixed(self._transform).archive()


@dataclass(frozen=True, eq=False)
class Fixed(Normalizer):
    """One map for all subjects, that learns no more: what an archive keeps of `Shared`.

    Parameters
    ----------
    transform : callable
        From windows (n, ...) to windows.
    """

    transform: Transform

    def __call__(self, windows: Windows) -> FloatArray:
        """See `Normalizer`."""
        return self.transform(windows.x)

    def archive(self) -> Archive:
        """See `Archivable`."""
        return Archive("fixed", parts={"transform": archived(self.transform, TRANSFORMS)})

    @classmethod
    def restore(cls, archive: Archive, trusted: AbstractSet[str]) -> Fixed:
        """See `Archivable`."""
        return cls(restored(archive.part("transform"), TRANSFORMS, "map of a normaliser", trusted))


class Own(Normalizer):
    """Each subject by the statistics of its own windows in the call, without their labels: transductive."""

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry

    def __call__(self, windows: Windows) -> FloatArray:
        """See `Normalizer`."""
        x = np.empty(windows.x.shape, dtype=np.float64)
        for subject in windows.subjects:
            mine = windows.subject == subject
            x[mine] = STATISTICS[self._geometry](windows.x[mine]).transform()(windows.x[mine])
        return x

    def archive(self) -> Archive:
        """See `Archivable`."""
        return Archive("own", {"geometry": self._geometry})

    @classmethod
    def restore(cls, archive: Archive, trusted: AbstractSet[str]) -> Own:
        """See `Archivable`."""
        del trusted
        return cls(archive.value("geometry", Geometry))


NORMALIZERS: Mapping[str, str] = {
    "identity": "benchmarks.normalization:Identity",
    "fixed": "benchmarks.normalization:Fixed",
    "own": "benchmarks.normalization:Own",
}
"""Normalisers that can be archived, by kind."""


class Normalization(ABC):
    """A mode.

    Attributes
    ----------
    transductive : bool
        Whether it uses unlabelled windows of the subject that is scored.
    order : {"any", "together", "in_sequence"}
        Which strategies it makes sense for: those that meet subjects together, in sequence, or any.
    shares : bool
        Whether subjects tell their statistics to others.
    """

    transductive: ClassVar[bool] = False
    order: ClassVar[Literal["any", "together", "in_sequence"]] = "any"
    shares: ClassVar[bool] = False

    @abstractmethod
    def start(self, geometry: Geometry) -> Normalizer:
        """Normaliser before any subject is met."""


@dataclass(frozen=True)
class Training(Normalization):
    """Statistics of all training subjects. In sequence it would leak those still to come, so it is refused there."""

    order: ClassVar[Literal["any", "together", "in_sequence"]] = "together"
    shares: ClassVar[bool] = True

    def start(self, geometry: Geometry) -> Normalizer:
        """See `Normalization`."""
        del geometry
        return Shared()


@dataclass(frozen=True)
class Stream(Normalization):
    """Statistics of the subjects met so far, the current one included."""

    order: ClassVar[Literal["any", "together", "in_sequence"]] = "in_sequence"
    shares: ClassVar[bool] = True

    def start(self, geometry: Geometry) -> Normalizer:
        """See `Normalization`."""
        del geometry
        return Shared()


@dataclass(frozen=True)
class SubjectUnlabelled(Normalization):
    """Each subject by its own windows, without labels; for covariances this is re-centring."""

    transductive: ClassVar[bool] = True

    def start(self, geometry: Geometry) -> Normalizer:
        """See `Normalization`."""
        return Own(geometry)


@dataclass(frozen=True)
class Unnormalized(Normalization):
    """Windows as they are."""

    def start(self, geometry: Geometry) -> Normalizer:
        """See `Normalization`."""
        del geometry
        return Identity()


NORMALIZATIONS: Mapping[str, str] = {
    "training": "benchmarks.normalization:Training",
    "stream": "benchmarks.normalization:Stream",
    "subject_unlabelled": "benchmarks.normalization:SubjectUnlabelled",
    "none": "benchmarks.normalization:Unnormalized",
}


def fitted(mode: Normalization, windows: Windows, geometry: Geometry) -> Normalizer:
    """Normaliser that has met all of `windows` at once: what a strategy that pools subjects uses."""
    normalizer = mode.start(geometry)
    return normalizer.learn(STATISTICS[geometry](windows.x)) if mode.shares else normalizer
