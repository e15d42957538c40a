"""Covariance of channels: what Riemannian methods see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from benchmarks.normalization import Geometry
from benchmarks.representations.contract import SignalRepresentation
from benchmarks.representations.signals import Band, Order, bandpass, check_band, cut
from benchmarks.windows import FloatArray, IntArray


@dataclass(frozen=True)
class Covariance(SignalRepresentation):
    """Covariance matrix of the channels, (n, C, C), in the squared unit of the signal.

    Parameters
    ----------
    band_hz : pair of float, or None
        Band that the signal as a whole is filtered to (Butterworth, zero phase); None leaves it as it is.
    estimator : {"oas", "lwf", "scm"}
        pyRiemann's estimators: shrunk after Chen et al. 2010 (doi:10.1109/TSP.2010.2053029) or Ledoit and Wolf 2004
        (doi:10.1016/S0047-259X(03)00096-4), or the sample covariance matrix, which is singular where a channel
        depends linearly on others.
    order : int
        Order of the Butterworth filter, run forwards and backwards.

    Raises
    ------
    ValueError
        The band's lower edge does not lie below its upper one.
    """

    geometry: ClassVar[Geometry] = "spd"

    band_hz: Band | None = (4.0, 45.0)
    estimator: Literal["oas", "lwf", "scm"] = "oas"
    order: Order = 4

    def __post_init__(self) -> None:
        if self.band_hz is not None:
            check_band(self.band_hz, "band_hz")

    def __call__(self, signal: FloatArray, sfreq: float, starts: IntArray, length: int) -> FloatArray:
        """See `SignalRepresentation`; raises as `bandpass`."""
        from pyriemann.estimation import Covariances

        if self.band_hz is not None:
            signal = bandpass(signal, sfreq, self.band_hz, self.order)
        return np.asarray(Covariances(self.estimator).transform(cut(signal, starts, length)))
