"""What messages carry: private copies of it, its size as it would travel, and whether it is sound."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.constant import SType

from clients.content import Content
from clients.exchange import HeldArray, held, size_of

Record: TypeAlias = "ArrayRecord | ConfigRecord | MetricRecord"


class Packing:
    """Copies what one delivery sends to many clients; records that messages share are decoded and measured once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Record, Record, int]] = {}

    def private(self, content: RecordDict) -> tuple[RecordDict, int]:
        """A copy that its client may change, and its size in bytes; arrays, which never change, are shared."""
        private: dict[str, Record] = {}
        size = 0
        for name, record in content.items():
            if id(record) not in self._known:
                # The record itself is kept, so that no other can have its number.
                decoded = held(record) if isinstance(record, ArrayRecord) else record
                self._known[id(record)] = record, decoded, _size(record)
            _, decoded, bytes_ = self._known[id(record)]
            private[name] = _copied(decoded)
            size += bytes_
        return Content(private), size


def size_of_content(content: RecordDict) -> int:
    """Bytes of all records as they would travel."""
    return sum(_size(record) for record in content.values())


def not_finite(content: RecordDict) -> str | None:
    """Name of an array or metric that holds a NaN or an infinity; None where all is sound."""
    for record in content.values():
        if isinstance(record, ArrayRecord):
            spoilt = [name for name, array in record.items() if not _finite(array)]
        elif isinstance(record, MetricRecord):
            spoilt = [name for name, value in record.items() if not np.isfinite(value).all()]
        else:
            spoilt = []
        if spoilt:
            return str(spoilt[0])
    return None


def _copied(record: Record) -> Record:
    copied = record.copy()
    if not isinstance(record, ArrayRecord):
        for key, value in record.items():
            if isinstance(value, list):
                copied[key] = list(value)
    return copied


def _size(record: Record) -> int:
    if isinstance(record, ArrayRecord):
        return size_of(record)
    try:
        return int(record.count_bytes())
    except (ValueError, IndexError):
        # Flower refuses to count an empty text or list, which it lets travel all the same.
        return sum(len(name) + _size_of_value(value) for name, value in record.items())


def _size_of_value(value: object) -> int:
    if isinstance(value, list):
        return sum(map(_size_of_value, value))
    return len(value) if isinstance(value, (str, bytes)) else 1 if isinstance(value, bool) else 8


def _finite(array: Array) -> bool:
    if isinstance(array, HeldArray):
        return array.finite
    if array.stype != SType.NUMPY:
        return True
    values = array.numpy()
    return values.dtype.kind not in "fc" or bool(np.isfinite(values).all())
