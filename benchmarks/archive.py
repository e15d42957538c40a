"""Fitted objects as bytes: plain values and arrays. Reading them runs no code of the file's, whatever is in it."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from benchmarks.errors import ResultsError, StudyError, UnseenError
from benchmarks.parts import Table, build, find, nearest

FORMAT = 1

_MAGIC = b"unseen archive "
_HEAD_BYTES = len(_MAGIC) + 2  # the format in two digits
_CHECKSUM_BYTES = hashlib.sha256().digest_size
_DESCRIPTION = "archive.json"
_NUMBERS = "biuf"  # numpy's kinds of dtype: booleans, integers, floats; never objects


class Unarchivable(UnseenError):  # noqa: N818 - what an object is, not a mistake
    """An object is of a kind that cannot be told as plain values and arrays."""


@dataclass(frozen=True, eq=False)
class Archive:
    """A fitted object, taken apart into plain values and arrays.

    As bytes it is a line of text with the format's number, a SHA-256 of the rest, and a NumPy ``.npz`` file, not
    compressed, whose member ``archive.json`` describes what belongs where.

    Parameters
    ----------
    kind : str
        What it is, in the words of a literal table of the project; a user's own part is ``package.module:Name``.
    values : mapping
        By name, as JSON holds them.
    arrays : mapping of str to ndarray
        Of numbers.
    parts : mapping of str to Archive
        What it is made of.
    """

    kind: str
    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    parts: Mapping[str, Archive] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Bytes that `from_bytes` reads; equal archives give equal bytes.

        Raises
        ------
        Unarchivable
            A value that JSON does not hold, or an array of something else than numbers.
        """
        members: dict[str, bytes] = {}
        try:
            described = json.dumps(self._described(members))
        except (TypeError, ValueError) as error:
            raise Unarchivable(f"A {self.kind} cannot be written: {error}.") from error
        body = io.BytesIO()
        with zipfile.ZipFile(body, "w", zipfile.ZIP_STORED) as file:
            for name, content in {_DESCRIPTION: described.encode(), **members}.items():
                # Without a time, so that the bytes follow from the content alone.
                file.writestr(zipfile.ZipInfo(name), content)
        return b"".join([_MAGIC, b"%02d" % FORMAT, hashlib.sha256(body.getbuffer()).digest(), body.getbuffer()])

    @classmethod
    def from_bytes(cls, content: bytes) -> Archive:
        """Reverse of `to_bytes`, safe for bytes from anywhere: nothing is unpickled, imported or decompressed.

        Raises
        ------
        ResultsError
            These bytes are no archive, of another format, or damaged.
        """
        body = _checked(content)
        try:
            members = _members(body)
            described = _description(members.pop(_DESCRIPTION, b""))
            return cls._joined(described, {name: _array(name, data) for name, data in members.items()})
        # What is made to mislead may make the readers fail in any way; nothing of it has run.
        except Exception as error:
            raise ResultsError(f"An archive of a predictor is damaged or made up: {_first_line(error)}") from error

    def _described(self, members: dict[str, bytes]) -> dict[str, Any]:
        """Plain description of this archive, whose arrays go to `members`."""
        arrays = {}
        for name, array in self.arrays.items():
            arrays[name] = f"{len(members)}.npy"
            members[arrays[name]] = _npy(name, np.asarray(array))
        parts = {name: part._described(members) for name, part in self.parts.items()}
        return {"kind": self.kind, "values": dict(self.values), "arrays": arrays, "parts": parts}

    @classmethod
    def _joined(cls, described: _Described, arrays: Mapping[str, NDArray[Any]]) -> Archive:
        return cls(
            kind=described.kind,
            values=described.values,
            arrays={name: arrays[member] for name, member in described.arrays.items()},
            parts={name: cls._joined(part, arrays) for name, part in described.parts.items()},
        )

    def value(self, name: str, hint: Any) -> Any:
        """A value, checked against an annotation.

        Raises
        ------
        ResultsError
            It is not there, or of another type.
        """
        try:
            return TypeAdapter(hint).validate_python(self.values[name])
        except KeyError as error:
            raise self.refused(f"no value {name!r}") from error
        except ValidationError as error:
            raise self.refused(f"value {name!r}: {error.errors()[0]['msg'].lower()}") from error

    def array(self, name: str, dimensions: int | None = None) -> NDArray[Any]:
        """An array, of a number of dimensions or of any (None).

        Raises
        ------
        ResultsError
            It is not there, or has other dimensions.
        """
        if name not in self.arrays:
            raise self.refused(f"no array {name!r}")
        array = self.arrays[name]
        if dimensions is not None and array.ndim != dimensions:
            raise self.refused(f"array {name!r} has shape {array.shape}, expected {dimensions} dimensions")
        return array

    def part(self, name: str) -> Archive:
        """A part; raises `ResultsError` where it is not there."""
        if name not in self.parts:
            raise self.refused(f"no part {name!r}")
        return self.parts[name]

    def refused(self, why: str) -> ResultsError:
        """Error that says why nothing is made of this archive."""
        return ResultsError(
            f"An archive of kind {self.kind!r} cannot be read: {why}. Another version of unseen wrote it, or somebody "
            f"else did: fit it again."
        )


