from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from benchmarks.datasets import matlab
from benchmarks.errors import DataError
from tests.benchmarks.datasets.matlab_files import column, hdf5_header, row, write_mat

CONTENT: dict[str, Any] = {
    "one": np.array([[1, 2, 3]], dtype=np.uint8),
    "two": {"inner": {"deep": np.array([[7.5]])}, "text": "word"},
    "three": column([np.zeros((2, 1)), np.ones((1, 3))]),
}


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return write_mat(tmp_path / "small.mat", CONTENT, compressed=request.param)


def test_variables_are_named_and_read_one_by_one(file: Path) -> None:
    assert matlab.variables(file) == ("one", "two", "three")
    assert matlab.read_variable(file, "one").tolist() == [[1, 2, 3]]
    assert matlab.byte_order(file) == "<"


def test_fields_and_cells_as_matlab_has_them(file: Path) -> None:
    struct = matlab.read_variable(file, "two")
    deep = matlab.field(matlab.field(struct, "inner", "two"), "deep", "two.inner")
    assert deep.tolist() == [[7.5]]
    first, second = matlab.cells(matlab.read_variable(file, "three"), "three")
    assert (first.shape, second.tolist()) == ((2, 1), [[1, 1, 1]])


@pytest.mark.parametrize("kind", [np.int16, np.uint8, np.float32])
def test_numbers_of_any_type_become_float64(kind: type) -> None:
    found = matlab.numbers(np.array([[1, 2]], dtype=kind), "here")
    assert found.dtype == np.float64
    assert found.tolist() == [[1, 2]]


def test_what_is_not_of_the_shape_that_is_asked_for(file: Path) -> None:
    struct = matlab.read_variable(file, "two")
    asks: dict[str, Callable[[], object]] = {
        r"here: no field 'iner'\. Legal: inner, text\. Did you mean 'inner'": lambda: matlab.field(
            struct, "iner", "here"
        ),
        r"here: expected a struct with a field 'a', found uint8 of shape \(1, 3\)": lambda: matlab.field(
            matlab.read_variable(file, "one"), "a", "here"
        ),
        r"here: expected a row or column of cells, found float64": lambda: matlab.cells(np.zeros((2, 1)), "here"),
        r"here: expected a row or column of cells, found object of shape \(2, 2\)": lambda: matlab.cells(
            np.full((2, 2), None), "here"
        ),
        r"here: expected a row or column of cells, found object of shape \(1, 0\)": lambda: matlab.cells(
            row([]), "here"
        ),
        r"here: expected numbers, found <U4 of shape \(1,\)": lambda: matlab.numbers(np.array(["text"]), "here"),
        r"here: expected numbers, found complex128": lambda: matlab.numbers(np.array([1j]), "here"),
        r"no variable 'tow'\. Legal: one, three, two\. Did you mean 'two'": lambda: matlab.read_variable(file, "tow"),
    }
    for message, ask in asks.items():
        with pytest.raises(DataError, match=message):
            ask()


def test_a_file_that_ends_anywhere_inside_its_variable_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    scipy.io.savemat(file, {"only": CONTENT["two"]}, do_compression=whole[128] == 15)
    whole = file.read_bytes()
    for size in range(129, len(whole), 7):
        file.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"small\.mat is truncated or damaged|no variable 'only'"):
            matlab.read_variable(file, "only")


def test_a_damaged_file(tmp_path: Path) -> None:
    file = write_mat(tmp_path / "small.mat", CONTENT)
    whole = bytearray(file.read_bytes())
    whole[150:160] = b"\xff" * 10
    file.write_bytes(whole)
    with pytest.raises(DataError, match=r"small\.mat is truncated or damaged \(.*Get this file again"):
        matlab.read_variable(file, "one")


@pytest.mark.parametrize("ask", [matlab.variables, matlab.byte_order, lambda path: matlab.read_variable(path, "one")])
def test_files_of_other_kinds(tmp_path: Path, ask: Callable[[Path], object]) -> None:
    kinds = {
        r"is a MATLAB file of version 7\.3 \(HDF5\).*'-v7'": hdf5_header(),
        r"small\.mat is a MATLAB file of version 7\.3": b"\x89HDF\r\n\x1a\n" + b"\0" * 500,
        "its 6 bytes do not begin as a MATLAB file does": b"no mat",
        "its 0 bytes do not begin": b"",
    }
    for message, content in kinds.items():
        (tmp_path / "small.mat").write_bytes(content)
        with pytest.raises(DataError, match=message):
            ask(tmp_path / "small.mat")
    with pytest.raises(DataError, match=r"Cannot read .*gone\.mat: No such file"):
        ask(tmp_path / "gone.mat")
