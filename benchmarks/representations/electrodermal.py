"""Electrodermal activity: how well the skin conducts, and the responses of its sweat glands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from benchmarks.errors import DataError
from benchmarks.preprocessing import bridged
from benchmarks.quality import BoolArray
from benchmarks.representations.contract import FeatureRepresentation, Represented, Sources
from benchmarks.representations.flaws import check_channels, flaws
from benchmarks.representations.signals import cut, slope_per_minute
from benchmarks.windows import FloatArray, IntArray

SIGNAL = "eda"
FEATURES = (
    "tonic_mean",
    "tonic_slope",
    "phasic_sd",
    "scr_rate",
    "scr_amplitude",
    "scr_amplitude_sum",
    "scr_rise",
    "scr_recovery",
)

_PER_SIEMENS = 1e6
_SMOOTHING_S = 0.25
"""Standard deviation of the Gaussian over which responses are looked for."""
_LONGEST_RISE_S, _LONGEST_RECOVERY_S = 5.0, 10.0
"""Of a skin conductance response: its rise, and the loss of half its amplitude (Boucsein 2012, see `responses`)."""
_FOOT = 0.05
"""Share of its amplitude that a response has risen by when it is said to begin."""
_FALL_S = 0.25
"""Span over which the steepness of a fall is measured."""
_MARGIN_S = 2.0
"""Around samples without contact: electrodes do not lose the skin, nor find it, from one sample to the next."""

Microsiemens = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Electrodermal(FeatureRepresentation):
    """Level, fluctuation and responses of the skin's conductance, (n, 8).

    =====================  =============================================================================================
    ``tonic_mean``         slow component: mean, in microsiemens (uS)
    ``tonic_slope``        slow component: least-squares slope, uS/min
    ``phasic_sd``          fast component: standard deviation, uS
    ``scr_rate``           skin conductance responses that peak in the window, as `responses` finds them: number, 1/min
    ``scr_amplitude``      their mean amplitude, uS
    ``scr_amplitude_sum``  their amplitudes, summed, uS/min
    ``scr_rise``           their rise times, summed, s/min; over ``scr_rate``, the mean rise time
    ``scr_recovery``       their half recovery times, where they have one, summed, s/min
    =====================  =============================================================================================

    The last five are zero in a window without a response: means of times would be missing there, and with them every
    calm window.

    Samples without contact are bridged by straight lines before any filter, and so are missing ones; the zeros that a
    wristband begins with are no exception. A window has NaN in all features, with the reason counted, where a sample
    is missing (``"eda nan"``), the signal is constant (``"eda flat"``), or more than `lost_share` of it had to be
    bridged for lack of contact (``"eda no contact"``).

    Parameters
    ----------
    decomposition : {"highpass", "cvxeda"}
        NeuroKit2's, over the whole recording: Butterworth filters at 0.05 Hz, forwards and backwards; or the convex
        model of Greco et al. 2016 (doi:10.1109/TBME.2015.2474131), of the standardised signal, as its weights expect.
        The model has no term for artefacts: one that falls faster than a response recovers pulls its tonic component
        far below the signal for some twenty seconds.
    response_microsiemens : float
        Least amplitude of a response. Between 0.01 and 0.05 are in use (Society for Psychophysiological Research 2012,
        doi:10.1111/j.1469-8986.2012.01384.x); the default lies above the noise of a dry wrist electrode, whose quantum
        is 0.001.
    contact_microsiemens : float
        Least conductance of skin that is touched. Over the 35 people of Stress-Predict the wristband shows 0 or 0.02
        where it hangs loose, and about 0.04 on the driest skin.
    fall_microsiemens : float
        Steepest fall, per second, that skin shows. Responses recover in seconds; what falls faster is an electrode that
        slips, or the wristband's amplifier, and counts as no contact.
    lost_share : float
        Largest share of a window without contact, two seconds around each such sample included, that is bridged.
    """

    reads: ClassVar[tuple[str, ...]] = (SIGNAL,)
    names: ClassVar[tuple[str, ...]] = FEATURES

    decomposition: Literal["highpass", "cvxeda"] = "highpass"
    response_microsiemens: Microsiemens = 0.02
    contact_microsiemens: Microsiemens = 0.03
    fall_microsiemens: Microsiemens = 1.0
    lost_share: Annotated[float, Field(ge=0, lt=1)] = 0.25

    def represent(self, sources: Sources, onsets_s: FloatArray, length_s: float) -> Represented:
        """See `Representation`.

        Raises
        ------
        DataError
            The signal has more than one channel, or is too short to be decomposed.
        """
        signal = sources.signals[SIGNAL]
        check_channels(SIGNAL, signal, 1)
        starts, length = signal.starts(onsets_s), signal.length(length_s)
        eda = np.where(np.isfinite(signal.data[0]), _PER_SIEMENS * signal.data[0], np.nan)
        lost = self._lost(eda, signal.sfreq)
        missing = flaws(SIGNAL, signal, onsets_s, length_s)
        missing[f"{SIGNAL} no contact"] = _share(lost, starts, length) > self.lost_share
        flawed = np.asarray(np.any(list(missing.values()), axis=0))
        x = np.full((len(starts), len(FEATURES)), np.nan)
        if not flawed.all():
            whole = bridged(np.where(lost, np.nan, eda)[None])[0]
            found = self._features(whole, signal.sfreq, starts[~flawed], length)
            x[~flawed] = np.stack([found[name] for name in FEATURES], axis=1)
        return Represented(x, missing)

    def _lost(self, eda: FloatArray, sfreq: float) -> BoolArray:
        """Samples (T,) in which the electrodes do not touch the skin, and those near them."""
        from scipy.ndimage import binary_dilation

        lost = eda < self.contact_microsiemens
        span = max(round(_FALL_S * sfreq), 1)
        falls = eda[span:] - eda[:-span] < -self.fall_microsiemens * span / sfreq
        lost[:-span] |= falls
        lost[span:] |= falls
        return np.asarray(binary_dilation(lost, np.ones(2 * round(_MARGIN_S * sfreq) + 1)))

    def _features(self, eda: FloatArray, sfreq: float, starts: IntArray, length: int) -> Mapping[str, FloatArray]:
        """Features (n,) by name of a signal (T,) in microsiemens without gaps."""
        components = np.stack(decompose(eda, sfreq, self.decomposition))
        tonic, phasic = np.swapaxes(cut(components, starts, length), 0, 1)
        minutes = length / sfreq / 60
        scr = responses(eda, sfreq, self.response_microsiemens)
        first, last = np.searchsorted(scr.peak, starts), np.searchsorted(scr.peak, starts + length)

        def total(values: FloatArray) -> FloatArray:
            sums = np.concatenate([[0.0], np.nancumsum(values)])
            return np.asarray(sums[last] - sums[first])

        amplitudes = total(scr.amplitude)
        return {
            "tonic_mean": tonic.mean(axis=1),
            "tonic_slope": slope_per_minute(tonic, sfreq),
            "phasic_sd": phasic.std(axis=1),
            "scr_rate": (last - first) / minutes,
            "scr_amplitude": amplitudes / np.maximum(last - first, 1),
            "scr_amplitude_sum": amplitudes / minutes,
            "scr_rise": total(scr.rise_s) / minutes,
            "scr_recovery": total(scr.recovery_s) / minutes,
        }


def _share(marked: BoolArray, starts: IntArray, length: int) -> FloatArray:
    """Share of each window's samples (n,) that are marked (T,)."""
    return np.asarray(cut(marked[None].astype(np.float64), starts, length)[:, 0].mean(axis=1))


