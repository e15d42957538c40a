"""`unseen datasets`: which there are, and getting them; publishers are on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.datasets.eegmat import Eegmat
from experiments import cli
from tests.benchmarks.datasets.edf_files import write_eegmat_subject
from tests.benchmarks.datasets.publisher import Publisher, hash_list, published

ROOT = Path(__file__).resolve().parents[2]
FIRST, SECOND = "Subject00_1.edf", "Subject00_2.edf"

OWN = """
from dataclasses import replace

from benchmarks.datasets.eegmat import Eegmat
from benchmarks.datasets.sources import PublishedFiles


class Own(Eegmat):
    card = replace(Eegmat.card, name="own", title="Own Recordings", source=PublishedFiles("URL", "about 2 MB"))
"""
"""A data set of the user's, offered by a publisher of the test's."""


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    """Publishes ``own_set:Own``, which lies in the folder where commands are given."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=lambda seconds: None))
    write_eegmat_subject(tmp_path / "recordings", "Subject00")
    files = {path.name: path.read_bytes() for path in sorted((tmp_path / "recordings").iterdir())}
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    with published({**files, "SHA256SUMS.txt": hash_list(files)}) as running:
        (folder / "own_set.py").write_text(OWN.replace("URL", running.url))
        yield running
    sys.modules.pop("own_set", None)


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["unseen", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code


def test_get_tells_the_licence_brings_the_set_and_says_where_it_lies(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("datasets", "get", "own_set:Own", "--data", "data")
    assert called(monkeypatch, *arguments) == 0
    out, err = capsys.readouterr()
    assert out.split() == [str(Path("data", "own"))]
    assert all(told in err for told in ("Own Recordings: about 2 MB", Eegmat.card.licence, Eegmat.card.citation))
    assert Path("data", "own", FIRST).read_bytes() == publisher.files[FIRST]

    asked = publisher.asked.total()
    assert called(monkeypatch, *arguments) == 0
    out, err = capsys.readouterr()
    assert out.split() == [str(Path("data", "own"))]
    assert "is there already" in err
    assert publisher.asked.total() == asked


def test_the_place_of_the_data_may_come_from_the_environment(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UNSEEN_DATA", str(tmp_path / "elsewhere"))
    assert called(monkeypatch, "datasets", "get", "own_set:Own") == 0
    assert (tmp_path / "elsewhere" / "own" / FIRST).is_file()


def test_ctrl_c_keeps_what_came_and_the_same_command_goes_on(publisher: Publisher, tmp_path: Path) -> None:
    publisher.troubles[SECOND] = ["stalls"]
    command = [sys.executable, "-m", "experiments", "datasets", "get", "own_set:Own", "--data", "data"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert publisher.stalled.wait(60)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    publisher.released.set()
    assert process.returncode == cli.STOPPED
    assert "Stopped. Files that came whole are kept" in err
    assert "Traceback" not in err
    assert not Path("data", "own").exists()
    publisher.asked.clear()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert publisher.asked == {"SHA256SUMS.txt": 1, SECOND: 1}
    assert Path("data", "own", FIRST).read_bytes() == publisher.files[FIRST]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("get", "eegmatt"), "Did you mean 'eegmat'"),
        (("get", "simulated"), "computed on this machine"),
        (("get", "table"), "nothing to get for 'table'"),
        (("--data", "data", "get", "own_set:Own"), "--data belongs behind the command"),
    ],
)
def test_what_cannot_be_got_is_told_without_a_traceback(
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    assert called(monkeypatch, "datasets", *arguments) == cli.BAD_INPUT
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err
    assert not publisher.asked
    assert not Path("data").exists()


def test_a_publisher_that_does_not_answer_is_told_without_a_traceback(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    publisher.troubles[FIRST] = ["404"]
    assert called(monkeypatch, "datasets", "get", "own_set:Own", "--data", "data") == cli.BAD_INPUT
    err = capsys.readouterr().err
    assert "unseen: The server does not offer a file (404" in err
    assert "Traceback" not in err


def test_the_list_says_which_sets_can_be_got(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def last_cells() -> dict[str, str]:
        assert called(monkeypatch, "datasets", "--data", str(tmp_path)) == 0
        rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if line.count("│") > 5]
        return {row[1].strip(): row[-2].strip() for row in rows if row[1].strip()}

    monkeypatch.setenv("COLUMNS", "240")
    before = last_cells()
    assert (before["eegmat"], before["table"], before["simulated"]) == ("no: get", "yes", "yes")
    write_eegmat_subject(tmp_path / "eegmat", "Subject00")
    assert last_cells()["eegmat"] == "yes"