class Archivable(Protocol):
    """What can be taken apart into an `Archive`, and made of one again."""

    def archive(self) -> Archive:
        """Its parts, which are all that determines what it does; raises `Unarchivable`."""
        ...

    @classmethod
    def restore(cls, archive: Archive, trusted: AbstractSet[str]) -> Self:
        """Reverse of `archive`; raises `ResultsError` where something is missing, or of another type.

        Parameters
        ----------
        archive : Archive
            Of this kind, from anywhere.
        trusted : set of str
            The user's own parts, ``package.module:Name``, that may be imported.
        """
        ...


def archived(thing: Any, table: Table) -> Archive:
    """Archive of an object of a kind that `table` lists.

    Raises
    ------
    Unarchivable
        It is of another kind.
    """
    # A subclass may do other things than what it inherits tells.
    if "archive" not in vars(type(thing)):
        raise Unarchivable(f"{_place(type(thing))} does not say what it consists of.")
    archive: Archive = thing.archive()
    if archive.kind not in table:
        raise Unarchivable(f"{archive.kind} is none of the kinds that are read again: {', '.join(table)}.")
    return archive


def restored(archive: Archive, table: Table, what: str, trusted: AbstractSet[str]) -> Any:
    """Object of which `archive` is one; only what `table` lists is imported.

    Parameters
    ----------
    archive : Archive
        From anywhere.
    table : mapping of str to str
        Kinds that are expected here, and where their classes live.
    what : str
        What is expected, for the error message (``"normaliser"``).
    trusted : set of str
        See `Archivable.restore`.

    Raises
    ------
    ResultsError
        It is of another kind, or something is missing in it.
    """
    if archive.kind not in table:
        raise ResultsError(f"An archive names {archive.kind!r} for a {what}. {nearest(archive.kind, table)}")
    kind: type[Archivable] = find(archive.kind, table, what)
    return kind.restore(archive, trusted)


def described(part: object, table: Table) -> Archive:
    """Archive of a part that a study file configures: its name, or its place where it is the user's own, and fields.

    Raises
    ------
    Unarchivable
        It is no dataclass, so that its fields are not known.
    """
    place = _place(type(part))
    if not is_dataclass(part):
        raise Unarchivable(f"{place} is no dataclass, so what it consists of cannot be told.")
    names = {lives: name for name, lives in table.items()}
    values = {each.name: getattr(part, each.name) for each in fields(part) if each.init}
    return Archive(names.get(place, place), values)


