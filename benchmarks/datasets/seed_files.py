"""Files of SEED: one a subject and session, named after the subject and the day, and one with the films' emotions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field

from benchmarks.datasets import storage
from benchmarks.datasets.matlab import numbers, read_variable, variables
from benchmarks.digest import digest
from benchmarks.errors import DataError
from benchmarks.parts import nearest

EMOTIONS = ("negative", "neutral", "positive")
"""What the films were chosen for; ``label.mat`` has -1, 0 and 1."""

FILMS = 15
SESSIONS = 3

Sessions = Annotated[tuple[Annotated[int, Field(ge=1, le=SESSIONS)], ...], Field(min_length=1)]
"""Sessions that a study uses, from 1 to 3."""

_FILE = re.compile(r"(\d+)_(\d{8})\.mat")
_LABELS = "label.mat"


class SeedFolder:
    """``Preprocessed_EEG`` or ``ExtractedFeatures``, as published: ``1_20131027.mat``, ..., and ``label.mat``.

    A session is the rank of its file by date among the subject's three, as the publisher says. Subjects are named S01
    to S15. Every session shows the same films in the same order.

    Parameters
    ----------
    path : Path
        The folder.
    sessions : sequence of int
        Sessions that are used, in the order in which they were recorded.
    """

    def __init__(self, path: Path, sessions: Sequence[int]) -> None:
        self.path = path
        self._sessions = sessions

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """Subjects with at least one file, sorted."""
        return tuple(sorted(self._dated))

    def files(self, subject: str) -> Mapping[int, Path]:
        """Files of a subject's sessions that are used, by session, in the order in which they were recorded.

        Raises
        ------
        DataError
            No such subject; it has not three files, so that their sessions cannot be told; or two of one day.
        """
        if subject not in self._dated:
            raise DataError(f"No file of subject {subject!r} in {self.path}. {nearest(subject, self._dated)}")
        files = sorted(self._dated[subject], key=_day)
        names = ", ".join(file.name for file in files)
        if len({_day(file) for file in files}) < len(files):
            raise DataError(
                f"{subject} has two files of one day in {self.path}: {names}. Keep the one that was published."
            )
        if len(files) != SESSIONS:
            raise DataError(
                f"{subject} has {len(files)} files in {self.path}: {names}. Expected {SESSIONS}, because their order "
                f"by date tells which session is which: get the missing ones, or leave the subject out."
            )
        return {session: files[session - 1] for session in self._sessions}

    @cached_property
    def emotions(self) -> tuple[str, ...]:
        """Emotion of each film, in the order of the films.

        Raises
        ------
        DataError
            ``label.mat`` is missing or damaged, or does not tell one of the three emotions for each of the 15 films.
        """
        path = self.path / _LABELS
        values = numbers(read_variable(path, "label"), f"{path}, label").ravel().tolist()
        known = {position - 1.0: emotion for position, emotion in enumerate(EMOTIONS)}
        if len(values) != FILMS or not set(values) <= set(known):
            told = ", ".join(f"{value:g}" for value in values)
            raise DataError(f"{path}: found the labels {told}. Expected {FILMS}, each of -1, 0 and 1.")
        return tuple(known[value] for value in values)

    def fingerprint(self, subject: str) -> str:
        """SHA-256 of the subject's files that are used, their sessions and the labels; raises as `files`."""
        files = self.files(subject)
        return digest([storage.fingerprint(files.values()), list(files), list(self.emotions)])

    @cached_property
    def _dated(self) -> Mapping[str, Sequence[Path]]:
        """Files by subject."""
        dated: dict[str, list[Path]] = {}
        for file in sorted(self.path.iterdir()):
            if name := _FILE.fullmatch(file.name):
                dated.setdefault(f"S{int(name[1]):02d}", []).append(file)
        return dated


def film_variables(path: Path, pattern: str) -> Mapping[int, str]:
    """Variable of each film in a file, by the film's number, from 1 on.

    Parameters
    ----------
    path : Path
        File of one session.
    pattern : str
        Regular expression of a variable's whole name; its one group is the film's number.

    Raises
    ------
    DataError
        The file cannot be read, or a film has no variable, or several.
    """
    names = variables(path)
    found = [(int(match[1]), name) for name in names if (match := re.fullmatch(pattern, name))]
    if sorted(number for number, _ in found) != list(range(1, FILMS + 1)):
        raise DataError(
            f"{path}: found {', '.join(name for _, name in found) or 'none'} of the variables {pattern!r}, among "
            f"{', '.join(names) or 'none'}. Expected one for each of the films 1 to {FILMS}."
        )
    return dict(sorted(found))


def in_order(sessions: Sequence[int]) -> tuple[int, ...]:
    """Sessions of a study in the order in which they were recorded.

    Raises
    ------
    ValueError
        One stands twice.
    """
    if len(set(sessions)) < len(sessions):
        raise ValueError(f"sessions: {list(sessions)} names a session twice.")
    return tuple(sorted(sessions))


def _day(file: Path) -> str:
    return file.stem.partition("_")[2]
