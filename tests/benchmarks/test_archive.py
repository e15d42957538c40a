"""Archives: they come back as they were, and a file that is damaged, hostile or made up runs nothing."""

from __future__ import annotations

import hashlib
import importlib
import io
import math
import os
import pickle
import zipfile
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.lib import format as npy

from benchmarks.archive import Archive, Unarchivable, archived, described, rebuilt, restored
from benchmarks.errors import ResultsError
from tests.benchmarks.archive_files import HEAD, description, sealed


def npy_of(array: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def header(shape: tuple[int, ...], dtype: str = "<f8") -> bytes:
    stream = io.BytesIO()
    npy.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def nested() -> Archive:
    return Archive(
        "outer",
        {"name": "böse", "count": 3, "ratio": 0.1, "flag": True, "nothing": None, "list": [1, [2.5, "x"]]},
        {"w": np.arange(6.0).reshape(2, 3), "b": np.array([1, -1], dtype=np.int8)},
        {"inner": Archive("inner", {"limit": math.inf}, {"w": np.float32([[0.5]])}), "empty": Archive("empty")},
    )


def assert_same(one: Archive, other: Archive) -> None:
    assert (one.kind, dict(one.values)) == (other.kind, dict(other.values))
    assert list(one.arrays) == list(other.arrays)
    for name, array in one.arrays.items():
        found = other.arrays[name]
        assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert list(one.parts) == list(other.parts)
    for name, part in one.parts.items():
        assert_same(part, other.parts[name])


# --- there and back --------------------------------------------------------------------------------------------------


def test_values_arrays_and_parts_come_back() -> None:
    assert_same(Archive.from_bytes(nested().to_bytes()), nested())


@settings(max_examples=40)
@given(
    array=hnp.arrays(
        dtype=st.sampled_from(["f8", "f4", "f2", "i8", "u1", "?"]), shape=hnp.array_shapes(min_dims=0, min_side=0)
    ),
    values=st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text())),
    name=st.text(),
)
def test_whatever_is_in_it_comes_back_to_the_bit(array: np.ndarray, values: dict[str, Any], name: str) -> None:
    archive = Archive("any", values, {name: array}, {name: Archive("part", {}, {"again": array.T})})
    assert_same(Archive.from_bytes(archive.to_bytes()), archive)


@given(number=st.floats(allow_nan=False))
def test_numbers_among_the_values_lose_no_bit(number: float) -> None:
    (found,) = Archive.from_bytes(Archive("number", {"x": number}).to_bytes()).values.values()
    assert math.copysign(1, found) == math.copysign(1, number)
    assert found == number


def test_equal_archives_are_equal_bytes() -> None:
    assert nested().to_bytes() == nested().to_bytes()


def test_numpy_itself_reads_the_arrays() -> None:
    body = nested().to_bytes()[len(HEAD) + 32 :]
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["0"], np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize(
    "archive",
    [
        Archive("thing", {"x": object()}),
        Archive("thing", {"x": np.arange(3)}),
        Archive("thing", arrays={"x": np.array([object()])}),
        Archive("thing", arrays={"x": np.array(["text"])}),
        Archive("thing", parts={"x": Archive("thing", arrays={"x": np.array([1j])})}),
    ],
)
def test_what_is_neither_plain_nor_numbers_is_not_written(archive: Archive) -> None:
    with pytest.raises(Unarchivable, match="A thing cannot be written"):
        archive.to_bytes()


# --- damaged and hostile bytes ---------------------------------------------------------------------------------------


@dataclass
class Bomb:
    """Runs a command when it is unpickled."""

    command: str

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@given(data=st.data())
def test_a_file_that_was_cut_or_changed_anywhere_is_refused(data: st.DataObject) -> None:
    whole = nested().to_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    for damaged in (whole[:at], bytes(flipped), whole + b"x"):
        with pytest.raises(ResultsError, match="archive"):
            Archive.from_bytes(damaged)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04N.", b"unseen", b"x" * 1000])
def test_other_files_are_no_archives(content: bytes) -> None:
    with pytest.raises(ResultsError, match="no archive"):
        Archive.from_bytes(content)


def test_another_format_is_told() -> None:
    with pytest.raises(ResultsError, match="format 02; this version of unseen reads 01"):
        Archive.from_bytes(b"unseen archive 02" + nested().to_bytes()[len(HEAD) :])


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    made = tmp_path / "made"
    bomb = npy_of(np.array([Bomb(f"touch {made}")]), allow_pickle=True)
    hostile = sealed({"archive.json": description(arrays={"x": "0.npy"}), "0.npy": bomb})
    with pytest.raises(ResultsError, match="holds object, not numbers"):
        Archive.from_bytes(hostile)
    with pytest.raises(ResultsError, match="no archive"):
        Archive.from_bytes(pickle.dumps(Bomb(f"touch {made}")))
    assert not made.exists()


