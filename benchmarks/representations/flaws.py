"""Flaws of one signal as recorded, as reasons why a window lacks its features."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.errors import DataError
from benchmarks.quality import BoolArray, unusable_windows
from benchmarks.representations.contract import Signal
from benchmarks.windows import FloatArray


def flaws(
    name: str, signal: Signal, onsets_s: FloatArray, length_s: float, kinds: Sequence[str] = ("flat", "nan")
) -> dict[str, BoolArray]:
    """Windows in which a signal as recorded is flawed, by reason.

    Parameters
    ----------
    name : str
        Of the signal, as the user knows it.
    signal : Signal
        Before any filter.
    onsets_s : ndarray, shape (n,)
        Start of each window, seconds from the start of the recording.
    length_s : float
        Length of a window, seconds.
    kinds : sequence of str
        Flaws that count for this signal: keys of `benchmarks.quality.unusable_windows`.

    Returns
    -------
    dict of str to ndarray of bool, shape (n,)
        By name and kind (``"eda flat"``), in the order of `kinds`.
    """
    found = unusable_windows(signal.data, signal.starts(onsets_s), signal.length(length_s))
    return {f"{name} {kind}": found[kind] for kind in kinds}


def check_channels(name: str, signal: Signal, expected: int) -> None:
    """Raise a DataError where a signal does not have as many channels as expected."""
    if (channels := len(signal.data)) != expected:
        told = f"{channels} channel{'s' if channels != 1 else ''}"
        raise DataError(f"Signal {name!r} has {told}, expected {expected}. Check how it was read.")
