"""A large struct in a MATLAB file, read piece by piece: SciPy would hold all of it in memory."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from benchmarks.datasets.matlab import BROKEN_FILE, HEADER_BYTES, Array, byte_order, damaged
from benchmarks.errors import DataError
from benchmarks.parts import nearest

# Numbers of the "MAT-File Format" manual of MathWorks.
_MATRIX = 14
_COMPRESSED = 15
_CELL = 1
_STRUCT = 2

_TAG_BYTES = 8
_CHUNK_BYTES = 1 << 20
_WRAPPED = "wrapped"


class LargeStruct:
    """A struct of one element that is a variable of a file of versions 5 to 7; one of its fields is a large cell array.

    Each question reads the file from its start to the answer, decompressing it as it goes, and keeps the answer only.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        The variable.

    Raises
    ------
    DataError
        From each of its methods: the file is missing, truncated, damaged or of another version, or has no such struct,
        field or cell array.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name

    def count(self, field: str) -> int:
        """Number of cells in a field; what they hold is not read."""
        with self._cells(field) as (_, count):
            return count

    def fields_of_first(self, field: str) -> tuple[str, ...]:
        """Names of the fields of the struct in the first cell of a field; their values are not read."""
        with self._cells(field) as (elements, _):
            return elements.matrix().fields

    def cell(self, field: str, index: int) -> Array:
        """What one cell of a field holds, as `scipy.io.loadmat` gives it."""
        with self._cells(field) as (elements, count):
            if not 0 <= index < count:
                raise DataError(f"{self._path}: {self._name}.{field} has {count} cells, and none of index {index}.")
            for _ in range(index):
                elements.skip()
            return self._loaded(elements)

    def others(self, field: str) -> dict[str, Array]:
        """All fields of the struct but this one, as `scipy.io.loadmat` gives them."""
        values = {}
        with self._opened() as (elements, fields):
            for name in fields:
                if name == field:
                    elements.skip()
                else:
                    values[name] = self._loaded(elements)
        return values

    @contextmanager
    def _cells(self, field: str) -> Iterator[tuple[_Elements, int]]:
        """Elements from the first cell of a field on, and the number of cells."""
        with self._opened() as (elements, fields):
            if field not in fields:
                raise DataError(f"{self._path}: {self._name} has no field {field!r}. {nearest(field, fields)}")
            for _ in range(fields.index(field)):
                elements.skip()
            found = elements.matrix()
            if found.kind != _CELL:
                raise DataError(f"{self._path}: expected {self._name}.{field} to be an array of cells, one a subject.")
            yield elements, math.prod(found.shape)

    @contextmanager
    def _opened(self) -> Iterator[tuple[_Elements, tuple[str, ...]]]:
        """Elements from the first field of the struct on, and the names of the fields."""
        order = byte_order(self._path)
        try:
            with self._path.open("rb") as file:
                elements, found = self._found(file, order)
                if found.kind != _STRUCT or math.prod(found.shape) != 1:
                    raise DataError(
                        f"{self._path}: expected the variable {self._name!r} to be a struct of one element."
                    )
                yield elements, found.fields
        except (*BROKEN_FILE, struct.error) as error:
            raise damaged(self._path, error) from error

    def _found(self, file: BinaryIO, order: str) -> tuple[_Elements, _Matrix]:
        """The variable's elements from behind its head on, and its head."""
        met, place, end = [], HEADER_BYTES, self._path.stat().st_size
        while place < end:
            file.seek(place)
            outer = _Elements(file, order)
            kind, size = outer.tag()
            if kind == _COMPRESSED:
                elements = _Elements(io.BufferedReader(_Inflated(file), _CHUNK_BYTES), order)
                elements.tag()
            else:
                elements = outer
            matrix = elements.head()
            if matrix.name == self._name:
                return elements, matrix
            met.append(matrix.name)
            place += _TAG_BYTES + size
        raise DataError(f"{self._path}: no variable {self._name!r}. {nearest(self._name, met)}")

    def _loaded(self, elements: _Elements) -> Array:
        """The next element as SciPy reads it, from a file of its own that holds nothing else."""
        import scipy.io

        file = io.BytesIO(_file_of_one_cell(elements.whole(), elements.order))
        try:
            cell = scipy.io.loadmat(file, variable_names=[_WRAPPED])[_WRAPPED]
        except scipy.io.matlab.MatReadError as error:
            raise damaged(self._path, error) from error
        return np.asarray(cell.item())


