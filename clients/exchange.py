"""What travels between a client and its federation: weights, and a summary of the client's windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray
from torch import nn

from benchmarks.normalization import STATISTICS, Geometry, Moments, Normalization, Normalizer
from benchmarks.windows import IntArray, Windows
from clients.training import class_counts


def weights_record(network: nn.Module) -> ArrayRecord:
    """Parameters and buffers of a network."""
    return ArrayRecord.from_torch_state_dict(network.state_dict())


def load_weights(network: nn.Module, record: ArrayRecord) -> None:
    """Overwrite all parameters and buffers of a network.

    An aggregator averages integer buffers (the batches that a batch norm has counted) too; they are rounded back.

    Raises
    ------
    KeyError
        The record lacks a parameter or buffer.
    """
    with torch.no_grad():
        for name, own in network.state_dict().items():
            value = torch.from_numpy(record[name].numpy())
            own.copy_(value if own.is_floating_point() else value.round())


@dataclass(frozen=True, eq=False)
class Summary:
    """What a client tells of its windows. Summaries merge, so a federation's is that of all its windows together.

    Parameters
    ----------
    class_counts : ndarray of int, shape (K,)
        Windows of each class.
    moments : Moments or None
        Moments of the windows; None where the normalisation mode shares nothing.
    """

    class_counts: IntArray
    moments: Moments | None

    @classmethod
    def of(cls, windows: Windows, classes: int, normalization: Normalization, geometry: Geometry) -> Summary:
        """Summary of labelled windows in vector or channel geometry."""
        assert windows.y is not None
        statistics = STATISTICS[geometry](windows.x) if normalization.shares else None
        return cls(class_counts(windows.y, classes), cast(Moments | None, statistics))

    def merge(self, other: Summary) -> Summary:
        """Summary of the windows of both, which tell the same things."""
        moments = self.moments and other.moments and self.moments.merge(other.moments)
        return Summary(self.class_counts + other.class_counts, moments)

    def normalizer(self, normalization: Normalization, geometry: Geometry) -> Normalizer:
        """Normaliser that has met the windows which this is the summary of."""
        normalizer = normalization.start(geometry)
        return normalizer if self.moments is None else normalizer.learn(self.moments)

    def record(self) -> ArrayRecord:
        """As it travels."""
        arrays: dict[str, NDArray[Any]] = {"class_counts": self.class_counts}
        if self.moments is not None:
            arrays |= {
                "count": np.array(self.moments.count),
                "mean": self.moments.mean,
                "squares": self.moments.squares,
            }
        return ArrayRecord({name: Array(array) for name, array in arrays.items()})

    @classmethod
    def read(cls, record: ArrayRecord) -> Summary:
        """Reverse of `record`."""
        arrays = {name: array.numpy() for name, array in record.items()}
        counts = arrays.pop("class_counts")
        if not arrays:
            return cls(counts, None)
        return cls(counts, Moments(float(arrays["count"]), arrays["mean"], arrays["squares"]))
