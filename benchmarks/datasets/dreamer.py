"""DREAMER: EEG and ECG of 23 people who watched 18 film clips and rated what they felt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated

from pydantic import Field

from benchmarks.datasets import storage
from benchmarks.datasets.contract import Card, Places, RecordingDataset
from benchmarks.datasets.dreamer_file import ECG_CHANNELS, EEG_CHANNELS, SCALES, DreamerFile, FilmSeen
from benchmarks.datasets.films import Told, annotated_film, cut_film, film_signal
from benchmarks.digest import digest
from benchmarks.errors import DataError
from benchmarks.parts import nearest
from benchmarks.recording import Recording, Task

_MARKER = "DREAMER.mat"
_CLASSES = ("low", "high")


class Dreamer(RecordingDataset):
    """The published file: one recording a film, all of one session.

    Signals are ``"eeg"`` (`dreamer_file.EEG_CHANNELS`, in this order) and, where the file has it, ``"ecg"``, at the
    rates that the file tells (128 and 256 Hz). Its unit is not told: both are taken for microvolts, and the EEG has the
    headset's offset of some millivolts. Subjects are named by their place in the file, S01 to S23, and trials by the
    film's, film_01 to film_18. Labels are the subject's own ratings of the film, so that a film may be of one class for
    one subject and of the other for the next, and a subject may lack a class.

    The minute before each film, which the file holds too, is not used.

    Parameters
    ----------
    places : Places
        Where the set lies, as the folder ``dreamer`` or the archive ``dreamer.zip``.
    last_s : float, optional
        Only the last so many seconds of each film are used (60 is common), and all of a film that is shorter: the
        recording starts there. Without it, films are whole.
    high : int
        Lowest rating of the scale from 1 to 5 that counts as high. Both 3 and 4 ("above 3") are in use, and make other
        classes of other sizes.
    """

    card = Card(
        name="dreamer",
        title="DREAMER",
        subjects="23",
        signals="eeg 14 channels 128 Hz, ecg 2 channels 256 Hz",
        labels="arousal, valence, dominance: low or high in the subject's own rating of each film clip "
        "(from 3 of 5 on, or as dataset.high says)",
        licence="for research, to be asked for on its page; not to be passed on",
        page="https://zenodo.org/records/546113",
        citation="Katsigiannis and Ramzan, IEEE J. Biomed. Health Inform. 2018, 22(1):98-107, "
        "doi:10.1109/JBHI.2017.2688239",
    )
    default_signal = "eeg"

    def __init__(
        self,
        places: Places,
        last_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None,
        high: Annotated[int, Field(ge=2, le=5)] = 3,
    ) -> None:
        self._places = places
        self._last_s = last_s
        self._high = high

    @classmethod
    def present(cls, places: Places) -> Path | None:
        """Folder or archive with the file, or None."""
        return storage.locate(cls.card.name, _MARKER, places.data)

    @property
    def tasks(self) -> Mapping[str, Task]:
        """One task a scale: low or high ratings of it."""
        labels = {scale: partial(_low_or_high, scale=scale, high=self._high) for scale in SCALES}
        return {scale: Task(_CLASSES, partial(cut_film, label=label)) for scale, label in labels.items()}

    @property
    def one_clock(self) -> bool:
        """False: each film has a clock of its own, and when it was shown is not told."""
        return False

    def signals_of(self, subjects: Sequence[str]) -> tuple[str, ...]:
        """Brain and, where the file has it, heart."""
        for subject in subjects:
            self._index(subject)
        return ("eeg", "ecg") if self._file.has_ecg else ("eeg",)

    def subjects(self) -> tuple[str, ...]:
        """Subjects by their place in the file, S01 on."""
        return tuple(f"S{number:02d}" for number in range(1, self._file.people + 1))

    def fingerprint(self, subject: str) -> str:
        """SHA-256 of the whole file, the subject's place in it, and the values of the study."""
        return digest([self._file_fingerprint, self._index(subject), self._last_s, self._high])

    def read(self, subject: str) -> Sequence[Recording]:
        """A recording of each film, in the order of the file."""
        films = self._file.films(self._index(subject), subject)
        return [self._recording(subject, number, film) for number, film in enumerate(films, 1)]

    def _recording(self, subject: str, number: int, film: FilmSeen) -> Recording:
        eeg_hz, ecg_hz = self._file.eeg_hz, self._file.ecg_hz
        duration_s = len(film.eeg) / eeg_hz
        start_s = 0.0 if self._last_s is None else max(duration_s - self._last_s, 0.0)
        first = round(start_s * eeg_hz)
        columns = [self._file.electrodes.index(name) for name in EEG_CHANNELS]
        signals = {"eeg": film_signal(film.eeg[first:, columns].T, EEG_CHANNELS, eeg_hz, "eeg")}
        if film.ecg is not None:
            signals["ecg"] = film_signal(film.ecg[round(start_s * ecg_hz) :].T, ECG_CHANNELS, ecg_hz, "ecg")
        told = {scale: repr(rating) for scale, rating in film.ratings.items()}
        return Recording(subject, "1", signals, annotated_film(number, (len(film.eeg) - first) / eeg_hz, told))

    @cached_property
    def _file(self) -> DreamerFile:
        return DreamerFile(storage.find_root(self.card, _MARKER, self._places) / _MARKER)

    @cached_property
    def _file_fingerprint(self) -> str:
        return storage.fingerprint([self._file.path])

    def _index(self, subject: str) -> int:
        if subject not in self.subjects():
            raise DataError(f"No subject {subject!r} in {self._file.path}. {nearest(subject, self.subjects())}")
        return self.subjects().index(subject)


def _low_or_high(told: Told, scale: str, high: int) -> int:
    return int(float(told[scale]) >= high)
