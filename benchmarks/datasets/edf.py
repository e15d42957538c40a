"""EDF files, read through MNE once they are known to be whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.errors import DataError

if TYPE_CHECKING:
    import mne

_FIXED_HEADER = 256
_SIGNAL_HEADER = 256
_SAMPLES_FIELD = 216
"""Bytes of the per-signal header, over all signals, that stand before the numbers of samples per record."""


def read_edf(path: Path) -> mne.io.BaseRaw:
    """Recording in an EDF file, not yet loaded, with the file's own channel names, in volts.

    Raises
    ------
    DataError
        The file is missing, shorter than its header says, or not EDF.
    """
    import mne

    _check_whole(path)
    try:
        return mne.io.read_raw_edf(path, preload=False, verbose="error")
    except (ValueError, RuntimeError, KeyError, IndexError, OSError) as error:
        raise DataError(f"{path}: MNE cannot read this EDF file ({error}). {_REMEDY}") from error


def _check_whole(path: Path) -> None:
    """Compare a file's size to its header; MNE would read a truncated file with no more than a warning.

    The layout is that of the EDF specification (Kemp et al., Electroencephalogr. Clin. Neurophysiol. 1992, 82:391).
    """
    try:
        with path.open("rb") as stream:
            fixed = stream.read(_FIXED_HEADER)
            signals = int(fixed[252:256])
            stream.seek(_FIXED_HEADER + signals * _SAMPLES_FIELD)
            samples = [int(stream.read(8)) for _ in range(signals)]
        header, records = int(fixed[184:192]), int(fixed[236:244])
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}. {_REMEDY}") from error
    except ValueError as error:
        raise DataError(
            f"{path}: its {path.stat().st_size} bytes do not begin with an EDF header. {_REMEDY}"
        ) from error
    # A recorder writes -1 records until it is stopped: then the header promises nothing.
    expected, found = header + max(records, 0) * 2 * sum(samples), path.stat().st_size
    if header != _FIXED_HEADER + signals * _SIGNAL_HEADER:
        raise DataError(f"{path}: its EDF header contradicts itself ({signals} signals in {header} bytes). {_REMEDY}")
    if found < expected:
        raise DataError(
            f"{path} is truncated: its header says {expected} bytes ({records} records), it has {found}. {_REMEDY}"
        )


_REMEDY = "Get this file again from the publisher; if it lies in the cache, delete the folder it was unpacked into."
