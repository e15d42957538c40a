from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from benchmarks.datasets import storage
from benchmarks.datasets.contract import Card, Places
from benchmarks.datasets.sources import PublishedFiles
from benchmarks.errors import DataError

CARD = Card(
    name="birds",
    title="Songs of Birds",
    subjects="2",
    signals="song 1 Hz",
    labels="species",
    licence="CC0",
    page="https://example.org/birds",
    citation="Finch 2020",
)
ROOT = Path(storage.__file__).parents[2]
MARKER = "bird*_1.txt"
FILES = {"bird0_1.txt": "tweet", "bird0_2.txt": "chirp", "notes/info.csv": "a,b"}
TOPS = ("", "birds-1.0/", "physionet.org/files/birds/1.0/")


def write_folder(folder: Path, top: str = "") -> None:
    for name, text in FILES.items():
        path = folder / top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def write_zip(path: Path, top: str = "", files: dict[str, str] = FILES) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(top + name, text)
    return path


def contents(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


def unpacked_folders(places: Places) -> list[Path]:
    folder = places.cache / "unpacked"
    return list(folder.iterdir()) if folder.is_dir() else []


@pytest.mark.parametrize("top", TOPS)
def test_folder_is_used_where_it_lies(places: Places, top: str) -> None:
    write_folder(places.data / "birds", top)
    assert storage.locate("birds", MARKER, places.data) == places.data / "birds"
    assert storage.find_root(CARD, MARKER, places) == places.data / "birds" / top
    assert not places.cache.exists()


@pytest.mark.parametrize("top", TOPS)
def test_archive_is_unpacked_whole_and_its_checksum_kept(places: Places, top: str) -> None:
    archive = write_zip(places.data / "birds.zip", top)
    assert storage.locate("birds", MARKER, places.data) == archive
    assert not places.cache.exists(), "to locate must not unpack"
    root = storage.find_root(CARD, MARKER, places)
    assert contents(root) == FILES
    (folder,) = unpacked_folders(places)
    assert json.loads((folder / "archive.json").read_text())["sha256"] == sha256(archive.read_bytes()).hexdigest()


def test_root_of_a_marker_in_a_folder_is_above_that_folder(places: Places) -> None:
    write_folder(places.data / "birds", "top/")
    assert storage.find_root(CARD, "notes/*.csv", places) == places.data / "birds" / "top"


def test_folder_is_preferred_to_the_archive_unless_it_holds_no_data(places: Places) -> None:
    archive = write_zip(places.data / "birds.zip")
    (places.data / "birds").mkdir()
    assert storage.locate("birds", MARKER, places.data) == archive
    write_folder(places.data / "birds")
    assert storage.locate("birds", MARKER, places.data) == places.data / "birds"


def test_archive_is_unpacked_once(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    write_zip(places.data / "birds.zip")
    root = storage.find_root(CARD, MARKER, places)
    monkeypatch.delattr(zipfile.ZipFile, "extractall")
    assert storage.find_root(CARD, MARKER, places) == root


def test_changed_archive_is_unpacked_anew(places: Places) -> None:
    archive = write_zip(places.data / "birds.zip")
    before = storage.find_root(CARD, MARKER, places)
    write_zip(archive, files={"bird0_1.txt": "TWEET"})
    # The same size at another time is another archive, too.
    os.utime(archive, ns=(1, 1))
    after = storage.find_root(CARD, MARKER, places)
    assert contents(after) == {"bird0_1.txt": "TWEET"}
    assert contents(before) == FILES


def test_interrupted_unpacking_leaves_nothing_that_counts(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    write_zip(places.data / "birds.zip")

    def interrupted(archive: zipfile.ZipFile, folder: Path) -> None:
        archive.extract("bird0_1.txt", folder)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", interrupted)
        with pytest.raises(KeyboardInterrupt):
            storage.find_root(CARD, MARKER, places)
    assert unpacked_folders(places) == []
    assert contents(storage.find_root(CARD, MARKER, places)) == FILES


def test_what_a_killed_process_left_is_not_read(places: Places) -> None:
    archive = write_zip(places.data / "birds.zip")
    killed_half_way = (
        "import os, pathlib, signal, sys, zipfile\n"
        "from benchmarks.datasets import storage\n"
        "def extractall(archive, folder):\n"
        "    archive.extract('bird0_1.txt', folder)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "zipfile.ZipFile.extractall = extractall\n"
        "storage._unpacked(*map(pathlib.Path, sys.argv[1:]))\n"
    )
    died = subprocess.run([sys.executable, "-c", killed_half_way, archive, places.cache], cwd=ROOT, check=False)
    assert died.returncode == -signal.SIGKILL
    (left,) = unpacked_folders(places)
    assert list(contents(left).values()) == ["tweet"], "the test means to kill it half-way"
    root = storage.find_root(CARD, MARKER, places)
    assert left not in root.parents
    assert contents(root) == FILES


def test_two_processes_that_unpack_at_once_do_no_harm(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    write_zip(places.data / "birds.zip")
    extract = storage._extract
    others: list[Path] = []

    def overtaken(archive: Path, folder: Path) -> None:
        extract(archive, folder)
        monkeypatch.setattr(storage, "_extract", extract)
        others.append(storage.find_root(CARD, MARKER, places))

    monkeypatch.setattr(storage, "_extract", overtaken)
    root = storage.find_root(CARD, MARKER, places)
    assert [root] == others
    assert contents(root) == FILES
    assert len(unpacked_folders(places)) == 1


def test_fingerprint_is_of_names_and_contents_only(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_folder(tmp_path / folder)

    def fingerprint(folder: str, *names: str) -> str:
        return storage.fingerprint([tmp_path / folder / name for name in names])

    both = fingerprint("a", "bird0_1.txt", "bird0_2.txt")
    assert both == fingerprint("b", "bird0_1.txt", "bird0_2.txt")
    assert both != fingerprint("a", "bird0_2.txt", "bird0_1.txt")
    assert both != fingerprint("a", "bird0_1.txt")
    (tmp_path / "b" / "bird0_2.txt").write_text("chirP")
    assert both != fingerprint("b", "bird0_1.txt", "bird0_2.txt")
    with pytest.raises(DataError, match=r"bird9_1\.txt"):
        fingerprint("a", "bird9_1.txt")


@pytest.mark.parametrize("empty_folder", [False, True])
def test_missing_data_says_where_to_get_them(places: Places, empty_folder: bool) -> None:
    if empty_folder:
        (places.data / "birds").mkdir()
    assert storage.locate("birds", MARKER, places.data) is None
    with pytest.raises(DataError) as caught:
        storage.find_root(CARD, MARKER, places)
    told = str(caught.value)
    for needed in (CARD.page, CARD.licence, CARD.citation, CARD.title, str(places.data), "birds.zip", MARKER, "--data"):
        assert needed in told
    assert ("is there, but holds no such file" in told) == empty_folder


def test_missing_data_that_a_publisher_offers_name_the_command(places: Places) -> None:
    command = f"unseen datasets get birds --data '{places.data}/all of it'"
    spaced = replace(places, data=places.data / "all of it")
    with pytest.raises(DataError) as caught:
        storage.find_root(CARD, MARKER, spaced)
    assert "datasets get" not in str(caught.value)
    offered = replace(CARD, source=PublishedFiles("https://example.org/birds/1.0/", "1 MB"))
    with pytest.raises(DataError) as caught:
        storage.find_root(offered, MARKER, spaced)
    assert command in str(caught.value).splitlines()[2]
    assert CARD.page in str(caught.value)


def test_archive_of_something_else(places: Places) -> None:
    write_zip(places.data / "birds.zip", files={"fish.txt": "blub"})
    with pytest.raises(DataError, match="holds no file 'bird"):
        storage.find_root(CARD, MARKER, places)


def test_two_copies_in_one_folder_are_ambiguous(places: Places) -> None:
    write_folder(places.data / "birds", "v1/")
    write_folder(places.data / "birds", "v2/")
    with pytest.raises(DataError, match="more than once"):
        storage.find_root(CARD, MARKER, places)


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_truncated_archive(places: Places, keep: float) -> None:
    archive = write_zip(places.data / "birds.zip")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(DataError, match=r"birds\.zip is damaged.*download it again"):
        storage.find_root(CARD, MARKER, places)
    assert unpacked_folders(places) == []


def test_archive_with_a_damaged_member(places: Places) -> None:
    path = places.data / "birds.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("bird0_1.txt", "tweet tweet")
    path.write_bytes(path.read_bytes().replace(b"tweet tweet", b"tweet tweeX"))
    with pytest.raises(DataError, match="CRC"):
        storage.find_root(CARD, MARKER, places)
    assert unpacked_folders(places) == []


@pytest.mark.parametrize("member", ["../escaped.txt", "a/../../../escaped.txt", "/escaped.txt"])
def test_member_outside_the_folder_is_refused(places: Places, member: str) -> None:
    write_zip(places.data / "birds.zip", files={**FILES, member: "gotcha"})
    with pytest.raises(DataError, match=r"escaped\.txt.*outside the folder"):
        storage.find_root(CARD, MARKER, places)
    assert unpacked_folders(places) == []
    assert not list(places.cache.parent.rglob("escaped.txt"))


def test_cache_that_cannot_be_written(places: Places) -> None:
    write_zip(places.data / "birds.zip")
    places.cache.write_text("a file where the folder should be")
    with pytest.raises(DataError, match="Is the cache folder writable"):
        storage.find_root(CARD, MARKER, places)
