"""Raw windows of several signals, each recorded at its own rate."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from benchmarks.errors import StudyError
from benchmarks.normalization import Geometry
from benchmarks.preprocessing import bridged
from benchmarks.quality import BoolArray
from benchmarks.representations.contract import Representation, Represented, Signal, Sources
from benchmarks.representations.flaws import flaws
from benchmarks.windows import FloatArray

_DENOMINATOR = 1000
"""Largest one of the fraction that stands for the ratio of two rates."""
_STOPBAND_DB = 60.0
_PASSBAND = 0.8
"""Part of the band below half the new rate that decimation leaves as it is."""


@dataclass(frozen=True)
class Multirate(Representation):
    """Samples of several signals side by side, (n, C, L) in float32 and the signals' units.

    C counts the channels of all signals, in the order of `signals`, and L the samples of a window at one rate. A slower
    signal is held: each place in time shows the sample that is current there, the last one taken. So where rates are
    multiples of each other a sample is repeated as it is; nothing is lost or invented. That takes memory: a window of
    60 s of the default signals of a wristband (six channels at 64 Hz) is 92 kB, of which the samples themselves are 40.
    A faster signal is decimated: filtered as a whole (zero phase, Kaiser window), so that all from half the new rate on
    is damped by 60 dB or more, and all up to 0.8 of that is left as it is.

    A window with missing samples, or with one and the same value all through a channel, is missing.

    Parameters
    ----------
    signals : tuple of str
        Which signals, each once.
    rate_hz : float or None
        The one rate; None takes that of the fastest signal.
    steady : tuple of str
        Signals that may have one value all through a window without being broken: slow or coarsely quantised ones.

    Raises
    ------
    ValueError
        A signal stands twice.
    """

    geometry: ClassVar[Geometry] = "channels"
    as_recorded: ClassVar[bool] = True

    signals: Annotated[tuple[str, ...], Field(min_length=1)] = ("bvp", "eda", "temp", "acc")
    rate_hz: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    steady: tuple[str, ...] = ("temp", "acc")

    def __post_init__(self) -> None:
        for name in self.signals:
            if self.signals.count(name) > 1:
                raise ValueError(f"signals: {name!r} stands twice")

    def sources(self, signal: str) -> tuple[str, ...]:
        """Its own signals, whatever the study's is."""
        del signal
        return self.signals

    def represent(self, sources: Sources, onsets_s: FloatArray, length_s: float) -> Represented:
        """See `Representation`.

        Raises
        ------
        StudyError
            One of the signals is a list of events, or a window is shorter than a sample.
        """
        signals = {name: _signal(name, sources) for name in self.signals}
        rate = self.rate_hz or max(signal.sfreq for signal in signals.values())
        length = round(length_s * rate)
        if length < 1:
            raise StudyError(f"rate_hz: a window of {length_s:g} s has no sample at {rate:g} Hz. Use a higher rate.")
        times_s = onsets_s[:, None] + np.arange(length) / rate
        shown, missing = [], dict[str, BoolArray]()
        for name, signal in signals.items():
            kinds = ("nan",) if name in self.steady else ("flat", "nan")
            flawed = flaws(name, signal, onsets_s, length_s, kinds)
            held = _held(_decimated(signal, rate), times_s)
            held[np.any(list(flawed.values()), axis=0)] = np.nan
            shown.append(held)
            missing.update(flawed)
        return Represented(np.concatenate(shown, axis=1), missing)


def _signal(name: str, sources: Sources) -> Signal:
    if name not in sources.signals:
        raise StudyError(f"signals: {name!r} has no samples, only times of events. Leave it out.")
    return sources.signals[name]


def _held(signal: Signal, times_s: FloatArray) -> FloatArray:
    """Samples (n, C, L), in float32, that are current at the times (n, L)."""
    # Times are sums of floating-point numbers: one that is a sample's own may lie an epsilon before it.
    current = np.floor((times_s - signal.begin_s) * signal.sfreq + 1e-6).astype(np.int64)
    # A window lies inside the signal to the nearest sample, so its first or last time may fall just outside.
    current = current.clip(0, signal.data.shape[1] - 1)
    return np.asarray(np.swapaxes(signal.data.astype(np.float32)[:, current], 0, 1))


def _decimated(signal: Signal, rate: float) -> Signal:
    """The signal at `rate`, or as it is if that is no lower than its own.

    Missing samples are bridged first, because the filter would spread them.
    """
    if rate >= signal.sfreq:
        return signal
    from scipy.signal import firwin, kaiserord, resample_poly

    ratio = (Fraction(rate) / Fraction(signal.sfreq)).limit_denominator(_DENOMINATOR)
    if not ratio:
        raise StudyError(f"rate_hz: {rate:g} Hz is too low a rate for a signal recorded at {signal.sfreq:g} Hz.")
    # As parts of half the rate at which the filter runs, which is `numerator` times the recorded one.
    stop = 1 / ratio.denominator
    taps, beta = kaiserord(_STOPBAND_DB, (1 - _PASSBAND) * stop)
    # An odd number of taps keeps the samples' times.
    kernel = firwin(taps | 1, (1 + _PASSBAND) / 2 * stop, window=("kaiser", beta))
    whole = bridged(signal.data)
    # What the filter lets through of a high level (of 33 degrees, say) would be more than the signal's own changes.
    level = whole.mean(axis=-1, keepdims=True)
    changes = resample_poly(whole - level, ratio.numerator, ratio.denominator, axis=-1, window=kernel, padtype="edge")
    return Signal(changes + level, signal.sfreq * float(ratio), signal.begin_s)
