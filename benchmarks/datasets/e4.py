"""Exports of an Empatica E4 wristband: a folder, or a zip archive, of CSV files of one session."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.datasets.storage import BROKEN_ARCHIVE
from benchmarks.errors import DataError
from benchmarks.windows import FloatArray

if TYPE_CHECKING:
    import mne

_G = 9.80665
"""Standard gravity, m/s^2."""


@dataclass(frozen=True)
class _Kind:
    """One continuous signal of the wristband, and what turns its file's unit into ours."""

    file: str
    channels: tuple[str, ...]
    sfreq: float
    scale: float
    mne_type: str


_KINDS = {
    "acc": _Kind("ACC.csv", ("ACC_X", "ACC_Y", "ACC_Z"), 32.0, _G / 64, "misc"),
    "bvp": _Kind("BVP.csv", ("BVP",), 64.0, 1.0, "misc"),
    "eda": _Kind("EDA.csv", ("EDA",), 4.0, 1e-6, "gsr"),
    "temp": _Kind("TEMP.csv", ("TEMP",), 4.0, 1.0, "temperature"),
}
_IBI = "IBI.csv"
_FILES = (*(kind.file for kind in _KINDS.values()), _IBI)

SIGNALS = (*_KINDS, "ibi")
"""Names of the signals and events in a recording of the wristband that is whole."""

_LOOKS = {(3, 32.0): "ACC.csv", (1, 64.0): "BVP.csv", (1, 4.0): "EDA.csv or TEMP.csv", (1, 1.0): "HR.csv"}
"""Which file has so many columns at such a rate."""

UNIX_S = 1e9
"""Times from here on (September 2001) are unix seconds: no recording is that long."""

_APART_S = 5.0
"""Starts of the files of one session may differ by so much."""
_SHORTER_S, _SHORTER = 30.0, 0.01
"""Files of one session may end so much apart, in seconds and as a part of the longest, whichever is more."""
_TEMPERATURES = (10.0, 50.0)
_COLD = 5.0
_ROWS_COMPARED = 10

_REMEDY = "Export this session again; or remove the file, and the recording is read without its signal."


@dataclass(frozen=True, eq=False)
class E4Export:
    """What the wristband recorded in one session.

    Parameters
    ----------
    signals : mapping of str to mne.io.RawArray
        Those of which there is a file: ``"acc"`` (channels ACC_X, ACC_Y, ACC_Z; m/s^2, 32 Hz), ``"bvp"`` (BVP; the
        device's own unit, 64 Hz), ``"eda"`` (EDA; siemens, 4 Hz), ``"temp"`` (TEMP; degrees Celsius, 4 Hz).
    events : mapping of str to mne.Annotations
        ``"ibi"``, where there is a file of it: each interval between two heart beats, from the first beat to the
        second, seconds from the start of the recording.
    start_unix_s : float
        Start of the recording: the earliest of its files.
    """

    signals: Mapping[str, mne.io.BaseRaw]
    events: Mapping[str, mne.Annotations]
    start_unix_s: float

    @property
    def duration_s(self) -> float:
        """End of the signal that ends last, seconds from the start of the recording."""
        return max(float(raw.first_time + raw.n_times / raw.info["sfreq"]) for raw in self.signals.values())


@dataclass(frozen=True, eq=False)
class _Stream:
    """Content of one file: where it is told of, its start in unix seconds, and its rows (T, C) in its own unit."""

    where: str
    start: float
    rows: FloatArray


def is_export(place: Path) -> bool:
    """Whether a path is a zip archive, or a folder with at least one file of the wristband."""
    return bool(_members(place)) if place.is_dir() else place.suffix.lower() == ".zip" and place.is_file()


def export_files(place: Path) -> list[Path]:
    """Files that an export is read from: those of the wristband in a folder, or the archive itself."""
    return _members(place) if place.is_dir() else [place]


