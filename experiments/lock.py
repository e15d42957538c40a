"""One run of a study at a time: a second one is told so and stops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from benchmarks.errors import ResultsError


@contextmanager
def only_run(results: Path) -> Iterator[None]:
    """Hold the results file of a study for as long as the context lasts; who only reads it needs no lock.

    The operating system lets go of it when the process ends, however it ends. The lock's own file stays: to delete it
    would let two others hold it at once.

    Parameters
    ----------
    results : Path
        The results file; it need not exist.

    Raises
    ------
    ResultsError
        Another process runs the study, or the folder cannot be written.
    """
    lock = FileLock(results.with_name(f".{results.stem}.lock"), timeout=0)
    try:
        results.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise ResultsError(
            f"The study {results.stem!r} is being run by another process, which writes to {results}. Wait for it, or "
            f"name another folder with --results. What is finished so far: unseen show {results.stem}"
        ) from error
    except OSError as error:
        raise ResultsError(
            f"Cannot write results at {results}: {error}. Is the folder writable? Another folder: --results DIR."
        ) from error
    try:
        yield
    finally:
        lock.release()
