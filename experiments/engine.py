"""Cells as Ray tasks: on the cores of this machine, or on a cluster that is already up."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import ray

from benchmarks.cohort import Cohort
from benchmarks.errors import UnseenError
from experiments.cell import Job, compute
from experiments.environment import NO_TELEMETRY
from experiments.records import Outcome

Key = TypeVar("Key")

_PATIENCE_S = 30
_SHORT = "/tmp" if Path("/tmp").is_dir() else None


@contextmanager
def cluster(workers: int | None, address: str) -> Iterator[int]:
    """Ray, started here or joined, for as long as the context lasts.

    Parameters
    ----------
    workers : int or None
        Cores to use on this machine; None takes all. A cluster decides for itself.
    address : str
        ``"local"`` starts Ray here; anything else joins the cluster at that address and leaves it up.

    Yields
    ------
    int
        Number of cells that run at once.

    Raises
    ------
    UnseenError
        There is no cluster at that address.
    """
    # A folder of our own, removed afterwards: a stale address file under /tmp/ray can hang every later start. It has a
    # short name: Ray's sockets lie below it, and their paths may have about a hundred characters.
    with tempfile.TemporaryDirectory(prefix="unseen-ray-", dir=_SHORT, ignore_cleanup_errors=True) as folder:
        local: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False, "_temp_dir": folder}
        # Workers started here inherit the environment; those of a cluster must be told.
        remote: dict[str, Any] = {"runtime_env": {"env_vars": NO_TELEMETRY}}
        options = local if address == "local" else remote
        if address != "local":
            _check_up(address)
        try:
            # Libraries leave temporary folders behind in each worker; there they go with the rest.
            with _temporary_files_in(folder):
                ray.init(address=address, log_to_driver=False, logging_level="ERROR", **options)
        except (ConnectionError, OSError, ValueError) as error:
            raise UnseenError(f"Ray did not start at {address!r}: {error}") from error
        try:
            yield max(1, int(ray.cluster_resources().get("CPU", 1)))
        finally:
            ray.shutdown()


@contextmanager
def _temporary_files_in(folder: str) -> Iterator[None]:
    """Inside, processes that are started take `folder` for their temporary files."""
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before


def _check_up(address: str) -> None:
    """Ask for the cluster's status in a bounded time: Ray itself tries a stale address for ten minutes."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_PATIENCE_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise UnseenError(
            f"No Ray cluster answers at {address!r}. Start one (ray_cluster.yaml says how), or leave --ray out to "
            f"compute on this machine."
        ) from error


def compute_all(
    jobs: Iterable[tuple[Key, str, Job]], cohorts: Mapping[str, Cohort], at_once: int
) -> Iterator[tuple[Key, Outcome]]:
    """Outcomes of all jobs, as they finish.

    Parameters
    ----------
    jobs : iterable of (key, cohort name, Job)
        Taken lazily: at most a few more than run at once are under way.
    cohorts : mapping of str to Cohort
        Put once into shared memory.
    at_once : int
        Number of cells that run at once.

    Yields
    ------
    tuple of key and Outcome
        A worker that dies, out of memory for instance, is an outcome with its cause.
    """
    remote = ray.remote(num_cpus=1, max_retries=1)(_compute)
    shared = {name: ray.put(cohort) for name, cohort in cohorts.items()}
    waiting = iter(jobs)
    under_way: dict[Any, Key] = {}
    while True:
        # Twice as many as run at once, so that no worker waits for the driver to write.
        for key, cohort, job in itertools.islice(waiting, 2 * at_once - len(under_way)):
            under_way[remote.remote(shared[cohort], job)] = key
        if not under_way:
            return
        (done,), _ = ray.wait(list(under_way), num_returns=1)
        yield under_way.pop(done), _outcome(done)


def _outcome(done: Any) -> Outcome:
    try:
        outcome: Outcome = ray.get(done)
    except ray.exceptions.RayError as error:
        return Outcome((), (), 0.0, cause=f"The worker process failed: {str(error).strip().splitlines()[-1]}")
    return outcome


def _compute(cohort: Cohort, job: Job) -> Outcome:
    import torch
    from threadpoolctl import threadpool_limits

    # One thread a cell: sums in BLAS then have one order, and cells do not fight for cores.
    torch.set_num_threads(1)
    _warm_up()
    with threadpool_limits(limits=1):
        return compute(cohort, job)


@cache
def _warm_up() -> None:
    """Build the first optimiser of a worker: torch then imports for seconds, which no cell should be charged with."""
    import torch

    torch.optim.SGD([torch.zeros(1, requires_grad=True)])
