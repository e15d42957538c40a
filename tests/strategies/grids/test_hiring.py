"""How many actors a federation asks for, and what is said where none comes up."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace

import pytest
import ray
from ray.exceptions import ActorDiedError, RayTaskError

from benchmarks.errors import LearningError
from strategies.grids import hiring


@pytest.mark.parametrize(
    ("clients", "limit", "total", "free", "expected"),
    [
        (5, None, 2, 2, [0, 1]),  # a driver on an idle machine
        (5, None, 2, 1, [0, 1]),  # a cell beside nothing
        (5, None, 2, 0, [0]),  # a cell beside others
        (5, None, 8, 3, [0, 1, 1, 1]),
        (3, None, 8, 8, [0, 1, 1]),
        (1, None, 8, 8, [0]),
        (9, 2, 8, 8, [0, 1]),
        (9, 4, 2, 1, [0, 1, 0, 0]),  # a study that says how many gets as many
        (2, 4, 8, 8, [0, 1]),
    ],
)
def test_the_first_asks_for_nothing_and_others_for_what_is_free(
    clients: int, limit: int | None, total: int, free: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": float(total)})
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": float(free)} if free else {})
    monkeypatch.setattr(hiring, "_FREED_S", 0.0)
    assert hiring.processors(clients, limit) == expected


def test_processors_that_were_given_back_a_moment_ago_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([0.0, 1.0, 3.0])
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0})
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": next(told)})
    monkeypatch.setattr(hiring, "_FREED_S", 60.0)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert hiring.processors(9, None) == [0, 1, 1, 1]


@dataclass(eq=False)
class Scripted:
    """An actor that comes up, dies or does neither, as a test says, and not as fast as a machine is."""

    coming: Future[None] = field(default_factory=Future)
    killed: bool = False

    @property
    def ready(self) -> SimpleNamespace:
        return SimpleNamespace(remote=lambda: SimpleNamespace(future=lambda: self.coming))

    def kill(self) -> None:
        """As Ray does it: who waits for the actor is told that it died."""
        self.killed = True
        if not self.coming.done():
            self.coming.set_exception(ActorDiedError())


def up() -> Scripted:
    actor = Scripted()
    actor.coming.set_result(None)
    return actor


def dead(error: Exception) -> Scripted:
    actor = Scripted()
    actor.coming.set_exception(error)
    return actor


Hire = Callable[..., list[Scripted]]


@pytest.fixture
def hire(monkeypatch: pytest.MonkeyPatch) -> Hire:
    """Starts these actors, and has little patience."""
    monkeypatch.setattr(hiring, "_START_S", 0.02)
    monkeypatch.setattr(hiring, "_GRACE_S", 0.01)
    monkeypatch.setattr(ray, "kill", Scripted.kill)

    def started(*actors: Scripted) -> list[Scripted]:
        coming = iter(actors)
        kind = SimpleNamespace(options=lambda num_cpus: SimpleNamespace(remote=lambda: next(coming)))
        monkeypatch.setattr(ray, "remote", lambda host: kind)
        return hiring.started([0] * len(actors))

    return started


def test_actors_that_are_up_are_taken_and_all_others_ended(hire: Hire) -> None:
    actors = [Scripted(), up(), dead(ActorDiedError()), up()]
    assert hire(*actors) == [actors[1], actors[3]]
    assert [actor.killed for actor in actors] == [True, False, True, False]


DIED = "The actor died unexpectedly before finishing this task."
TRACEBACK = RayTaskError("ready", "Traceback ...\n  a line\nOSError: device is gone", OSError("device is gone"))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ([Scripted, Scripted], "it takes too long"),
        ([partial(dead, ActorDiedError()), Scripted], DIED),
        ([Scripted, partial(dead, TRACEBACK), partial(dead, ActorDiedError())], "OSError: device is gone"),
    ],
)
def test_where_none_comes_up_it_says_why(hire: Hire, made: list[Callable[[], Scripted]], said: str) -> None:
    actors = [one() for one in made]
    with pytest.raises(LearningError) as caught:
        hire(*actors)
    told = f"No actor for the clients came up within 0.03 s: {said}. Look whether the cluster is up"
    assert str(caught.value).startswith(told)
    assert all(actor.killed for actor in actors)
