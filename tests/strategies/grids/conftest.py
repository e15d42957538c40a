"""Fixtures of the tests of grids."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from strategies.grids.contract import Place

if TYPE_CHECKING:
    from strategies.grids.ray_actors import Crew


@pytest.fixture(scope="package")
def ray_of_two() -> Iterator[None]:
    """Ray on this machine with two processors, for all tests of grids."""
    import ray

    # Ray's sockets need a short path, which those of pytest are not.
    short = "/tmp" if Path("/tmp").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="ray-", dir=short, ignore_cleanup_errors=True) as folder:
        ray.init(
            address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
            _temp_dir=folder,
        )  # fmt: skip
        try:
            yield
        finally:
            ray.shutdown()


class Kept:
    """Actors that serve one federation after another: a process of its own for each would take seconds to come up.

    All else is the product's: it asks for actors, sends them clients, and replaces one that dies.
    """

    def __init__(self) -> None:
        self._idle: list[Any] = []

    def started(self, processors: Sequence[int]) -> list[Any]:
        """Idle actors, and new ones where there are too few."""
        from strategies.grids import hiring

        found = [self._idle.pop() for _ in processors[: len(self._idle)]]
        missing = len(processors) - len(found)
        return [*found, *(hiring.started([0] * missing) if missing else [])]

    def dismiss(self, crew: Crew) -> None:
        """Take back what lives."""
        self._idle += [member.actor for member in crew._members if member.actor is not None]


@pytest.fixture(scope="package")
def kept(ray_of_two: None) -> Kept:
    """For tests that are about something else than how actors come and go."""
    return Kept()


@pytest.fixture
def kept_actors(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Federations of a test take actors that are kept."""
    from strategies.grids import ray_actors

    monkeypatch.setattr(ray_actors, "started", kept.started)
    monkeypatch.setattr(ray_actors.Crew, "dismiss", lambda crew: kept.dismiss(crew))


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    """The place that a test is about, with Ray and actors up where it is one of Ray."""
    made = request.param
    assert isinstance(made, Place)
    if type(made).__name__ == "RayActors":
        request.getfixturevalue("kept_actors")
    return made
