"""Clients in Ray actors that stay from round to round, and actors that die, hang or never come up."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict

from benchmarks.errors import LearningError, StudyError
from benchmarks.normalization import Training as TrainingMoments
from benchmarks.parts import build, find
from clients.encoders.mlp import MLP
from strategies.contract import Learning
from strategies.federated.averaging import FedAvg
from strategies.federated.federation import Federation
from strategies.grids import hiring
from strategies.grids.client_grid import ClientGrid
from strategies.grids.contract import Client
from strategies.grids.in_process import InProcess
from strategies.grids.ray_actors import Crew, RayActors
from strategies.grids.table import GRIDS
from tests.strategies.grids.federations import (
    Troubled,
    answer,
    app,
    assert_same,
    count,
    federation,
    orders,
    weights,
    windows_of,
)
from tests.strategies.grids.marks import WITH_RAY
from tests.strategies.learnings import ignore, learning

pytestmark = WITH_RAY


def needs_ray(test: Callable[..., None]) -> Callable[..., None]:
    """Of a test: it starts actors, which takes seconds each."""
    return pytest.mark.slow(pytest.mark.usefixtures("ray_of_two")(test))


def needs_kept_actors(test: Callable[..., None]) -> Callable[..., None]:
    """Of a test: it takes actors that other tests have taken before."""
    return pytest.mark.slow(pytest.mark.usefixtures("kept_actors")(test))


def test_tests_with_ray_run_in_one_process(request: pytest.FixtureRequest) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("tests are not handed out by group")
    assert request.node.nodeid.endswith("@ray")


def test_a_study_gives_its_values() -> None:
    part = find("ray_actors", GRIDS, "grid")
    assert build(part, {}, {}, "grid") == RayActors(None, 600.0, 1)
    assert build(part, {}, {"actors": 3, "deadline_s": 2, "retries": 0}, "grid") == RayActors(3, 2.0, 0)
    for value in ({"actors": 0}, {"deadline_s": 0}, {"retries": -1}, {"deadline_s": float("inf")}):
        with pytest.raises(StudyError, match=f"grid.{next(iter(value))}"):
            build(part, {}, value, "grid")


def test_without_ray_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with (
        pytest.raises(LearningError, match=r"run the federation as a study .*ray.init\(address='local'\).*in_process"),
        RayActors().engine({"A": app(answer)}, lambda lessons: []),
    ):
        pass


# Clients that do as they are told


def exits(note: str) -> None:
    # Ray sends what was answered before in a thread of its own, which would die with the process.
    time.sleep(1.0)
    os._exit(1)


def exits_once(note: str) -> None:
    if first_time(note + "exit"):
        exits(note)


def is_killed_once(note: str) -> None:
    if first_time(note + "kill"):
        ray.kill(ray.get_runtime_context().current_actor, no_restart=True)
        time.sleep(600)


def hangs(note: str) -> None:
    time.sleep(600)


def burns(note: str) -> None:
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass


def holds_a_lock(note: str) -> None:
    error = OSError("device is gone")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    raise error


def first_time(path: str) -> bool:
    """Notes that it was asked."""
    with Path(path).open("a") as file:
        file.write("x")
    return Path(path).read_text() == "x"


DEEDS: Mapping[str, Callable[[str], None]] = {
    one.__name__: one for one in (exits, exits_once, is_killed_once, hangs, burns, holds_a_lock)
}


def does(message: Message, context: Context) -> Message:
    """Counts in its state, then does what the message says for its position, then says where it is."""
    reply = count(message, context)
    config = message.content["config"]
    deed = config["deeds"][int(context.node_config["partition-id"])]
    if deed in DEEDS:
        DEEDS[deed](config["note"])
    where = {"pid": os.getpid(), "threads": torch.get_num_threads(), "node": context.node_id}
    reply.content["metrics"].update(where)
    return reply


CLIENTS: dict[str, Client] = {name: app(does) for name in "ABCD"}


def ask(grid: ClientGrid, *deeds: str, note: object = "none") -> list[Any]:
    """Metrics of each reply, or the reason why there are none."""
    content = ConfigRecord({"deeds": [*deeds, *["answers"] * (4 - len(deeds))], "note": str(note)})
    replies = grid.send_and_receive(orders(grid, RecordDict({"config": content})))
    return [reply.error.reason if reply.has_error() else dict(reply.content["metrics"]) for reply in replies]


def calls(grid: ClientGrid, *deeds: str, note: object = "none") -> list[Any]:
    return [one["calls"] if isinstance(one, dict) else one for one in ask(grid, *deeds, note=note)]


def no_trainer(lessons: object) -> list[Any]:
    raise AssertionError("clients train themselves")


def gone(pid: int) -> bool:
    """Whether a process ends within some seconds."""
    for _ in range(400):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


DEADLINE_S = 4.0
"""Of the test in which clients hang alone: many times what one takes that only counts, and soon over."""

LATE = "LearningError: no reply within 4 s (grid.deadline_s)"


@pytest.fixture(scope="module")
def crew(ray_of_two: None) -> Iterator[Crew]:
    """All clients in one actor, for tests that take turns with it."""
    with RayActors(actors=1).engine(CLIENTS, no_trainer) as engine:
        assert isinstance(engine, Crew)
        yield engine


@pytest.fixture
def grid(crew: Crew) -> ClientGrid:
    """The clients, with no state yet."""
    return ClientGrid(CLIENTS, crew, min_replies=2)


# Actors that live


@pytest.mark.slow
def test_state_lasts_from_round_to_round_and_is_each_grids_own(crew: Crew, grid: ClientGrid) -> None:
    assert [calls(grid) for _ in range(2)] == [[1] * 4, [2] * 4]
    other = ClientGrid(CLIENTS, crew)
    assert [calls(one) for one in (other, grid, other)] == [[1] * 4, [3] * 4, [2] * 4]


@pytest.mark.slow
def test_a_client_that_fails_is_an_answer_whatever_its_error_is_made_of(grid: ClientGrid) -> None:
    assert calls(grid, "answers", "holds_a_lock") == [1, "LearningError: OSError: device is gone", 1, 1]
    # What it had changed before it failed stays changed, as in one process.
    assert calls(grid) == [2] * 4


@pytest.mark.slow
def test_processor_time_of_the_actors_is_counted(crew: Crew, grid: ClientGrid) -> None:
    spent = [crew.elsewhere_s]
    for deeds in (["burns"], ["answers"], ["burns", "burns"]):
        ask(grid, *deeds)
        spent.append(crew.elsewhere_s)
    first, none, second = (after - before for before, after in itertools.pairwise(spent))
    assert 0 < none < 0.25
    assert 0.3 <= first < 0.3 + 0.25
    assert 0.6 <= second < 0.6 + 0.25


@needs_ray
def test_actors_share_the_clients_stay_and_go_at_the_end_and_ray_stays() -> None:
    class Bystander:
        """Of this function, so that it travels as it is and its process imports nothing."""

        def hello(self) -> str:
            return "hello"

    other = ray.remote(num_cpus=0)(Bystander).remote()
    with RayActors(actors=2).engine(CLIENTS, no_trainer) as engine:
        grid = ClientGrid(CLIENTS, engine)
        first, second = ask(grid), ask(grid)
    pids = [one["pid"] for one in first]
    assert [one["pid"] for one in second] == pids
    assert pids[:2] == pids[2:]
    assert len({*pids, os.getpid()}) == 3
    assert [one["node"] for one in first] == grid.get_node_ids()
    assert {one["threads"] for one in first} == {1}
    assert all(gone(pid) for pid in pids)
    assert ray.get(other.hello.remote(), timeout=60) == "hello"
    ray.kill(other)


# Actors that die


@pytest.mark.slow
def test_an_actor_that_dies_is_replaced_and_nobody_notices(grid: ClientGrid, tmp_path: Path) -> None:
    """Clients die after they have changed their state, which therefore has to be that of the round before."""
    note = tmp_path / "note "
    assert calls(grid) == [1] * 4
    assert calls(grid, "answers", "exits_once", note=note) == [2] * 4
    assert calls(grid, "answers", "answers", "answers", "is_killed_once", note=note) == [3] * 4
    assert calls(grid) == [4] * 4
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"note exit": "xx", "note kill": "xx"}


@pytest.mark.slow
def test_an_actor_killed_between_rounds_is_replaced(grid: ClientGrid) -> None:
    (pid,) = {one["pid"] for one in ask(grid)}
    os.kill(pid, 9)
    assert gone(pid)
    second = ask(grid)
    assert [one["calls"] for one in second] == [2] * 4
    assert len({pid, *(one["pid"] for one in second)}) == 2


@pytest.mark.slow
def test_a_client_that_takes_each_actor_along_is_given_up_and_no_other_suffers(grid: ClientGrid) -> None:
    assert calls(grid) == [1] * 4
    first, second, third, fourth = calls(grid, "answers", "answers", "exits")
    assert [first, second, fourth] == [2] * 3
    assert third.startswith("LearningError: its actor died 2 times while it answered: The actor ")
    assert calls(grid) == [3, 3, 2, 3]


@needs_ray
def test_without_retries_one_death_is_enough_and_actors_go_when_the_federation_fails() -> None:
    found: list[Any] = []

    def fails() -> None:
        with RayActors(actors=1, retries=0).engine(CLIENTS, no_trainer) as engine:
            found.extend(ask(ClientGrid(CLIENTS, engine, min_replies=3), "exits"))
            raise LearningError("an aggregator fails")

    with pytest.raises(LearningError, match="an aggregator fails"):
        fails()
    first, *others = found
    assert first.startswith("LearningError: its actor died 1 times while it answered: ")
    assert [one["calls"] for one in others] == [1] * 3
    (pid,) = {one["pid"] for one in others}
    assert gone(pid)
    assert ray.is_initialized()
    assert ray.cluster_resources()["CPU"] == 2


@needs_kept_actors
def test_clients_that_hang_are_left_behind_and_no_other_suffers() -> None:
    """Too many fail in the round, which ends a federation with all their causes; who goes on all the same sees that
    the others have answered.
    """
    with RayActors(actors=1, deadline_s=DEADLINE_S).engine(CLIENTS, no_trainer) as engine:
        grid = ClientGrid(CLIENTS, engine, min_replies=2)
        before = calls(grid)
        with pytest.raises(LearningError) as caught:
            ask(grid, "hangs", "holds_a_lock", "answers", "hangs")
        after = calls(grid)
    assert str(caught.value) == (
        "1 of 4 clients gave a usable reply, 2 are needed. "
        f"Failed: A: {LATE}; B: LearningError: OSError: device is gone; D: {LATE}"
    )
    assert (before, after) == ([1] * 4, [2, 3, 3, 2])


# Actors that never come up


@needs_ray
def test_an_actor_for_which_there_is_no_processor_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    class Quick:
        """A host of nobody, whose process imports nothing."""

        def ready(self) -> None:
            pass

    monkeypatch.setattr(hiring, "Host", Quick)
    monkeypatch.setattr(hiring, "_GRACE_S", 1.0)
    up = hiring.started([0, 99])
    assert len(up) == 1
    assert ray.get(up[0].ready.remote(), timeout=60) is None
    ray.kill(up[0])


@needs_ray
def test_where_there_is_a_processor_for_no_actor_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is a matter of speed: such an actor waits for as long as Ray is up."""
    monkeypatch.setattr(hiring, "_START_S", 0.5)
    monkeypatch.setattr(hiring, "_GRACE_S", 0.25)
    with pytest.raises(LearningError, match=r"No actor for the clients came up within 0\.75 s: it takes too long"):
        hiring.started([99, 99])


