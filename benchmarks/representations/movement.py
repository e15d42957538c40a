"""Movement of the wrist: what can be told from an accelerometer alone, without any physiology."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from benchmarks.representations.contract import FeatureRepresentation, Represented, Sources
from benchmarks.representations.flaws import check_channels, flaws
from benchmarks.representations.signals import cut
from benchmarks.windows import FloatArray

SIGNAL = "acc"
FEATURES = ("acc_enmo", "acc_sd", "acc_jerk", *(f"acc_{axis}_{what}" for what in ("mean", "sd") for axis in "xyz"))

_GRAVITY = 9.80665

Positive = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class Movement(FeatureRepresentation):
    """How much and how the wrist moves, and its posture, (n, 9): the control that a physiological result must beat.

    ``acc_enmo``: mean of the magnitude's excess over gravity, negative ones taken as zero (van Hees et al. 2013,
    doi:10.1371/journal.pone.0061691), m/s^2. ``acc_sd``: standard deviation of the magnitude, m/s^2, which needs no
    calibrated sensor. ``acc_jerk``: mean magnitude of the change from sample to sample, m/s^3. These three do not
    depend on how the band is turned. ``acc_x_mean`` ... ``acc_z_mean``, ``acc_x_sd`` ... ``acc_z_sd``: mean (posture)
    and standard deviation of each axis, m/s^2.

    A window has NaN in all features, with the reason counted, where a sample is missing (``"acc nan"``), or where the
    mean magnitude is not of a sensor on earth: a dead one, or another unit than m/s^2 (``"acc implausible"``). A still
    wrist is no flaw.

    Parameters
    ----------
    plausible_g : pair of float
        Least and largest mean magnitude of a window, in units of gravity.

    Raises
    ------
    ValueError
        The least plausible magnitude does not lie below the largest.
    """

    control: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = (SIGNAL,)
    names: ClassVar[tuple[str, ...]] = FEATURES

    plausible_g: tuple[Positive, Positive] = (0.5, 2.0)

    def __post_init__(self) -> None:
        low, high = self.plausible_g
        if not low < high:
            raise ValueError(f"plausible_g: the least, {low:g}, must lie below the largest, {high:g}")

    def represent(self, sources: Sources, onsets_s: FloatArray, length_s: float) -> Represented:
        """See `Representation`.

        Raises
        ------
        DataError
            The signal does not have three channels.
        """
        signal = sources.signals[SIGNAL]
        check_channels(SIGNAL, signal, 3)
        finite = np.where(np.isfinite(signal.data), signal.data, np.nan)
        axes = cut(finite, signal.starts(onsets_s), signal.length(length_s))
        magnitude = np.linalg.norm(axes, axis=1)
        jerk = np.linalg.norm(np.diff(axes, axis=2), axis=1) * signal.sfreq
        low, high = self.plausible_g
        mean = magnitude.mean(axis=1)
        missing = flaws(SIGNAL, signal, onsets_s, length_s, ("nan",))
        missing[f"{SIGNAL} implausible"] = (mean < low * _GRAVITY) | (mean > high * _GRAVITY)
        whole = [np.maximum(magnitude - _GRAVITY, 0).mean(axis=1), magnitude.std(axis=1), jerk.mean(axis=1)]
        x = np.concatenate([np.stack(whole, axis=1), axes.mean(axis=2), axes.std(axis=2)], axis=1)
        x[np.any(list(missing.values()), axis=0)] = np.nan
        return Represented(x, missing)