@dataclass(frozen=True, eq=False)
class Responses:
    """Skin conductance responses of one recording, in the order of time.

    Parameters
    ----------
    peak : ndarray of int, shape (k,)
        Sample of the highest conductance.
    amplitude : ndarray, shape (k,)
        From foot to peak, uS.
    rise_s : ndarray, shape (k,)
        From onset to peak, seconds.
    recovery_s : ndarray, shape (k,)
        From the peak until half the amplitude is lost, seconds; NaN where the next response peaks before that, or it
        takes more than ten seconds.
    """

    peak: IntArray
    amplitude: FloatArray
    rise_s: FloatArray
    recovery_s: FloatArray


def responses(eda: FloatArray, sfreq: float, least: float) -> Responses:
    """Skin conductance responses by the trough-to-peak method, with their rise and half recovery times.

    They are looked for in the signal itself. Its phasic component by a high-pass filter will not do: the filter swings
    after each response, and the swings, up to a seventh of it, would count as responses too. Their least amplitude is
    absolute: NeuroKit2's is relative to the largest response of the recording, so that one artefact changes what all
    windows say. A response is a peak that stands out from both sides by `least` (its topographic prominence, so that
    noise on its flanks is no response of its own) and rose by as much within five seconds; it begins where it leaves
    its lowest point in that time. Ranges of rise and half recovery times are those of Boucsein 2012 (Electrodermal
    Activity, doi:10.1007/978-1-4614-1126-0).

    Parameters
    ----------
    eda : ndarray, shape (T,)
        Skin conductance without gaps, uS.
    sfreq : float
        Sampling rate, Hz.
    least : float
        Least amplitude, uS.
    """
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    # A Gaussian makes no peaks that were not there; a sharper filter rings at every artefact.
    smooth = gaussian_filter1d(eda, _SMOOTHING_S * sfreq, mode="nearest")
    peaks, _ = find_peaks(smooth, prominence=least)
    bounds = [0, *peaks, len(smooth)]
    found = []
    for before, peak, after in zip(bounds[:-2], peaks, bounds[2:], strict=True):
        begin = max(before, peak - round(_LONGEST_RISE_S * sfreq))
        rising = smooth[begin : peak + 1]
        amplitude = smooth[peak] - rising.min()
        if amplitude >= least:
            onset = begin + np.flatnonzero(rising <= rising.min() + _FOOT * amplitude)[-1]
            falling = smooth[peak : min(after, peak + round(_LONGEST_RECOVERY_S * sfreq) + 1)]
            recovered = np.flatnonzero(falling <= smooth[peak] - amplitude / 2)
            found.append((peak, amplitude, peak - onset, recovered[0] if len(recovered) else np.nan))
    peak, amplitude, rise, recovery = np.array(found, dtype=np.float64).reshape(-1, 4).T
    return Responses(peak.astype(np.int64), amplitude, rise / sfreq, recovery / sfreq)


def decompose(eda: FloatArray, sfreq: float, method: str) -> tuple[FloatArray, FloatArray]:
    """Tonic and phasic component (T,) of a whole recording, by NeuroKit2.

    Parameters
    ----------
    eda : ndarray, shape (T,)
        Skin conductance without gaps, uS.
    sfreq : float
        Sampling rate, Hz.
    method : {"highpass", "cvxeda"}
        See `Electrodermal`.

    Raises
    ------
    DataError
        The signal is too short.
    """
    from neurokit2 import eda_phasic

    # Filters do not mind the standard scores that the model needs.
    mean, scale = eda.mean(), eda.std() or 1.0
    try:
        parts = eda_phasic((eda - mean) / scale, sampling_rate=sfreq, method=method)
    except (ValueError, ArithmeticError) as error:
        raise DataError(
            f"Signal {SIGNAL!r} of {len(eda) / sfreq:g} s cannot be decomposed by {method}: {error}. Give "
            f"it a longer recording."
        ) from error
    tonic, phasic = parts["EDA_Tonic"].to_numpy(), parts["EDA_Phasic"].to_numpy()
    return mean + scale * tonic, scale * phasic
