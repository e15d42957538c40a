"""What messages of a federation carry: Flower's own record of records, in a fraction of its time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.app.message.recorddict import _SyncedDict
from flwr.app.message.typeddict import TypedDict

Filled = TypeVar("Filled", bound=TypedDict[str, Any])
Record = TypeVar("Record", ArrayRecord, ConfigRecord, MetricRecord)


class Content(RecordDict):  # type: ignore[misc]
    """Behaves as `flwr.app.RecordDict`.

    An aggregator asks each reply several times for its records of a kind. Flower then makes a dictionary that checks
    every record again and writes it back to where it comes from, which takes longer than the rest of a round of small
    networks.

    Parameters
    ----------
    records : mapping of str to ArrayRecord, ConfigRecord or MetricRecord
        Not checked.
    """

    def __init__(self, records: Mapping[str, ArrayRecord | ConfigRecord | MetricRecord]) -> None:
        super().__init__()
        _fill(self, records)

    @property
    def array_records(self) -> TypedDict[str, ArrayRecord]:
        """See `flwr.app.RecordDict`."""
        return _view(self, ArrayRecord)

    @property
    def metric_records(self) -> TypedDict[str, MetricRecord]:
        """See `flwr.app.RecordDict`."""
        return _view(self, MetricRecord)

    @property
    def config_records(self) -> TypedDict[str, ConfigRecord]:
        """See `flwr.app.RecordDict`."""
        return _view(self, ConfigRecord)

    def deflate(self) -> bytes:
        """As Flower's own, which is what a network of Flower's knows how to bring to the other side."""
        content: bytes = RecordDict(dict(self.items())).deflate()
        return content


def array_record(arrays: Mapping[str, Array]) -> ArrayRecord:
    """Record of arrays as they are, neither checked nor encoded."""
    return _fill(ArrayRecord(), arrays)


def _view(content: Content, kind: type[Record]) -> TypedDict[str, Record]:
    return _fill(_SyncedDict(content, kind), {name: each for name, each in content.items() if isinstance(each, kind)})


def _fill(empty: Filled, items: Mapping[str, Any]) -> Filled:
    # Not item by item, which would check each.
    empty.__dict__["_data"].update(items)
    return empty
