"""MLflow as a mirror of a study's results: written from them, compared with them, and never read for them."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from benchmarks.errors import UnseenError
from experiments.header import Header
from experiments.runs import (
    Point,
    RunContent,
    configuration_runs,
    experiment_tags,
    running_run,
    subject_runs,
)

KEY, DIGEST = "unseen.key", "unseen.digest"
"""Tags that tell our runs from a user's own, and whether one says what the results say."""

_PARENT = "mlflow.parentRunId"
_SQLITE = "sqlite:///"
_PAGE = 1000
_QUICK_TO_GIVE_UP = {
    # Two minutes and seven retries a request otherwise: the view may wait, the study may not.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    # An address is printed after every run otherwise, in the middle of the progress display.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_FAILURES = (MlflowException, SQLAlchemyError, RequestException, sqlite3.Error, OSError)


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

    def leads_to(self, content: RunContent) -> bool:
        """Whether the content can be written after what is there: a value, once written, cannot be taken back."""
        last = {point.metric: point for point in content.points}
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

    def publish(self, cells: pd.DataFrame, rows: pd.DataFrame) -> None:
        """Make the store say what the results say: no more and no less.

        Parameters
        ----------
        cells, rows : DataFrame
            Finished and failed cells of the plan, and all their rows, learning curves included.

        Raises
        ------
        TrackingUnavailable
            The store does not answer any more; what was written so far is kept.
        """
        final = rows[rows["final"] == 1]
        wanted = set()
        with self._answering():
            for contents in (
                configuration_runs(self._header, cells, final),
                subject_runs(self._header, cells, rows),
            ):
                for content in contents:
                    self._write(content)
                    wanted.add(content.key)
            for key in self._runs.keys() - wanted:
                self._client.delete_run(self._runs.pop(key).run_id)
            while self._strays:
                self._client.delete_run(self._strays.pop())

    def publish_subjects(self, cells: pd.DataFrame, rows: pd.DataFrame) -> None:
        """Write the nested runs of folds that are complete; their configurations' runs must be there.

        Parameters
        ----------
        cells, rows : DataFrame
            All cells of these folds and configurations, and all their rows.

        Raises
        ------
        TrackingUnavailable
            As for `publish`.
        """
        with self._answering():
            for content in subject_runs(self._header, cells, rows):
                self._write(content)

    def show_running(self, cells: pd.DataFrame, rows: pd.DataFrame) -> None:
        """Show a configuration that is being computed: what was chosen, and its mean scores so far.

        A run that an earlier session completed stays as it is until `publish`.

        Parameters
        ----------
        cells, rows : DataFrame
            Cells of one configuration, and the rows of their final predictors.

        Raises
        ------
        TrackingUnavailable
            As for `publish`.
        """
        content = running_run(self._header, cells, rows)
        with self._answering():
            known = self._runs.get(content.key)
            if known is not None and known.digest is not None:
                return
            if known is not None and not known.open:
                self._client.delete_run(known.run_id)
                known = None
            known = known or self._create(content, complete=False)
            self._log(known, content)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            shown = re.sub(r"//[^/@]*@", "//", self._uri)
            cause = str(error).strip().split("\n")[0]
            raise TrackingUnavailable(f"MLflow at {shown} cannot be used: {cause}") from error

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
            if key in known:
                strays.append(there.run_id)
            else:
                known[key] = there
        return known, strays

    def _all_runs(self) -> Iterator[Run]:
        token = None
        while True:
            page = self._client.search_runs([self._experiment], max_results=_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _write(self, content: RunContent) -> None:
        known = self._runs.get(content.key)
        if known is not None and known.digest == content.digest:
            parent_id = self._parent_id(content)
            if parent_id is not None and known.parent_id != parent_id:
                self._client.set_tag(known.run_id, _PARENT, parent_id)
                known.parent_id = parent_id
            return
        if known is not None and not known.leads_to(content):
            self._client.delete_run(known.run_id)
            known = None
        known = known or self._create(content, complete=True)
        self._log(known, content, digest=content.digest)
        self._client.set_terminated(known.run_id, status=content.status, end_time=content.end_ms)
        known.digest, known.open = content.digest, False

    def _create(self, content: RunContent, *, complete: bool) -> _Known:
        parent_id = self._parent_id(content)
        tags = {KEY: content.key, **content.tags}
        tags |= {DIGEST: content.digest} if complete else {}
        tags |= {_PARENT: parent_id} if parent_id else {}
        run = self._client.create_run(self._experiment, start_time=content.start_ms, run_name=content.name, tags=tags)
        known = _Known(run.info.run_id, parent_id, open=True, tags=tags)
        self._runs[content.key] = known
        return known

    def _log(self, known: _Known, content: RunContent, digest: str | None = None) -> None:
        """Write what the run does not have yet."""
        tags = {**content.tags, **({DIGEST: digest} if digest else {})}
        points = [point for point in content.points if point not in known.points]
        self._client.log_batch(
            known.run_id,
            metrics=[Metric(point.metric, point.value, content.end_ms, point.step) for point in points],
            params=[Param(name, value) for name, value in content.params.items() if name not in known.params],
            tags=[RunTag(name, value) for name, value in tags.items() if known.tags.get(name) != value],
        )
        known.params.update(content.params)
        known.tags.update(tags)
        known.points.update(points)

    def _parent_id(self, content: RunContent) -> str | None:
        return None if content.parent is None else self._runs[content.parent].run_id


def _client(uri: str) -> MlflowClient:
    if not uri.startswith(_SQLITE):
        return MlflowClient(uri)
    path = Path(uri.removeprefix(_SQLITE))
    path.parent.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(uri)
    client.search_experiments(max_results=1)
    with closing(sqlite3.connect(path)) as db:
        # Readers (`unseen ui`) and the writer do not block each other then, and a commit is one wait for the disk.
        db.execute("PRAGMA journal_mode = WAL")
    return client