@dataclass(frozen=True)
class _Matrix:
    """Head of an array: its class, shape, name, and the names of its fields if it is a struct."""

    kind: int
    shape: tuple[int, ...]
    name: str
    fields: tuple[str, ...]


class _Elements:
    """Data elements one after another; those that are skipped are read too, so that a truncated file is found out."""

    def __init__(self, stream: io.BufferedIOBase | BinaryIO, order: str) -> None:
        self._stream = stream
        self.order = order

    def tag(self) -> tuple[int, int]:
        """Type and size, in bytes, of an element that is not of the small format."""
        kind, size = struct.unpack(f"{self.order}II", self._take(_TAG_BYTES))
        return kind, size

    def matrix(self) -> _Matrix:
        """Head of the array that comes next; its content follows."""
        self._matrix_size()
        return self.head()

    def head(self) -> _Matrix:
        """Head of the array whose tag was just read; its content follows."""
        kind = struct.unpack(f"{self.order}I", self._small()[:4])[0] & 0xFF
        shape = self._integers(self._small())
        name = self._small().decode("latin1")
        fields: tuple[str, ...] = ()
        if kind == _STRUCT:
            (width,) = self._integers(self._small())
            names = self._small()
            starts = range(0, len(names), width)
            fields = tuple(names[at : at + width].split(b"\0")[0].decode("latin1") for at in starts)
        return _Matrix(kind, shape, name, fields)

    def whole(self) -> bytes:
        """The array that comes next, its tag included."""
        size = self._matrix_size()
        return struct.pack(f"{self.order}II", _MATRIX, size) + self._take(size)

    def skip(self) -> None:
        """Pass over the array that comes next."""
        left = self._matrix_size()
        while left:
            left -= len(self._take(min(left, _CHUNK_BYTES)))

    def _matrix_size(self) -> int:
        kind, size = self.tag()
        if kind != _MATRIX:
            raise ValueError(f"an element of type {kind} where an array was expected")
        return size

    def _small(self) -> bytes:
        """Data of the element that comes next: in its tag (the small format), or behind it, filled up to 8 bytes."""
        head = self._take(_TAG_BYTES)
        kind, size = struct.unpack(f"{self.order}II", head)
        if kind >> 16:
            return head[4 : 4 + (kind >> 16)]
        return self._take(size + -size % 8)[:size]

    def _integers(self, data: bytes) -> tuple[int, ...]:
        return struct.unpack(f"{self.order}{len(data) // 4}i", data)

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise EOFError(f"{size - len(data)} bytes are missing at its end")
        return data


class _Inflated(io.RawIOBase):
    """What a compressed element holds, from a file that stands behind its tag."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflate = zlib.decompressobj()

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer, at least in part; 0 at the end of the element, or of the file."""
        data = b""
        while not data and not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._file.read(_CHUNK_BYTES)
            if not packed:
                break
            data = self._inflate.decompress(packed, len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _file_of_one_cell(element: bytes, order: str) -> bytes:
    """MATLAB file with one variable, a cell that holds an array; arrays inside others have no name of their own."""
    name = _WRAPPED.encode().ljust(-(-len(_WRAPPED) // 8) * 8, b"\0")
    head = struct.pack(f"{order}IIII", 6, 8, _CELL, 0)
    head += struct.pack(f"{order}IIii", 5, 8, 1, 1)
    head += struct.pack(f"{order}II", 1, len(_WRAPPED)) + name
    content = head + element
    version = struct.pack(f"{order}HH", 0x0100, 0x4D49)
    return b" " * (HEADER_BYTES - 4) + version + struct.pack(f"{order}II", _MATRIX, len(content)) + content
