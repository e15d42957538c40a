"""MATLAB files in the layouts that MATLAB gives to structs and cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io


def column(elements: Sequence[Any]) -> np.ndarray:
    """Cell array of one column."""
    return row(elements).T


def row(elements: Sequence[Any]) -> np.ndarray:
    """Cell array of one row."""
    array = np.empty((1, len(elements)), dtype=object)
    for place, element in enumerate(elements):
        array[0, place] = element
    return array


def write_mat(path: Path, variables: Mapping[str, Any], *, compressed: bool = True) -> Path:
    """File of version 5 (or 7, if compressed); mappings become structs of one element."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, dict(variables), do_compression=compressed)
    return path


def hdf5_header() -> bytes:
    """How a file of version 7.3 begins."""
    return b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM" + b"\0" * 384 + b"\x89HDF\r\n\x1a\n"
