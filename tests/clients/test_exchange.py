"""What travels: weights and summaries."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from benchmarks.normalization import STATISTICS, Geometry, Moments, Training, Unnormalized
from benchmarks.windows import Windows, concatenate
from clients.exchange import Summary, decode, encode, load_weights, weights_record

ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.arange(6, dtype=np.float64).reshape(2, 3)[:, ::-1],
    np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    np.array(7, dtype=np.int64),
    np.zeros((0, 3), dtype=np.float32),
]


@pytest.mark.parametrize("array", ARRAYS, ids=["plain", "reversed", "fortran", "scalar", "empty"])
def test_both_directions_agree_with_flowers_own(array: np.ndarray) -> None:
    ours, flowers = encode(array), Array(array)
    assert (ours.dtype, ours.shape, ours.stype) == (flowers.dtype, flowers.shape, flowers.stype)
    for decoded in (ours.numpy(), decode(ours), decode(flowers), np.load(io.BytesIO(ours.data))):
        assert decoded.dtype == array.dtype
        np.testing.assert_array_equal(decoded, array)


def test_bytes_are_those_of_numpy_save() -> None:
    assert encode(ARRAYS[0]).data == Array(ARRAYS[0]).data


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_weights_and_buffers_survive_the_way_to_the_bit() -> None:
    source, target = network(), network()
    source(torch.randn(5, 3))  # moves the running statistics of the batch norm
    load_weights(target, weights_record(source))
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value), name
    assert int(target[1].num_batches_tracked) == 1


def test_loaded_weights_share_no_memory_with_the_record() -> None:
    source, target = network(), network()
    record = weights_record(source)
    load_weights(target, record)
    with torch.no_grad():
        target[0].weight.fill_(0)
    np.testing.assert_array_equal(record["0.weight"].numpy(), source[0].weight.detach().numpy())


def test_averaged_integer_buffers_are_rounded() -> None:
    model = network()
    record = weights_record(model)
    # What three clients of 8 batches each give, weighted by thirds in floating point.
    record["1.num_batches_tracked"] = Array(np.array(7.999999))
    load_weights(model, record)
    assert int(model[1].num_batches_tracked) == 8


def test_missing_weight_is_named() -> None:
    record = weights_record(network())
    del record["2.bias"]
    with pytest.raises(KeyError, match=r"2\.bias"):
        load_weights(network(), record)


def windows(x: np.ndarray, y: np.ndarray) -> Windows:
    names = np.full(len(x), "S")
    return Windows(x=x, subject=names, session=names, trial=names, y=y.astype(np.int64))


def test_summary_of_known_windows() -> None:
    own = windows(np.array([[0.0, 2.0], [4.0, 2.0]]), np.array([1, 1]))
    summary = Summary.of(own, 3, Training(), "vector")
    assert summary.class_counts.tolist() == [0, 2, 0]
    assert summary.moments is not None
    assert summary.moments.count.tolist() == [2, 2]
    assert summary.moments.mean.tolist() == [2.0, 2.0]
    assert summary.moments.squares.tolist() == [8.0, 0.0]


def test_missing_features_are_counted_feature_by_feature_on_the_way() -> None:
    nan = np.nan
    own = windows(np.array([[0.0, nan, nan], [4.0, 2.0, nan], [nan, 6.0, nan]]), np.array([0, 1, 1]))
    told = Summary.read(Summary.of(own, 2, Training(), "vector").record())
    assert told.moments is not None
    assert told.moments.count.tolist() == [2, 2, 0]
    assert told.moments.mean.tolist() == [2, 4, 0]
    assert told.moments.squares.tolist() == [8, 8, 0]
    normalizer = told.normalizer(Training(), "vector")
    assert normalizer(own).tolist() == [[-1, 0, 0], [1, -1, 0], [0, 1, 0]]


def test_moments_are_told_only_where_the_mode_shares_them() -> None:
    summary = Summary.of(windows(np.ones((4, 2)), np.array([0, 0, 0, 1])), 2, Unnormalized(), "vector")
    merged = summary.merge(Summary.read(summary.record()))
    assert merged.moments is None
    assert list(merged.record()) == ["class_counts"]
    assert merged.class_counts.tolist() == [6, 2]


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    shape=st.sampled_from([("vector", (3,)), ("channels", (2, 4))]),
    data=st.data(),
)
def test_merged_summaries_equal_that_of_the_pooled_windows(
    sizes: list[int], shape: tuple[Geometry, tuple[int, ...]], data: st.DataObject
) -> None:
    geometry, window = shape
    x = data.draw(hnp.arrays(np.float64, (sum(sizes), *window), elements=st.floats(-1e3, 1e3)))
    # A client may lack a feature in some of its windows, or in all of them.
    x[data.draw(hnp.arrays(np.bool_, x.shape))] = np.nan
    y = np.arange(len(x)) % 2
    edges = np.cumsum([0, *sizes])
    parts = [windows(x[a:b], y[a:b]) for a, b in pairwise(edges)]
    told = [Summary.read(Summary.of(part, 2, Training(), geometry).record()) for part in parts]
    total = told[0]
    for summary in told[1:]:
        total = total.merge(summary)
    pooled = STATISTICS[geometry](concatenate(parts).x)
    assert isinstance(pooled, Moments)
    assert total.moments is not None
    np.testing.assert_array_equal(total.moments.count, pooled.count)
    np.testing.assert_allclose(total.moments.mean, pooled.mean, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(total.moments.squares, pooled.squares, rtol=1e-10, atol=1e-6)
    assert total.class_counts.tolist() == np.bincount(y, minlength=2).tolist()


def test_a_record_is_plain_arrays() -> None:
    record = Summary.of(windows(np.ones((2, 2)), np.array([0, 1])), 2, Training(), "vector").record()
    assert isinstance(record, ArrayRecord)
    assert set(record) == {"class_counts", "count", "mean", "squares"}
