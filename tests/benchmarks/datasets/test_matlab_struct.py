from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.datasets.matlab_struct import LargeStruct
from benchmarks.errors import DataError
from tests.benchmarks.datasets.matlab_files import column, hdf5_header, row, write_mat

NAME = "BIG"


def content(count: int = 3, before: str = "", samples: int = 50) -> dict[str, Any]:
    """A struct with a cell of `count` subjects, some with fields that others lack, between other fields."""
    people = [
        {"x": column([np.full((samples, 2), 10.0 * place + n) for n in range(2)]), f"only{place}": "text"}
        for place in range(count)
    ]
    return {"First": before, "Data": row(people), "Rate": 128.0, "Names": row(["AF3", "F7"])}


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def compressed(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def file(tmp_path: Path, compressed: bool) -> Path:
    return write_mat(
        tmp_path / "big.mat", {"other": np.arange(9.0), NAME: content(), "last": 1.0}, compressed=compressed
    )


def same(one: Any, other: Any) -> bool:
    """Whether two values, as SciPy gives them, are the same, whatever is nested in them."""
    if one.dtype.names is not None:
        return one.dtype.names == other.dtype.names and all(same(one[n], other[n]) for n in one.dtype.names)
    if one.dtype == object:
        return one.shape == other.shape and all(map(same, one.ravel(), other.ravel()))
    return one.dtype == other.dtype and np.array_equal(one, other)


def test_pieces_are_what_scipy_reads_of_the_whole(file: Path) -> None:
    large, whole = LargeStruct(file, NAME), scipy.io.loadmat(file)[NAME][0, 0]
    assert large.count("Data") == 3
    assert large.fields_of_first("Data") == ("x", "only0")
    for place in range(3):
        found = large.cell("Data", place)
        assert same(found, whole["Data"][0, place])
        assert found["x"][0, 0][1, 0][0].tolist() == [10 * place + 1] * 2
    others = large.others("Data")
    assert list(others) == ["First", "Rate", "Names"]
    assert all(same(value, whole[name]) for name, value in others.items())
    assert others["Rate"].item() == 128


@settings(max_examples=30, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4)), min_size=1, max_size=6),
    text=st.text(alphabet="abcdefgh", max_size=20),
    kind=st.sampled_from(["f8", "f4", "i2", "u1"]),
    packed=st.booleans(),
)
def test_any_cell_behind_anything_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[int, int]], text: str, kind: str, packed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.mat"
    arrays = [np.arange(rows * columns).reshape(rows, columns).astype(kind) for rows, columns in shapes]
    people = row([{"x": array, "y": text} for array in arrays])
    write_mat(path, {NAME: {"a": text, "Data": people, "b": [1, 2]}}, compressed=packed)
    large = LargeStruct(path, NAME)
    assert large.count("Data") == len(arrays)
    for place, array in enumerate(arrays):
        found = large.cell("Data", place)["x"][0, 0]
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array.reshape(found.shape))
    assert large.others("Data")["b"].tolist() == [[1, 2]]


def test_no_more_than_one_cell_is_held(tmp_path: Path, compressed: bool) -> None:
    file = write_mat(tmp_path / "big.mat", {NAME: content(12, samples=60_000)}, compressed=compressed)
    large = LargeStruct(file, NAME)
    one = 2 * 60_000 * 2 * 8
    tracemalloc.start()
    try:
        large.count("Data")
        assert tracemalloc.get_traced_memory()[1] < 8e6, "SciPy itself and the buffers"
        tracemalloc.reset_peak()
        large.cell("Data", 11)
        assert tracemalloc.get_traced_memory()[1] < 8e6 + 5 * one < 12 * one + 8e6
    finally:
        tracemalloc.stop()


