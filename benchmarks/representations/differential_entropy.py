"""Differential entropy of band-passed signals: the log-variance of each channel and band."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from benchmarks.normalization import Geometry
from benchmarks.representations.contract import SignalRepresentation
from benchmarks.representations.signals import Band, Order, bandpass, check_band, cut
from benchmarks.windows import FloatArray, IntArray

EEG_BANDS: Mapping[str, Band] = {
    "delta": (1.0, 4.0),
    "theta": (4.0, 8.0),
    "alpha": (8.0, 13.0),
    "beta": (13.0, 30.0),
    "gamma": (30.0, 45.0),
}
"""The classical bands of EEG, Hz."""


@dataclass(frozen=True)
class DifferentialEntropy(SignalRepresentation):
    """Differential entropy per channel and band, (n, C, B), in nats.

    Of a Gaussian of variance v it is ``0.5 ln(2 pi e v)`` (Shi, Jiao and Lu 2013, doi:10.1109/EMBC.2013.6611075); v is
    the population variance over the window of the signal, which is filtered as a whole. A channel without variation
    gives minus infinity.

    Parameters
    ----------
    bands : mapping of str to pair of float
        Edges in Hz by name, in the order of the last axis.
    order : int
        Order of the Butterworth filter, run forwards and backwards.

    Raises
    ------
    ValueError
        The lower edge of a band does not lie below its upper one.
    """

    geometry: ClassVar[Geometry] = "vector"

    bands: Annotated[Mapping[str, Band], Field(min_length=1)] = field(default_factory=lambda: dict(EEG_BANDS))
    order: Order = 4

    def __post_init__(self) -> None:
        for name, band in self.bands.items():
            check_band(band, f"bands.{name}")

    def __call__(self, signal: FloatArray, sfreq: float, starts: IntArray, length: int) -> FloatArray:
        """See `SignalRepresentation`; raises as `bandpass`."""
        filtered = (bandpass(signal, sfreq, band, self.order) for band in self.bands.values())
        variance = np.stack([cut(one, starts, length).var(axis=-1) for one in filtered], axis=-1)
        with np.errstate(divide="ignore"):
            return np.asarray(0.5 * np.log(2 * np.pi * np.e * variance))
