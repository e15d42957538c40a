from __future__ import annotations

import errno
import io
import logging
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.cache import Arrays, Cache


class Counting:
    """Computes the same arrays each time, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Arrays:
        self.calls += 1
        return arrays()


def arrays() -> Arrays:
    return {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "name": np.array(["a", "böse"]), "n": np.array("{}")}


def assert_whole(found: Arrays) -> None:
    assert list(found) == list(arrays())
    for name, array in arrays().items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_what_was_computed_is_read_the_next_time(tmp_path: Path) -> None:
    compute = Counting()
    for cache in (Cache(tmp_path / "deep" / "cache"), Cache(tmp_path / "deep" / "cache")):
        for _ in range(2):
            assert_whole(cache.get_or_compute({"subject": "S1"}, compute))
    assert compute.calls == 1


def test_another_key_is_another_entry(tmp_path: Path) -> None:
    cache, compute = Cache(tmp_path), Counting()
    for key in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 1}):
        cache.get_or_compute(key, compute)
    assert compute.calls == 4
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("damage", ["empty", "short", "shorter than a checksum", "one bit", "something else"])
def test_a_damaged_file_is_computed_again_and_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    cache, compute = Cache(tmp_path), Counting()
    cache.get_or_compute({"a": 1}, compute)
    file = only_file(tmp_path)
    good = file.read_bytes()
    flipped = bytearray(good)
    flipped[-200] ^= 1
    file.write_bytes(
        {
            "empty": b"",
            "short": good[:-1],
            "shorter than a checksum": good[:7],
            "one bit": bytes(flipped),
            "something else": b"hello" * 100,
        }[damage]
    )
    assert_whole(cache.get_or_compute({"a": 1}, compute))
    assert compute.calls == 2
    assert "is damaged: computing it again" in caplog.text
    assert file.read_bytes() == good


def test_a_failure_keeps_nothing(tmp_path: Path) -> None:
    def fail() -> Arrays:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        Cache(tmp_path).get_or_compute({"a": 1}, fail)
    assert list(tmp_path.iterdir()) == []


def test_python_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        Cache(tmp_path).get_or_compute({"a": 1}, lambda: {"x": np.array([object()])})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    cache, compute = Cache(tmp_path / "file" / "cache"), Counting()
    with caplog.at_level(logging.WARNING):
        for key in (1, 2, 3):
            assert_whole(cache.get_or_compute({"a": key}, compute))
    assert caplog.text.count("going on without it") == 1


class FullDisk(io.FileIO):
    """A file that takes a hundred bytes; then the disk is full."""

    def write(self, data: Any, /) -> int:
        room = 100 - self.tell()
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(memoryview(data)[:room])


# What fits into a stream's buffer fails when the stream is closed, and more while it is written.
@pytest.mark.parametrize("count", [10, 100_000])
def test_a_disk_that_is_full_leaves_nothing_half_written_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    cache, kept = Cache(tmp_path), Counting()
    cache.get_or_compute({"a": 1}, kept)
    before = only_file(tmp_path).read_bytes()
    streams = []

    def opened(handle: int, mode: str) -> io.BufferedWriter:
        streams.append(io.BufferedWriter(FullDisk(handle, mode)))
        return streams[-1]

    monkeypatch.setattr(os, "fdopen", opened)
    for key in (2, 3, 2):
        found = cache.get_or_compute({"a": key}, lambda key=key: {"x": np.full(count, key)})
        np.testing.assert_array_equal(found["x"], np.full(count, key))
    assert len(streams) == 1
    assert streams[0].closed
    assert only_file(tmp_path).read_bytes() == before
    assert_whole(cache.get_or_compute({"a": 1}, kept))
    assert kept.calls == 1
    assert caplog.text.count("No space left on device): going on without it") == 1


def test_a_file_that_cannot_be_put_in_place_leaves_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    assert_whole(Cache(tmp_path).get_or_compute({"a": 1}, arrays))
    assert list(tmp_path.iterdir()) == []
    assert "No space left on device" in caplog.text


def _use(folder: Path) -> bool:
    cache = Cache(folder)
    return all(
        (cache.get_or_compute({"a": key}, lambda key=key: {"x": np.full(5000, key)})["x"] == key).all()
        for key in range(40)
    )


def test_two_processes_at_once(tmp_path: Path) -> None:
    # Fresh processes, because a fork of one with threads may hang.
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_use, [tmp_path] * 2) == [True, True]
    assert len(list(tmp_path.iterdir())) == 40
