"""What travels between a client and its federation: weights, and a summary of the client's windows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any, cast

import numpy as np
import torch
from flwr.app import Array, ArrayRecord
from flwr.common.constant import SType
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.normalization import STATISTICS, Geometry, Moments, Normalization, Normalizer
from benchmarks.windows import IntArray, Windows
from clients.content import array_record
from clients.lesson import Weights
from clients.training import class_counts


class HeldArray(Array):  # type: ignore[misc]
    """Flower's array around a tensor; its bytes are made only where somebody asks for them.

    An aggregator in the same process asks for none, and encoding and decoding would be most of what a small federation
    spends beside its training. The tensor is never changed.

    Parameters
    ----------
    tensor : Tensor
        On the CPU.
    """

    tensor: Tensor

    def __init__(self, tensor: Tensor) -> None:
        # Not through Flower's own way of setting attributes, which takes longer than all else here.
        self.__dict__.update(
            tensor=tensor.detach() if tensor.requires_grad else tensor,
            dtype=str(tensor.dtype).removeprefix("torch."),
            shape=tuple(tensor.shape),
            stype=SType.NUMPY,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # A view of a stack of clients would take the whole stack with it to another process.
        return _held, (self.numpy(),)

    @property
    def data(self) -> bytes:
        """The bytes that `flwr.app.Array` would hold."""
        return _header(self.dtype, self.shape) + self.tensor.contiguous().numpy().tobytes()

    @property
    def size(self) -> int:
        """Length of `data`, which is not made for it."""
        return len(_header(self.dtype, self.shape)) + self.tensor.nbytes

    def deflate(self) -> bytes:
        """As Flower's own array, which is what a network of Flower's knows how to bring to the other side."""
        content: bytes = Array(self.dtype, self.shape, self.stype, self.data).deflate()
        return content

    @property
    def finite(self) -> bool:
        """Whether it holds neither a NaN nor an infinity."""
        # The sum of finite numbers is finite unless it overflows, and takes a fraction of the time.
        return math.isfinite(self.tensor.sum()) or bool(self.tensor.isfinite().all())

    def numpy(self) -> NDArray[Any]:
        """A copy, as `flwr.app.Array` gives one: its caller may write to it."""
        return np.array(self.tensor.numpy(), order="C")


def _held(array: NDArray[Any]) -> HeldArray:
    # Ray hands arrays over in memory that may only be read, which a tensor does not know of.
    return HeldArray(torch.from_numpy(np.require(array, requirements="W")))


def arrays_of(weights: Weights) -> ArrayRecord:
    """Weights as they travel."""
    return array_record({name: HeldArray(tensor) for name, tensor in weights.items()})


def held(record: ArrayRecord) -> ArrayRecord:
    """The same arrays, decoded once for all who will read them in this process."""
    return array_record({name: _decoded(array) for name, array in record.items()})


def weights_of(record: ArrayRecord, dtypes: Mapping[str, torch.dtype]) -> dict[str, Tensor]:
    """Arrays of a record as parameters and buffers of a network; they may share memory with it.

    An aggregator averages integer buffers (the batches that a batch norm has counted) too; they are rounded back. Names
    that are not the network's are left out.

    Parameters
    ----------
    record : ArrayRecord
        As it travelled.
    dtypes : mapping of str to torch.dtype
        Types of the network's parameters and buffers, see `dtypes_of`.
    """
    return {name: as_dtype(_tensor(record[name]), dtype) for name, dtype in dtypes.items() if name in record}


def as_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor in a type; in a type of whole numbers, those nearest to it."""
    if tensor.dtype == dtype:
        return tensor
    return (tensor if dtype.is_floating_point else tensor.round()).to(dtype)


def dtypes_of(network: nn.Module) -> dict[str, torch.dtype]:
    """Types of all parameters and buffers of a network."""
    return {name: tensor.dtype for name, tensor in network.state_dict().items()}


def size_of(record: ArrayRecord) -> int:
    """Bytes of all arrays of a record as they would travel."""
    return sum(array.size if isinstance(array, HeldArray) else len(array.data) for array in record.values())


def _decoded(array: Array) -> HeldArray:
    return array if isinstance(array, HeldArray) else HeldArray(_tensor(array))


def _tensor(array: Array) -> Tensor:
    if isinstance(array, HeldArray):
        return array.tensor
    header = _header(array.dtype, array.shape)
    if array.stype == SType.NUMPY and array.data.startswith(header):
        # As Flower would, without reading a header that is known.
        return torch.from_numpy(np.ndarray(array.shape, array.dtype, array.data, len(header)).copy())
    return torch.from_numpy(np.array(array.numpy(), order="C"))


@lru_cache(maxsize=1024)
def _header(dtype: str, shape: tuple[int, ...]) -> bytes:
    stream = BytesIO()
    layout = {"descr": npy.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(stream, layout)
    return stream.getvalue()


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
        statistics = STATISTICS[geometry](windows.x) if normalization.shares else None
        return cls(class_counts(windows.labels, classes), cast(Moments | None, statistics))

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
                "count": self.moments.count,
                "mean": self.moments.mean,
                "squares": self.moments.squares,
            }
        return arrays_of({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})

    @classmethod
    def read(cls, record: ArrayRecord) -> Summary:
        """Reverse of `record`."""
        arrays = {name: array.numpy() for name, array in record.items()}
        counts = arrays.pop("class_counts")
        if not arrays:
            return cls(counts, None)
        return cls(counts, Moments(**arrays))
