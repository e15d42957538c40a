"""SEED: EEG of 15 people who watched film clips that were chosen to make them glad, sad or neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

from benchmarks.datasets import storage
from benchmarks.datasets.contract import Card, Places, RecordingDataset
from benchmarks.datasets.films import Told, annotated_film, cut_film, film_signal
from benchmarks.datasets.matlab import numbers, read_variable
from benchmarks.datasets.seed_files import EMOTIONS, SeedFolder, Sessions, film_variables, in_order
from benchmarks.errors import DataError
from benchmarks.recording import Recording, Task

# fmt: off
EEG_CHANNELS = (
    "FP1", "FPZ", "FP2", "AF3", "AF4", "F7", "F5", "F3", "F1", "FZ", "F2", "F4", "F6", "F8", "FT7", "FC5", "FC3", "FC1",
    "FCZ", "FC2", "FC4", "FC6", "FT8", "T7", "C5", "C3", "C1", "CZ", "C2", "C4", "C6", "T8", "TP7", "CP5", "CP3", "CP1",
    "CPZ", "CP2", "CP4", "CP6", "TP8", "P7", "P5", "P3", "P1", "PZ", "P2", "P4", "P6", "P8", "PO7", "PO5", "PO3", "POZ",
    "PO4", "PO6", "PO8", "CB1", "O1", "OZ", "O2", "CB2",
)
# fmt: on
"""Electrodes, in the order of the published files' rows, as the publisher spells them."""

_FOLDER = "Preprocessed_EEG"
_MARKER = f"{_FOLDER}/*_*.mat"
_VARIABLE = r".+_eeg(\d+)"
_SFREQ = 200.0


class Seed(RecordingDataset):
    """The published folder ``Preprocessed_EEG``: one recording a film, cut out and sampled down by the publisher.

    The signal is ``"eeg"`` (`EEG_CHANNELS`, in this order) at 200 Hz; its unit is not told, and taken for microvolts.
    Trials are named by the film's number, film_01 to film_15. Everyone saw the same films in the same order, in each
    session, so that what tells one film from another tells its emotion too: a held-out subject is unseen, its films
    are not.

    Parameters
    ----------
    places : Places
        Where the set lies, as the folder ``seed`` or the archive ``seed.zip``.
    sessions : tuple of int
        Sessions that are used, of the three of each subject. By default the first alone, in which the films were new
        to the subjects.
    """

    card = Card(
        name="seed",
        title="SEED (SJTU Emotion EEG Dataset)",
        subjects="15, three sessions each",
        signals="eeg 62 channels 200 Hz",
        labels="emotion: negative, neutral or positive, as the film clip was chosen to be",
        licence="for research, by an agreement to be asked for on its page; not to be passed on",
        page="https://bcmi.sjtu.edu.cn/home/seed/",
        citation="Zheng and Lu, IEEE Trans. Auton. Ment. Dev. 2015, 7(3):162-175, doi:10.1109/TAMD.2015.2431497; "
        "Duan, Zhu and Lu, IEEE/EMBS Conf. Neural Engineering 2013, 81-84, doi:10.1109/NER.2013.6695876",
    )
    default_signal = "eeg"

    def __init__(self, places: Places, sessions: Sessions = (1,)) -> None:
        self._places = places
        self._sessions = in_order(sessions)

    @classmethod
    def present(cls, places: Places) -> Path | None:
        """Folder or archive with the recordings, or None."""
        return storage.locate(cls.card.name, _MARKER, places.data)

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The one task: which emotion the film was to bring about."""
        return {"emotion": Task(EMOTIONS, partial(cut_film, label=_emotion))}

    @property
    def one_clock(self) -> bool:
        """False: each film has a clock of its own, and when it was shown is not told."""
        return False

    def signals_of(self, subjects: Sequence[str]) -> tuple[str, ...]:
        """Brain."""
        for subject in subjects:
            self._folder.files(subject)
        return ("eeg",)

    def subjects(self) -> tuple[str, ...]:
        """Subjects with at least one file, sorted."""
        return self._folder.subjects

    def fingerprint(self, subject: str) -> str:
        """SHA-256 of the subject's files that are used, their sessions and the labels."""
        return self._folder.fingerprint(subject)

    def read(self, subject: str) -> Sequence[Recording]:
        """A recording of each film, session after session."""
        return [
            _recording(subject, session, number, self._folder.emotions[number - 1], file, variable)
            for session, file in self._folder.files(subject).items()
            for number, variable in film_variables(file, _VARIABLE).items()
        ]

    @cached_property
    def _folder(self) -> SeedFolder:
        return SeedFolder(storage.find_root(self.card, _MARKER, self._places) / _FOLDER, self._sessions)


def _recording(subject: str, session: int, number: int, emotion: str, file: Path, variable: str) -> Recording:
    where = f"{file}, {variable}"
    samples = numbers(read_variable(file, variable), where)
    if samples.ndim != 2 or samples.shape[0] != len(EEG_CHANNELS) or not samples.size:
        raise DataError(
            f"{where}: found an array of shape {samples.shape}. Expected a row for each of {len(EEG_CHANNELS)} "
            f"channels and a column for each sample."
        )
    duration_s = samples.shape[1] / _SFREQ
    return Recording(
        subject=subject,
        session=str(session),
        signals={"eeg": film_signal(samples, EEG_CHANNELS, _SFREQ, "eeg")},
        annotations=annotated_film(number, duration_s, {"emotion": emotion}),
    )


def _emotion(told: Told) -> int:
    return EMOTIONS.index(told["emotion"])
