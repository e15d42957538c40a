"""`unseen publish`: the view of a study on any MLflow server, from its results file alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from rich.console import Console

from benchmarks.errors import ResultsError
from experiments.folders import Folders
from experiments.results import Results

if TYPE_CHECKING:
    from experiments.tracking import Published


def publish(study: str, folders: Folders, tracking_uri: str) -> str:
    """Make an MLflow store say what the results of a study say: twice is as good as once.

    Parameters
    ----------
    study : str
        Name of the study.
    folders : Folders
        Where its results lie; they are read only.
    tracking_uri : str
        Address of a server, or ``sqlite:///FILE``.

    Returns
    -------
    str
        What was done, for the user.

    Raises
    ------
    ResultsError
        There are no results, or the file is damaged.
    TrackingUnavailable
        The store does not answer, or takes no files. What was written is kept, and the next publishing mends it.
    """
    path = folders.results(study)
    with Results(path, writable=False) as results, _readable(path):
        header, planned = results.header(), results.planned()
        missing = len(planned) - len(results.cells(planned))
        if missing == len(planned):
            raise ResultsError(f"{path} has no finished cell of {study}: run the study first (unseen run STUDY).")
        # MLflow takes seconds to import: an error of the results is told before.
        from experiments.tracking import Tracker

        with Console(stderr=True).status(f"Publishing {study}"):
            tracker = Tracker(tracking_uri, None, header)
            published = tracker.publish(results)
    return "\n".join(_told(study, published, tracker.page, missing))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Damage inside a text of the results: SQLite itself does not look there."""
    try:
        yield
    except (ValidationError, JSONDecodeError) as error:
        raise ResultsError(
            f"Cannot read results from {path}: {error}. The file is damaged, or of another version of unseen: take it "
            f"from a copy, or move it away and run the study again."
        ) from error


def _told(study: str, published: Published, page: str | None, missing: int) -> Iterator[str]:
    yield (
        f"{study} is published: {published.configurations} configurations, {published.subjects} subjects in them. "
        f"{published.written} runs were written, {published.removed} removed; the others were right."
    )
    if missing:
        yield f"{missing} cells of the study have no result yet. No model: it is chosen when none is missing."
    elif published.best is None:
        yield "No model: no configuration has a fitted predictor of every fold that can be read without running code."
    else:
        yield f"Model: {published.best}, {published.chosen}"
    if page is not None:
        yield f"Browse: {page}"