def recorded(place: Path) -> frozenset[str]:
    """Names of the signals and events that an export has a file of, without reading them.

    Raises
    ------
    DataError
        The archive cannot be read.
    """
    if place.is_dir():
        found = {file.name for file in _members(place)}
    else:
        try:
            with zipfile.ZipFile(place) as opened:
                found = {name for name, _ in _zipped(opened)}
        except (OSError, *BROKEN_ARCHIVE) as error:
            raise DataError(
                f"{place} is no zip archive that can be read ({error}): export this session again."
            ) from error
    files = {**{name: kind.file for name, kind in _KINDS.items()}, "ibi": _IBI}
    return frozenset(name for name, file in files.items() if file in found)


def recorded_by_all(places: Iterable[Path]) -> tuple[str, ...]:
    """Names of the signals and events that each of several exports has a file of, as `recorded` says."""
    everywhere = frozenset(SIGNALS).intersection(*map(recorded, places))
    return tuple(name for name in SIGNALS if name in everywhere)


def read_e4(place: Path) -> E4Export:
    """Read one session of the wristband.

    A file begins with its start in unix seconds and its rate; ``IBI.csv`` begins with its start, and then tells when
    the second beat of each interval came and how long the interval was. ``HR.csv``, which starts ten seconds late and
    is averaged over them, and the button's ``tags.csv`` are not read. Samples are kept as they were recorded: the first
    ones of the electrodermal signal are 0 (the electrode is not measured yet), which is for representations to find.

    Parameters
    ----------
    place : Path
        Folder of the CSV files, or zip archive with them at any depth.

    Raises
    ------
    DataError
        None of the four continuous signals is there; or a file is empty, truncated, without its header, not numeric,
        another one's content, or of another session than the rest.
    """
    contents = _contents(place)
    streams = {
        name: _stream(f"{place}/{kind.file}", kind, contents[kind.file])
        for name, kind in _KINDS.items()
        if kind.file in contents
    }
    if not streams:
        raise DataError(
            f"{place} holds none of {', '.join(kind.file for kind in _KINDS.values())}: it is no export of an E4 "
            f"wristband. Expected the CSV files of one session."
        )
    beats = {"ibi": _beats(f"{place}/{_IBI}", contents[_IBI])} if _IBI in contents else {}
    _refuse_swapped(streams)
    _refuse_other_sessions(place, streams, beats)
    start = min(stream.start for stream in (*streams.values(), *beats.values()))
    return E4Export(
        signals={name: _raw(stream, _KINDS[name], start) for name, stream in streams.items()},
        events={name: _intervals(stream, start) for name, stream in beats.items()},
        start_unix_s=start,
    )


def _members(folder: Path) -> list[Path]:
    return [folder / name for name in _FILES if (folder / name).is_file()]


def _contents(place: Path) -> dict[str, bytes]:
    """Bytes of each file of the wristband, by its name."""
    try:
        if place.is_dir():
            return {file.name: file.read_bytes() for file in _members(place)}
        return _unzipped(place)
    except OSError as error:
        raise DataError(f"Cannot read {place}: {error.strerror}.") from error


def _unzipped(archive: Path) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(archive) as opened:
            for name, member in _zipped(opened):
                if name in contents:
                    raise DataError(f"{archive} holds more than one {name}. Expected one session in an archive.")
                contents[name] = opened.read(member)
    except BROKEN_ARCHIVE as error:
        raise DataError(
            f"{archive} is no zip archive that can be read ({error}): export this session again."
        ) from error
    return contents


def _zipped(archive: zipfile.ZipFile) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """Files of the wristband in an archive, at any depth, each with its name alone."""
    for member in archive.infolist():
        place = PurePosixPath(member.filename)
        # macOS adds files of the same names, about the files and not of them.
        if place.name in _FILES and not member.is_dir() and "__MACOSX" not in place.parts:
            yield place.name, member