@needs_ray
def test_clients_that_cannot_be_sent_are_told() -> None:
    lock = threading.Lock()

    def holds(message: Message, context: Context) -> Message:
        with lock:
            return answer(message, context)

    with pytest.raises(
        LearningError, match=r"Clients A, B cannot be sent .*: cannot pickle '_thread.lock' object. Choose"
    ):
        hiring.shared({"A": app(answer), "B": app(holds)})


class Unreadable:
    """Can be written, and not be read again."""

    def __reduce__(self) -> tuple[object, ...]:
        return int, ("no number",)


@needs_kept_actors
def test_clients_that_an_actor_cannot_take_in_are_told() -> None:
    with (
        pytest.raises(LearningError, match="An actor could not take its clients in: .*no number"),
        RayActors(actors=1).engine({"A": Unreadable()}, lambda lessons: []),  # type: ignore[dict-item]
    ):
        pass


# Whole federations


@dataclass(frozen=True)
class DiesOnce:
    """Takes the actor along, once."""

    path: str

    def __call__(self, subject: str, step: int) -> None:
        if (subject, step) == ("S2", 2) and not Path(self.path).exists():
            Path(self.path).touch()
            os._exit(1)


PROBLEM = learning(windows_of({"S1": 9, "S2": 30, "S3": 1, "S4": 16}))


