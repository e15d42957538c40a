"""Data sets from a publisher on this machine: whole and right, or an error that says what to do."""

from __future__ import annotations

import io
import logging.handlers
import re
import resource
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pooch
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmarks.datasets import download
from benchmarks.datasets.contract import Dataset, Places
from benchmarks.datasets.download import get
from benchmarks.datasets.eegmat import Eegmat
from benchmarks.datasets.sources import PublishedArchive, PublishedFiles
from benchmarks.datasets.stress_predict import StressPredict
from benchmarks.datasets.table import DATASETS
from benchmarks.errors import DataError, StudyError
from benchmarks.parts import find, locate
from benchmarks.source import source_files
from tests.benchmarks.datasets.edf_files import write_eegmat_subject
from tests.benchmarks.datasets.publisher import Publisher, Trouble, hash_list, published

ROOT = Path(download.__file__).parents[2]
HASHES = "SHA256SUMS.txt"
TRIES = 4
ZERO = "0" * 64
SOURCED = [name for name in DATASETS if find(name, DATASETS, "data set").card.source is not None]
REST, TASK, INFO = "Subject00_1.edf", "Subject01_2.edf", "notes/50% more #1.csv"


@pytest.fixture(autouse=True)
def _direct_and_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy between here and 127.0.0.1, and no seconds of waiting between tries."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A tiny EEGMAT, by path."""
    folder = tmp_path_factory.mktemp("recordings")
    for subject in ("Subject00", "Subject01"):
        write_eegmat_subject(folder, subject)
    return {**{path.name: path.read_bytes() for path in sorted(folder.iterdir())}, INFO: b"a,b\n"}


@pytest.fixture
def publisher(recordings: dict[str, bytes]) -> Iterator[Publisher]:
    files = {quote(path): content for path, content in recordings.items()}
    with published({**files, HASHES: hash_list(recordings), "eegmat.zip": zipped(recordings)}) as running:
        yield running


def zipped(files: dict[str, bytes], top: str = "eegmat-f49d2ea/") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for path, one in files.items():
            archive.writestr(top + path, one)
    return content.getvalue()


def fetch(publisher: Publisher, places: Places, kind: str = "files") -> Path:
    return get("eegmat", places, Console(file=io.StringIO()), source(publisher, kind))


def source(publisher: Publisher, kind: str) -> PublishedFiles | PublishedArchive:
    if kind == "files":
        return PublishedFiles(publisher.url, "tiny")
    return PublishedArchive(f"{publisher.url}eegmat.zip", "tiny", "Subject*_1.edf")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def kept(places: Places) -> set[str]:
    """Files that wait for the next call."""
    return set(contents(places.data / ".eegmat-download" / "eegmat"))


def is_here(places: Places) -> bool:
    return Eegmat.present(places) is not None


def test_files_come_whole_and_are_the_data_set(
    publisher: Publisher, places: Places, recordings: dict[str, bytes]
) -> None:
    assert fetch(publisher, places) == places.data / "eegmat" == Eegmat.present(places)
    assert contents(places.data) == {
        **{f"eegmat/{path}": content for path, content in recordings.items()},
        f"eegmat/{HASHES}": hash_list(recordings),
    }
    assert publisher.asked == dict.fromkeys((HASHES, *map(quote, recordings)), 1)
    dataset = Eegmat(places)
    assert dataset.subjects() == ("Subject00", "Subject01")
    assert [recording.signals["eeg"].times[-1] for recording in dataset.read("Subject01")] == [8 - 1 / 128, 4 - 1 / 128]


@pytest.mark.parametrize("troubles", [[], ["unsized"], ["503", "unsized"]])
def test_archive_comes_whole_and_is_the_data_set(publisher: Publisher, places: Places, troubles: list[Trouble]) -> None:
    publisher.troubles["eegmat.zip"] = list(troubles)
    tries = len(troubles) + 1
    assert fetch(publisher, places, "archive") == places.data / "eegmat.zip" == Eegmat.present(places)
    assert contents(places.data) == {"eegmat.zip": publisher.files["eegmat.zip"]}
    assert publisher.asked == {"eegmat.zip": tries}
    assert Eegmat(places).subjects() == ("Subject00", "Subject01")


