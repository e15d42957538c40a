"""All of Flower that our grids rest on and that Flower does not promise; to be read again when flwr is changed."""

from __future__ import annotations

from importlib.metadata import version
from inspect import signature
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.app.message.recorddict import _SyncedDict
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.serverapp import Grid
from flwr.serverapp import strategy as flowers
from flwr.supercore.run import Run

from clients.exchange import arrays_of
from clients.training import seeded
from strategies.grids.client_grid import ClientGrid
from strategies.grids.in_process import one_by_one
from tests.strategies.grids.federations import answer, app, orders


def test_the_version_is_the_one_that_was_read() -> None:
    assert version("flwr").startswith("1.41.")


def test_records_are_what_they_were() -> None:
    """`clients.content` fills them, and their views, without their checks."""
    content = RecordDict({"metrics": MetricRecord({"x": 1})})
    view = content.metric_records
    assert type(view) is _SyncedDict
    assert view.__dict__["_data"] == {"metrics": content["metrics"]}
    assert signature(_SyncedDict).parameters.keys() == {"ref_recorddict", "allowed_type"}
    for record in (content, ArrayRecord(), MetricRecord(), ConfigRecord()):
        assert type(record.__dict__["_data"]) is dict
    assert content.deflate().startswith(b"RecordDict ")


def test_the_grid_is_what_this_version_asks_for() -> None:
    assert Grid.__abstractmethods__ == {
        "set_run",
        "run",
        "create_message",
        "get_node_ids",
        "push_messages",
        "pull_messages",
        "send_and_receive",
    }
    assert not ClientGrid.__abstractmethods__


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("set_run", ["self", "run"]),
        ("create_message", ["self", "content", "message_type", "dst_node_id", "group_id", "ttl"]),
        ("get_node_ids", ["self"]),
        ("get_nodes", ["self"]),
        ("push_messages", ["self", "messages"]),
        ("pull_messages", ["self", "message_ids"]),
        ("send_and_receive", ["self", "messages", "timeout"]),
    ],
)
def test_methods_take_what_they_took(method: str, parameters: list[str]) -> None:
    theirs, ours = signature(getattr(Grid, method)), signature(getattr(ClientGrid, method))
    assert list(theirs.parameters) == list(ours.parameters) == parameters
    for name, parameter in theirs.parameters.items():
        assert ours.parameters[name].kind == parameter.kind
        assert ours.parameters[name].default == parameter.default


def test_an_aggregator_starts_as_it_did() -> None:
    assert list(signature(flowers.Strategy.start).parameters) == [
        "self",
        "grid",
        "initial_arrays",
        "num_rounds",
        "timeout",
        "train_config",
        "evaluate_config",
        "evaluate_fn",
    ]
    aggregator = flowers.FedAvg()
    assert (aggregator.min_available_nodes, aggregator.min_train_nodes) == (2, 2)


def test_what_a_message_is_named_by_and_how_errors_are_numbered() -> None:
    grid = ClientGrid({"A": app(answer)}, one_by_one)
    (message,) = orders(grid)
    assert "_message_id" in message.metadata.__dict__
    message.metadata.__dict__["_message_id"] = "7"
    assert Message(RecordDict(), reply_to=message).metadata.reply_to_message_id == "7"
    assert (ErrorCode.CLIENT_APP_RAISED_EXCEPTION, ErrorCode.NODE_UNAVAILABLE) == (2, 5)
    assert SUPERLINK_NODE_ID == 1


def test_the_methods_that_no_aggregator_calls_do_what_they_say() -> None:
    grid = ClientGrid({"A": app(answer), "B": app(answer)}, one_by_one)
    grid.set_run(Run.create_empty(9))
    assert grid.run.run_id == 9
    assert [info.node_id for info in grid.get_nodes()] == grid.get_node_ids()
    made = grid.create_message(RecordDict(), "train", 2, "round 1", ttl=5.0)
    assert (made.metadata.dst_node_id, made.metadata.message_type) == (2, "train")
    assert (made.metadata.group_id, made.metadata.ttl) == ("round 1", 5.0)


class Watched:
    """Stands in for a grid, and notes what it is asked for."""

    def __init__(self, grid: ClientGrid) -> None:
        self._grid = grid
        self.called: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.called.add(name)
        return getattr(self._grid, name)


def add_one(message: Message, context: Context) -> Message:
    metrics = MetricRecord({"num-examples": 1, "train-loss": 1.0})
    moved = {name: torch.from_numpy(array.numpy() + 1) for name, array in message.content["arrays"].items()}
    return Message(RecordDict({"arrays": arrays_of(moved), "metrics": metrics}), reply_to=message)


CLIPPED = (1.0, 1.0, 8)
AGGREGATORS = {
    **{
        name: getattr(flowers, name)(fraction_evaluate=0.0)
        for name in ("FedAvg", "FedAvgM", "FedProx", "FedAdam", "FedYogi", "FedAdagrad", "FedMedian", "FedTrimmedAvg")
    },
    "Krum": flowers.Krum(fraction_evaluate=0.0),
    "MultiKrum": flowers.MultiKrum(fraction_evaluate=0.0, num_nodes_to_select=2),
    "Bulyan": flowers.Bulyan(fraction_evaluate=0.0),
    "QFedAvg": flowers.QFedAvg(client_learning_rate=0.1, train_loss_key="train-loss", fraction_evaluate=0.0),
    "differential privacy": flowers.DifferentialPrivacyServerSideFixedClipping(
        flowers.FedAvg(fraction_evaluate=0.0), *CLIPPED
    ),
}


@pytest.mark.parametrize("name", AGGREGATORS)
def test_an_aggregator_asks_a_grid_for_nodes_and_replies_and_nothing_else(name: str) -> None:
    grid = Watched(ClientGrid({f"S{i}": app(add_one) for i in range(8)}, one_by_one))
    start: ArrayRecord = arrays_of({"w": torch.ones(3, 2), "b": torch.zeros(2)})
    with seeded("contract"):
        AGGREGATORS[name].start(grid, start, num_rounds=2, train_config=ConfigRecord())
    assert grid.called == {"get_node_ids", "send_and_receive"}
