"""The two tables of Stress-Predict that tell the phases of all subjects: labels by the second, and a log in minutes."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.datasets.phases import Phase
from benchmarks.datasets.storage import BROKEN_ARCHIVE
from benchmarks.errors import DataError
from benchmarks.windows import IntArray

if TYPE_CHECKING:
    import pandas as pd

STRESSORS = ("stroop", "interview", "hyperventilation")
"""In the order in which everyone but S01 met them."""

_COLUMNS = {
    "baseline": (6, "Baseline/Questionniare"),
    "stroop": (8, "Stroop Test"),
    "relax_1": (10, "Relax"),
    "interview": (12, "Interview"),
    "relax_2": (14, "Relax"),
    "hyperventilation": (16, "Hyperventilation"),
    "relax_3": (18, "Relax"),
    "questionnaire": (20, "Questionniare"),
    "final_relax": (22, "Relax/Baseline"),
}
"""Index of the column of each phase's start in the time log, with its published title; the end is in the next one."""

_SIDES = ("start", "end")
_HEADER_ROWS = 2
_HALF_DAY_S = 12 * 3600
_AGAIN = "Get the file again from the publisher; if it lies in the cache, delete the folder it was unpacked into."


class LabelFile:
    """Labels of all subjects but S01, one row a second: 1 during a stressor, 0 otherwise.

    Parameters
    ----------
    path : Path
        ``Improved_All_Combined_hr_rsp_binary.csv``, read once, when it is first asked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def rows(self, subject: str) -> tuple[IntArray, IntArray]:
        """Unix seconds of a subject, one after another, and their labels.

        Raises
        ------
        DataError
            The file is missing or damaged, or the subject is not in it, or seconds of the subject.
        """
        number = int(subject[1:])
        if number not in self._participants:
            raise DataError(
                f"{self._path} has no row of participant {number}, so that the phases of {subject} are not known. "
                f"{_AGAIN} Or leave {subject} out of the subjects."
            )
        seconds, labels = self._participants[number]
        gaps = np.flatnonzero(np.diff(seconds) != 1)
        if len(gaps):
            raise DataError(
                f"{self._path}: {subject} has second {seconds[gaps[0] + 1]} after second {seconds[gaps[0]]}. Expected "
                f"a row for every second, in order. {_AGAIN}"
            )
        return seconds, labels

    def stressors(self, subject: str, start_s: float) -> dict[str, Phase]:
        """Stressors of a subject: runs of label 1, each from its first second to the first one after it.

        Parameters
        ----------
        subject : str
            Whose.
        start_s : float
            Start of its recording, unix seconds.

        Raises
        ------
        DataError
            As `rows`; or the runs are not three.
        """
        seconds, labels = self.rows(subject)
        edges = np.flatnonzero(np.diff(labels)) + 1
        if len(edges) != 2 * len(STRESSORS) or labels[0] != 0:
            runs = int(labels[0] + np.sum(np.diff(labels) == 1))
            raise DataError(
                f"{self._path}: {subject} has {runs} runs of label 1 among {len(edges) + 1} runs. Expected "
                f"{len(STRESSORS)} ({', '.join(STRESSORS)}), with label 0 before, between and after them. {_AGAIN}"
            )
        bounds = (seconds[edges] - start_s).reshape(-1, 2).tolist()
        return {name: Phase(name, start, stop) for name, (start, stop) in zip(STRESSORS, bounds, strict=True)}

    @cached_property
    def _participants(self) -> Mapping[int, tuple[IntArray, IntArray]]:
        """Unix seconds and labels by the participant's number, in the order of the file."""
        import pandas as pd

        _refuse_missing(self._path)
        columns = ["Participant", "Time(sec)", "Label"]
        try:
            table = pd.read_csv(self._path, usecols=columns, dtype=np.float64)[columns].to_numpy()
        except (OSError, ValueError) as error:
            raise DataError(
                f"{self._path} cannot be read ({error}). Expected numbers in the columns {', '.join(columns)}. {_AGAIN}"
            ) from error
        wrong = (table != np.round(table)).any(axis=1) | ~np.isin(table[:, 2], (0, 1))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"{self._path}, data row {row + 1}: {', '.join(f'{value:.10g}' for value in table[row])} in "
                f"{', '.join(columns)}. Expected whole numbers, and a label of 0 or 1. {_AGAIN}"
            )
        participant, seconds, labels = table.astype(np.int64).T
        return {
            int(number): (seconds[participant == number], labels[participant == number])
            for number in np.unique(participant)
        }


class TimeLog:
    """Start and end of each phase of all subjects, in minutes of a clock of 12 hours, in Irish time.

    Parameters
    ----------
    path : Path
        ``Time_logs.xlsx``, read once, when it is first asked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def row(self, subject: str) -> list[Any]:
        """Cells of a subject: start and end of each phase, in the order of the columns.

        Raises
        ------
        DataError
            The file is missing or damaged, its columns are not the published ones, or the subject is not in it.
        """
        names = [str(name).strip() for name in self._table[0]]
        if subject not in names[_HEADER_ROWS:]:
            raise DataError(
                f"{self._path} has no row of {subject}, so that its phases are not known. {_AGAIN} Or leave {subject} "
                f"out of the subjects."
            )
        row = self._table.iloc[names.index(subject)]
        return [row[column + side] for column, _ in _COLUMNS.values() for side in range(len(_SIDES))]

    def phases(self, subject: str, start_s: float, middle_s: float) -> dict[str, Phase]:
        """Phases of a subject, as if the minutes were exact.

        Parameters
        ----------
        subject : str
            Whose.
        start_s, middle_s : float
            Start and middle of its recording, unix seconds. Of the times that a clock of 12 hours may mean, the one
            nearest to the middle is taken.

        Raises
        ------
        DataError
            As `row`; or a cell holds no time of day, or a phase ends before it starts.
        """
        cells, phases = iter(self.row(subject)), {}
        for name in _COLUMNS:
            start, stop = (self._unix_s(next(cells), f"{side} of {name} of {subject}", middle_s) for side in _SIDES)
            if start >= stop:
                raise DataError(f"{self._path}: {name} of {subject} does not end after its start. {_AGAIN}")
            phases[name] = Phase(name, start - start_s, stop - start_s)
        return phases

    def _unix_s(self, cell: Any, what: str, middle_s: float) -> float:
        if not isinstance(cell, datetime.time):
            raise DataError(f"{self._path}: the {what} is {cell!r}, expected a time of day. {_AGAIN}")
        # The recordings are of February and March, when Irish time is UTC.
        ahead_s = cell.hour * 3600 + cell.minute * 60 + cell.second - middle_s
        return middle_s + (ahead_s + _HALF_DAY_S / 2) % _HALF_DAY_S - _HALF_DAY_S / 2

    @cached_property
    def _table(self) -> pd.DataFrame:
        import pandas as pd

        _refuse_missing(self._path)
        try:
            table = pd.read_excel(self._path, header=None, dtype=object)
        except (OSError, ValueError, KeyError, *BROKEN_ARCHIVE) as error:
            raise DataError(f"{self._path} cannot be read as a table ({error}). {_AGAIN}") from error
        for phase, (column, title) in _COLUMNS.items():
            if table.shape[1] <= column + 1 or str(table.iloc[0, column]).strip() != title:
                raise DataError(f"{self._path}: column {column + 1} is not {title!r}, the start of {phase}. {_AGAIN}")
        return table


def _refuse_missing(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path} is missing, which tells the phases of all subjects. {_AGAIN}")
