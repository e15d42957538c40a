"""Breathing, as the pulse wave tells of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from benchmarks.errors import StudyError
from benchmarks.representations.beats import Beats, Share, beats_of_pulse
from benchmarks.representations.contract import FeatureRepresentation, Represented, Sources
from benchmarks.representations.signals import Band, check_band
from benchmarks.representations.windows_of_beats import of_windows
from benchmarks.windows import FloatArray

_FEATURES = (
    "breathing_rate",
    "breathing_regularity",
    "log_interval_modulation",
    "log_swing_modulation",
    "log_level_modulation",
)
_WIDTH_HZ = 0.025
_WAVES = 2
_LEAST = 1e-6


@dataclass(frozen=True)
class Respiration(FeatureRepresentation):
    """Breathing rate and depth of its traces in the pulse wave, (n, 5).

    Breathing modulates the intervals between heart beats, the height of the pulse and the level of the blood volume
    (Charlton et al. 2018, doi:10.1109/RBME.2017.2763681, review what can be had from each). Each of the three is a
    value for every clean interval between beats (`benchmarks.representations.beats`), and has a spectrum within the
    breathing band. The three spectra, each brought to sum 1, are averaged.

    ===========================  =======================================================================================
    ``breathing_rate``           frequency of the highest peak inside the band of the averaged spectrum, 1/min
    ``breathing_regularity``     share of the averaged spectrum within 1.5/min of that peak
    ``log_interval_modulation``  natural logarithm of the standard deviation within the band of the intervals, over
                                 their mean
    ``log_swing_modulation``     the same of the height of the pulse
    ``log_level_modulation``     the same of the level of the signal, over the mean height of the pulse
    ===========================  =======================================================================================

    The rate is an estimate that deserves trust only where the regularity is high: at the wrist, movement and the slow
    waves of blood pressure (0.1 Hz) often hide the breath. In windows of 60 s values without any rhythm give a
    regularity of 0.17 in the median, and above 0.23 in one window of twenty.

    Parameters
    ----------
    band_hz : pair of float
        Breathing band; 0.1-0.5 Hz is 6 to 30 breaths a minute. Its upper end is lowered to half the heart rate.
    min_coverage : float
        As in `benchmarks.representations.cardiac.Cardiac`.
    min_regularity : float
        Below, the rate is missing for ``"no clear breathing"``, and always where the spectrum has no peak inside the
        band. A limit above 0 takes windows away more often where people speak or move than where they sit still, so
        that windows may then be missing by their class.

    Raises
    ------
    ValueError
        The band's lower edge does not lie below its upper one.
    """

    reads: ClassVar[tuple[str, ...]] = ("bvp",)
    names: ClassVar[tuple[str, ...]] = _FEATURES

    band_hz: Band = (0.1, 0.5)
    min_coverage: Share = 0.3
    min_regularity: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def __post_init__(self) -> None:
        check_band(self.band_hz, "band_hz")

    def represent(self, sources: Sources, onsets_s: FloatArray, length_s: float) -> Represented:
        """See `FeatureRepresentation`; raises as `beats_of_pulse`.

        Raises
        ------
        StudyError
            A window is shorter than two of the slowest breaths.
        """
        if length_s * self.band_hz[0] < _WAVES:
            raise StudyError(
                f"representation: windows of {length_s:g} s are too short for breaths of {self.band_hz[0]:g} Hz. Make "
                f"windows.length_s {_WAVES / self.band_hz[0]:g} s or longer, or raise the lower edge of band_hz."
            )
        bvp = sources.signals["bvp"]
        beats = beats_of_pulse(bvp)

        def described(window: Beats) -> list[float]:
            return self._described(window, length_s)

        made = of_windows(beats, bvp, onsets_s, length_s, self.min_coverage, len(_FEATURES), described)
        unclear = np.isnan(made.x[:, 0]) & ~np.any(list(made.missing.values()), axis=0)
        return Represented(made.x, {**made.missing, "no clear breathing": unclear})

    def _described(self, window: Beats, length_s: float) -> list[float]:
        low, high = self.band_hz
        # A quarter of the distance at which a window of this length tells two frequencies apart.
        step = 0.25 / length_s
        frequencies = np.arange(low, min(high, 0.5 / window.length_s.mean()), step)
        swing = window.swing.mean()
        traces = (window.length_s / window.length_s.mean(), window.swing / swing, window.level / swing)
        spectra = np.stack([window.density(trace, frequencies) for trace in traces])
        depth = np.log(np.maximum(np.sqrt(spectra.sum(axis=1) * step), _LEAST))
        rate, regularity = self._peak(frequencies, _averaged(spectra))
        return [rate, regularity, *map(float, depth)]

    def _peak(self, frequencies_hz: FloatArray, spectrum: FloatArray) -> tuple[float, float]:
        """Rate, 1/min, and regularity; no rate where it is not clear."""
        inner = np.flatnonzero((spectrum[1:-1] > spectrum[:-2]) & (spectrum[1:-1] >= spectrum[2:])) + 1
        if not len(inner):
            return np.nan, 0.0
        peak = inner[np.argmax(spectrum[inner])]
        regularity = float(spectrum[np.abs(frequencies_hz - frequencies_hz[peak]) <= _WIDTH_HZ].sum())
        return (60 * float(frequencies_hz[peak]) if regularity >= self.min_regularity else np.nan), regularity


def _averaged(spectra: FloatArray) -> FloatArray:
    """Mean (f,) of spectra (s, f) that each sum to 1; one without any power counts as even."""
    total = spectra.sum(axis=1, keepdims=True)
    even = np.full_like(spectra, 1 / spectra.shape[1])
    return np.asarray(np.divide(spectra, total, out=even, where=total > 0).mean(axis=0))
