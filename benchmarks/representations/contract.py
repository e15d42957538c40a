"""What every representation is: a function of continuous signals and the windows cut from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from benchmarks.normalization import Geometry
from benchmarks.quality import BoolArray
from benchmarks.windows import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Signal:
    """One continuous signal of a recording.

    Parameters
    ----------
    data : ndarray, shape (C, T)
        Samples, in SI units, but for temperature (degrees Celsius) and blood volume pulse (a wristband has no unit for
        it).
    sfreq : float
        Sampling rate, Hz.
    begin_s : float
        First sample, seconds from the start of the recording.
    """

    data: FloatArray
    sfreq: float
    begin_s: float = 0.0

    def starts(self, onsets_s: FloatArray) -> IntArray:
        """Sample (n,) nearest to each time (n,), in seconds from the start of the recording."""
        return np.asarray(np.round((onsets_s - self.begin_s) * self.sfreq), dtype=np.int64)

    @property
    def end_s(self) -> float:
        """End of the last sample, seconds from the start of the recording."""
        return float(self.begin_s + self.data.shape[-1] / self.sfreq)

    def length(self, length_s: float) -> int:
        """Samples in a stretch of `length_s` seconds."""
        return round(length_s * self.sfreq)

    def holds(self, onsets_s: FloatArray, length_s: float) -> BoolArray:
        """Whether each window (n,) of `length_s` seconds lies wholly inside the signal, to the nearest sample."""
        starts = self.starts(onsets_s)
        return np.asarray((starts >= 0) & (starts + self.length(length_s) <= self.data.shape[-1]))


@dataclass(frozen=True, eq=False)
class Intervals:
    """Stretches between events of one kind, such as heart beats, in the order of time.

    Parameters
    ----------
    start_s, length_s : ndarray, shape (k,)
        Seconds from the start of the recording, and seconds. A gap between one's end and the next one's start says
        that events were missed there.
    """

    start_s: FloatArray
    length_s: FloatArray


@dataclass(frozen=True, eq=False)
class Sources:
    """What a representation reads of one recording: nothing that tells a condition.

    Parameters
    ----------
    signals : mapping of str to Signal
        Continuous signals by name.
    events : mapping of str to Intervals
        What comes at irregular times, by name.
    """

    signals: Mapping[str, Signal]
    events: Mapping[str, Intervals] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Represented:
    """Windows as an encoder sees them.

    Parameters
    ----------
    x : ndarray, shape (n, ...)
        One row a window; what could not be computed of it is NaN.
    missing : mapping of str to ndarray of bool, shape (n,)
        Windows that have a NaN, by reason (``"too few beats"``, ``"eda flat"``).
    """

    x: FloatArray
    missing: Mapping[str, BoolArray] = field(default_factory=dict)


class Representation(ABC):
    """What an encoder sees of a window.

    Attributes
    ----------
    geometry : {"vector", "channels", "spd"}
        What normalisation means for it: standard scores per feature, per channel, or congruence of covariances.
    as_recorded : bool
        Whether it takes the signals as they were recorded, filters them as it needs, and finds their flaws itself. If
        not, the study's preprocessing comes first, and flawed windows are found by `benchmarks.quality`; they are
        never imputed.
    """

    geometry: ClassVar[Geometry]
    as_recorded: ClassVar[bool] = False

    @property
    def control(self) -> bool:
        """Whether it shows what can be told without the physiology in question (movement): a control baseline."""
        return False

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules whose source determines what it gives: that of its class, and of the representations in it."""
        return (type(self).__module__,)

    @abstractmethod
    def sources(self, signal: str) -> tuple[str, ...]:
        """Names of the signals and events that it reads; `signal` is the study's own."""

    @abstractmethod
    def represent(self, sources: Sources, onsets_s: FloatArray, length_s: float) -> Represented:
        """Represent all windows of one recording at once, so that filters have no edges at the windows' borders.

        Parameters
        ----------
        sources : Sources
            Whole signals; what a window says may not depend on which others are asked for.
        onsets_s : ndarray, shape (n,)
            Start of each window, seconds from the start of the recording; each lies wholly inside all signals.
        length_s : float
            Length of a window, seconds.
        """


class SignalRepresentation(Representation):
    """A representation of the study's one signal, after the study's preprocessing."""

    def sources(self, signal: str) -> tuple[str, ...]:
        """The study's signal."""
        return (signal,)

    def represent(self, sources: Sources, onsets_s: FloatArray, length_s: float) -> Represented:
        """See `Representation`; windows are cut to the nearest sample."""
        (signal,) = sources.signals.values()
        x = self(signal.data, signal.sfreq, signal.starts(onsets_s), signal.length(length_s))
        finite = np.isfinite(x.reshape(len(x), -1)).all(axis=1)
        return Represented(x, {"nan": np.logical_not(finite)})

    @abstractmethod
    def __call__(self, signal: FloatArray, sfreq: float, starts: IntArray, length: int) -> FloatArray:
        """Represent all windows of one uninterrupted signal at once.

        Parameters
        ----------
        signal : ndarray, shape (C, T)
            Continuous signal, so that filters have no edges at the windows' borders.
        sfreq : float
            Sampling rate, Hz.
        starts : ndarray of int, shape (n,)
            First sample of each window.
        length : int
            Samples in a window.

        Returns
        -------
        ndarray, shape (n, ...)
        """


class FeatureRepresentation(Representation):
    """Named features of one or several signals as they were recorded, each at its own sampling rate.

    A window in which a feature cannot be computed has NaN there, with the reason counted; the study says what becomes
    of it (`quality`). If it says that features are imputed, windows stay even where all are missing.

    Attributes
    ----------
    reads : tuple of str
        Signals and events, whichever signal is the study's. Where they depend on values, `sources` tells them instead.
    names : tuple of str
        Names of the features. Where they depend on values or on the length of windows, `features` tells them instead.
    """

    geometry: ClassVar[Geometry] = "vector"
    as_recorded: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]]
    names: ClassVar[tuple[str, ...]]

    def sources(self, signal: str) -> tuple[str, ...]:
        """See `Representation`."""
        del signal
        return self.reads

    def features(self, length_s: float) -> tuple[str, ...]:
        """Names of the features of a window of `length_s` seconds, in the order of the columns (n, p)."""
        del length_s
        return self.names
