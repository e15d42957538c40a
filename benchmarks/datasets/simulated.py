"""A simulated cohort whose truth is known: no person was ever recorded for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from benchmarks.datasets.conditions import cut_conditions
from benchmarks.datasets.contract import Card, Places, RecordingDataset
from benchmarks.digest import digest
from benchmarks.errors import DataError
from benchmarks.randomness import generator
from benchmarks.recording import Recording, Task
from benchmarks.windows import IntArray

_CLASSES = ("calm", "task")
_EDA_HZ = 4.0

# A person at shift 0; at shift s the logarithm of each value below varies between subjects with s times the spread.
_EEG_SD_V = 10e-6
_DECAY_PER_S = 0.1
_DRIVE_S_PER_S = 0.2e-6
_BASELINE_S = 4e-6
_EDA_SPREAD = 0.3
_GAIN_SPREAD = 0.3
_RHYTHM_SPREAD = 0.4
_MIXING_SPREAD = 0.2

_LOWEST_HZ = 0.5
_THETA_HZ = (4.0, 8.0)
_ALPHA_HZ = (8.0, 13.0)
_ALPHA_PROMINENCE = 3.0
"""Power of the resting alpha rhythm, relative to the 1/f background that it stands on."""

FloatArray = NDArray[np.float64]

Order = Literal["paired", "calm_first"]
"""Of the trials: each of calm beside one of the task, in random order, or all of calm before all of the task."""


@dataclass(frozen=True, eq=False)
class SimulatedTruth:
    """What is true of one simulated subject.

    Parameters
    ----------
    a0 : float
        Rate at which electrodermal activity decays, 1/s.
    b : float
        Rise of electrodermal activity while the subject is at the task, S/s.
    e0 : float
        Level to which it decays, S.
    mixing : ndarray, shape (C, C)
        From the sources to the channels of the EEG, gain not included.
    gain : float
        Factor of all EEG channels.
    rhythms : ndarray, shape (2,)
        The subject's factors of the amplitudes of theta and alpha.
    drift : ndarray, shape (2,)
        Change of the logarithms of the powers of theta and alpha from the recording's start to its end.
    true_labels, given_labels : ndarray of int, shape (trials,)
        What the signals follow, and what the annotations say, by trial in time.
    """

    a0: float
    b: float
    e0: float
    mixing: FloatArray
    gain: float
    rhythms: FloatArray
    drift: FloatArray
    true_labels: IntArray
    given_labels: IntArray


class Simulated(RecordingDataset):
    """EEG and electrodermal activity of simulated subjects, in trials of two classes.

    The EEG of a subject is ``gain * mixing @ sources``. Each source is Gaussian noise with a spectrum of 1/f and a
    rhythm at 8-13 Hz. During the task, the power at 4-8 Hz of the first half of the sources is ``exp(effect)`` times
    that of calm, and the power at 8-13 Hz of the other half ``exp(-effect)`` times. Electrodermal activity E follows
    ``dE/dt = -a0 (E - e0) + b s(t)``, with s = 1 during the task and 0 in calm, solved exactly and sampled at 4 Hz.

    Every subject is computed from seeds of its own: it stays the same when the cohort grows. With `order` "paired" each
    trial of calm has a trial of the task as its neighbour, in random order, so that time tells nothing of the class;
    with "calm_first" it tells all. A `drift` moves the two rhythms with time, in a direction that is each subject's
    own, so that it tells time in that subject and nothing in another one.

    Parameters
    ----------
    places : Places
        Not used: a simulated cohort lies nowhere.
    subjects, trials : int
        Number of subjects, and of trials of each class.
    trial_s : float
        Length of a trial, s. Trials follow one another without a gap.
    channels : int
        EEG channels, and sources.
    sfreq : float
        Sampling rate of the EEG, Hz.
    effect : float
        Change of the logarithm of band power from calm to task; 0 is none.
    shift : float
        Scale of all differences between subjects; 0 makes everyone the same person (with other noise).
    trial_spread : float
        Standard deviation, over trials, of the logarithm of the power of each of the two bands.
    order : {"paired", "calm_first"}
        Of the trials.
    drift : float
        Change of the logarithm of the power of the rhythms over the recording, as the length of the vector (theta,
        alpha), whose direction is drawn for each subject.
    eda_noise : float
        Standard deviation of the noise of the electrodermal sensor, microsiemens.
    label_noise : float
        Probability that a trial is given the wrong label.
    shuffle_labels : bool
        Permute the given labels over the trials of each subject: nothing is left to be learned.
    seed : int
        Of all that is random here.
    """

    card = Card(
        name="simulated",
        title="Simulated cohort with known truth (no person was recorded)",
        subjects="8 simulated ones by default",
        signals="simulated eeg 8 channels 128 Hz by default, simulated eda 4 Hz",
        labels="calm_vs_task: the simulated state",
        licence="none needed: simulated on this machine",
        page="comes with this program",
        citation="none; say that the data are simulated",
        simulated=True,
    )
    default_signal = "eeg"

    def __init__(
        self,
        places: Places,  # noqa: ARG002 - every data set is constructed with it
        subjects: Annotated[int, Field(ge=1, le=1000)] = 8,
        trials: Annotated[int, Field(ge=1)] = 6,
        trial_s: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 20.0,
        channels: Annotated[int, Field(ge=2)] = 8,
        sfreq: Annotated[float, Field(ge=2 * _ALPHA_HZ[1], allow_inf_nan=False)] = 128.0,
        effect: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.4,
        shift: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0,
        trial_spread: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5,
        order: Order = "paired",
        drift: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0,
        eda_noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01,
        label_noise: Annotated[float, Field(ge=0, le=1)] = 0.0,
        shuffle_labels: bool = False,
        seed: int = 0,
    ) -> None:
        self._names = tuple(f"sim{index:03d}" for index in range(subjects))
        self._trials = trials
        self._trial_s = trial_s
        self._channels = channels
        self._sfreq = sfreq
        self._effect = effect
        self._shift = shift
        self._trial_spread = trial_spread
        self._order: Order = order
        self._drift = drift
        self._eda_noise_s = eda_noise * 1e-6
        self._label_noise = label_noise
        self._shuffle_labels = shuffle_labels
        self._seed = seed

    @classmethod
    def present(cls, places: Places) -> Path | None:  # noqa: ARG003
        """Where this generator is: the cohort comes with the program."""
        return Path(__file__)

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The one task: which of the two simulated states a trial was in."""
        return {"calm_vs_task": Task(_CLASSES, partial(cut_conditions, classes=_CLASSES))}

    def signals_of(self, subjects: Sequence[str]) -> tuple[str, ...]:  # noqa: ARG002 - all are alike
        """Brain and skin."""
        return ("eeg", "eda")

    def subjects(self) -> tuple[str, ...]:
        """Names of the simulated subjects."""
        return self._names

    def fingerprint(self, subject: str) -> str:
        """SHA-256 of all parameters that the subject is computed from; the size of the cohort is none of them."""
        self._check(subject)
        parameters = {name: value for name, value in vars(self).items() if name != "_names"}
        return digest([subject, parameters])

    def truth(self, subject: str) -> SimulatedTruth:
        """What is true of a subject.

        Raises
        ------
        DataError
            No such subject.
        """
        self._check(subject)
        person, n = self._random(subject, "person"), self._channels
        a0, b, e0 = np.exp(self._shift * _EDA_SPREAD * person.standard_normal(3))
        gain = np.exp(self._shift * _GAIN_SPREAD * person.standard_normal())
        rhythms = np.exp(self._shift * _RHYTHM_SPREAD * person.standard_normal(2))
        mixing = np.eye(n) + self._shift * _MIXING_SPREAD * person.standard_normal((n, n))
        toward = 2 * np.pi * self._random(subject, "drift").random()
        true = _ORDERS[self._order](self._trials, self._random(subject, "order"))
        wrong = self._random(subject, "label noise").random(true.size) < self._label_noise
        given = np.where(wrong, 1 - true, true)
        if self._shuffle_labels:
            given = self._random(subject, "shuffle").permutation(given)
        return SimulatedTruth(
            a0=float(_DECAY_PER_S * a0),
            b=float(_DRIVE_S_PER_S * b),
            e0=float(_BASELINE_S * e0),
            mixing=mixing,
            gain=float(gain),
            rhythms=rhythms,
            drift=self._drift * np.array([np.cos(toward), np.sin(toward)]),
            true_labels=true.astype(np.int64),
            given_labels=given.astype(np.int64),
        )

    def read(self, subject: str) -> Sequence[Recording]:
        """One recording with all trials of a subject: ``"eeg"`` in volts and ``"eda"`` in siemens."""
        import mne

        truth = self.truth(subject)
        eeg_names = [f"E{channel:02d}" for channel in range(1, self._channels + 1)]
        signals = {
            "eeg": mne.io.RawArray(
                self._eeg(subject, truth), mne.create_info(eeg_names, self._sfreq, "eeg"), verbose="error"
            ),
            "eda": mne.io.RawArray(
                self._eda(subject, truth), mne.create_info(["EDA"], _EDA_HZ, "gsr"), verbose="error"
            ),
        }
        annotations = mne.Annotations(
            onset=np.arange(truth.given_labels.size) * self._trial_s,
            duration=self._trial_s,
            description=np.array(_CLASSES)[truth.given_labels],
        )
        return [Recording(subject=subject, session="1", signals=signals, annotations=annotations)]

    def _eeg(self, subject: str, truth: SimulatedTruth) -> FloatArray:
        trial = self._trial_at(self._sfreq)
        theta, alpha, rest = self._sources(subject, trial.size)
        theta_at_task, alpha_at_task = np.zeros((2, self._channels, 1))
        theta_at_task[: self._channels // 2] = self._effect
        alpha_at_task[self._channels // 2 :] = -self._effect
        log_power = self._trial_spread * self._random(subject, "trials").standard_normal((2, truth.true_labels.size))
        at_task = truth.true_labels[trial]
        # From -1/2 to 1/2: a subject's mean over the recording does not drift.
        theta_drift, alpha_drift = np.outer(truth.drift, np.arange(trial.size) / trial.size - 0.5)
        # Halves, because these factors are of amplitude.
        theta *= truth.rhythms[0] * np.exp((log_power[0, trial] + theta_at_task * at_task + theta_drift) / 2)
        alpha *= truth.rhythms[1] * np.exp((log_power[1, trial] + alpha_at_task * at_task + alpha_drift) / 2)
        return np.asarray(truth.gain * _EEG_SD_V * (truth.mixing @ (theta + alpha + rest)))

    def _sources(self, subject: str, samples: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Theta, alpha and all else of each source, each of shape (C, samples); without alpha rhythm, the SD is 1."""
        frequency = np.fft.rfftfreq(samples, 1 / self._sfreq)
        power = np.zeros_like(frequency)
        power[1:] = 1 / np.maximum(frequency[1:], _LOWEST_HZ)
        power /= power.sum()
        bands = [(frequency >= low) & (frequency < high) for low, high in (_THETA_HZ, _ALPHA_HZ)]
        power[bands[1]] *= 1 + _ALPHA_PROMINENCE
        noise = self._random(subject, "eeg").standard_normal((self._channels, frequency.size, 2))
        spectrum = (noise[..., 0] + 1j * noise[..., 1]) * (np.sqrt(power) * samples / 2)
        theta, alpha, rest = (
            np.fft.irfft(np.where(band, spectrum, 0), n=samples) for band in (*bands, ~(bands[0] | bands[1]))
        )
        return theta, alpha, rest

    def _eda(self, subject: str, truth: SimulatedTruth) -> FloatArray:
        """Exact solution, of shape (1, samples): the drive is constant within a trial, so E nears its level there."""
        trial = self._trial_at(_EDA_HZ)
        level = truth.e0 + truth.b / truth.a0 * truth.true_labels
        decay = np.exp(-truth.a0 * self._trial_s)
        at_start = np.empty(level.size)
        value = truth.e0
        for index, toward in enumerate(level):
            at_start[index] = value
            value = toward + (value - toward) * decay
        since_start = np.arange(trial.size) / _EDA_HZ - trial * self._trial_s
        eda = level[trial] + (at_start - level)[trial] * np.exp(-truth.a0 * since_start)
        noise = self._eda_noise_s * self._random(subject, "eda").standard_normal(trial.size)
        return np.asarray(eda + noise)[np.newaxis]

    def _trial_at(self, sfreq: float) -> IntArray:
        """Index of the trial at each sample of the recording."""
        trials = 2 * self._trials
        time = np.arange(round(trials * self._trial_s * sfreq)) / sfreq
        return np.minimum(time // self._trial_s, trials - 1).astype(np.int64)

    def _random(self, subject: str, use: str) -> np.random.Generator:
        return generator("simulated", self._seed, subject, use)

    def _check(self, subject: str) -> None:
        if subject not in self._names:
            raise DataError(f"No simulated subject {subject!r}: there are {self._names[0]} to {self._names[-1]}.")


def _paired(trials: int, random: np.random.Generator) -> IntArray:
    return random.permuted(np.tile(np.array([0, 1], dtype=np.int64), (trials, 1)), axis=1).ravel()


def _calm_first(trials: int, random: np.random.Generator) -> IntArray:
    del random
    return np.repeat(np.array([0, 1], dtype=np.int64), trials)


_ORDERS: Mapping[Order, Callable[[int, np.random.Generator], IntArray]] = {
    "paired": _paired,
    "calm_first": _calm_first,
}
"""Labels of all trials in time, given the number of trials of each class."""
