"""The grid in this process: order, state, privacy and failures of its clients."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from importlib.metadata import version
from inspect import signature

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from benchmarks.errors import LearningError
from strategies.grids.in_process import InProcessGrid

Train = Callable[[Message, Context], Message]


def app(train: Train) -> ClientApp:
    made = ClientApp()
    made.train()(train)
    return made


def answer(message: Message, context: Context) -> Message:
    """Says which client it is."""
    place = MetricRecord({"node": context.node_id, "position": context.node_config["partition-id"]})
    return Message(RecordDict({"metrics": place}), reply_to=message)


def explode(message: Message, context: Context) -> Message:
    raise ZeroDivisionError("no windows")


def refuse(message: Message, context: Context) -> Message:
    return Message(Error(ErrorCode.UNKNOWN, "not today"), reply_to=message)


def orders(grid: Grid, content: RecordDict | None = None) -> list[Message]:
    """One training message to each node, all with the same content, as Flower's aggregators make them."""
    content = RecordDict() if content is None else content
    return [Message(content, node, "train") for node in grid.get_node_ids()]


def test_the_grid_is_what_this_version_of_flower_asks_for() -> None:
    """All that we rely on and Flower does not promise; read again when flwr is changed."""
    assert version("flwr").startswith("1.41.")
    assert Grid.__abstractmethods__ == {
        "set_run",
        "run",
        "create_message",
        "get_node_ids",
        "push_messages",
        "pull_messages",
        "send_and_receive",
    }
    assert list(signature(Grid.send_and_receive).parameters) == ["self", "messages", "timeout"]
    assert list(signature(Strategy.start).parameters) == [
        "self",
        "grid",
        "initial_arrays",
        "num_rounds",
        "timeout",
        "train_config",
        "evaluate_config",
        "evaluate_fn",
    ]
    aggregator = FedAvg()
    assert (aggregator.min_available_nodes, aggregator.min_train_nodes) == (2, 2)
    assert (ErrorCode.CLIENT_APP_RAISED_EXCEPTION, ErrorCode.NODE_UNAVAILABLE) == (2, 5)
    grid = InProcessGrid({"A": app(answer)})
    (message,) = orders(grid)
    assert "_message_id" in message.metadata.__dict__
    grid.set_run(Run.create_empty(9))
    assert grid.run.run_id == 9
    assert [info.node_id for info in grid.get_nodes()] == grid.get_node_ids()
    made = grid.create_message(RecordDict(), "train", 2, "round 1")
    assert (made.metadata.dst_node_id, made.metadata.group_id) == (2, "round 1")


def test_nodes_are_numbered_in_the_order_of_the_clients() -> None:
    grid = InProcessGrid({"B": app(answer), "A": app(answer)})
    assert grid.get_node_ids() == [SUPERLINK_NODE_ID + 1, SUPERLINK_NODE_ID + 2]
    replies = grid.send_and_receive(orders(grid))
    assert [reply.content["metrics"]["node"] for reply in replies] == grid.get_node_ids()
    assert [reply.content["metrics"]["position"] for reply in replies] == [0, 1]


def test_clients_run_and_reply_in_the_order_of_the_nodes_whatever_the_order_of_the_messages() -> None:
    ran = []

    def note(message: Message, context: Context) -> Message:
        ran.append(context.node_id)
        return answer(message, context)

    grid = InProcessGrid({name: app(note) for name in "ABCD"})
    messages = orders(grid)
    replies = grid.send_and_receive([messages[i] for i in (2, 0, 3, 1)])
    assert ran == grid.get_node_ids()
    assert [reply.metadata.src_node_id for reply in replies] == grid.get_node_ids()


def test_a_reply_names_its_message_already_inside_the_client() -> None:
    seen = []

    def note(message: Message, context: Context) -> Message:
        seen.append(message.metadata.message_id)
        return answer(message, context)

    grid = InProcessGrid({name: app(note) for name in "AB"})
    replies = [*grid.send_and_receive(orders(grid)), *grid.send_and_receive(orders(grid))]
    assert [reply.metadata.reply_to_message_id for reply in replies] == seen
    assert len(set(seen)) == 4
    assert all(seen)


def test_state_of_a_client_lasts_and_is_its_own() -> None:
    def count(message: Message, context: Context) -> Message:
        calls = int(context.state["calls"]["n"]) + 1 if "calls" in context.state else 1
        context.state["calls"] = ConfigRecord({"n": calls})
        return Message(RecordDict({"metrics": MetricRecord({"calls": calls})}), reply_to=message)

    grid = InProcessGrid({name: app(count) for name in "AB"})
    both = orders(grid)
    grid.send_and_receive(both)
    grid.send_and_receive(orders(grid)[:1])
    replies = grid.send_and_receive(orders(grid))
    assert [reply.content["metrics"]["calls"] for reply in replies] == [3, 2]


def test_what_a_client_does_to_its_records_reaches_nobody_else() -> None:
    found = []

    def spoil(message: Message, context: Context) -> Message:
        content = message.content
        found.append(deepcopy((list(content), list(content["arrays"]), dict(content["config"]))))
        content["config"]["mine"] = context.node_id
        content["config"]["list"].append(9)
        del content["arrays"]["w"]
        content["secret"] = ConfigRecord()
        return answer(message, context)

    content = RecordDict(
        {"arrays": ArrayRecord({"w": Array(np.ones(2))}), "config": ConfigRecord({"lr": 0.1, "list": [1, 2]})}
    )
    grid = InProcessGrid({name: app(spoil) for name in "AB"})
    grid.send_and_receive(orders(grid, content))
    assert found[0] == found[1] == (["arrays", "config"], ["w"], {"lr": 0.1, "list": [1, 2]})
    assert list(content) == ["arrays", "config"]
    assert list(content["arrays"]) == ["w"]
    assert dict(content["config"]) == {"lr": 0.1, "list": [1, 2]}