@needs_kept_actors
def test_a_federation_whose_actor_dies_learns_the_same_to_the_bit(tmp_path: Path) -> None:
    place = RayActors(actors=2)
    values = {"encoder": MLP((6,), dropout=0.3), "normalization": TrainingMoments()}
    expected = federation(InProcess(), aggregator=FedAvg(fraction=0.75), **values).fit(PROBLEM, ignore)
    trouble = Troubled(fraction=0.75, trouble=DiesOnce(str(tmp_path / "died")))
    found = federation(place, aggregator=trouble, **values).fit(PROBLEM, ignore)
    assert (tmp_path / "died").exists()
    assert_same(weights(found), weights(expected))


def cell(strategy: Federation, problem: Learning) -> dict[str, torch.Tensor]:
    """A cell of a study, as far as the grid sees it."""
    torch.set_num_threads(1)
    return weights(strategy.fit(problem, ignore))


@needs_ray
def test_cells_side_by_side_on_all_processors_do_not_wait_for_each_other() -> None:
    strategies = [federation(RayActors(), aggregator=FedAvg(fraction)) for fraction in (1.0, 0.75, 0.5)]
    cells = [ray.remote(num_cpus=1, max_retries=0)(cell).remote(strategy, PROBLEM) for strategy in strategies]
    found = ray.get(cells, timeout=400)
    for mine, strategy in zip(found, strategies, strict=True):
        expected = federation(InProcess(), aggregator=strategy.aggregator).fit(PROBLEM, ignore)
        assert_same(mine, weights(expected))
