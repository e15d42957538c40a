"""Heart rate, its variability and the height of the pulse: what the nerves tell heart and vessels to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.representations.beats import Beats, Share, beats_of_intervals, beats_of_pulse
from benchmarks.representations.contract import FeatureRepresentation, Represented, Sources
from benchmarks.representations.signals import Band
from benchmarks.representations.windows_of_beats import of_windows
from benchmarks.windows import FloatArray

_TIME = ("heart_rate", "log_sdnn", "log_rmssd", "pnn50", "log_sd1_sd2", "log_pulse_swing", "pulse_swing_spread")
_HIGH_HZ: Band = (0.15, 0.4)
_HIGH_FROM_S = 60.0
_LOW_HZ: Band = (0.04, 0.15)
_LOW_FROM_S = 120.0
_ROUNDING = 0.99
_LEAST_S = 1e-3


@dataclass(frozen=True)
class Cardiac(FeatureRepresentation):
    """Features of heart rate variability and of the pulse wave, (n, 7) to (n, 10).

    Of the clean intervals between beats that lie wholly in a window (`benchmarks.representations.beats` says which are
    clean), after the Task Force of the European Society of Cardiology 1996 (doi:10.1161/01.CIR.93.5.1043); successive
    differences never bridge a gap. Logarithms are natural.

    ======================  ============================================================================================
    ``heart_rate``          60 s over the mean interval, 1/min
    ``log_sdnn``            logarithm of the standard deviation of the intervals in ms
    ``log_rmssd``           logarithm of the root mean square of successive differences in ms
    ``pnn50``               share of successive differences above 50 ms
    ``log_sd1_sd2``         logarithm of the ratio of the Poincaré plot's axes, short to long term (Brennan, Palaniswami
                            and Kamen 2001, doi:10.1109/10.959330)
    ``log_pulse_swing``     logarithm of the median height of the pulse, which falls as vessels constrict under strain
                            (Iani, Gopher and Lavie 2004, doi:10.1111/j.1469-8986.2004.00200.x); a wristband has no
                            unit for it, so that only differences within a recording mean something
    ``pulse_swing_spread``  standard deviation of the logarithm of the height of the pulse
    ``log_hf``              in windows from 60 s: logarithm of the power at 0.15-0.4 Hz in ms^2
    ``log_lf``              in windows from 120 s: logarithm of the power at 0.04-0.15 Hz in ms^2
    ``lf_share``            in windows from 120 s: LF / (LF + HF), which says the same as LF/HF and is not skewed
    ======================  ============================================================================================

    Parameters
    ----------
    beats : {"bvp", "ibi"}
        Beats found in the pulse wave, or the intervals that the wristband tells, which miss most of the beats of a
        person who moves. Both read ``"bvp"``: windows are cut by its clock, and it tells the height of the pulse.
    min_coverage : float
        Share of a window that clean intervals must cover; with less, or with fewer than eight successive differences,
        all its features are missing for ``"too few beats"``. Up to 70 % of missing intervals change RMSSD and SDNN
        little (Rossi et al. 2020, doi:10.3390/s20247122).
    """

    beats: Literal["bvp", "ibi"] = "bvp"
    min_coverage: Share = 0.3

    def sources(self, signal: str) -> tuple[str, ...]:
        """The pulse wave, and the wristband's own intervals if they are asked for."""
        del signal
        return ("bvp", "ibi") if self.beats == "ibi" else ("bvp",)

    def features(self, length_s: float) -> tuple[str, ...]:
        """See `FeatureRepresentation`; a band is told where nine of its slowest waves fit, or five for LF."""
        high = ("log_hf",) if length_s >= _ROUNDING * _HIGH_FROM_S else ()
        low = ("log_lf", "lf_share") if length_s >= _ROUNDING * _LOW_FROM_S else ()
        return (*_TIME, *high, *low)

    def represent(self, sources: Sources, onsets_s: FloatArray, length_s: float) -> Represented:
        """See `FeatureRepresentation`; raises as `beats_of_pulse`."""
        bvp = sources.signals["bvp"]
        beats = beats_of_intervals(sources.events["ibi"], bvp) if self.beats == "ibi" else beats_of_pulse(bvp)
        names = self.features(length_s)

        def described(window: Beats) -> list[float]:
            told = {**_of_time(window), **_of_frequency(window, length_s)}
            return [told[name] for name in names]

        return of_windows(beats, bvp, onsets_s, length_s, self.min_coverage, len(names), described)


def _of_time(window: Beats) -> dict[str, float]:
    first, second = window.pairs
    difference = second - first
    log_swing = np.log(window.swing)
    return {
        "heart_rate": 60 / float(window.length_s.mean()),
        "log_sdnn": _log_ms(window.length_s.std(ddof=1)),
        "log_rmssd": _log_ms(np.sqrt(np.mean(difference**2))),
        "pnn50": float(np.mean(np.abs(difference) > 0.05)),
        "log_sd1_sd2": _log_ms(difference.std(ddof=1)) - _log_ms((first + second).std(ddof=1)),
        "log_pulse_swing": float(np.median(log_swing)),
        "pulse_swing_spread": float(log_swing.std(ddof=1)),
    }


def _of_frequency(window: Beats, length_s: float) -> dict[str, float]:
    # A quarter of the distance at which a window of this length tells two frequencies apart.
    frequencies = np.arange(_LOW_HZ[0], _HIGH_HZ[1] + 1e-9, 0.25 / length_s)
    density = window.density(window.length_s, frequencies)
    low, high = (_log_ms(np.sqrt(_power(frequencies, density, band))) for band in (_LOW_HZ, _HIGH_HZ))
    return {"log_hf": 2 * high, "log_lf": 2 * low, "lf_share": 1 / (1 + float(np.exp(2 * (high - low))))}


def _power(frequencies_hz: FloatArray, density: FloatArray, band: Band) -> float:
    inside = (frequencies_hz >= band[0]) & (frequencies_hz <= band[1])
    return float(np.trapezoid(density[inside], frequencies_hz[inside]))


def _log_ms(seconds: float) -> float:
    """Logarithm of milliseconds; what is under one counts as one, which no wristband can tell from none."""
    return float(np.log(max(seconds, _LEAST_S) / 1e-3))
