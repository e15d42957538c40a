"""SEED as features of windows of a second, which its publisher computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.datasets import storage
from benchmarks.datasets.contract import Card, Dataset, Places
from benchmarks.datasets.matlab import numbers, read_variable
from benchmarks.datasets.seed import Seed
from benchmarks.datasets.seed_files import EMOTIONS, SeedFolder, Sessions, film_variables, in_order
from benchmarks.digest import digest
from benchmarks.errors import DataError, SignalError, StudyError
from benchmarks.quality import SignalReport, SubjectWindows
from benchmarks.recipe import Recipe
from benchmarks.recording import Recording, Task, Trial
from benchmarks.windows import FloatArray, Windows, concatenate

Feature = Literal["de", "psd", "dasm", "rasm", "asm", "dcau"]
"""Differential entropy; power spectral density; and of differential entropy: differences and ratios of left and right
electrodes, both, and differences of frontal and posterior ones (Zheng and Lu 2015).
"""

_ROWS: Mapping[Feature, int] = {"de": 62, "psd": 62, "dasm": 27, "rasm": 27, "asm": 54, "dcau": 23}
"""Electrodes, or pairs of them, that a feature has a row of."""

_BANDS = 5
_WINDOW_S = 1.0
_FOLDER = "ExtractedFeatures"
_MARKER = f"{_FOLDER}/*_*.mat"


class SeedFeatures(Dataset):
    """The published folder ``ExtractedFeatures``: each film is a trial of windows of a second, without overlap.

    A window is a vector of the values of all electrodes (or pairs of them) in the five bands, the bands of one
    electrode side by side. Smoothing mixes it with the windows around it, the linear dynamical system with later ones
    of the film too: a system that answers while the film runs could not see that. Sessions and labels are those of
    `Seed`.

    Parameters
    ----------
    places : Places
        Where the set lies, as the folder ``seed`` or the archive ``seed.zip``.
    feature : {"de", "psd", "dasm", "rasm", "asm", "dcau"}
        Which of the published features.
    smoothing : {"LDS", "movingAve"}
        By a linear dynamical system, or by a moving average.
    sessions : tuple of int
        Sessions that are used, as in `Seed`.
    """

    card = Card(
        name="seed_features",
        title=f"{Seed.card.title}, the publisher's features of windows of 1 s",
        subjects=Seed.card.subjects,
        signals="none: features of eeg, 62 electrodes or 23 to 54 pairs of them in 5 bands",
        labels=Seed.card.labels,
        licence=Seed.card.licence,
        page=Seed.card.page,
        citation=Seed.card.citation,
    )
    default_signal = None

    def __init__(
        self,
        places: Places,
        feature: Feature = "de",
        smoothing: Literal["LDS", "movingAve"] = "LDS",
        sessions: Sessions = (1,),
    ) -> None:
        self._places = places
        self._feature = feature
        self._smoothing = smoothing
        self._sessions = in_order(sessions)

    @classmethod
    def present(cls, places: Places) -> Path | None:
        """Folder or archive with the features, or None."""
        return storage.locate(Seed.card.name, _MARKER, places.data)

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The one task: which emotion the film was to bring about."""
        return {"emotion": Task(EMOTIONS, _no_recordings)}

    def signals_of(self, subjects: Sequence[str]) -> tuple[str, ...]:  # noqa: ARG002
        """None: its windows come ready-made."""
        return ()

    @property
    def one_clock(self) -> bool:
        """False: each film has a clock of its own, and when it was shown is not told."""
        return False

    @property
    def window_s(self) -> float:
        """One second."""
        return _WINDOW_S

    def subjects(self) -> tuple[str, ...]:
        """Subjects with at least one file, sorted."""
        return self._folder.subjects

    def fingerprint(self, subject: str) -> str:
        """SHA-256 of the subject's files that are used, their sessions, the labels, and the feature's name."""
        return digest([self._folder.fingerprint(subject), self._name])

    def load(self, subject: str, task: Task, recipe: Recipe | None) -> SubjectWindows:  # noqa: ARG002
        """Windows of one subject, x of shape (n, C * 5); those with a missing or infinite value are left out.

        Raises
        ------
        DataError
            No such subject, or its files cannot be used.
        SignalError
            No window is left.
        StudyError
            A recipe was given.
        """
        if recipe is not None:
            raise StudyError(
                f"dataset {self.card.name}: its films are windows with their features already. Remove signal, "
                f"preprocessing, windows and representation from the study, or use {Seed.card.name!r}."
            )
        windows = concatenate([
            self._windows(subject, session, number, file, variable)
            for session, file in self._folder.files(subject).items()
            for number, variable in film_variables(file, rf"{self._name}(\d+)").items()
        ])  # fmt: skip
        whole = np.asarray(np.isfinite(windows.x).all(axis=1))
        if not whole.any():
            raise SignalError(
                f"{self._folder.path}, {subject}: each of its {len(windows)} windows has a missing or infinite value "
                f"of {self._name}. Use another feature, or leave the subject out."
            )
        bad = int((~whole).sum())
        report = SignalReport(subject, len(windows), {"nan": bad} if bad else {}, dropped=bad)
        return SubjectWindows(windows.select(whole), report)

    @property
    def _name(self) -> str:
        return f"{self._feature}_{self._smoothing}"

    @cached_property
    def _folder(self) -> SeedFolder:
        return SeedFolder(storage.find_root(Seed.card, _MARKER, self._places) / _FOLDER, self._sessions)

    def _windows(self, subject: str, session: int, number: int, file: Path, variable: str) -> Windows:
        """Windows of one film."""
        values = self._values(file, variable)
        n = len(values)
        return Windows(
            x=values,
            subject=np.full(n, subject),
            session=np.full(n, str(session)),
            trial=np.full(n, f"film_{number:02d}"),
            onset=_WINDOW_S * np.arange(n),
            y=np.full(n, EMOTIONS.index(self._folder.emotions[number - 1]), dtype=np.int64),
        )

    def _values(self, file: Path, variable: str) -> FloatArray:
        """Values (n, C * 5) of one film."""
        where = f"{file}, {variable}"
        values = numbers(read_variable(file, variable), where)
        rows = _ROWS[self._feature]
        if values.ndim != 3 or (values.shape[0], values.shape[2]) != (rows, _BANDS) or not values.size:
            raise DataError(
                f"{where}: found an array of shape {values.shape}. Expected {rows} rows of {self._feature} by windows "
                f"by {_BANDS} bands."
            )
        return values.transpose(1, 0, 2).reshape(-1, rows * _BANDS)


def _no_recordings(recording: Recording) -> list[Trial]:
    raise StudyError(f"dataset seed_features has no recordings to cut trials from (asked for {recording.subject}).")
