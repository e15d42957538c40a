"""Heart beats of a whole recording: found in the pulse wave or told by the wristband, and which of them to believe."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import Field

from benchmarks.preprocessing import bridged
from benchmarks.quality import BoolArray
from benchmarks.representations.contract import Intervals, Signal
from benchmarks.representations.signals import Band, bandpass
from benchmarks.windows import FloatArray, IntArray

Share = Annotated[float, Field(gt=0, le=1)]
"""Part of a window that clean intervals must cover."""

_PULSE_HZ: Band = (0.5, 8.0)
_ORDER = 2
_INTERVAL_S = (0.3, 2.0)
"""Shortest and longest interval that can be one: 200 and 30 beats a minute."""
_NEIGHBOURS = 11
_DEVIATION = 0.25
_RUN = 3
_SAME_BEAT_S = 0.01
_SHAPE_S = 0.5
_LIKENESS = 0.8
_FAINT = 0.01
_ABOVE_ROUNDING = 1e-6
"""With no share at all rounding would decide what is a pulse wherever the wave stays below zero."""
_PAIRS = 8


@dataclass(frozen=True, eq=False)
class Beats:
    """Clean intervals between successive heart beats, in the order of time.

    Parameters
    ----------
    start_s, length_s : ndarray, shape (k,)
        Seconds from the start of the recording, and seconds. Where one ends before the next begins, others were left
        out or missed.
    swing : ndarray, shape (k,)
        Height of the pulse wave (0.5-8 Hz) in each interval, from its lowest to its highest sample; unit of the signal.
    level : ndarray, shape (k,)
        Mean of the signal as recorded over each interval.
    """

    start_s: FloatArray
    length_s: FloatArray
    swing: FloatArray
    level: FloatArray

    def within(self, onset_s: float, length_s: float) -> Beats:
        """Intervals that lie wholly in a window."""
        first = np.searchsorted(self.start_s, onset_s, side="left")
        stop = np.searchsorted(self.start_s + self.length_s, onset_s + length_s, side="right")
        return self._taken(slice(int(first), int(max(first, stop))))

    def suffice(self, length_s: float, share: float) -> bool:
        """Whether they cover this share of a window of `length_s` seconds, with eight successive differences in it."""
        return bool(self.length_s.sum() >= share * length_s and len(self.pairs[0]) >= _PAIRS)

    @property
    def pairs(self) -> tuple[FloatArray, FloatArray]:
        """Lengths (m,) of the intervals that another one follows without a gap, and of those others."""
        follows = _follows(self.start_s, self.length_s)
        return self.length_s[:-1][follows], self.length_s[1:][follows]

    def density(self, values: FloatArray, frequencies_hz: FloatArray) -> FloatArray:
        """Power spectral density of what was measured once an interval, one-sided, (f,), in its squared unit per Hz.

        The periodogram of Lomb and Scargle of the values at the middle of their intervals, less a straight line. It
        needs no values at even times, so that nothing is invented where intervals are missing; interpolation would
        distort the spectrum (Clifford and Tarassenko 2005, doi:10.1109/TBME.2005.844028). A sinusoid of amplitude A
        gives A^2 / 2 over its band, of which gaps spread a part to other frequencies. From half the mean rate of the
        intervals on it is zero, since nothing can be told there (Laguna, Moody and Mark 1998, doi:10.1109/10.678605).

        Parameters
        ----------
        values : ndarray, shape (k,)
            One for each interval, such as its length.
        frequencies_hz : ndarray, shape (f,)
            In ascending order.
        """
        from scipy.signal import lombscargle

        time = self.start_s + self.length_s / 2
        line = np.stack([np.ones_like(time), time - time.mean()], axis=1)
        rest = values - line @ np.linalg.lstsq(line, values, rcond=None)[0]
        mean_s = self.length_s.mean()
        told = frequencies_hz < 0.5 / mean_s
        density = np.zeros(len(frequencies_hz))
        density[told] = 2 * mean_s * lombscargle(time, rest, 2 * np.pi * frequencies_hz[told])
        return density

    def _taken(self, which: slice | BoolArray) -> Beats:
        return Beats(self.start_s[which], self.length_s[which], self.swing[which], self.level[which])


def beats_of_pulse(bvp: Signal) -> Beats:
    """Clean intervals between the beats that the pulse wave shows.

    NeuroKit2 finds the pulses (Elgendi et al. 2013, doi:10.1371/journal.pone.0076585). Its threshold contains a share
    of the power of the whole recording, in which a few movements drown the pulses; that share is set to next to
    nothing, since pulses are chosen by their shape afterwards. A beat is the trough before its pulse: the systolic
    crest is broad at the wrist and would add tens of milliseconds of jitter (Peralta et al. 2019,
    doi:10.1088/1361-6579/ab009b, compare such points). A parabola through three samples places it between samples
    (Béres and Hejjel 2021, doi:10.1016/j.bspc.2021.102589). Missing samples are bridged by a straight line.

    See `clean` for what is left out. Besides, both pulses of an interval must be alike the recording's median pulse
    over their first 0.5 s (correlation of 0.8 or more), a rule after Orphanidou et al. 2015
    (doi:10.1109/JBHI.2014.2338351).

    Parameters
    ----------
    bvp : Signal
        Blood volume pulse as recorded, one channel.

    Raises
    ------
    StudyError
        The sampling rate is 16 Hz or less.
    DataError
        The signal is too short to be filtered.
    """
    filtered = _filtered(bvp)
    troughs = _troughs(filtered, bvp.sfreq)
    alike = _alike(filtered, troughs, bvp.length(_SHAPE_S))
    time = bvp.begin_s + troughs / bvp.sfreq
    return _believed(bvp, filtered, time[:-1], np.diff(time), alike[:-1] & alike[1:])


def beats_of_intervals(ibi: Intervals, bvp: Signal) -> Beats:
    """Clean intervals among those that the wristband tells; it leaves out the beats of which it is not sure.

    Parameters
    ----------
    ibi : Intervals
        From beat to beat, in the order of time.
    bvp : Signal
        Blood volume pulse as recorded, one channel.

    Raises
    ------
    StudyError, DataError
        As `beats_of_pulse`.
    """
    return _believed(bvp, _filtered(bvp), ibi.start_s, ibi.length_s, np.ones(len(ibi.start_s), dtype=bool))


def clean(start_s: FloatArray, length_s: FloatArray, sound: BoolArray) -> BoolArray:
    """Intervals (k,) that are believed to lie between two successive normal beats.

    Nothing is corrected, because a beat that is made up lowers the variability; what fails is left out:

    - intervals shorter than 0.3 s or longer than 2 s;
    - intervals that deviate by more than a quarter from the median of the eleven possible ones around them: missed,
      extra and ectopic beats (Karlsson et al. 2012, doi:10.1186/1475-925X-11-2, compare such limits). The thresholds of
      Lipponen and Tarvainen 2019 (doi:10.1080/03091902.2019.1640306) follow the spread around a beat, so that they let
      whole minutes of movement pass;
    - intervals that are not among three or more clean ones in a row, which movement now and then gives by chance.

    Parameters
    ----------
    start_s, length_s : ndarray, shape (k,)
        Seconds, in the order of time.
    sound : ndarray of bool, shape (k,)
        What else speaks for each interval.
    """
    from scipy.ndimage import median_filter

    possible = sound & (length_s >= _INTERVAL_S[0]) & (length_s <= _INTERVAL_S[1])
    kept = np.zeros(len(length_s), dtype=bool)
    lengths = length_s[possible]
    usual = median_filter(lengths, _NEIGHBOURS, mode="mirror") if len(lengths) else lengths
    kept[possible] = np.abs(lengths - usual) <= _DEVIATION * usual
    chained = kept[1:] & kept[:-1] & _follows(start_s, length_s)
    run = np.cumsum(np.append(0, ~chained))[: len(kept)]
    return np.asarray(kept & (np.bincount(run, minlength=1)[run] >= _RUN))


def _follows(start_s: FloatArray, length_s: FloatArray) -> BoolArray:
    """Whether each interval but the first (k - 1,) begins at the beat where the one before it ends."""
    return np.asarray(np.abs(start_s[1:] - (start_s + length_s)[:-1]) < _SAME_BEAT_S)


def _believed(bvp: Signal, filtered: FloatArray, start_s: FloatArray, length_s: FloatArray, sound: BoolArray) -> Beats:
    last = len(filtered) - 1
    first = bvp.starts(start_s).clip(0, last)
    stop = np.maximum(bvp.starts(start_s + length_s).clip(0, last), first) + 1
    spans = list(zip(first, stop, strict=True))
    swing = np.array([np.ptp(filtered[a:b]) for a, b in spans])
    level = np.array([bvp.data[0, a:b].mean() for a, b in spans])
    # Where the signal stands still the filter rings on ever more faintly, and a ripple is no pulse.
    alive = (swing > _FAINT * filtered.std()) & np.isfinite(level)
    return Beats(start_s, length_s, swing, level)._taken(clean(start_s, length_s, sound & alive))


def _filtered(bvp: Signal) -> FloatArray:
    """Pulse wave (T,): the band in which Elgendi et al. 2013 look for pulses."""
    if not np.isfinite(bvp.data).any():
        return np.zeros(bvp.data.shape[1])
    whole = bridged(bvp.data)
    # Without its mean a constant is exactly zero, and stays so in the filter.
    filtered: FloatArray = bandpass(whole - whole.mean(), bvp.sfreq, _PULSE_HZ, _ORDER)[0]
    return filtered


def _troughs(filtered: FloatArray, sfreq: float) -> FloatArray:
    """Samples, with fractions, of the lowest point between each pulse and the one before (b,)."""
    import neurokit2 as nk

    if not filtered.any() or len(filtered) < 2 * sfreq:
        return np.empty(0)
    scaled = filtered / np.abs(filtered).max()
    try:
        found = nk.ppg_findpeaks(scaled, sampling_rate=sfreq, method="elgendi", beatoffset=_ABOVE_ROUNDING)
    except IndexError:
        # NeuroKit2 stumbles over a signal without a single whole wave.
        return np.empty(0)
    lowest = [a + int(np.argmin(filtered[a:b])) for a, b in pairwise(found["PPG_Peaks"])]
    at = np.array(lowest, dtype=np.int64).clip(1, len(filtered) - 2)
    before, here, after = filtered[at - 1], filtered[at], filtered[at + 1]
    bend = before - 2 * here + after
    return np.asarray(at + np.divide(0.5 * (before - after), bend, out=np.zeros(len(at)), where=bend > 0))


def _alike(filtered: FloatArray, troughs: FloatArray, length: int) -> BoolArray:
    """Pulses (b,) whose first `length` samples have the shape of the median pulse."""
    if not len(troughs):
        return np.empty(0, dtype=bool)
    starts: IntArray = np.round(troughs).astype(np.int64).clip(0, len(filtered) - length)
    shapes = _standard(sliding_window_view(filtered, length)[starts])
    return np.asarray(shapes @ _standard(np.median(shapes, axis=0)) >= _LIKENESS)


def _standard(shapes: FloatArray) -> FloatArray:
    """Shapes (..., L) with mean zero and norm one, so that a product of two is their correlation."""
    centred = shapes - shapes.mean(axis=-1, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), np.finfo(float).tiny))
