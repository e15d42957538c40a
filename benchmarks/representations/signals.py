"""What representations of continuous signals share: a zero-phase band-pass filter, the cutting of windows, a slope."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import Field

from benchmarks.errors import DataError, StudyError
from benchmarks.windows import FloatArray, IntArray

Band = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
"""Lower and upper edge of a frequency band, Hz."""

Order = Annotated[int, Field(ge=1, le=10)]
"""Order of a Butterworth filter's low-pass prototype: both slopes of one pass are of that order."""


def cut(signal: FloatArray, starts: IntArray, length: int) -> FloatArray:
    """Windows (n, C, L) of a signal (C, T)."""
    return np.swapaxes(sliding_window_view(signal, length, axis=-1)[:, starts], 0, 1)


def slope_per_minute(windows: FloatArray, sfreq: float) -> FloatArray:
    """Least-squares slope (n,) of each window (n, L) of samples at `sfreq` Hz, in their unit per minute."""
    from numpy.polynomial.polynomial import polyfit

    return np.asarray(polyfit(np.arange(windows.shape[1]) / sfreq / 60, windows.T, 1)[1])


def check_band(band: Band, name: str) -> None:
    """Raise a ValueError where the lower edge of a band does not lie below its upper one."""
    low, high = band
    if low >= high:
        raise ValueError(f"{name}: the lower edge {low:g} Hz must lie below the upper one, {high:g} Hz")


def bandpass(signal: FloatArray, sfreq: float, band: Band, order: int) -> FloatArray:
    """Zero-phase Butterworth band-pass: forwards and backwards over the whole signal, in second-order sections.

    Parameters
    ----------
    signal : ndarray, shape (C, T)
        Continuous signal.
    sfreq : float
        Sampling rate, Hz.
    band : pair of float
        Edges, Hz.
    order : int
        Order of the filter in each direction.

    Raises
    ------
    StudyError
        The band is not below half the sampling rate.
    DataError
        The signal is too short to be filtered.
    """
    from scipy.signal import butter, sosfiltfilt

    low, high = band
    if high >= sfreq / 2:
        raise StudyError(
            f"representation: the band {low:g}-{high:g} Hz must end below half the sampling rate of {sfreq:g} Hz."
        )
    sections = butter(order, band, btype="bandpass", fs=sfreq, output="sos")
    try:
        return np.asarray(sosfiltfilt(sections, signal, axis=-1))
    except ValueError as error:
        raise DataError(f"A signal of {signal.shape[-1]} samples cannot be filtered: {error}") from error
