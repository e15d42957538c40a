"""A user's own features: a CSV or Parquet file with one row a window."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from benchmarks.datasets.contract import Card, Dataset, Places
from benchmarks.errors import DataError, SignalError, StudyError
from benchmarks.parts import nearest
from benchmarks.quality import SignalReport, SubjectWindows
from benchmarks.recipe import Recipe
from benchmarks.recording import Recording, Task, Trial
from benchmarks.windows import FloatArray, IntArray, Windows

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 5
"""Offending rows, subjects or columns that a message lists; the others are counted."""


@dataclass(frozen=True, eq=False)
class _Content:
    """What is used of a file: ``rows`` has a subject, session, trial, y and perhaps an onset for each row of ``x``."""

    rows: pd.DataFrame
    x: FloatArray
    features: list[str]
    classes: tuple[str, ...]


CLOCKS = frozenset(
    {"time", "time_s", "timestamp", "date", "datetime", "onset", "onset_s", "start", "start_s", "index", "position"}
)
"""Columns, whatever their case, that no pattern takes for features: a classifier of time looks like one of states."""


class FeatureTable(Dataset):
    """Features that were computed elsewhere.

    Rows of a subject are in the order of the file. With `onset`, sessions are in the order in which the file first
    names them for the subject, and rows of a session in the order of their onsets.

    Parameters
    ----------
    places : Places
        A relative `path` starts in the study's folder.
    path : Path
        The file: ``.csv`` (comma, decimal point, one header line) or ``.parquet``.
    subject, label : str
        Columns with the subject's name and with the class. Classes are text or whole numbers, and sorted.
    features : list of str
        Names of feature columns, or patterns such as ``eda_*``. A pattern passes over the columns that have another
        role here, and over those that tell the place of a window in time: `CLOCKS`, and columns without a name (a saved
        row index).
    trial : str, optional
        Column with the trial's name; a trial has one label. With `onset`, a trial is one stretch of its session: a
        condition that recurs has a name for each time. Without it, a trial is a run of rows of one subject, one after
        another, under the same session and label.
    session : str, optional
        Column with the session's name; without it there is one session, ``"1"``.
    onset : str, optional
        Column with the start of the window, s from the start of the session, all on one clock. It is never a feature.
    missing : {"drop", "impute", "fail"}
        What happens to rows with an empty or infinite feature: left out and reported; kept and reported, for each
        strategy to impute what is missing by the mean that normalises it, be it all of a subject; or an error.
    length_s : float, optional
        Length of the windows that the features were computed of, s.

    Raises
    ------
    StudyError
        A column has two roles.
    """

    card = Card(
        name="table",
        title="Your own table of features, one row a window",
        subjects="yours",
        signals="none: features of any signal",
        labels="your label column",
        licence="yours",
        page="README.md of this program",
        citation="yours",
    )
    default_signal = None

    def __init__(
        self,
        places: Places,
        path: Path,
        subject: str,
        label: str,
        features: Annotated[list[str], Field(min_length=1)],
        trial: str | None = None,
        session: str | None = None,
        onset: str | None = None,
        missing: Literal["drop", "impute", "fail"] = "drop",
        length_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None,
    ) -> None:
        self._path = places.study / path.expanduser()
        self._patterns = features
        self._missing = missing
        self._length_s = length_s
        named = {"subject": subject, "label": label, "trial": trial, "session": session, "onset": onset}
        self._column = {role: name for role, name in named.items() if name is not None}
        self._refuse_double_roles()

    @classmethod
    def present(cls, places: Places) -> Path | None:  # noqa: ARG003
        """Where this reader is; the file itself is named by each study."""
        return Path(__file__)

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The one task, named after the label's column."""
        return {self._column["label"]: Task(classes=self._content.classes, cut=_no_recordings)}

    def signals_of(self, subjects: Sequence[str]) -> tuple[str, ...]:  # noqa: ARG002
        """None: its windows come ready-made."""
        return ()

    @property
    def one_clock(self) -> bool:
        """Whether a column says when a window starts, in seconds from the start of its session."""
        return "onset" in self._column

    @property
    def window_s(self) -> float | None:
        """Length of its windows as the study says, seconds."""
        return self._length_s

    def subjects(self) -> tuple[str, ...]:
        """Subjects of the file, sorted: by number if all of them are numbers."""
        names = {str(name) for name in self._content.rows["subject"]}
        return tuple(sorted(names, key=int) if all(map(str.isdecimal, names)) else sorted(names))

    def fingerprint(self, subject: str) -> str:
        """SHA-256 of the subject's rows, the features' names, the classes and the settings."""
        rows, x = self._of(subject)
        content = self._content
        settings = [self._column, self._missing, content.features, content.classes, rows.to_csv(index=False)]
        return hashlib.sha256(json.dumps(settings).encode() + x.tobytes()).hexdigest()

    def load(self, subject: str, task: Task, recipe: Recipe | None) -> SubjectWindows:  # noqa: ARG002
        """Rows of one subject as windows, with the features as x of shape (n, F).

        Raises
        ------
        DataError
            No such subject, or the file cannot be used.
        SignalError
            Rows with an empty feature where `missing` says fail, or no others where it says drop.
        StudyError
            A recipe was given.
        """
        if recipe is not None:
            raise StudyError(
                "dataset table: its rows are windows with their features already. Remove signal, preprocessing, "
                "windows and representation from the study."
            )
        rows, x = self._of(subject)
        whole = self._whole(subject, x)
        windows = Windows(
            x=np.where(np.isfinite(x), x, np.nan),
            subject=rows["subject"].to_numpy(dtype=np.str_),
            session=rows["session"].to_numpy(dtype=np.str_),
            trial=rows["trial"].to_numpy(dtype=np.str_),
            onset=rows["onset"].to_numpy(dtype=np.float64) if "onset" in rows else None,
            y=rows["y"].to_numpy(dtype=np.int64),
        )
        bad = int((~whole).sum())
        unusable = {"nan": bad} if bad else {}
        if self._missing == "impute":
            return SubjectWindows(windows, SignalReport(subject, windows=len(x), unusable=unusable, imputed=bad))
        report = SignalReport(subject, windows=len(x), unusable=unusable, dropped=bad)
        return SubjectWindows(windows.select(whole), report)

    def _of(self, subject: str) -> tuple[pd.DataFrame, FloatArray]:
        content = self._content
        mask = (content.rows["subject"] == subject).to_numpy()
        if not mask.any():
            raise DataError(f"{self._path}: no row of subject {subject!r}. {nearest(subject, self.subjects())}")
        return content.rows[mask], content.x[mask]

    def _whole(self, subject: str, x: FloatArray) -> NDArray[np.bool_]:
        """Rows without an empty or infinite feature."""
        finite = np.isfinite(x)
        whole = np.asarray(finite.all(axis=1))
        empty = [
            name for name, full in zip(self._content.features, np.asarray(finite.all(axis=0)), strict=True) if not full
        ]
        told = f"{(~whole).sum()} of {len(x)} rows have an empty or infinite value, in {_listed(empty)}"
        if self._missing == "fail" and not whole.all():
            raise SignalError(f"{self._path}, subject {subject}: {told}, and dataset.missing says fail.")
        if self._missing == "drop" and not whole.any():
            raise SignalError(
                f"{self._path}, subject {subject}: {told}, so no usable row is left. "
                "Fill these values, or leave these features or this subject out."
            )
        return whole

    @cached_property
    def _content(self) -> _Content:
        """The file, read and checked once."""
        names = [self._column[role] for role in ("subject", "trial", "session") if role in self._column]
        frame = _read(self._path, as_text=names)
        self._check_columns(frame)
        features = self._matched(list(frame.columns))
        x = np.column_stack([self._numbers(frame[name], f"feature column {name!r}") for name in features])
        for name, empty in zip(features, np.asarray(np.isnan(x).all(axis=0)), strict=True):
            if empty:
                raise DataError(f"{self._path}: feature column {name!r} is empty in every row. Leave it out.")
        classes, y = self._labels(frame[self._column["label"]])
        rows = self._rows(frame, y)
        self._check_rows(rows, classes)
        return _Content(rows.reset_index(drop=True), x[rows.index.to_numpy()], features, classes)

    def _rows(self, frame: pd.DataFrame, y: IntArray) -> pd.DataFrame:
        """Rows in the order of windows; the index tells the place in the file."""
        rows = frame[[]].assign(y=y, session="1")
        for role in ("subject", "session", "trial"):
            if role in self._column:
                rows[role] = _names(frame[self._column[role]])
        order = ["subject"]
        if "onset" in self._column:
            column = self._column["onset"]
            rows["onset"] = self._numbers(frame[column], f"onset column {column!r}")
            # Names of sessions (day10, day2) do not tell which came first; the file does.
            rows["named"] = np.arange(len(rows))
            rows["named"] = rows.groupby(["subject", "session"])["named"].transform("min")
            order += ["named", "onset"]
        rows = rows.sort_values(order, kind="stable").drop(columns="named", errors="ignore")
        if "trial" not in rows:
            keys = rows[["subject", "session", "y"]]
            starts = (keys != keys.shift()).any(axis=1)
            runs = starts.groupby(rows["subject"]).cumsum()
            rows["trial"] = [f"run{run:03d}" for run in runs]
        return rows

    def _numbers(self, column: pd.Series, what: str) -> NDArray[np.float64]:
        import pandas as pd

        if not pd.api.types.is_numeric_dtype(column):
            # As text, because pandas would turn dates into numbers.
            numbers = pd.to_numeric(column.astype(str).where(column.notna()), errors="coerce")
            wrong = (numbers.isna() & column.notna()).to_numpy()
            if wrong.any():
                raise DataError(
                    f"{self._path}: {what} is not numeric: it holds {column[wrong].iloc[0]!r} in {_places(wrong)}. "
                    "Correct these values, or leave the column out of dataset.features."
                )
            column = numbers
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))

    def _labels(self, column: pd.Series) -> tuple[tuple[str, ...], IntArray]:
        """Classes and the label of each row of the file."""
        import pandas as pd

        whole = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        if whole:
            numbers = column.to_numpy(dtype=np.float64)
            fractional = (numbers != np.round(numbers)) | np.isinf(numbers)
            if fractional.any():
                raise DataError(
                    f"{self._path}: label column {column.name!r} holds {numbers[fractional][0]:g} in "
                    f"{_places(fractional)}. A label is a class: text or a whole number."
                )
        names = _names(column)
        classes = sorted(set(names), key=int if whole else str)
        if len(classes) < 2:
            raise DataError(
                f"{self._path}: label column {column.name!r} holds only {classes[0]!r}. "
                "At least two classes are needed to tell apart."
            )
        return tuple(classes), np.array([classes.index(name) for name in names], dtype=np.int64)

    def _matched(self, columns: list[str]) -> list[str]:
        """Names of the feature columns, in the order of the study file and then of the columns."""
        taken = set(self._column.values())
        found: dict[str, None] = {}
        for pattern in self._patterns:
            if pattern in columns:
                found[pattern] = None
                continue
            free = [name for name in columns if name not in taken and not _tells_place(name)]
            matches = fnmatch.filter(free, pattern)
            if not matches:
                raise DataError(f"{self._path}: no feature column is or matches {pattern!r}. {nearest(pattern, free)}")
            found.update(dict.fromkeys(matches))
        return list(found)

    def _refuse_double_roles(self) -> None:
        for role, name in self._column.items():
            if name in self._patterns:
                raise StudyError(f"dataset.features: {name!r} is the column of the {role}, so it cannot be a feature.")
        if self._column["subject"] == self._column["label"]:
            raise StudyError("dataset.label: the subject's column cannot be the label.")

    def _check_columns(self, frame: pd.DataFrame) -> None:
        if frame.empty:
            raise DataError(f"{self._path} has no rows under its header.")
        for role, name in self._column.items():
            if name not in frame.columns:
                raise DataError(
                    f"{self._path}: no column {name!r}, named as dataset.{role}. {nearest(name, frame.columns)}"
                )
            empty = frame[name].isna().to_numpy()
            if empty.any():
                raise DataError(
                    f"{self._path}: the {role} is missing in {_places(empty)} of column {name!r} (an empty field, NA, "
                    "None and the like). Fill it, or remove these rows."
                )

    def _check_rows(self, rows: pd.DataFrame, classes: Sequence[str]) -> None:
        counts = rows["subject"].value_counts()
        alone = sorted(counts.index[counts == 1])
        if alone:
            raise DataError(
                f"{self._path}: a single row of {'subject' if len(alone) == 1 else 'subjects'} {_listed(alone)}. "
                "A subject needs at least two windows to be learned from and scored: remove these rows, or is "
                f"{self._column['subject']!r} not the subject's column?"
            )
        labels = rows.groupby(["subject", "session", "trial"])["y"].unique()
        for (subject, session, trial), found in labels.items():
            if len(found) > 1:
                raise DataError(
                    f"{self._path}: trial {trial!r} of subject {subject}, session {session}, has several labels "
                    f"({', '.join(classes[label] for label in sorted(found))}). A trial is a stretch of one condition: "
                    "give each stretch a name of its own, or leave dataset.trial out."
                )
        if "onset" in rows:
            self._refuse_overlaps(rows)

    def _refuse_overlaps(self, rows: pd.DataFrame) -> None:
        """Refuse trials of a session whose windows begin in the same stretch of time."""
        spans = rows.groupby(["subject", "session", "trial"])["onset"].agg(["min", "max"]).reset_index()
        for (subject, session), mine in spans.sort_values(["min", "max"]).groupby(["subject", "session"]):
            for one, other in pairwise(mine.to_dict("records")):
                if other["min"] <= one["max"]:
                    told = " and ".join(f"{s['trial']!r} from {s['min']:g} to {s['max']:g} s" for s in (one, other))
                    raise DataError(
                        f"{self._path}: windows of two trials of subject {subject}, session {session}, begin in the "
                        f"same stretch of time: {told}. A trial is one stretch of its session: give each stretch a "
                        "trial name of its own (dataset.trial). Onsets count from the session's start: if each trial "
                        "has a clock of its own, make it a session (dataset.session), or leave dataset.onset out."
                    )