def _stream(where: str, kind: _Kind, content: bytes) -> _Stream:
    first, second = _header(where, content, 2)
    starts, rates = _numbers(where, 1, first), _numbers(where, 2, second)
    if min(starts) < UNIX_S:
        raise DataError(
            f"{where}, row 1: {first!r} is no start in unix seconds; its header is missing or damaged. {_REMEDY}"
        )
    if len(set(starts)) > 1 or len(set(rates)) > 1 or len(starts) != len(rates):
        raise DataError(
            f"{where}, rows 1 and 2: {first!r} and {second!r} say several starts or rates. Expected one start and one "
            f"rate, again for each column. {_REMEDY}"
        )
    found, expected = (len(rates), rates[0]), (len(kind.channels), kind.sfreq)
    if found != expected:
        other = f" That is how {_LOOKS[found]} looks: were files swapped?" if found in _LOOKS else ""
        raise DataError(f"{where}: {_told(found)}, expected {_told(expected)}.{other} {_REMEDY}")
    rows = _rows(where, content, header=2, columns=len(kind.channels))
    if not len(rows):
        raise DataError(f"{where} has no sample under its header. {_REMEDY}")
    return _Stream(where, starts[0], rows)


def _beats(where: str, content: bytes) -> _Stream:
    """Rows of the time of an interval's second beat, seconds from the start of the file, and of its length, s."""
    (first,) = _header(where, content, 1)
    start, _, name = first.partition(",")
    if name.strip() != "IBI":
        raise DataError(
            f"{where}, row 1: {first!r}, expected the start in unix seconds and the word IBI: another file's content? "
            f"{_REMEDY}"
        )
    (begin,) = _numbers(where, 1, start)
    rows = _rows(where, content, header=1, columns=2)
    wrong = (rows[:, 1] <= 0) | (np.diff(rows[:, 0], prepend=-np.inf) <= 0)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise DataError(
            f"{where}, row {at + 2}: a beat at {rows[at, 0]:g} s, {rows[at, 1]:g} s after the one before it. Expected "
            f"beats in the order of time, and intervals above 0. {_REMEDY}"
        )
    return _Stream(where, begin, rows)


def _header(where: str, content: bytes, count: int) -> list[str]:
    if not content.strip():
        raise DataError(f"{where} is empty. {_REMEDY}")
    # A byte order mark may stand before the first row of a file that went through a spreadsheet.
    lines = [line.decode("utf-8-sig", "replace").strip() for line in content.split(b"\n", count)[:count]]
    if len(lines) < count or not all(lines):
        raise DataError(f"{where} ends in its header: it is truncated. {_REMEDY}")
    return lines


def _numbers(where: str, row: int, text: str) -> list[float]:
    try:
        return [_finite(field) for field in text.split(",")]
    except ValueError as error:
        hint = " This is how IBI.csv begins: were files swapped?" if "IBI" in text else ""
        raise DataError(f"{where}, row {row}: {text!r} is not numeric.{hint} {_REMEDY}") from error


def _finite(field: str) -> float:
    number = float(field)
    if not math.isfinite(number):
        raise ValueError(field)
    return number


def _rows(where: str, content: bytes, header: int, columns: int) -> FloatArray:
    """Numbers (T, C) under the header."""
    import pandas as pd

    _refuse_half_row(where, content)
    try:
        frame = pd.read_csv(io.BytesIO(content), header=None, skiprows=header, dtype=np.float64, na_filter=False)
    except pd.errors.EmptyDataError:
        return np.empty((0, columns))
    except ValueError as error:
        raise DataError(f"{where}{_wrong_row(content, header, columns)}. {_REMEDY}") from error
    rows = frame.to_numpy()
    if rows.shape[1] != columns or not np.isfinite(rows).all():
        raise DataError(f"{where}{_wrong_row(content, header, columns)}. {_REMEDY}")
    return np.asarray(rows)


def _wrong_row(content: bytes, header: int, columns: int) -> str:
    """Which row cannot be read, and why; looked for only once it is known that there is one."""
    lines = content.decode("utf-8", "replace").splitlines()
    for number, line in enumerate(lines[header:], header + 1):
        fields = line.split(",")
        end = ": it is truncated" if number == len(lines) and not content.endswith(b"\n") else ""
        if line.strip() and len(fields) != columns:
            return f", row {number}: {line!r} has {_columns(len(fields))}, expected {columns}{end}"
        try:
            _ = [_finite(field) for field in fields if line.strip()]
        except ValueError:
            return f", row {number}: {line!r} is not numeric{end}"
    return " is not a table of numbers"


