"""MLflow as a mirror of a study's results: written from them, compared with them, and never read for them."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus, RunTag
from mlflow.entities import Run as StoredRun
from mlflow.exceptions import MlflowException
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from benchmarks.errors import UnseenError
from experiments.folders import SQLITE
from experiments.header import Header
from experiments.results import Results
from experiments.runs import (
    Point,
    Run,
    configuration_points,
    configuration_runs,
    experiment_tags,
    running_points,
    subject_points,
    subject_runs,
)

KEY, DIGEST = "unseen.key", "unseen.digest"
"""Tags that tell our runs from a user's own, and whether one says what the results say."""

_PARENT = "mlflow.parentRunId"
_PAGE = 1000
_QUICK_TO_GIVE_UP = {
    # Two minutes and seven retries a request otherwise: the view may wait, the study may not.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    # An address is printed after every run otherwise, in the middle of the progress display.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_FAILURES = (MlflowException, SQLAlchemyError, RequestException, sqlite3.Error, OSError, ImportError)


class TrackingUnavailable(UnseenError):  # noqa: N818 - a state of the view, not an error of the study
    """MLflow cannot be reached or written; the results are not touched by it."""


@dataclass
class _Known:
    """A run as the store has it.

    ``digest`` is None while it is incomplete; ``open`` says that this tracker created it and still writes to it.
    """

    run_id: str
    parent_id: str | None
    digest: str | None = None
    open: bool = False
    params: set[str] = field(default_factory=set)
    tags: dict[str, str] = field(default_factory=dict)
    points: set[Point] = field(default_factory=set)

    def leads_to(self, points: Iterable[Point]) -> bool:
        """Whether these values can be written after those there: what was written cannot be taken back."""
        last = {point.metric: point for point in points}
        return self.open and all(
            point.metric in last and (point.step < last[point.metric].step or point == last[point.metric])
            for point in self.points
        )


class Tracker:
    """One study in an MLflow store: an experiment with a run a configuration and a nested run a held-out subject.

    A run carries its key, and the digest of its content; its status is set last. One that is complete and has the
    right digest is left alone, any other is deleted and written anew, so publishing twice equals publishing once, and
    an interrupted publishing is mended by the next one. Runs without our key are never touched. No global state of
    MLflow is used; after `TrackingUnavailable` make a new tracker.

    Parameters
    ----------
    uri : str
        ``sqlite:///...`` or the address of a server.
    artifact_root : Path or None
        Folder for files of a new experiment; None leaves it to the server.
    header : Header
        What the study asks.

    Raises
    ------
    TrackingUnavailable
        The store does not answer, or cannot be opened.
    """

    def __init__(self, uri: str, artifact_root: Path | None, header: Header) -> None:
        self._uri = uri
        self._header = header
        for name, value in _QUICK_TO_GIVE_UP.items():
            os.environ.setdefault(name, value)
        # They tell of every table they create and every retry they make; failures reach us as exceptions anyway.
        for talkative in ("mlflow", "urllib3"):
            logging.getLogger(talkative).setLevel(logging.ERROR)
        with self._answering():
            self._client = _client(uri)
            self._experiment = self._open_experiment(artifact_root)
            self._runs, self._strays = self._present()

    def publish(self, results: Results) -> None:
        """Make the store say what the results say of the current plan: no more and no less.

        Raises
        ------
        TrackingUnavailable
            The store does not answer any more; what was written so far is kept.
        ResultsError
            The results cannot be read.
        """
        cells = results.cells(results.planned())
        rows = results.rows(cells["digest"], final=True)
        runs, nested = configuration_runs(self._header, cells), subject_runs(self._header, cells, rows)
        with self._answering():
            if not all(map(self._is_settled, runs)):
                points = configuration_points(self._header, cells, rows)
                for run in runs:
                    self._write(run, points[run.configuration])
            for run in runs:
                mine = [one for one in nested if one.parent == run.key]
                self._write_nested(results, self._runs[run.key].run_id, mine)
            for key in self._runs.keys() - {run.key for run in (*runs, *nested)}:
                self._client.delete_run(self._runs.pop(key).run_id)
            while self._strays:
                self._client.delete_run(self._strays.pop())

    def publish_folds(self, results: Results, folds: Collection[tuple[str, str]]) -> None:
        """Write the nested runs of folds that are complete, and show their configurations' mean scores so far.

        A configuration's run that an earlier session completed stays as it is until `publish`.

        Parameters
        ----------
        results : Results
            Open for reading.
        folds : collection of (str, str)
            Configuration and fold.

        Raises
        ------
        TrackingUnavailable, ResultsError
            As for `publish`.
        """
        cells = results.cells(results.planned())
        for configuration in sorted({configuration for configuration, _ in folds}):
            mine = cells[cells["configuration"] == configuration]
            rows = results.rows(mine["digest"], final=True)
            nested = subject_runs(self._header, mine, rows)
            with self._answering():
                (run,) = configuration_runs(self._header, mine)
                parent_id = self._show_running(run, rows)
                complete = [one for one in nested if (configuration, one.fold) in folds]
                self._write_nested(results, parent_id, complete)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            told = f"MLflow at {self._uri} cannot be used: {_cause(error)}"
            # Name and password of a server are nobody's business.
            raise TrackingUnavailable(re.sub(r"//[^/@\s]*@", "//", told)) from error

    def _open_experiment(self, artifact_root: Path | None) -> str:
        name = self._header.study
        found = self._client.get_experiment_by_name(name)
        if found is None:
            location = None if artifact_root is None else (artifact_root / name).absolute().as_uri()
            experiment, tags = self._client.create_experiment(name, artifact_location=location), {}
        else:
            experiment, tags = found.experiment_id, found.tags
            if found.lifecycle_stage == "deleted":
                self._client.restore_experiment(experiment)
        for key, value in experiment_tags(self._header).items():
            if tags.get(key) != value:
                self._client.set_experiment_tag(experiment, key, value)
        return str(experiment)

    def _present(self) -> tuple[dict[str, _Known], list[str]]:
        """Our runs by key, and doubles of them, which a request that was sent twice can leave."""
        known: dict[str, _Known] = {}
        strays: list[str] = []
        for run in self._all_runs():
            key = run.data.tags.get(KEY)
            if key is None:
                continue
            complete = RunStatus.is_terminated(RunStatus.from_string(run.info.status))
            there = _Known(
                run_id=run.info.run_id,
                parent_id=run.data.tags.get(_PARENT),
                digest=run.data.tags.get(DIGEST) if complete else None,
            )
            # Of doubles the complete one stays.
            first, second = sorted((there, known.get(key, there)), key=lambda run: run.digest is None)
            known[key] = first
            if second is not first:
                strays.append(second.run_id)
        return known, strays

    def _all_runs(self) -> Iterator[StoredRun]:
        token = None
        while True:
            page = self._client.search_runs([self._experiment], max_results=_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _is_settled(self, run: Run) -> bool:
        known = self._runs.get(run.key)
        return known is not None and known.digest == run.digest

    def _show_running(self, run: Run, rows: pd.DataFrame) -> str:
        known = self._runs.get(run.key)
        if known is not None and not known.open and known.digest is None:
            self._client.delete_run(known.run_id)
            known = None
        if known is None or known.open:
            known = known or self._create(run, complete=False)
            self._log(known, run, running_points(rows))
        return known.run_id

    def _write_nested(self, results: Results, parent_id: str, runs: Sequence[Run]) -> None:
        """Write nested runs of one configuration."""
        new = [run for run in runs if not self._is_settled(run)]
        points = subject_points(results.rows(digest for run in new for digest in run.cells)) if new else {}
        for run in new:
            self._write(run, points.get((run.configuration, run.fold, run.subject), []))
        for run in runs:
            known = self._runs[run.key]
            if known.parent_id != parent_id:
                self._client.set_tag(known.run_id, _PARENT, parent_id)
                known.parent_id = parent_id

    def _write(self, run: Run, points: Collection[Point]) -> None:
        if self._is_settled(run):
            return
        known = self._runs.get(run.key)
        if known is not None and not known.leads_to(points):
            self._client.delete_run(known.run_id)
            known = None
        known = known or self._create(run, complete=True)
        self._log(known, run, points, digest=run.digest)
        self._client.set_terminated(known.run_id, status=run.status, end_time=run.end_ms)
        known.digest, known.open = run.digest, False

    def _create(self, run: Run, *, complete: bool) -> _Known:
        parent_id = None if run.parent is None else self._runs[run.parent].run_id
        tags = {KEY: run.key, **run.tags}
        tags |= {DIGEST: run.digest} if complete else {}
        tags |= {_PARENT: parent_id} if parent_id else {}
        created = self._client.create_run(self._experiment, start_time=run.start_ms, run_name=run.name, tags=tags)
        known = _Known(created.info.run_id, parent_id, open=True, tags=tags)
        self._runs[run.key] = known
        return known

    def _log(self, known: _Known, run: Run, points: Iterable[Point], digest: str | None = None) -> None:
        """Write what the run does not have yet."""
        tags = {**run.tags, **({DIGEST: digest} if digest else {})}
        new = [point for point in points if point not in known.points]
        self._client.log_batch(
            known.run_id,
            metrics=[Metric(point.metric, point.value, run.end_ms, point.step) for point in new],
            params=[Param(name, value) for name, value in run.params.items() if name not in known.params],
            tags=[RunTag(name, value) for name, value in tags.items() if known.tags.get(name) != value],
        )
        known.params.update(run.params)
        known.tags.update(tags)
        known.points.update(new)


def _client(uri: str) -> MlflowClient:
    if not uri.startswith(SQLITE):
        return MlflowClient(uri)
    path = Path(uri.removeprefix(SQLITE))
    path.parent.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(uri)
    client.search_experiments(max_results=1)
    with closing(sqlite3.connect(path)) as db:
        # Readers (`unseen ui`) and the writer do not block each other then, and a commit is one wait for the disk.
        db.execute("PRAGMA journal_mode = WAL")
    return client


def _cause(error: BaseException) -> str:
    """First line of what the system said, where it said something: MLflow wraps it in long words of its own."""
    told, inner = error, error.__cause__ or error.__context__
    while inner is not None:
        told = inner if isinstance(inner, OSError | sqlite3.Error) else told
        inner = inner.__cause__ or inner.__context__
    return (str(told).strip() or type(told).__name__).split("\n")[0]