def with_array(content: bytes) -> bytes:
    return sealed({"archive.json": description(arrays={"x": "0.npy"}), "0.npy": content})


HUGE = 10**15
SWAPPED = np.dtype("f8").newbyteorder("S")
DEEP = b'{"kind":"a","values":{},"arrays":{},"parts":{"a":' * 5000 + b"}}" * 5000

HOSTILE: dict[str, tuple[bytes, str]] = {
    "no zip": (HEAD + hashlib.sha256(b"no").digest() + b"no", "not a zip file"),
    "compressed": (sealed({"archive.json": description(), "0.npy": bytes(10**7)}, zipfile.ZIP_DEFLATED), "compressed"),
    "a huge array": (with_array(header((HUGE,)) + bytes(8)), "declares the shape"),
    "a huge array of nothing": (with_array(header((HUGE,), "|V0")), "not numbers"),
    "negative lengths": (with_array(header((-1, -1)) + bytes(8)), "declares the shape"),
    "texts": (with_array(npy_of(np.array(["text"]))), "not numbers"),
    "records": (with_array(npy_of(np.zeros(2, dtype=[("a", "f8")]))), "not numbers"),
    "another machine's order": (with_array(npy_of(np.zeros(2, SWAPPED))), "not numbers"),
    "a header that is code": (with_array(header((1,)).replace(b"False", b"exit()")[:-1] + bytes(8)), "made up"),
    "no array": (with_array(b"x" * 100), "magic string"),
    "no description": (sealed({"0.npy": npy_of(np.zeros(2))}), "archive.json"),
    "no json": (sealed({"archive.json": b"{"}), "archive.json: invalid json"),
    "no object": (sealed({"archive.json": b"[]"}), "archive.json: input should be"),
    "a kind that is no text": (sealed({"archive.json": description(kind=3)}), "archive.json.kind"),
    "values that are a list": (sealed({"archive.json": description(values=[1])}), "archive.json.values"),
    "parts that are no archives": (sealed({"archive.json": description(parts={"x": 1})}), "archive.json.parts.x"),
    "an array that is not there": (sealed({"archive.json": description(arrays={"x": "9.npy"})}), "9.npy"),
    "endless depth": (sealed({"archive.json": DEEP}), "made up"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_made_up_files_with_a_right_checksum_are_refused(name: str) -> None:
    content, told = HOSTILE[name]
    with pytest.raises(ResultsError, match=told):
        Archive.from_bytes(content)


def test_members_that_overlap_cannot_grow() -> None:
    """One long member that the list of contents names a hundred times under other names."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as file:
        file.writestr("archive.json", description())
        file.writestr("0.npy", bytes(10_000))
        (_, long) = file.infolist()
        for number in range(1, 100):
            twin = zipfile.ZipInfo(f"{number}.npy")
            for field in ("header_offset", "CRC", "file_size", "compress_size"):
                setattr(twin, field, getattr(long, field))
            file.filelist.append(twin)
            file.NameToInfo[twin.filename] = twin
    with pytest.raises(ResultsError, match="more bytes than there are"):
        Archive.from_bytes(HEAD + hashlib.sha256(body.getvalue()).digest() + body.getvalue())


def test_two_members_of_one_name_are_refused() -> None:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as file:
        file.writestr("archive.json", description())
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("archive.json", description(kind="other"))
    with pytest.raises(ResultsError, match="one name"):
        Archive.from_bytes(HEAD + hashlib.sha256(body.getvalue()).digest() + body.getvalue())


# --- what is asked of an archive -------------------------------------------------------------------------------------


def test_values_are_checked_against_annotations() -> None:
    archive = Archive("thing", {"mode": "own", "shape": [2, 3]})
    assert archive.value("mode", Literal["own", "none"]) == "own"
    assert archive.value("shape", tuple[int, ...]) == (2, 3)
    with pytest.raises(ResultsError, match="kind 'thing'.*no value 'size'"):
        archive.value("size", int)
    with pytest.raises(ResultsError, match="value 'mode'.*valid integer"):
        archive.value("mode", int)


def test_arrays_and_parts_that_are_missing_or_of_other_dimensions_are_told() -> None:
    archive = nested()
    assert archive.array("w", 2).shape == (2, 3)
    with pytest.raises(ResultsError, match=r"array 'w' has shape \(2, 3\), expected 1 dimensions"):
        archive.array("w", 1)
    with pytest.raises(ResultsError, match="no array 'v'"):
        archive.array("v")
    assert archive.part("inner").kind == "inner"
    with pytest.raises(ResultsError, match="no part 'other'"):
        archive.part("other")


# --- objects ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """Something that is fitted."""

    by: float

    def archive(self) -> Archive:
        return Archive("scale", {"by": self.by})

    @classmethod
    def restore(cls, archive: Archive, trusted: AbstractSet[str]) -> Scale:
        del trusted
        return cls(archive.value("by", float))


class Twice(Scale):
    """Does something else than what it inherits tells."""


@dataclass(frozen=True)
class Layer:
    """Something that is configured."""

    widths: tuple[int, ...]
    name: Literal["a", "b"] = "a"


class Plain:
    """Nobody knows what it consists of."""


HERE = __name__
THINGS = {"scale": f"{HERE}:Scale"}
LAYERS = {"layer": f"{HERE}:Layer"}


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the modules that were asked for."""
    asked: list[str] = []
    import_module = importlib.import_module

    def recorded(name: str, package: str | None = None) -> Any:
        asked.append(name)
        return import_module(name, package)

    monkeypatch.setattr(importlib, "import_module", recorded)
    return asked


def test_a_fitted_object_comes_back_by_its_kind() -> None:
    archive = Archive.from_bytes(archived(Scale(0.1), THINGS).to_bytes())
    assert restored(archive, THINGS, "thing", frozenset()) == Scale(0.1)


@pytest.mark.parametrize("thing", [Twice(1.0), Plain(), 3])
def test_what_does_not_say_what_it_consists_of_is_not_written(thing: object) -> None:
    with pytest.raises(Unarchivable, match="does not say"):
        archived(thing, THINGS)


def test_a_kind_that_nobody_reads_is_not_written() -> None:
    with pytest.raises(Unarchivable, match="scale is none of the kinds"):
        archived(Scale(1.0), {"other": "x:Y"})


def test_a_part_comes_back_by_name_and_fields() -> None:
    layer = Layer((3, 4), "b")
    archive = Archive.from_bytes(described(layer, LAYERS).to_bytes())
    assert (archive.kind, archive.values) == ("layer", {"widths": [3, 4], "name": "b"})
    assert rebuilt(archive, LAYERS, "encoder", Layer, frozenset()) == layer


def test_a_part_without_known_fields_is_not_written() -> None:
    with pytest.raises(Unarchivable, match="no dataclass"):
        described(Plain(), LAYERS)


def test_a_part_of_the_users_own_comes_back_where_it_is_trusted_and_only_there(imported: list[str]) -> None:
    layer = Layer((3,))
    archive = described(layer, {})
    assert archive.kind == f"{HERE}:Layer"
    for trusted in (frozenset[str](), frozenset({"mine:Other"}), frozenset({HERE})):
        with pytest.raises(ResultsError, match="you trust it"):
            rebuilt(archive, LAYERS, "encoder", Layer, trusted)
    assert imported == []
    assert rebuilt(archive, LAYERS, "encoder", Layer, frozenset({archive.kind})) == layer


@pytest.mark.parametrize("kind", ["os:system", "subprocess:run", "benchmarks.cache:Cache", "other", "", ":", "layer "])
def test_nothing_but_what_the_table_names_is_imported(kind: str, imported: list[str]) -> None:
    for read in (
        lambda: restored(Archive(kind), THINGS, "thing", frozenset()),
        lambda: rebuilt(Archive(kind), LAYERS, "encoder", Layer, frozenset()),
    ):
        with pytest.raises(ResultsError, match="An archive names"):
            read()
    assert imported == []


def test_trust_does_not_turn_something_else_into_a_part() -> None:
    with pytest.raises(ResultsError, match="os:system is no encoder"):
        rebuilt(Archive("os:system"), LAYERS, "encoder", Layer, frozenset({"os:system"}))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"widths": "wide"}, "widths"),
        ({"widths": [1], "name": "c"}, "name"),
        ({"widths": [1], "extra": 1}, "no such key"),
        ({}, "must be given"),
    ],
)
def test_fields_of_a_part_are_checked(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ResultsError, match=told):
        rebuilt(Archive("layer", values), LAYERS, "encoder", Layer, frozenset())