@pytest.mark.parametrize(
    ("path", "trouble"),
    [(REST, "429"), (REST, "503"), (REST, "cut"), (REST, "wrong"), (HASHES, "503"), (HASHES, "cut")],
)
def test_passing_trouble_is_tried_again(
    publisher: Publisher, places: Places, recordings: dict[str, bytes], path: str, trouble: Trouble
) -> None:
    publisher.troubles[path] = [trouble] * (TRIES - 1)
    fetch(publisher, places)
    assert publisher.asked[path] == TRIES
    assert contents(places.data / "eegmat")[REST] == recordings[REST]


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ("503", f"failed {TRIES} times.*503.*{TASK}"),
        ("cut", f"{TASK} broke off, {TRIES} times.*IncompleteRead"),
        ("wrong", f"{TASK} came damaged, {TRIES} times.*SHA256"),
    ],
)
def test_lasting_trouble_keeps_what_is_right_for_the_next_call(
    publisher: Publisher, places: Places, trouble: Trouble, told: str
) -> None:
    publisher.troubles[TASK] = [trouble] * TRIES
    with pytest.raises(DataError, match=f"(?s){told}.*the same command fetches only the others"):
        fetch(publisher, places)
    assert publisher.asked[TASK] == TRIES
    assert not is_here(places)
    before = kept(places)
    assert REST in before
    assert TASK not in before
    publisher.asked.clear()
    fetch(publisher, places)
    assert is_here(places)
    assert not before & publisher.asked.keys(), "what was kept is not fetched again"
    assert [path.name for path in places.data.iterdir()] == ["eegmat"]


@pytest.mark.parametrize("path", [HASHES, REST, "eegmat.zip"])
def test_a_file_that_is_not_offered_is_asked_for_once(publisher: Publisher, places: Places, path: str) -> None:
    publisher.troubles[path] = ["404"] * TRIES
    with pytest.raises(DataError, match=rf"does not offer a file \(404.*{path}"):
        fetch(publisher, places, "archive" if path.endswith("zip") else "files")
    assert publisher.asked[path] == 1
    assert not is_here(places)


def test_a_killed_download_is_not_taken_for_the_set_and_goes_on(
    publisher: Publisher, places: Places, recordings: dict[str, bytes]
) -> None:
    publisher.troubles[TASK] = ["stalls"]
    code = (
        "import sys, pathlib, rich.console\n"
        "from benchmarks.datasets import contract, download, sources\n"
        "data = pathlib.Path(sys.argv[1])\n"
        "source = sources.PublishedFiles(sys.argv[2], 'tiny')\n"
        "download.get('eegmat', contract.Places(data, data, data), rich.console.Console(), source)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, places.data, publisher.url], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    assert publisher.stalled.wait(60)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    publisher.released.set()
    assert not is_here(places)
    before = kept(places)
    assert len(before - recordings.keys()) == 1, "the file that it was writing has another name"
    publisher.asked.clear()
    fetch(publisher, places)
    assert contents(places.data / "eegmat") == {**recordings, HASHES: hash_list(recordings)}
    assert not before & publisher.asked.keys()
    assert publisher.asked[TASK] == 1


def test_what_waited_is_checked_and_what_is_not_listed_any_more_is_left_out(
    publisher: Publisher, places: Places, recordings: dict[str, bytes]
) -> None:
    hidden = places.data / ".eegmat-download" / "eegmat"
    hidden.mkdir(parents=True)
    (hidden / REST).write_bytes(b"of another version")
    (hidden / "withdrawn.edf").write_bytes(b"of another version")
    (hidden / TASK).write_bytes(recordings[TASK])
    fetch(publisher, places)
    assert contents(places.data / "eegmat") == {**recordings, HASHES: hash_list(recordings)}
    assert (publisher.asked[REST], publisher.asked[TASK]) == (1, 0)


def test_an_archive_that_waited_is_fetched_anew(publisher: Publisher, places: Places) -> None:
    hidden = places.data / ".eegmat-download"
    hidden.mkdir()
    (hidden / "eegmat.zip").write_bytes(zipped({REST: b"of another version"}))
    fetch(publisher, places, "archive")
    assert contents(places.data) == {"eegmat.zip": publisher.files["eegmat.zip"]}


@pytest.mark.parametrize(
    "path",
    [
        "../escaped.edf",
        "a/../../escaped.edf",
        "/escaped.edf",
        "..",
        ".",
        "\\escaped.edf",
        "C:\\escaped.edf",
        "C:escaped.edf",
    ],
)
def test_a_listed_path_outside_the_folder_is_refused(publisher: Publisher, places: Places, path: str) -> None:
    publisher.files[HASHES] += f"{ZERO}  {path}\n".encode()
    with pytest.raises(DataError, match="line 6: .*outside the folder.*nothing was fetched"):
        fetch(publisher, places)
    assert publisher.asked == {HASHES: 1}
    assert not list(places.data.parent.rglob("escaped*"))
    assert not list(places.data.iterdir())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<html><body>Log in to the network</body></html>", "line 1: expected a SHA-256.*<html>"),
        (f"{ZERO[1:]} {REST}", "line 1: expected a SHA-256"),
        (f"{ZERO}  {REST}\n{ZERO}", "line 2: expected a SHA-256"),
        (f"{ZERO}  {REST}\n\n{ZERO}  {TASK}", "line 2: expected a SHA-256"),
        (f"{ZERO}  {REST}\n{'1' * 64}  ./{REST}", "line 2: .*two hashes"),
        ("", "lists no files"),
        ("\udcff\udcfe", "line 1: expected a SHA-256"),
    ],
)  # fmt: skip
def test_a_malformed_list_is_refused(publisher: Publisher, places: Places, text: str, told: str) -> None:
    publisher.files[HASHES] = text.encode("utf-8", errors="surrogateescape")
    with pytest.raises(DataError, match=told):
        fetch(publisher, places)
    assert publisher.asked == {HASHES: 1}
    assert not list(places.data.iterdir())


