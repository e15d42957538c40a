"""One SQLite file a study: the only truth about its cells, their rows and predictions. Only the driver writes."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from benchmarks.errors import ResultsError
from experiments.header import Header
from experiments.records import CellRecord, MeasurementRecord, Model, Outcome, PredictionRecord, ScoreRecord
from strategies.contract import Target

SCHEMA_VERSION = 3
_OLD = (1, 2)
"""Formats that are read, and brought up to date when something is to be written. Format 1 has no fitted predictors;
both have no measurements, and do not say which model answered.
"""

_NAMES = (
    "study", "dataset", "task", "configuration", "representation", "normalization", "protocol", "fold", "encoder",
    "objective", "strategy", "variant",
)  # fmt: skip
"""Columns of a cell that say what it is called; they determine no number."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cells (
    digest TEXT PRIMARY KEY,
    study TEXT NOT NULL, dataset TEXT NOT NULL, task TEXT NOT NULL, configuration TEXT NOT NULL,
    representation TEXT NOT NULL, normalization TEXT NOT NULL, protocol TEXT NOT NULL, fold TEXT NOT NULL,
    encoder TEXT NOT NULL, objective TEXT NOT NULL, strategy TEXT NOT NULL, variant TEXT NOT NULL,
    seed INTEGER NOT NULL, stream INTEGER NOT NULL,
    transductive INTEGER NOT NULL, simulated INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('done', 'failed')), cause TEXT,
    compute_s REAL NOT NULL, finished_at REAL NOT NULL, provenance TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS scores (
    digest TEXT NOT NULL REFERENCES cells (digest) ON DELETE CASCADE,
    step INTEGER NOT NULL, final INTEGER NOT NULL,
    subject TEXT NOT NULL, target TEXT NOT NULL, model TEXT NOT NULL, grouping TEXT NOT NULL, level TEXT NOT NULL,
    metric TEXT NOT NULL, value REAL, reason TEXT,
    PRIMARY KEY (digest, final, step, subject, target, model, level, metric)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS predictions (
    digest TEXT NOT NULL REFERENCES cells (digest) ON DELETE CASCADE,
    subject TEXT NOT NULL, target TEXT NOT NULL, model TEXT NOT NULL, arrays BLOB NOT NULL,
    PRIMARY KEY (digest, subject, target, model)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS measurements (
    digest TEXT NOT NULL REFERENCES cells (digest) ON DELETE CASCADE,
    step INTEGER NOT NULL, name TEXT NOT NULL, value REAL,
    PRIMARY KEY (digest, step, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS models (
    digest TEXT PRIMARY KEY REFERENCES cells (digest) ON DELETE CASCADE, archive BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS plan (digest TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS header (content TEXT NOT NULL);
"""

_OLD_MODEL = "CASE target WHEN 'seen' THEN 'personal' ELSE 'shared' END"
"""Which model answered in formats 1 and 2: about seen people, the one of the very person alone was asked."""

_CHANGED = {
    "scores": "digest, step, final, subject, target, grouping, level, metric, value, reason",
    "predictions": "digest, subject, target, arrays",
}
"""Tables that are not as formats 1 and 2 have them, with their columns there."""

_MEASUREMENTS = ("digest", "configuration", "fold", "seed", "order", "step", "name", "value")

_ROWS = """
    SELECT c.digest, c.study, c.dataset, c.task, c.configuration, c.representation, c.normalization, c.protocol,
           c.fold, c.encoder, c.objective, c.strategy, c.variant, c.seed, c.stream AS "order", s.step, s.final,
           s.subject, s.target, {model} AS model, s.grouping, s.level, s.metric, s.value, s.reason, c.transductive,
           c.simulated
    FROM scores AS s JOIN cells AS c USING (digest)
"""


class Results:
    """Results file of one study.

    Parameters
    ----------
    path : Path
        The SQLite file; it is created where it does not exist.
    writable : bool
        False opens it for reading only.

    Raises
    ------
    ResultsError
        The folder cannot be written, the file is no results file, or there is none to read.
    """

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        self.path = path
        self._writable = writable
        try:
            if writable:
                path.parent.mkdir(parents=True, exist_ok=True)
            elif not path.is_file():
                raise ResultsError(
                    f"No results at {path}: run the study first (unseen run STUDY), or name its folder with --results."
                )
            mode = "rwc" if writable else "ro"
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=30)
            self._db.execute("PRAGMA foreign_keys = ON")
            if writable:
                self._prepare()
            else:
                self._check_version()
        except (OSError, sqlite3.Error) as error:
            raise ResultsError(
                f"Cannot {'write' if writable else 'read'} results at {path}: {error}. "
                f"Is the folder writable and the file a results file? Another folder: --results DIR."
            ) from error

    def _prepare(self) -> None:
        self._check_ours()
        # The write-ahead log lets readers (the tracking thread, `unseen show`) look while the driver writes.
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        with self._db as db:
            # A write, so that a read-only file is refused now, rather than after the first hour of computing; and in
            # one transaction, so that a file is of one format, wherever this is interrupted.
            db.execute("BEGIN IMMEDIATE")
            changed = _CHANGED if self._version() in _OLD else {}
            db.execute("DROP VIEW IF EXISTS rows")
            for table in changed:
                db.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            for table, columns in changed.items():
                db.execute(f"INSERT INTO {table} ({columns}, model) SELECT {columns}, {_OLD_MODEL} FROM old_{table}")
                db.execute(f"DROP TABLE old_{table}")
            db.execute(f"CREATE VIEW rows AS {_ROWS.format(model='s.model')}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _check_ours(self) -> None:
        """Refuse a file that somebody else wrote, before anything is written to it; an empty one will be ours."""
        if self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            self._check_version()

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _check_version(self) -> None:
        version = self._version()
        if version not in (*_OLD, SCHEMA_VERSION):
            raise ResultsError(
                f"{self.path} has results of format {version}; this version of unseen reads {SCHEMA_VERSION}. "
                f"Move the file away, or name another folder with --results."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a writer leaves it readable in a folder that is read-only by then."""
        if self._writable:
            # Refused, without harm, while another process still reads.
            with suppress(sqlite3.Error):
                self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._db:
                yield self._db
        except sqlite3.Error as error:
            raise ResultsError(f"Cannot write results to {self.path}: {error}") from error

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._db
        except sqlite3.Error as error:
            raise ResultsError(f"Cannot read results from {self.path}: {error}") from error

    def record(self, cell: CellRecord, outcome: Outcome, finished_at: float) -> None:
        """Write one cell with all that belongs to it, in one transaction.

        What is known of it from before is replaced, but a failure never replaces a result.

        Raises
        ------
        ResultsError
            The file cannot be written.
        """
        values = {
            **{name: getattr(cell, name) for name in CellRecord.__dataclass_fields__},
            "provenance": json.dumps(cell.provenance, sort_keys=True),
            "status": "done" if outcome.cause is None else "failed",
            "cause": outcome.cause,
            "compute_s": outcome.compute_s,
            "finished_at": finished_at,
        }
        with self._transaction() as db:
            if outcome.cause is not None and cell.digest in self.finished():
                return
            db.execute("DELETE FROM cells WHERE digest = ?", (cell.digest,))
            db.execute(
                f"INSERT INTO cells ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",
                tuple(values.values()),
            )
            for table, kind, records in (
                ("scores", ScoreRecord, outcome.scores),
                ("measurements", MeasurementRecord, outcome.measurements),
            ):
                names = ("digest", *kind.__dataclass_fields__)
                db.executemany(
                    f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
                    [(cell.digest, *_columns(record)) for record in records],
                )
            db.executemany(
                "INSERT INTO predictions (digest, subject, target, model, arrays) VALUES (?, ?, ?, ?, ?)",
                [(cell.digest, p.subject, p.target, p.model, _packed(p)) for p in outcome.predictions],
            )
            if outcome.model is not None:
                db.execute("INSERT INTO models VALUES (?, ?)", (cell.digest, outcome.model))

    def set_plan(self, header: Header, digests: Iterable[str]) -> None:
        """Keep what the study asks now and which cells belong to it, so that it can be shown without its data."""
        with self._transaction() as db:
            db.execute("DELETE FROM header")
            db.execute("INSERT INTO header VALUES (?)", (json.dumps(asdict(header)),))
            db.execute("DELETE FROM plan")
            db.executemany("INSERT INTO plan VALUES (?)", ((digest,) for digest in digests))

    def relabel(self, cells: Iterable[CellRecord]) -> None:
        """Give cells that were computed before the names that the study has for them now; no number changes.

        A digest covers what determines a cell and not what it is called, so a renamed configuration keeps its cells.
        """
        with self._transaction() as db:
            db.executemany(
                f"UPDATE cells SET {', '.join(f'{name} = ?' for name in _NAMES)} WHERE digest = ?",
                ([getattr(cell, name) for name in (*_NAMES, "digest")] for cell in cells),
            )

    def header(self) -> Header:
        """What the study asked when it was last run.

        Raises
        ------
        ResultsError
            It was never run.
        """
        with self._reading() as db:
            found = db.execute("SELECT content FROM header").fetchone()
        if found is None:
            raise ResultsError(f"{self.path} holds no study yet: run it first (unseen run STUDY).")
        header: Header = TypeAdapter(Header).validate_json(found[0])
        return header

    def planned(self) -> list[str]:
        """Digests of the cells that belonged to the study when it was last run."""
        with self._reading() as db:
            return [digest for (digest,) in db.execute("SELECT digest FROM plan ORDER BY digest")]

    def finished(self) -> set[str]:
        """Digests of the cells that are done; failed ones are not among them, so that they are tried again."""
        with self._reading() as db:
            return {digest for (digest,) in db.execute("SELECT digest FROM cells WHERE status = 'done'")}

    def cells(self, digests: Iterable[str]) -> pd.DataFrame:
        """Cells among `digests`, one row each, with the columns of the table `cells`."""
        return self._frame("SELECT * FROM cells WHERE digest IN (SELECT digest FROM wanted)", digests)

    def rows(self, digests: Iterable[str], *, final: bool | None = None) -> pd.DataFrame:
        """Rows of the cells among `digests`, sorted; undefined values are NaN.

        Parameters
        ----------
        digests : iterable of str
            Cells that the current plan holds: rows of others are kept in the file and not shown.
        final : bool or None
            True for the returned predictors only, False for learning curves only, None for both.
        """
        return self._rows("? IS NULL OR final = ?", digests, (final, final))

    def judged(self, digests: Iterable[str], header: Header, *, final: bool | None = None) -> pd.DataFrame:
        """As `rows`, of the people alone whom a configuration is judged on: see `experiments.report.scores.judged`.

        The learners of a stream are unseen until they are met; they are learned from, so nothing is judged on them.
        """
        target = f"CASE WHEN configuration IN ({', '.join('?' * len(header.seen))}) THEN 'seen' ELSE 'unseen' END"
        learners = "SELECT digest, subject FROM scores WHERE final AND target = 'seen'"
        return self._rows(
            f"(? IS NULL OR final = ?) AND target = {target} "
            f"AND (target = 'seen' OR final OR (digest, subject) NOT IN ({learners}))",
            digests,
            (final, final, *header.seen),
        )

    def tracked(self, digests: Iterable[str], metric: str) -> pd.DataFrame:
        """What a metric says after every step of a stream, sorted; undefined values are NaN.

        The columns are digest, configuration, seed, order, step, subject, target, level, grouping and value, the names
        as categories: streams have many rows. Until a learner is met its target is unseen, so these rows tell the order
        too.
        """
        query = (
            'SELECT c.digest, c.configuration, c.seed, c.stream AS "order", s.step, s.subject, s.target, s.level, '
            "s.grouping, s.value FROM scores AS s JOIN cells AS c USING (digest) "
            "WHERE digest IN (SELECT digest FROM wanted) AND NOT s.final AND s.metric = ? "
            "ORDER BY c.configuration, c.seed, c.stream, s.step, s.subject, s.level"
        )
        frame = self._frame(query, digests, (metric,))
        names = ["digest", "configuration", "subject", "target", "level", "grouping"]
        return frame.astype({"value": float, **dict.fromkeys(names, "category")})

    def people(self, digests: Iterable[str], header: Header) -> pd.DataFrame:
        """As `rows`, of final predictors in the study's metric at its level: unseen people and seen ones."""
        return self._rows("final AND level = ? AND metric = ?", digests, (header.level, header.metric))

    def _rows(self, condition: str, digests: Iterable[str], parameters: Sequence[Any]) -> pd.DataFrame:
        with self._reading():
            rows = _ROWS.format(model=self._model())
        query = (
            f"SELECT * FROM ({rows}) WHERE digest IN (SELECT digest FROM wanted) AND ({condition}) "
            'ORDER BY configuration, fold, seed, "order", step, final, subject, target, model, level, metric'
        )
        frame = self._frame(query, digests, parameters)
        return frame.assign(value=frame["value"].astype(float))

    def predictions(self, digest: str) -> list[PredictionRecord]:
        """Predictions of a cell's final predictor, one record a scored subject and model."""
        with self._reading() as db:
            query = (
                f"SELECT subject, target, {self._model()} AS model, arrays FROM predictions WHERE digest = ? "
                "ORDER BY subject, target, model"
            )
            return [_unpacked(*row) for row in db.execute(query, (digest,))]

    def measurements(self, digests: Iterable[str]) -> pd.DataFrame:
        """What the steps of cells among `digests` cost or showed, sorted; values that are none are NaN.

        The columns are digest, configuration, fold, seed, order, step, name and value.
        """
        with self._reading():
            if not self._has("measurements"):
                return pd.DataFrame(columns=_MEASUREMENTS).astype({"value": float})
        query = (
            'SELECT digest, configuration, fold, seed, stream AS "order", step, name, value '
            "FROM measurements JOIN cells USING (digest) WHERE digest IN (SELECT digest FROM wanted) "
            "ORDER BY configuration, fold, seed, stream, step, name"
        )
        frame = self._frame(query, digests)
        return frame.assign(value=frame["value"].astype(float))

    def model(self, digest: str) -> bytes | None:
        """Fitted predictor of a cell, as `strategies.archives` packs it; None where none was kept."""
        with self._reading() as db:
            if not self._has("models"):
                return None
            found = db.execute("SELECT archive FROM models WHERE digest = ?", (digest,)).fetchone()
        return None if found is None else bytes(found[0])

    def _has(self, table: str) -> bool:
        return bool(self._db.execute("SELECT count(*) FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0])

    def _model(self) -> str:
        """Column, or expression, that says which model answered."""
        return "model" if self._version() == SCHEMA_VERSION else _OLD_MODEL

    def _frame(self, query: str, digests: Iterable[str], parameters: Sequence[Any] = ()) -> pd.DataFrame:
        with self._reading() as db:
            # A temporary table, because a list of thousands of digests outgrows SQLite's bound parameters.
            db.execute("CREATE TEMP TABLE IF NOT EXISTS wanted (digest TEXT PRIMARY KEY)")
            db.execute("DELETE FROM wanted")
            db.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", ((digest,) for digest in digests))
            cursor = db.execute(query, tuple(parameters))
            frame = pd.DataFrame(cursor.fetchall(), columns=[column[0] for column in cursor.description])
            db.commit()
        return frame


def _columns(record: ScoreRecord | MeasurementRecord) -> tuple[Any, ...]:
    # SQLite has no NaN: an undefined value is stored as NULL.
    return tuple(None if value != value else value for value in astuple(record))


def _packed(record: PredictionRecord) -> bytes:
    buffer = io.BytesIO()
    columns = {name: getattr(record, name) for name in ("probabilities", "y", "trial", "onset")}
    np.savez_compressed(buffer, allow_pickle=False, **columns)
    return buffer.getvalue()


def _unpacked(subject: str, target: Target, model: Model, blob: bytes) -> PredictionRecord:
    with np.load(io.BytesIO(blob), allow_pickle=False) as arrays:
        return PredictionRecord(subject, target, **arrays, model=model)
