"""What every representation is: a function of a continuous signal and the windows cut from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from benchmarks.normalization import Geometry
from benchmarks.windows import FloatArray, IntArray


class Representation(ABC):
    """What an encoder sees of a window.

    Attributes
    ----------
    geometry : {"vector", "channels", "spd"}
        What normalisation means for it: standard scores per feature, per channel, or congruence of covariances.
    """

    geometry: ClassVar[Geometry]

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
