"""Ray actors that come up in a bounded time, and the clients that they are given."""

from __future__ import annotations

import itertools
import operator
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

import ray

from benchmarks.errors import LearningError
from strategies.grids.actor import Host
from strategies.grids.contract import Client

_START_S = 120.0
"""How long an actor may take to come up; its libraries take seconds to import, on a busy machine many."""

_GRACE_S = 10.0
"""How long others may come up after the first."""

_FREED_S = 1.0
"""How long it may take until Ray tells of processors that were given back a moment ago."""


def processors(clients: int, limit: int | None) -> list[int]:
    """What each actor asks Ray for: the first for nothing, others for a processor each as long as some are free."""
    others = min(clients, limit or int(ray.cluster_resources().get("CPU", 1))) - 1
    until = time.monotonic() + _FREED_S
    while (free := int(ray.available_resources().get("CPU", 0))) < others and time.monotonic() < until:
        time.sleep(_FREED_S / 20)
    return [0, *(int(number < free) for number in range(others if limit else min(others, free)))]


def started(processors: Sequence[int]) -> list[Any]:
    """Actors that have come up, at least one.

    Raises
    ------
    LearningError
        None has.
    """
    kind = ray.remote(Host)
    actors = [kind.options(num_cpus=number).remote() for number in processors]
    coming = [actor.ready.remote().future() for actor in actors]
    wait(coming, _START_S, FIRST_COMPLETED)
    # Another cell may have been quicker to take a processor, and may keep it for long: then this one does without.
    wait(coming, _GRACE_S)
    up = [future.done() and future.exception() is None for future in coming]
    trouble = _trouble(coming)  # Before the others are ended: Ray would tell of that as what they died of.
    for actor in itertools.compress(actors, map(operator.not_, up)):
        ray.kill(actor)
    if not any(up):
        raise LearningError(
            f"No actor for the clients came up within {_START_S + _GRACE_S:g} s: {trouble}. Look whether the "
            "cluster is up and has memory left (ray status), or choose grid: in_process, which needs no actors."
        )
    return list(itertools.compress(actors, up))


def shared(clients: Mapping[str, Client]) -> Any:
    """Clients in Ray's store, from where an actor takes them, and the one that comes in its place.

    Raises
    ------
    LearningError
        They cannot be sent to another process.
    """
    try:
        return ray.put(dict(clients))
    except Exception as error:  # A user's own client may hold anything.
        raise LearningError(
            f"Clients {', '.join(clients)} cannot be sent to another process: {error.__cause__ or error}. "
            "Choose grid: in_process."
        ) from error


def settled(actors: Sequence[Any], clients: Sequence[Any]) -> None:
    """Wait until actors have taken in the clients that `shared` holds for them.

    Raises
    ------
    LearningError
        One has not.
    """
    coming = [actor.settle.remote(mine).future() for actor, mine in zip(actors, clients, strict=True)]
    wait(coming, _START_S)
    if not all(future.done() and future.exception() is None for future in coming):
        raise LearningError(f"An actor could not take its clients in: {_trouble(coming)}.")


def in_one_line(error: BaseException) -> str:
    """What Ray's error says in one line: of an exception elsewhere, the last line of its traceback."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1] if isinstance(error, ray.exceptions.RayTaskError) else lines[0]


def _trouble(coming: Sequence[Future[None]]) -> str:
    """What went wrong first with calls that should be done."""
    errors = [future.exception() for future in coming if future.done()]
    return next((in_one_line(error) for error in errors if error is not None), "it takes too long")
