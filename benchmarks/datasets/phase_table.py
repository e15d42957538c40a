"""A user's table of phases: which stretch of which recording is of which condition."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.datasets.e4 import UNIX_S
from benchmarks.datasets.phases import overlapping
from benchmarks.errors import DataError
from benchmarks.parts import nearest

_NEEDED = ("subject", "phase", "start", "stop")
_OPTIONAL = ("session", "trial")


@dataclass(frozen=True)
class PhaseRow:
    """What one row says.

    Parameters
    ----------
    number : int
        Place in the file; the first row under the header is 1.
    subject, session, phase : str
        Whose, in which session, and which phase.
    start, stop : float
        Seconds of the table's clock (`PhaseTable.unix`).
    trial : str
        Name of the stretch; empty where the table has none.
    """

    number: int
    subject: str
    session: str
    phase: str
    start: float
    stop: float
    trial: str


class PhaseTable:
    """A CSV file (comma, decimal point, one header line) with a row for each phase of a recording.

    Columns are ``subject``, ``phase``, ``start`` and ``stop``; ``session``, needed where a subject has several; and
    perhaps ``trial``. Others are passed over.

    Parameters
    ----------
    path : Path
        The file, read and checked once, when it is first asked.
    sessions : mapping of str to collection of str
        Names of the sessions of each subject that a row may be of.
    """

    def __init__(self, path: Path, sessions: Mapping[str, Collection[str]]) -> None:
        self.path = path
        self._sessions = sessions

    @cached_property
    def rows(self) -> Sequence[PhaseRow]:
        """All rows, in the order of time.

        Raises
        ------
        DataError
            The file cannot be read; it lacks a column or a value; a subject or session is not known; a phase does not
            stop after its start, or overlaps another one of its recording; the clocks are mixed; or two trials of a
            recording have the same name.
        """
        rows = [self._row(number, told) for number, told in enumerate(self._told(), 1)]
        self._refuse_mixed_clocks(rows)
        for recording in sorted({(row.subject, row.session) for row in rows}):
            self._check([row for row in rows if (row.subject, row.session) == recording])
        return sorted(rows, key=lambda row: row.start)

    @property
    def unix(self) -> bool:
        """Whether its times are unix seconds, as all from 1e9 on are; if not, they count from the recording's start."""
        return self.rows[0].start >= UNIX_S

    @property
    def phases(self) -> tuple[str, ...]:
        """Names of its phases, sorted."""
        return tuple(sorted({row.phase for row in self.rows}))

    def of(self, subject: str, session: str | None = None) -> list[PhaseRow]:
        """Rows of a subject, of one session or of all, in the order of time.

        Raises
        ------
        DataError
            There is none; or as `rows`.
        """
        rows = [row for row in self.rows if row.subject == subject and session in (None, row.session)]
        if not rows:
            raise DataError(
                f"{self.path} has no phase of subject {subject}. Add its rows, or leave {subject} out of the study's "
                f"subjects."
            )
        return rows

    def _told(self) -> list[dict[str, str]]:
        """Text of each row, by column."""
        import pandas as pd

        if not self.path.is_file():
            raise DataError(
                f"No file {self.path}. dataset.phases starts in the folder of the study file, or is absolute."
            )
        try:
            with warnings.catch_warnings():
                # Fields beyond the header's would be lost with no more than a warning.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                frame = pd.read_csv(self.path, dtype=str, keep_default_na=False, index_col=False, skipinitialspace=True)
        except (OSError, ValueError, Warning) as error:
            raise DataError(f"{self.path} cannot be read as a CSV file: {error}.") from error
        for name in _NEEDED:
            if name not in frame.columns:
                raise DataError(
                    f"{self.path}: no column {name!r}; it has {', '.join(map(str, frame.columns))}. Expected "
                    f"{', '.join(_NEEDED)}, and perhaps {' and '.join(_OPTIONAL)}."
                )
        if frame.empty:
            raise DataError(f"{self.path} has no rows under its header.")
        used = [name for name in (*_NEEDED, *_OPTIONAL) if name in frame.columns]
        return [{name: str(row[name]).strip() for name in used} for row in frame.to_dict("records")]

    def _row(self, number: int, told: Mapping[str, str]) -> PhaseRow:
        where = f"{self.path}, data row {number}"
        for name, text in told.items():
            if not text:
                raise DataError(f"{where}: no {name}. Fill it, or remove the row.")
        subject, phase = told["subject"], told["phase"]
        if subject not in self._sessions:
            raise DataError(f"{where}: no recording of subject {subject!r}. {nearest(subject, self._sessions)}")
        start, stop = (_seconds(where, name, told[name]) for name in ("start", "stop"))
        if stop <= start:
            raise DataError(
                f"{where}: {phase} of {subject} starts at {start:.10g} and stops at {stop:.10g}, not later."
            )
        session = self._session(where, subject, told.get("session"))
        return PhaseRow(number, subject, session, phase, start, stop, told.get("trial", ""))

    def _session(self, where: str, subject: str, told: str | None) -> str:
        known = self._sessions[subject]
        if told is None and len(known) > 1:
            raise DataError(
                f"{where}: {subject} has the sessions {', '.join(known)}, and the table no column 'session'. Add it."
            )
        session = next(iter(known)) if told is None else told
        if session not in known:
            raise DataError(f"{where}: no session {session!r} of {subject}. {nearest(session, known)}")
        return session

    def _refuse_mixed_clocks(self, rows: Sequence[PhaseRow]) -> None:
        unix = rows[0].start >= UNIX_S
        for row in rows:
            if not (row.start >= UNIX_S) == (row.stop >= UNIX_S) == unix:
                raise DataError(
                    f"{self.path}, data row {row.number}: {row.start:.10g} to {row.stop:.10g} is not of the clock of "
                    f"row {rows[0].number}. Expected unix seconds in all rows, or seconds from the start of the "
                    f"recording (below {UNIX_S:g}) in all."
                )

    def _check(self, rows: Sequence[PhaseRow]) -> None:
        """Refuse rows of one recording that contradict each other."""
        whose = f"of {rows[0].subject}, session {rows[0].session},"
        both = overlapping([(row.start, row.stop) for row in rows])
        if both is not None:
            one, other = (rows[position] for position in both)
            raise DataError(
                f"{self.path}: {one.phase} and {other.phase} {whose} overlap (data rows {one.number} and "
                f"{other.number}). A stretch of a recording is of one phase: correct their times."
            )
        met: dict[str, int] = {}
        for row in rows:
            if row.trial and row.trial in met:
                raise DataError(
                    f"{self.path}: two trials {whose} are called {row.trial!r} (data rows {met[row.trial]} and "
                    f"{row.number}). A trial is one stretch: give each a name of its own, or leave the column out."
                )
            met[row.trial] = row.number


def _seconds(where: str, name: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise DataError(
            f"{where}: {name} is {text!r}. Expected seconds from the start of the recording, or unix seconds."
        )
    return seconds
