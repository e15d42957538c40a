"""MATLAB files of versions 5 to 7, read through SciPy once they are known to be such."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.errors import DataError
from benchmarks.parts import nearest

HEADER_BYTES = 128
"""Of the header of the file: text, then the version and the mark of the byte order, of two bytes each."""

BROKEN_FILE = (
    ValueError, TypeError, LookupError, ArithmeticError, EOFError, OSError, NotImplementedError, zlib.error,
)  # fmt: skip
"""What SciPy may raise of a damaged file, besides its own `MatReadError`."""

REMEDY = "Get this file again from the publisher; if it lies in the cache, delete the folder it was unpacked into."

_ORDERS = {b"IM": "<", b"MI": ">"}
_HDF5_SIGNATURE = b"\x89HDF"
_HDF5_VERSION = 2

Array = NDArray[Any]


def byte_order(path: Path) -> str:
    """Byte order of a MATLAB file, ``"<"`` or ``">"``.

    The layout is that of the "MAT-File Format" manual of MathWorks.

    Raises
    ------
    DataError
        The file is missing, of version 7.3 (HDF5), or no MATLAB file of versions 5 to 7.
    """
    try:
        with path.open("rb") as stream:
            header = stream.read(HEADER_BYTES)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}. {REMEDY}") from error
    order = _ORDERS.get(header[126:128])
    if header.startswith(_HDF5_SIGNATURE) or (order and _version(header, order) == _HDF5_VERSION):
        raise DataError(
            f"{path} is a MATLAB file of version 7.3 (HDF5), which is not read here. Expected the published one, of "
            f"version 5 to 7: get it again, or in MATLAB load it and save it with '-v7'."
        )
    if order is None:
        raise DataError(f"{path}: its {path.stat().st_size} bytes do not begin as a MATLAB file does. {REMEDY}")
    return order


def variables(path: Path) -> tuple[str, ...]:
    """Names of the variables in a file, in its order; their values are not read. Raises as `read_variable`."""
    import scipy.io

    byte_order(path)
    try:
        return tuple(name for name, _, _ in scipy.io.whosmat(path, appendmat=False))
    except (*BROKEN_FILE, scipy.io.matlab.MatReadError) as error:
        raise damaged(path, error) from error


def read_variable(path: Path, name: str) -> Array:
    """One variable of a file, as `scipy.io.loadmat` gives it; the others are not kept in memory.

    Raises
    ------
    DataError
        The file is missing, damaged or of another version, or has no such variable.
    """
    import scipy.io

    byte_order(path)
    try:
        found = scipy.io.loadmat(path, variable_names=[name], appendmat=False)
    except (*BROKEN_FILE, scipy.io.matlab.MatReadError) as error:
        raise damaged(path, error) from error
    if name not in found:
        raise DataError(f"{path}: no variable {name!r}. {nearest(name, variables(path))}")
    return np.asarray(found[name])


def field(struct: Array, name: str, where: str) -> Array:
    """Field of a struct of one element, as MATLAB's ``struct.name``.

    Parameters
    ----------
    struct : ndarray, shape (1, 1)
        As `scipy.io.loadmat` gives a struct.
    name : str
        Field.
    where : str
        File and place in it, for error messages.

    Raises
    ------
    DataError
        It is no such struct, or has no such field.
    """
    if struct.dtype.names is None or struct.size != 1:
        raise DataError(
            f"{where}: expected a struct with a field {name!r}, found {struct.dtype} of shape {struct.shape}."
        )
    if name not in struct.dtype.names:
        raise DataError(f"{where}: no field {name!r}. {nearest(name, struct.dtype.names)}")
    return np.asarray(struct[name].item())


def cells(array: Array, where: str) -> Sequence[Array]:
    """Elements of a row or column of cells, in order.

    Raises
    ------
    DataError
        It is something else, or empty.
    """
    if array.dtype != object or array.size == 0 or array.size != max(array.shape):
        raise DataError(f"{where}: expected a row or column of cells, found {array.dtype} of shape {array.shape}.")
    return [np.asarray(element) for element in array.ravel()]


def numbers(array: Array, where: str) -> NDArray[np.float64]:
    """Real numbers of any type as float64, of the same shape.

    Raises
    ------
    DataError
        It holds something else.
    """
    if array.dtype.kind not in "fiu":
        raise DataError(f"{where}: expected numbers, found {array.dtype} of shape {array.shape}.")
    return np.asarray(array, dtype=np.float64)


def damaged(path: Path, error: Exception) -> DataError:
    """Error of a file that begins as it should and cannot be read."""
    return DataError(f"{path} is truncated or damaged ({type(error).__name__}: {error}). {REMEDY}")


def _version(header: bytes, order: str) -> int:
    """Major version of the format, from a header that is whole."""
    return header[125] if order == "<" else header[124]