@given(st.text(st.sampled_from("ab./\\: ~\n\r\t\x00\u2028"), max_size=12))
def test_no_listed_path_leads_out(path: str) -> None:
    folder = Path("/data/eegmat")
    try:
        hashes = download._read_hashes(f"{ZERO}  {path}".encode(), "list")
    except DataError:
        return
    for name in hashes:
        assert (folder / name).resolve().is_relative_to(folder)
        assert (folder / name).resolve() != folder


@pytest.mark.parametrize("separator", [" ", "  ", " *"])
def test_lists_of_all_common_forms_are_read(separator: str) -> None:
    text = f"{'A' * 64}{separator}./a/b c.edf\r\n{ZERO}{separator}d\n"
    assert download._read_hashes(text.encode(), "list") == {"a/b c.edf": "a" * 64, "d": ZERO}


@pytest.mark.parametrize("kind", ["files", "archive"])
def test_what_is_there_already_is_left_alone(publisher: Publisher, places: Places, kind: str) -> None:
    place = fetch(publisher, places, kind)
    before = contents(places.data)
    publisher.asked.clear()
    for again in ("files", "archive"):
        shown = io.StringIO()
        assert get("eegmat", places, Console(file=shown), source(publisher, again)) == place
        assert "is there already" in shown.getvalue()
    assert not publisher.asked
    assert contents(places.data) == before


def test_licence_and_citation_are_told_before_anything_is_fetched(publisher: Publisher, places: Places) -> None:
    shown = io.StringIO()
    publisher.troubles[HASHES] = ["404"]
    with pytest.raises(DataError):
        get("eegmat", places, Console(file=shown, width=40), PublishedFiles(publisher.url, "about 3 MB"))
    card = Eegmat.card
    for told in (card.title, card.licence, card.citation, "about 3 MB", publisher.url):
        assert told in shown.getvalue()


def test_pooch_says_nothing(publisher: Publisher, places: Places) -> None:
    log = pooch.get_logger()
    before, said = log.level, logging.handlers.BufferingHandler(capacity=1000)
    log.addHandler(said)
    publisher.troubles[REST] = ["503"]
    fetch(publisher, places)
    log.removeHandler(said)
    assert not said.buffer
    assert log.level == before != logging.WARNING


@pytest.mark.parametrize("name", [name for name in DATASETS if name not in SOURCED])
def test_sets_that_no_publisher_offers_say_why(name: str, places: Places) -> None:
    with pytest.raises(StudyError, match=f"nothing to get for '{name}'.*(computed on this machine|no publisher)"):
        get(name, places, Console(file=io.StringIO()))


def test_unknown_name(places: Places) -> None:
    with pytest.raises(StudyError, match="Did you mean 'eegmat'"):
        get("eegmatt", places, Console(file=io.StringIO()))


def test_a_folder_of_something_else_is_not_touched(publisher: Publisher, places: Places) -> None:
    (places.data / "eegmat").mkdir()
    (places.data / "eegmat" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="eegmat is in the way.*move it away"):
        fetch(publisher, places)
    assert not publisher.asked
    assert contents(places.data) == {"eegmat/thesis.txt": b"mine"}


def test_an_empty_folder_is_no_hindrance(publisher: Publisher, places: Places) -> None:
    (places.data / "eegmat").mkdir()
    fetch(publisher, places)
    assert is_here(places)


def test_files_of_another_set_are_refused(publisher: Publisher, places: Places) -> None:
    publisher.files = {HASHES: hash_list({"fish.txt": b"blub"}), "fish.txt": b"blub"}
    with pytest.raises(DataError, match="not those of EEG During"):
        fetch(publisher, places)
    assert not list(places.data.iterdir())


def test_archive_of_another_set_is_refused_and_asked_for_once(publisher: Publisher, places: Places) -> None:
    publisher.files["eegmat.zip"] = zipped({"fish.txt": b"blub"})
    with pytest.raises(DataError, match=r"without any file 'Subject\*_1\.edf'"):
        fetch(publisher, places, "archive")
    assert publisher.asked == {"eegmat.zip": 1}
    assert not list(places.data.iterdir())


