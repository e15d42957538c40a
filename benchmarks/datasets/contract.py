"""What every data set offers: a card, its tasks, its subjects, and the windows of one subject at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benchmarks.datasets.sources import Source
from benchmarks.errors import StudyError
from benchmarks.parts import nearest
from benchmarks.quality import SubjectWindows
from benchmarks.recipe import Recipe
from benchmarks.recording import Recording, Task


@dataclass(frozen=True)
class Places:
    """Folders that a data set may read or write.

    Parameters
    ----------
    data : Path
        Where data sets lie, one folder or zip archive each (``--data`` or ``UNSEEN_DATA``).
    cache : Path
        Where archives are unpacked and representations are kept.
    study : Path
        Folder of the study file: relative paths in it start there.
    """

    data: Path
    cache: Path
    study: Path


@dataclass(frozen=True)
class Card:
    """What a user needs to know of a data set before having it.

    Parameters
    ----------
    name, title : str
        Name in a study file, and the publisher's title.
    subjects, signals, labels : str
        Number of subjects; signals with their sampling rates; tasks and what their labels mean.
    licence, page, citation : str
        Terms, the publisher's page, the papers to cite.
    simulated : bool
        True for a cohort that no person ever was in.
    source : PublishedFiles or PublishedArchive or None
        Where everyone may get it (``unseen datasets get``); None where that is nowhere.
    """

    name: str
    title: str
    subjects: str
    signals: str
    labels: str
    licence: str
    page: str
    citation: str
    simulated: bool = False
    source: Source | None = None


class Dataset(ABC):
    """A data set on this machine. Constructed with ``places`` and the values of a study file's ``dataset``.

    Attributes
    ----------
    card : Card
        Static description.
    default_signal : str or None
        Signal that a study uses when it names none; None where windows come ready-made (`Recipe` not wanted).
    default_representation : str
        Representation of recordings where a study names none.
    """

    card: ClassVar[Card]
    default_signal: ClassVar[str | None]
    default_representation: ClassVar[str] = "differential_entropy"

    @classmethod
    @abstractmethod
    def present(cls, places: Places) -> Path | None:
        """Where the set lies on this machine, or None; nothing is unpacked. Built-in sets give their module."""

    @property
    @abstractmethod
    def tasks(self) -> Mapping[str, Task]:
        """Tasks by name; the first is the default."""

    @abstractmethod
    def subjects(self) -> tuple[str, ...]:
        """All subjects that are on disk, sorted."""

    @abstractmethod
    def signals_of(self, subjects: Sequence[str]) -> tuple[str, ...]:
        """Names of the signals and events that the recordings of all these subjects have.

        None where windows come ready-made.

        Raises
        ------
        DataError
            No such subject, or its files cannot be read.
        """

    @property
    @abstractmethod
    def one_clock(self) -> bool:
        """Whether the onsets of all windows of a session are known, and of one clock.

        Only then can time be asked for as a control.
        """

    @property
    def window_s(self) -> float | None:
        """Length of windows that come ready-made, seconds; None where it is not known, or where a study cuts them."""
        return None

    @abstractmethod
    def fingerprint(self, subject: str) -> str:
        """SHA-256, in hex, of all that determines this subject's data (file contents, or simulation parameters)."""

    @abstractmethod
    def load(self, subject: str, task: Task, recipe: Recipe | None) -> SubjectWindows:
        """Labelled windows of one subject, with the report on its signals.

        Raises
        ------
        DataError
            Files of this subject are missing or damaged.
        StudyError
            A recipe is missing, or was given to a set whose windows come ready-made.
        """

    def task(self, name: str | None) -> Task:
        """Task called `name`, or the default one.

        Raises
        ------
        StudyError
            No such task.
        """
        if name is None:
            return next(iter(self.tasks.values()))
        if name not in self.tasks:
            raise StudyError(f"Unknown task {name!r} of {self.card.name}. {nearest(name, self.tasks)}")
        return self.tasks[name]


class RecordingDataset(Dataset):
    """A data set of raw recordings, read lazily, subject by subject."""

    @property
    def one_clock(self) -> bool:
        """True: a session is one recording, and has a start. A set that keeps a session in several files says no."""
        return True

    @abstractmethod
    def read(self, subject: str) -> Sequence[Recording]:
        """Recordings of one subject, without preprocessing.

        Raises
        ------
        DataError
            Files of this subject are missing or damaged.
        """

    def load(self, subject: str, task: Task, recipe: Recipe | None) -> SubjectWindows:
        """Windows of one subject, as `Dataset.load` says."""
        if recipe is None:
            raise StudyError(f"{self.card.name} holds recordings: the study must say windows and a representation.")
        return recipe(self.read(subject), task)
