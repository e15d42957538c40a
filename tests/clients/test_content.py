"""The content of our messages behaves as Flower's own."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords, validate_message_reply_consistency

from clients.content import Content, array_record
from clients.exchange import arrays_of

RECORDS: dict[str, Any] = {
    "arrays": ArrayRecord([np.arange(3.0), np.ones((2, 2))]),
    "more": ArrayRecord([np.zeros(1)]),
    "metrics": MetricRecord({"num-examples": 4, "loss": 0.5}),
    "config": ConfigRecord({"local-epochs": 2}),
}
VIEWS: dict[str, Callable[[RecordDict], Any]] = {
    "arrays": lambda content: content.array_records,
    "metrics": lambda content: content.metric_records,
    "configs": lambda content: content.config_records,
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_views_are_those_of_flower(view: Callable[[RecordDict], Any]) -> None:
    mine, flowers = view(Content(RECORDS)), view(RecordDict(RECORDS))
    assert dict(mine.items()) == dict(flowers.items())
    assert list(mine) == list(flowers)


def test_what_is_changed_in_a_view_is_changed_in_the_content() -> None:
    content = Content(RECORDS)
    metrics = content.metric_records
    metrics["other"] = MetricRecord({"x": 1})
    del metrics["metrics"]
    assert list(content) == ["arrays", "more", "config", "other"]
    with pytest.raises(TypeError, match="MetricRecord"):
        metrics["wrong"] = RECORDS["config"]


def test_it_is_filled_from_a_copy_and_checks_what_comes_later() -> None:
    given = dict(RECORDS)
    content = Content(given)
    content["late"] = MetricRecord({"x": 1})
    assert "late" not in given
    with pytest.raises(TypeError, match="Expected"):
        content["wrong"] = 3


def test_it_travels_as_flowers_own() -> None:
    assert Content(RECORDS).deflate() == RecordDict(RECORDS).deflate()
    assert Content(RECORDS).object_id == RecordDict(RECORDS).object_id


def test_it_reaches_another_process() -> None:
    sent = Content({"arrays": arrays_of({"w": torch.arange(3.0)}), "metrics": RECORDS["metrics"]})
    came = pickle.loads(pickle.dumps(sent))
    assert isinstance(came, Content)
    assert came["metrics"] == RECORDS["metrics"]
    np.testing.assert_array_equal(came["arrays"]["w"].numpy(), [0, 1, 2])
    assert list(came.metric_records) == ["metrics"]


def test_flower_joins_it_as_its_own() -> None:
    def replies(kind: Callable[[dict[str, Any]], RecordDict]) -> list[RecordDict]:
        return [
            kind({"arrays": ArrayRecord([np.full(2, value)]), "metrics": MetricRecord({"n": value})})
            for value in (1.0, 3.0)
        ]

    mine, flowers = replies(Content), replies(RecordDict)
    validate_message_reply_consistency(mine, "n", True)
    joined = [aggregate_arrayrecords(each, "n").to_numpy_ndarrays()[0] for each in (mine, flowers)]
    np.testing.assert_array_equal(joined[0], [2.5, 2.5])
    np.testing.assert_array_equal(*joined)


def test_a_record_holds_the_arrays_themselves() -> None:
    array = Array(np.arange(2.0))
    record = array_record({"w": array})
    assert record["w"] is array
    assert record == ArrayRecord({"w": array})
    with pytest.raises(TypeError, match="Array"):
        record["wrong"] = 3