def _read(path: Path, as_text: Sequence[str]) -> pd.DataFrame:
    if path.suffix.lower() not in _READERS:
        raise StudyError(f"dataset.path: {path} is neither of {', '.join(_READERS)}.")
    if not path.is_file():
        raise DataError(f"No file {path}. dataset.path starts in the folder of the study file, or is absolute.")
    try:
        return _READERS[path.suffix.lower()](path, as_text)
    except (OSError, ValueError, Warning) as error:
        raise DataError(f"{path} cannot be read as {path.suffix.lower()}: {error}") from error


def _read_csv(path: Path, as_text: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    with warnings.catch_warnings():
        # Fields beyond the header's would be lost with no more than a warning.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(
            path, dtype=dict.fromkeys(as_text, str), index_col=False, skipinitialspace=True, low_memory=False
        )


def _read_parquet(path: Path, as_text: Sequence[str]) -> pd.DataFrame:  # noqa: ARG001 - its columns have types
    import pandas as pd

    return pd.read_parquet(path).reset_index(drop=True)


_READERS: Mapping[str, Callable[[Path, Sequence[str]], pd.DataFrame]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}


def _names(column: pd.Series) -> list[str]:
    """Text of each value; whole numbers without a decimal point, whatever their type."""
    return [str(int(v)) if isinstance(v, float) and v.is_integer() else str(v).strip() for v in column]


def _places(mask: NDArray[np.bool_]) -> str:
    rows = [str(row) for row in np.flatnonzero(mask) + 1]
    return f"data row{'s' if len(rows) > 1 else ''} {_listed(rows)} (the first under the header is 1)"


def _listed(items: Sequence[str]) -> str:
    more = len(items) - _SHOWN
    return ", ".join(items[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _no_recordings(recording: Recording) -> list[Trial]:
    raise StudyError(f"dataset table has no recordings to cut trials from (asked for {recording.subject}).")


def _tells_place(column: str) -> bool:
    # pandas calls a column without a name "Unnamed: <position>".
    return column.lower() in CLOCKS or column.startswith("Unnamed: ")
