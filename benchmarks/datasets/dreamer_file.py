"""DREAMER.mat: what each subject recorded and rated of each film, subject by subject."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.datasets.matlab import Array, cells, field, numbers
from benchmarks.datasets.matlab_struct import LargeStruct
from benchmarks.errors import DataError
from benchmarks.windows import FloatArray

EEG_CHANNELS = ("AF3", "F7", "F3", "FC5", "T7", "P7", "O1", "O2", "P8", "T8", "FC6", "F4", "F8", "AF4")
"""Electrodes of the headset, in the order of the published file's columns."""

ECG_CHANNELS = ("ECG1", "ECG2")
SCALES = ("arousal", "valence", "dominance")

_PEOPLE = "Data"
_EEG_HZ = 128.0
_ECG_HZ = 256.0
_LOWEST, _HIGHEST = 1, 5
_APART_S = 1.0
"""EEG and ECG of one film may differ in length by so much."""


@dataclass(frozen=True, eq=False)
class FilmSeen:
    """One film as one subject saw it.

    Parameters
    ----------
    eeg : ndarray, shape (n, 14)
        In the units of the file, channels in the order of `DreamerFile.electrodes`.
    ecg : ndarray, shape (m, 2), or None
        In the units of the file; None where the file has no ECG.
    ratings : mapping of str to float
        The subject's own, from 1 to 5, by scale.
    """

    eeg: FloatArray
    ecg: FloatArray | None
    ratings: Mapping[str, float]


class DreamerFile:
    """The published file, of which no more than one subject is in memory at a time.

    Its sampling rates and electrodes stand in fields whose names are told apart by letters alone, whatever their case
    (``EEG_SamplingRate``, ``eegsamplingrate``); the published values are taken where there is no such field.

    Parameters
    ----------
    path : Path
        ``DREAMER.mat``.

    Raises
    ------
    DataError
        From all of its methods: the file is missing or damaged, or its content is none of DREAMER's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._struct = LargeStruct(path, "DREAMER")

    @cached_property
    def people(self) -> int:
        """How many subjects it holds."""
        return self._struct.count(_PEOPLE)

    @cached_property
    def has_ecg(self) -> bool:
        """Whether it holds an electrocardiogram, as its first subject tells."""
        return "ECG" in self._struct.fields_of_first(_PEOPLE)

    @cached_property
    def eeg_hz(self) -> float:
        """Sampling rate of the EEG."""
        return self._rate("EEG_SamplingRate", _EEG_HZ)

    @cached_property
    def ecg_hz(self) -> float:
        """Sampling rate of the electrocardiogram."""
        return self._rate("ECG_SamplingRate", _ECG_HZ)

    @cached_property
    def electrodes(self) -> tuple[str, ...]:
        """Names of the EEG channels, in the order of the file's columns."""
        found = self._told("EEG_Electrodes")
        if found is None:
            return EEG_CHANNELS
        where = f"{self.path}, EEG_Electrodes"
        names = tuple(str(cell.item()).strip() for cell in cells(found, where) if cell.size == 1)
        if sorted(names) != sorted(EEG_CHANNELS):
            raise DataError(f"{where}: found {', '.join(names)}. Expected {', '.join(EEG_CHANNELS)}, in any order.")
        return names

    def films(self, index: int, subject: str) -> list[FilmSeen]:
        """All films of one subject, in the order of the file.

        Parameters
        ----------
        index : int
            Place of the subject in the file, from 0 on.
        subject : str
            Its name, for error messages.
        """
        where = f"{self.path}, {subject}"
        person = self._struct.cell(_PEOPLE, index)
        eeg = _stimuli(person, "EEG", len(EEG_CHANNELS), where)
        ecg = _stimuli(person, "ECG", len(ECG_CHANNELS), where) if self.has_ecg else [None] * len(eeg)
        ratings = {scale: _ratings(person, scale, where) for scale in SCALES}
        counts = {"EEG": len(eeg), "ECG": len(ecg), **{scale: len(values) for scale, values in ratings.items()}}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{count} of {what}" for what, count in counts.items())
            raise DataError(f"{where}: {told}. Expected one of each a film.")
        films = [
            FilmSeen(one, other, {scale: float(values[number]) for scale, values in ratings.items()})
            for number, (one, other) in enumerate(zip(eeg, ecg, strict=True))
        ]
        for number, film in enumerate(films, 1):
            self._check(film, f"{where}, film {number}")
        return films

    def _check(self, film: FilmSeen, where: str) -> None:
        for scale, rating in film.ratings.items():
            if not _LOWEST <= rating <= _HIGHEST:
                what = f"no rating of {scale}" if np.isnan(rating) else f"{scale} is rated {rating:g}"
                raise DataError(
                    f"{where}: {what}. Expected {_LOWEST} to {_HIGHEST}; correct the file, or leave the subject out."
                )
        if film.ecg is None:
            return
        eeg_s, ecg_s = len(film.eeg) / self.eeg_hz, len(film.ecg) / self.ecg_hz
        if abs(eeg_s - ecg_s) > _APART_S:
            raise DataError(
                f"{where}: {eeg_s:.1f} s of EEG at {self.eeg_hz:g} Hz and {ecg_s:.1f} s of ECG at {self.ecg_hz:g} Hz. "
                f"Expected the same stretch of time: are they of the same film, and these their rates?"
            )

    def _rate(self, name: str, published_hz: float) -> float:
        found = self._told(name)
        if found is None:
            return published_hz
        if found.size != 1 or found.dtype.kind not in "fiu" or not 0 < found.item() < np.inf:
            raise DataError(f"{self.path}, {name}: found {found.tolist()}. Expected one number of Hz.")
        return float(found.item())

    def _told(self, name: str) -> Array | None:
        """Field of the file itself, however its name is spelled."""
        matches = [value for key, value in self._others.items() if _letters(key) == _letters(name)]
        return matches[0] if matches else None

    @cached_property
    def _others(self) -> Mapping[str, Array]:
        return self._struct.others(_PEOPLE)


def _stimuli(person: Array, signal: str, channels: int, where: str) -> list[FloatArray]:
    """Samples (n, channels) of one signal while each film was shown."""
    place = f"{where}, {signal}.stimuli"
    shown = field(field(person, signal, where), "stimuli", f"{where}, {signal}")
    films: list[FloatArray] = []
    for number, cell in enumerate(cells(shown, place), 1):
        samples = numbers(cell, f"{place}, film {number}")
        if samples.ndim != 2 or samples.shape[1] != channels or not len(samples):
            raise DataError(
                f"{place}, film {number}: found an array of shape {samples.shape}. Expected a row for each sample and "
                f"{channels} columns, one a channel."
            )
        films.append(samples)
    return films


def _ratings(person: Array, scale: str, where: str) -> FloatArray:
    name = f"Score{scale.capitalize()}"
    return numbers(field(person, name, where), f"{where}, {name}").ravel()


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())
