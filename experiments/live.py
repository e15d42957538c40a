"""Publishing beside a running study: a thread that mirrors what is finished and never holds the study up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from benchmarks.errors import UnseenError
from experiments.environment import prepare
from experiments.header import Header
from experiments.results import Results

if TYPE_CHECKING:
    from experiments.tracking import Tracker

_EVERY_S = 10.0
_AFTER_FAILURE_S = 60.0
_WHEN_STOPPED_S = 10.0


class LivePublisher:
    """Publishes held-out subjects as they become complete, and all of the study when it ends, as a context.

    Nothing that goes wrong here reaches the study: it is kept in `problem`, and what was not published then is
    published at the end, or by the next run of the study.

    Parameters
    ----------
    uri : str
        MLflow store.
    artifact_root : Path or None
        See `Tracker`.
    header : Header
        What the study asks.
    results : Path
        Results file, with the plan in it; read through a connection of the thread's own.

    Attributes
    ----------
    setup_seconds : float
        Importing MLflow and opening, or creating, its store.
    seconds : float
        Processor time of all the rest: reading results, statistics, writing. It is what publishing takes from the
        cells; waiting for a disk or a server takes nothing from them.
    waited_seconds : float
        What the study waited for the thread at its end.
    problem : str or None
        Why the view is behind the results, in a line; None where it is not.
    """

    def __init__(self, uri: str, artifact_root: Path | None, header: Header, results: Path) -> None:
        self.setup_seconds = 0.0
        self.seconds = 0.0
        self.waited_seconds = 0.0
        self.problem: str | None = None
        self._uri, self._artifact_root, self._header, self._path = uri, artifact_root, header, results
        self._tracker: Tracker | None = None
        self._failed_at: float | None = None
        self._waiting: set[tuple[str, str]] = set()
        self._news = threading.Condition()
        self._closing = False
        # A daemon: a server that hangs must not keep the process alive.
        self._thread = threading.Thread(target=self._work, name="publisher", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close(None if kind is None else _WHEN_STOPPED_S)

    def subject_done(self, configuration: str, fold: str) -> None:
        """Say that all cells of a fold in a configuration are written; returns at once."""
        with self._news:
            self._waiting.add((configuration, fold))
            self._news.notify()

    def close(self, timeout: float | None = None) -> None:
        """Publish all that the results hold, and end.

        Parameters
        ----------
        timeout : float or None
            Seconds to wait for it; None waits until it is done or has failed, which a store that does not answer
            does soon.
        """
        started = time.perf_counter()
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join(timeout)
        self.waited_seconds = time.perf_counter() - started
        if self._thread.is_alive():
            self.problem = f"MLflow was not done after {timeout:g} s; the next run of the study publishes the rest."

    def _work(self) -> None:
        with self._news:
            # MLflow is imported with the first news, when the study's own imports are over: two threads that import
            # the same packages at once can be given half of one.
            self._news.wait_for(self._wanted)
        while not self._closing:
            self._attempt(self._publish_waiting)
            with self._news:
                self._news.wait_for(lambda: self._closing, timeout=_EVERY_S)
                self._news.wait_for(self._wanted)
        self._attempt(lambda tracker, results: tracker.publish(results))

    def _wanted(self) -> bool:
        return self._closing or bool(self._waiting)

    def _attempt(self, publish: Callable[[Tracker, Results], object]) -> None:
        # A store that did not answer just now would only cost time, most of all at the end.
        if self._failed_at is not None and time.monotonic() - self._failed_at < _AFTER_FAILURE_S:
            return
        try:
            self._tracker = self._tracker or self._open()
            begun = time.thread_time()
            try:
                # Opened in this thread: SQLite's connections belong to the thread that made them.
                with Results(self._path, writable=False) as results:
                    publish(self._tracker, results)
            finally:
                self.seconds += time.thread_time() - begun
            self.problem, self._failed_at = None, None
        except Exception as error:
            told = str(error) if isinstance(error, UnseenError) else f"{type(error).__name__}: {error}"
            self.problem = f"{told.rstrip('.')}. Nothing is lost: the next run of the study publishes the rest."
            # What the tracker knows of the store may be wrong after a failure.
            self._tracker, self._failed_at = None, time.monotonic()

    def _open(self) -> Tracker:
        begun = time.perf_counter()
        try:
            prepare()
            from experiments.tracking import Tracker

            return Tracker(self._uri, self._artifact_root, self._header)
        finally:
            self.setup_seconds += time.perf_counter() - begun

    def _publish_waiting(self, tracker: Tracker, results: Results) -> None:
        with self._news:
            groups = frozenset(self._waiting)
        tracker.publish_folds(results, groups)
        with self._news:
            self._waiting -= groups