def big_endian() -> bytes:
    """A struct {Data: {7.0, 9.0}} as a machine of the other byte order writes it, by hand."""

    def element(kind: int, data: bytes) -> bytes:
        return struct.pack(">II", kind, len(data)) + data + b"\0" * (-len(data) % 8)

    def matrix(kind: int, name: bytes, rest: bytes) -> bytes:
        flags, shape = element(6, struct.pack(">II", kind, 0)), element(5, struct.pack(">ii", 1, 1 + (kind == 1)))
        # A name or width of four bytes or fewer stands in its tag.
        small = struct.pack(">HH", len(name), 1) + name.ljust(4, b"\0")
        return element(14, flags + shape + small + rest)

    numbers = [matrix(6, b"", element(9, struct.pack(">d", value))) for value in (7.0, 9.0)]
    width = struct.pack(">HHi", 4, 5, 8)
    fields = width + element(1, b"Data\0\0\0\0") + matrix(1, b"", b"".join(numbers))
    return b"by hand".ljust(124) + b"\1\0MI" + matrix(2, NAME.encode(), fields)


def test_the_other_byte_order_and_tags_that_hold_their_data(tmp_path: Path) -> None:
    file = tmp_path / "big.mat"
    file.write_bytes(big_endian())
    large = LargeStruct(file, NAME)
    assert large.count("Data") == 2
    assert [large.cell("Data", place).item() for place in range(2)] == [7, 9]
    assert large.others("Data") == {}


Ask = Callable[[LargeStruct], object]
ASKS: dict[str, Ask] = {
    "count": lambda large: large.count("Data"),
    "fields": lambda large: large.fields_of_first("Data"),
    "cell": lambda large: large.cell("Data", 0),
    "others": lambda large: large.others("Data"),
}


@pytest.mark.parametrize("ask", ASKS)
def test_another_variable_or_field(file: Path, ask: str) -> None:
    with pytest.raises(DataError, match=r"big\.mat: no variable 'BIGG'\. Legal: BIG, last, other\. Did you mean 'BIG'"):
        ASKS[ask](LargeStruct(file, "BIGG"))
    with pytest.raises(DataError, match="expected the variable 'other' to be a struct of one element"):
        ASKS[ask](LargeStruct(file, "other"))


def test_another_field_or_cell(file: Path) -> None:
    large = LargeStruct(file, NAME)
    with pytest.raises(
        DataError, match="BIG has no field 'data'. Legal: Data, First, Names, Rate. Did you mean 'Data'"
    ):
        large.count("data")
    with pytest.raises(DataError, match=r"expected BIG\.Rate to be an array of cells, one a subject"):
        large.cell("Rate", 0)
    for place in (-1, 3):
        with pytest.raises(DataError, match=rf"BIG\.Data has 3 cells, and none of index {place}"):
            large.cell("Data", place)


def test_a_struct_of_several_elements(tmp_path: Path) -> None:
    several = np.zeros((1, 2), dtype=[("Data", object)])
    file = write_mat(tmp_path / "big.mat", {NAME: several})
    with pytest.raises(DataError, match="expected the variable 'BIG' to be a struct of one element"):
        LargeStruct(file, NAME).count("Data")


def test_a_truncated_file_is_found_out_where_it_is_read(file: Path, compressed: bool) -> None:
    whole = write_mat(file, {NAME: content()}, compressed=compressed).read_bytes()
    for size in range(140, len(whole) - 8, 101):
        file.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"big\.mat is truncated or damaged|no variable 'BIG'"):
            LargeStruct(file, NAME).others("Data")


def test_a_damaged_compressed_file(tmp_path: Path) -> None:
    file = write_mat(tmp_path / "big.mat", {NAME: content()})
    whole = bytearray(file.read_bytes())
    whole[200:240] = b"\xff" * 40
    file.write_bytes(whole)
    with pytest.raises(DataError, match=r"big\.mat is truncated or damaged"):
        LargeStruct(file, NAME).others("Data")


@pytest.mark.parametrize("ask", ASKS)
def test_files_of_other_kinds(tmp_path: Path, ask: str) -> None:
    large = LargeStruct(tmp_path / "big.mat", NAME)
    with pytest.raises(DataError, match=r"Cannot read .*big\.mat"):
        ASKS[ask](large)
    (tmp_path / "big.mat").write_bytes(hdf5_header())
    with pytest.raises(DataError, match=r"version 7\.3 \(HDF5\)"):
        ASKS[ask](large)