def rebuilt(archive: Archive, table: Table, what: str, contract: type, trusted: AbstractSet[str]) -> Any:
    """Part of which `archive` is the description; only what `table` lists or the caller trusts is imported.

    Parameters
    ----------
    archive, table, what, trusted
        As in `restored`.
    contract : type
        What the part must be a class of.

    Raises
    ------
    ResultsError
        Another part, or a field of the wrong type.
    """
    if archive.kind not in table and archive.kind not in trusted:
        raise ResultsError(
            f"An archive names {archive.kind!r} for an {what}. {nearest(archive.kind, table)} If it is your own and "
            f"you trust it, name it among `trusted`."
        )
    try:
        return build(find(archive.kind, table, what, contract), {}, archive.values, what)
    except StudyError as error:
        raise archive.refused(str(error).rstrip(".")) from error


@dataclass(frozen=True)
class _Described:
    kind: str
    values: dict[str, Any]
    arrays: dict[str, str]
    parts: dict[str, _Described]


_DESCRIBED = TypeAdapter(_Described)


def _place(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _checked(content: bytes) -> bytes:
    """What follows the head and the checksum, once both are right."""
    head, rest = content[:_HEAD_BYTES], content[_HEAD_BYTES:]
    if not head.startswith(_MAGIC):
        raise ResultsError("These bytes are no archive of a predictor.")
    if head != _MAGIC + b"%02d" % FORMAT:
        told = head.removeprefix(_MAGIC).decode(errors="replace")
        raise ResultsError(
            f"An archive of a predictor has format {told}; this version of unseen reads {FORMAT:02d}. Read it with the "
            f"version that wrote it, or fit it again."
        )
    body = rest[_CHECKSUM_BYTES:]
    if hashlib.sha256(body).digest() != rest[:_CHECKSUM_BYTES]:
        raise ResultsError("An archive of a predictor is damaged: its checksum is wrong.")
    return body


def _npy(name: str, array: NDArray[Any]) -> bytes:
    if array.dtype.kind not in _NUMBERS:
        raise TypeError(f"array {name!r} holds {array.dtype}, not numbers")
    stream = io.BytesIO()
    npy.write_array(stream, array.astype(array.dtype.newbyteorder("="), copy=False), (1, 0), allow_pickle=False)
    return stream.getvalue()


def _members(body: bytes) -> dict[str, bytes]:
    """Contents of the zip file's members by name.

    Raises
    ------
    ValueError
        More is declared than these bytes can hold, or names occur twice.
    """
    with zipfile.ZipFile(io.BytesIO(body)) as file:
        infos = file.infolist()
        # Compressed or overlapping members could grow without bounds.
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise ValueError("a member is compressed")
        if sum(info.file_size for info in infos) > len(body):
            raise ValueError("its members declare more bytes than there are")
        if len({info.filename for info in infos}) != len(infos):
            raise ValueError("two members have one name")
        return {info.filename: file.read(info) for info in infos}


def _description(content: bytes) -> _Described:
    try:
        return _DESCRIBED.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join([_DESCRIPTION, *map(str, first["loc"])])
        raise ValueError(f"{place}: {first['msg'].lower()}") from error


def _array(name: str, content: bytes) -> NDArray[Any]:
    stream = io.BytesIO(content)
    if npy.read_magic(stream) != (1, 0):
        raise ValueError(f"{name} is of another version of NumPy's format")
    # The header is read first, since NumPy makes room for all that it declares.
    shape, _, dtype = npy.read_array_header_1_0(stream)
    if dtype.kind not in _NUMBERS or not dtype.isnative:
        raise ValueError(f"{name} holds {dtype}, not numbers")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise ValueError(f"{name} declares the shape {shape}, which is not what it holds")
    stream.seek(0)
    array: NDArray[Any] = npy.read_array(stream, allow_pickle=False)
    return array


def _first_line(error: Exception) -> str:
    told = str(error).strip() or type(error).__name__
    return told.splitlines()[0].rstrip(".") + "."