def test_arrays_are_shared_not_copied() -> None:
    seen = []

    def note(message: Message, context: Context) -> Message:
        seen.append(message.content["arrays"]["w"])
        return answer(message, context)

    array = Array(np.ones(2))
    grid = InProcessGrid({name: app(note) for name in "AB"})
    content = RecordDict({"arrays": ArrayRecord()})
    content["arrays"]["w"] = array
    grid.send_and_receive(orders(grid, content))
    assert all(one is array for one in seen)


def test_pushed_messages_are_pulled_once() -> None:
    grid = InProcessGrid({name: app(answer) for name in "AB"})
    names = grid.push_messages(orders(grid))
    (second,) = grid.pull_messages(names[1:])
    assert second.metadata.src_node_id == grid.get_node_ids()[1]
    assert [reply.metadata.reply_to_message_id for reply in grid.pull_messages(names)] == names[:1]
    assert grid.pull_messages(names) == []


def test_no_message_no_reply() -> None:
    """Flower asks nobody to evaluate by sending nothing."""
    assert InProcessGrid({"A": app(answer)}).send_and_receive([]) == []


def test_a_failing_client_stops_the_federation_and_is_named_with_its_cause() -> None:
    grid = InProcessGrid({"S01": app(answer), "S02": app(explode), "S03": app(answer)})
    with pytest.raises(LearningError) as caught:
        grid.send_and_receive(orders(grid))
    assert str(caught.value) == (
        "2 of 3 clients gave a usable reply, 3 are needed. Failed: S02: ZeroDivisionError: no windows"
    )
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_enough_replies_are_enough() -> None:
    grid = InProcessGrid({"S01": app(answer), "S02": app(explode), "S03": app(answer)}, min_replies=2)
    replies = grid.send_and_receive(orders(grid))
    assert [reply.has_error() for reply in replies] == [False, True, False]
    assert replies[1].error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
    assert replies[1].error.reason == "ZeroDivisionError: no windows"
    assert replies[1].metadata.src_node_id == grid.get_node_ids()[1]


def test_too_few_replies_are_too_few_even_without_a_failure() -> None:
    grid = InProcessGrid({name: app(answer) for name in "ABC"}, min_replies=2)
    with pytest.raises(LearningError, match="1 of 1 clients gave a usable reply, 2 are needed"):
        grid.send_and_receive(orders(grid)[:1])


def test_a_client_may_reply_with_an_error_of_its_own() -> None:
    grid = InProcessGrid({"S01": app(answer), "S02": app(refuse)})
    with pytest.raises(LearningError, match="Failed: S02: not today"):
        grid.send_and_receive(orders(grid))


def test_a_later_failure_is_not_blamed_on_an_earlier_one() -> None:
    ways = iter([explode, refuse])
    grid = InProcessGrid(
        {"S01": app(lambda message, context: next(ways)(message, context)), "S02": app(answer)}, min_replies=1
    )
    grid.send_and_receive(orders(grid))
    with pytest.raises(LearningError) as caught:
        grid.send_and_receive(orders(grid)[:1])
    assert caught.value.__cause__ is None


def test_a_message_to_nobody_is_an_error_reply() -> None:
    grid = InProcessGrid({"S01": app(answer)})
    with pytest.raises(LearningError, match="node 77: there is no such node"):
        grid.send_and_receive([Message(RecordDict(), 77, "train")])


def test_an_interruption_is_no_failure_of_a_client() -> None:
    def interrupt(message: Message, context: Context) -> Message:
        raise KeyboardInterrupt

    grid = InProcessGrid({"S01": app(interrupt)}, min_replies=1)
    with pytest.raises(KeyboardInterrupt):
        grid.send_and_receive(orders(grid))


@pytest.mark.parametrize(("clients", "min_replies"), [("", None), ("AB", 3)])
def test_fewer_clients_than_replies_needed_are_refused_at_once(clients: str, min_replies: int | None) -> None:
    with pytest.raises(LearningError, match=f"federation of {len(clients)} clients"):
        InProcessGrid({name: app(answer) for name in clients}, min_replies=min_replies)


def test_the_identity_that_flowers_launcher_gave_to_a_process_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"_task_id": 5, "_run_id": 6, "_node_id": 7}.items():
        monkeypatch.setattr(TaskIdentity, name, value)
    grid = InProcessGrid({"A": app(answer)})
    assert (TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id) == (5, 6, 7)
    (message,) = orders(grid)
    assert message.metadata.src_node_id == 7


def test_importing_sets_nothing_and_nothing_is_sent_over_a_network() -> None:
    """In a process of its own, where every socket is watched; telemetry is left switched on."""
    script = """
import os, sys, threading
os.environ["FLWR_TELEMETRY_ENABLED"] = "1"
watched = []
sys.addaudithook(lambda event, args: event.startswith("socket.") and watched.append(event))
import strategies.grids.in_process as grids
from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity
assert TaskIdentity._run_id is None
app = ClientApp()
app.train()(lambda message, context: Message(RecordDict(), reply_to=message))
grid = grids.InProcessGrid({"A": app})
assert len(grid.send_and_receive([Message(RecordDict(), 2, "train")])) == 1
assert TaskIdentity.run_id == 1
names = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg"}
assert not names & set(watched), watched
assert threading.active_count() == 1, threading.enumerate()
print("quiet")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "quiet\n", done.stderr
