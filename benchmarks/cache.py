"""Arrays that are computed once and kept on disk, under a key made of all that determines them."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.digest import digest

Arrays = dict[str, NDArray[Any]]

_LOG = logging.getLogger(__name__)
_CHECKSUM_BYTES = hashlib.sha256().digest_size


class Cache:
    """One file an entry, of a checksum and NumPy's own format; several processes may use one folder at once.

    A cache never stops a study: a damaged file is computed again, and a folder that cannot be written is not.

    Parameters
    ----------
    folder : Path
        Created when the first entry is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writable = True

    def get_or_compute(self, key: Mapping[str, Any], compute: Callable[[], Arrays]) -> Arrays:
        """Arrays kept under `key`, or else computed and kept.

        Parameters
        ----------
        key : mapping
            All that determines the arrays, as values that `benchmarks.digest` can describe.
        compute : callable
            Makes the arrays, none of them of Python objects; its errors pass through, and nothing is kept then.
        """
        path = self._folder / f"{digest(key)}.npz"
        kept = self._read(path)
        if kept is not None:
            return kept
        arrays = compute()
        if self._writable:
            self._write(path, arrays)
        return arrays

    def _read(self, path: Path) -> Arrays | None:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _LOG.warning("Cannot read %s (%s): computing it again.", path, error)
            return None
        checksum, body = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
        if hashlib.sha256(body).digest() != checksum:
            _LOG.warning("The cache file %s is damaged: computing it again.", path)
            return None
        with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
            return dict(arrays)

    def _write(self, path: Path, arrays: Arrays) -> None:
        body = io.BytesIO()
        np.savez(body, allow_pickle=False, **arrays)
        try:
            _replace(path, hashlib.sha256(body.getbuffer()).digest(), body.getbuffer())
        except OSError as error:
            self._writable = False
            _LOG.warning("Cannot write to the cache %s (%s): going on without it.", self._folder, error)


def _replace(path: Path, *content: bytes | memoryview) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.writelines(content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
