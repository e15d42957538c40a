"""Skin temperature: its level, how fast it drifts, and how much it varies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.representations.contract import FeatureRepresentation, Represented, Sources
from benchmarks.representations.flaws import check_channels, flaws
from benchmarks.representations.signals import cut, slope_per_minute
from benchmarks.windows import FloatArray

SIGNAL = "temp"
FEATURES = ("temperature_mean", "temperature_slope", "temperature_sd")


@dataclass(frozen=True)
class Temperature(FeatureRepresentation):
    """Mean (degrees Celsius), least-squares slope (degrees a minute) and standard deviation (degrees) of a window.

    A window has NaN in all three, with the reason counted, where a sample is missing (``"temp nan"``) or not of living
    skin (``"temp implausible"``). A constant temperature is no flaw: the steps of a wristband's thermometer are 0.02
    degrees, and skin may stay within one for a minute.

    Parameters
    ----------
    plausible_celsius : pair of float
        Lowest and highest temperature of skin, degrees Celsius.

    Raises
    ------
    ValueError
        The lowest plausible temperature does not lie below the highest.
    """

    reads: ClassVar[tuple[str, ...]] = (SIGNAL,)
    names: ClassVar[tuple[str, ...]] = FEATURES

    plausible_celsius: tuple[float, float] = (15.0, 45.0)

    def __post_init__(self) -> None:
        low, high = self.plausible_celsius
        if not low < high:
            raise ValueError(f"plausible_celsius: the lowest, {low:g}, must lie below the highest, {high:g}")

    def represent(self, sources: Sources, onsets_s: FloatArray, length_s: float) -> Represented:
        """See `Representation`.

        Raises
        ------
        DataError
            The signal has more than one channel.
        """
        signal = sources.signals[SIGNAL]
        check_channels(SIGNAL, signal, 1)
        celsius = cut(signal.data, signal.starts(onsets_s), signal.length(length_s))[:, 0]
        low, high = self.plausible_celsius
        missing = flaws(SIGNAL, signal, onsets_s, length_s, ("nan",))
        missing[f"{SIGNAL} implausible"] = np.asarray(((celsius < low) | (celsius > high)).any(axis=1))
        flawed = np.asarray(np.any(list(missing.values()), axis=0))
        x = np.full((len(celsius), len(FEATURES)), np.nan)
        if not flawed.all():
            usable = celsius[~flawed]
            slope = slope_per_minute(usable, signal.sfreq)
            x[~flawed] = np.stack([usable.mean(axis=1), slope, usable.std(axis=1)], axis=1)
        return Represented(x, missing)
