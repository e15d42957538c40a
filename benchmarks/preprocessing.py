"""What is done to a whole signal before windows are cut: nothing, unless the study says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from benchmarks.errors import StudyError
from benchmarks.parts import nearest
from benchmarks.windows import FloatArray

if TYPE_CHECKING:
    import mne

Hertz = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class Preprocessing:
    """Steps over a continuous signal, each left out where it is None, done in the order of the parameters.

    Filters are MNE's zero-phase FIR filters with their default transition bands, over all channels of any kind.

    Parameters
    ----------
    channels : tuple of str or None
        Channels that are used, in this order; None uses all.
    notch_hz : float, tuple of float, or None
        Frequencies that are notched out (mains and its harmonics).
    band_hz : pair of float or None
        Lower and upper edge; an edge that is None is open (a low-pass or high-pass filter).
    reference : str, tuple of str, or None
        ``"average"``, or the channels whose mean is subtracted from the EEG channels. Named reference channels need
        not be among `channels`, and are not part of the result: they depend linearly on each other afterwards.
    resample_hz : float or None
        New sampling rate (MNE's Fourier method, which guards against aliasing and keeps times to half a new sample).

    Raises
    ------
    ValueError
        The band's lower edge does not lie below its upper one.
    """

    channels: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    notch_hz: Hertz | Annotated[tuple[Hertz, ...], Field(min_length=1)] | None = None
    band_hz: tuple[Hertz | None, Hertz | None] | None = None
    reference: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    resample_hz: Hertz | None = None

    def __post_init__(self) -> None:
        low, high = self.band_hz or (None, None)
        if low is not None and high is not None and low >= high:
            raise ValueError(f"band_hz: the lower edge {low:g} Hz must lie below the upper one, {high:g} Hz")

    def picks(self, raw: mne.io.BaseRaw) -> list[str]:
        """Names of the channels that the result depends on.

        Raises
        ------
        StudyError
            A named channel is not in the signal.
        """
        names = list(raw.ch_names) if self.channels is None else list(dict.fromkeys(self.channels))
        names += [name for name in self._references if name not in names]
        for name in names:
            if name not in raw.ch_names:
                raise StudyError(f"preprocessing: no channel {name!r} in the signal. {nearest(name, raw.ch_names)}")
        return names

    def __call__(self, raw: mne.io.BaseRaw) -> mne.io.BaseRaw:
        """Preprocessed copy, loaded into memory.

        Samples that are missing are bridged by straight lines first, because a filter would spread one NaN over its
        whole channel; windows that hold such samples are found in the signal as recorded (`quality`).

        Raises
        ------
        StudyError
            A named channel is not there, a frequency is not below half the sampling rate, or there is no EEG channel
            to re-reference.
        """
        names, sfreq = self.picks(raw), raw.info["sfreq"]
        for frequency in self._edges():
            if frequency >= sfreq / 2:
                raise StudyError(
                    f"preprocessing: {frequency:g} Hz is not below half the signal's sampling rate of {sfreq:g} Hz."
                )
        signal = raw.copy().pick(names, verbose="error").load_data(verbose="error")
        signal.apply_function(bridged, picks="all", channel_wise=False, verbose="error")
        if self.notch_hz is not None:
            signal.notch_filter(self.notch_hz, picks="all", verbose="error")
        if self.band_hz is not None:
            # By default MNE filters "data" channels only, which electrodermal and cardiac ones are not.
            signal.filter(*self.band_hz, picks="all", verbose="error")
        if self.reference is not None:
            self._rereference(signal)
        if self.resample_hz is not None:
            signal.resample(self.resample_hz, verbose="error")
        return signal

    def describe(self) -> str:
        """Steps in one short line, for the foot of a table."""
        return ", ".join(self._steps()) or "no preprocessing"

    @property
    def _references(self) -> tuple[str, ...]:
        if self.reference is None or self.reference == "average":
            return ()
        return (self.reference,) if isinstance(self.reference, str) else self.reference

    @property
    def _notches(self) -> tuple[float, ...]:
        if self.notch_hz is None:
            return ()
        return self.notch_hz if isinstance(self.notch_hz, tuple) else (self.notch_hz,)

    def _edges(self) -> list[float]:
        return [*self._notches, *(edge for edge in self.band_hz or () if edge is not None)]

    def _rereference(self, signal: mne.io.BaseRaw) -> None:
        if "eeg" not in signal:
            raise StudyError("preprocessing.reference: the signal has no EEG channel to re-reference.")
        signal.set_eeg_reference(list(self._references) or "average", verbose="error")
        if self._references:
            if set(self._references) == set(signal.ch_names):
                raise StudyError("preprocessing.reference: no channel is left besides the reference.")
            signal.drop_channels(list(self._references))

    def _steps(self) -> Iterator[str]:
        if self.channels is not None:
            yield f"channels {' '.join(self.channels)}"
        if self._notches:
            yield f"notch {' '.join(f'{notch:g}' for notch in self._notches)} Hz"
        if self.band_hz is not None:
            low, high = self.band_hz
            edges = "-".join(f"{edge:g}" for edge in (low, high) if edge is not None)
            kind = "from " if high is None else "up to " if low is None else ""
            yield f"{kind}{edges} Hz"
        if self.reference is not None:
            yield f"{' '.join(self._references) or 'average'} reference"
        if self.resample_hz is not None:
            yield f"resampled to {self.resample_hz:g} Hz"


def bridged(signal: FloatArray) -> FloatArray:
    """Signal (C, T) with non-finite samples on straight lines between finite neighbours; an empty channel stays."""
    finite = np.isfinite(signal)
    if finite.all():
        return signal
    whole, time = signal.copy(), np.arange(signal.shape[1])
    for channel in np.flatnonzero(~finite.all(axis=1) & finite.any(axis=1)):
        known = finite[channel]
        whole[channel, ~known] = np.interp(time[~known], time[known], signal[channel, known])
    return whole