def _refuse_half_row(where: str, content: bytes) -> None:
    """Refuse a file that was cut in the middle of its last number: the device writes all with as many decimals.

    A whole file may also lack the end of its last row, and its numbers may have any decimals.
    """
    if content.endswith(b"\n"):
        return
    lines = content[-4096:].split(b"\n")[1:]
    *before, last = [len(line.rpartition(b",")[2].partition(b".")[2].strip()) for line in lines] or [0]
    before = before[-_ROWS_COMPARED:]
    if len(before) == _ROWS_COMPARED and len(set(before)) == 1 and last < before[0]:
        raise DataError(
            f"{where} ends in the middle of a number ({lines[-1].decode('utf-8', 'replace')!r}): it is truncated. "
            f"{_REMEDY}"
        )


def _refuse_swapped(streams: Mapping[str, _Stream]) -> None:
    """Refuse a temperature in the place of electrodermal activity, whose files differ in nothing but their values.

    Electrodermal activity begins at 0, and rests there while the wristband is off; no temperature of a wrist does. So
    a file of it that lies between 10 and 50 throughout is one of temperature, if the other file goes below 5 as
    temperature would only in the frost, or is the same.
    """
    if "eda" not in streams or "temp" not in streams:
        return
    eda, temp = streams["eda"].rows, streams["temp"].rows
    low, high = _TEMPERATURES
    if eda.min() >= low and eda.max() <= high and (temp.min() < _COLD or np.array_equal(eda, temp)):
        raise DataError(
            f"{streams['eda'].where} has values of {eda.min():g} to {eda.max():g}, as of a temperature, and "
            f"{streams['temp'].where} of {temp.min():g} to {temp.max():g}: were these files swapped? Expected "
            f"microsiemens, beginning at 0, in the first and degrees Celsius in the second."
        )


def _refuse_other_sessions(place: Path, streams: Mapping[str, _Stream], beats: Mapping[str, _Stream]) -> None:
    """Refuse files that start or end at other times than the rest."""
    starts = {Path(stream.where).name: stream.start for stream in (*streams.values(), *beats.values())}
    first = min(starts.values())
    if max(starts.values()) - first > _APART_S:
        raise DataError(
            f"{place}: the files do not start together ({_listed(starts, '.0f')}; unix seconds). Expected starts at "
            f"most {_APART_S:g} s apart: put all files of one session here, and no other."
        )
    ends = {
        Path(stream.where).name: stream.start - first + len(stream.rows) / _KINDS[name].sfreq
        for name, stream in streams.items()
    }
    longest = max(ends.values())
    slack = max(_SHORTER_S, _SHORTER * longest)
    if longest - min(ends.values()) > slack:
        raise DataError(
            f"{place}: the files do not end together ({_listed(ends, '.0f')}; seconds from their start). Expected ends "
            f"at most {slack:.0f} s apart: the shorter ones are truncated, or of another session. {_REMEDY}"
        )
    for stream in beats.values():
        if len(stream.rows) and stream.rows[-1, 0] > longest + slack:
            raise DataError(
                f"{stream.where}: a beat at {stream.rows[-1, 0]:.0f} s, after the end of the recording at "
                f"{longest:.0f} s: it is of another session. {_REMEDY}"
            )


def _raw(stream: _Stream, kind: _Kind, start: float) -> mne.io.BaseRaw:
    import mne

    info = mne.create_info(list(kind.channels), kind.sfreq, kind.mne_type)
    first = round((stream.start - start) * kind.sfreq)
    return mne.io.RawArray(stream.rows.T * kind.scale, info, first_samp=first, verbose="error")


def _intervals(stream: _Stream, start: float) -> mne.Annotations:
    import mne

    second, length = stream.rows.T
    return mne.Annotations(second - length + (stream.start - start), length, ["ibi"] * len(length))


def _told(found: tuple[int, float]) -> str:
    columns, rate = found
    return f"{_columns(columns)} at {rate:g} Hz"


def _columns(count: int) -> str:
    return f"{count} column{'s' if count > 1 else ''}"


def _listed(values: Mapping[str, float], form: str) -> str:
    return ", ".join(f"{name} {value:{form}}" for name, value in values.items())
