"""Raw windows: what convolutional encoders see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.normalization import Geometry
from benchmarks.representations.contract import SignalRepresentation
from benchmarks.representations.signals import cut
from benchmarks.windows import FloatArray, IntArray


@dataclass(frozen=True)
class RawWindows(SignalRepresentation):
    """The samples themselves, (n, C, L) in float32 and the signal's unit."""

    geometry: ClassVar[Geometry] = "channels"

    def __call__(self, signal: FloatArray, sfreq: float, starts: IntArray, length: int) -> FloatArray:
        """See `SignalRepresentation`."""
        del sfreq
        return cut(signal.astype(np.float32), starts, length)