@pytest.mark.parametrize("damage", ["a page", "cut without a size", "a flipped bit"])
def test_damaged_archive_is_refused(
    publisher: Publisher, places: Places, recordings: dict[str, bytes], damage: str
) -> None:
    if damage == "a page":
        publisher.files["eegmat.zip"] = b"<html>Log in to the network</html>"
    elif damage == "cut without a size":
        publisher.troubles["eegmat.zip"] = ["unsized"] * TRIES
    else:
        whole = bytearray(publisher.files["eegmat.zip"])
        whole[len(recordings[REST]) // 2] ^= 1
        publisher.files["eegmat.zip"] = bytes(whole)
    with pytest.raises(DataError, match=rf"eegmat\.zip came damaged, {TRIES} times: .*(zip archive|member)"):
        fetch(publisher, places, "archive")
    assert publisher.asked == {"eegmat.zip": TRIES}
    assert not list(places.data.iterdir())


def test_server_that_is_not_there(recordings: dict[str, bytes], places: Places) -> None:
    with published(recordings) as gone:
        pass
    with pytest.raises(DataError, match=rf"No connection to 127\.0\.0\.1, {TRIES} times.*refused.*online"):
        fetch(gone, places)
    assert not list(places.data.iterdir())


def test_place_that_cannot_be_written(publisher: Publisher, places: Places) -> None:
    shutil.rmtree(places.data)
    places.data.write_text("a file where the folder should be")
    with pytest.raises(DataError, match="Cannot write to .*data: .*--data DIR"):
        fetch(publisher, places)


def test_disk_that_is_full(publisher: Publisher, places: Places, recordings: dict[str, bytes]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The recordings of rest do not fit, those of arithmetic do.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(recordings[TASK]), hard))
    try:
        with pytest.raises(DataError, match="no room left in .*data: .*the same command"):
            fetch(publisher, places)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not is_here(places)
    assert not list(places.data.rglob("tmp*")), "half a file is not left to fill the disk"
    fetch(publisher, places)
    assert is_here(places)


def test_two_at_once(publisher: Publisher, places: Places) -> None:
    hidden = places.data / ".eegmat-download"
    hidden.mkdir()
    with FileLock(hidden / "lock"), pytest.raises(DataError, match="Another process"):
        fetch(publisher, places)
    assert not publisher.asked
    fetch(publisher, places)
    assert is_here(places)


@pytest.mark.parametrize("name", SOURCED)
def test_sources_of_the_published_sets(name: str) -> None:
    card = find(name, DATASETS, "data set", Dataset).card
    assert card.source.url.startswith("https://")
    assert re.search(r"\d+ MB", card.source.size)
    assert not card.simulated
    if isinstance(card.source, PublishedFiles):
        assert card.source.url.endswith("/")
    else:
        assert re.search(r"/[0-9a-f]{40}\.zip$", card.source.url), "a branch or a tag could move"


def test_each_set_comes_from_its_publisher() -> None:
    assert Eegmat.card.source == PublishedFiles("https://physionet.org/files/eegmat/1.0.0/", "about 180 MB", HASHES)
    offered = StressPredict.card.source
    assert isinstance(offered, PublishedArchive)
    repository, commit = "italha-d/Stress-Predict-Dataset", "f49d2eae603f90c3f0140fbbbae7c0480d651023"
    assert offered.url == f"https://github.com/{repository}/archive/{commit}.zip"


@pytest.mark.parametrize("name", DATASETS)
def test_no_study_rests_on_how_its_data_came(name: str) -> None:
    files = source_files(locate(name, DATASETS, "data set").partition(":")[0])
    assert "benchmarks.datasets.contract" in files
    assert "benchmarks.datasets.download" not in files, "an edit there would compute all studies again"


@pytest.mark.real_data
@pytest.mark.parametrize("name", SOURCED)
def test_real_recordings_pass_the_checks_of_their_source(name: str, places: Places, real_data: Path) -> None:
    kind = find(name, DATASETS, "data set", Dataset)
    archive = real_data / f"{name}.zip"
    if isinstance(kind.card.source, PublishedArchive):
        with published({"set.zip": archive.read_bytes()}) as publisher:
            get(name, places, Console(file=io.StringIO()), replace(kind.card.source, url=f"{publisher.url}set.zip"))
        found = places.data / f"{name}.zip"
    else:
        with zipfile.ZipFile(archive) as opened:
            files = {path: opened.read(path) for path in opened.namelist() if not path.endswith("/")}
        with published({**files, kind.card.source.hashes: hash_list(files)}) as publisher:
            get(name, places, Console(file=io.StringIO()), replace(kind.card.source, url=publisher.url))
        found = places.data / name
    assert kind.present(places) == found
    there = Places(data=real_data, cache=places.cache, study=places.study)
    assert kind(places).subjects() == kind(there).subjects()
