from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from benchmarks.datasets import storage
from benchmarks.datasets.contract import Places
from benchmarks.datasets.e4 import export_files, is_export, read_e4, recorded, recorded_by_all
from benchmarks.datasets.stress_predict import StressPredict
from benchmarks.errors import DataError
from tests.benchmarks.datasets.e4_files import BEAT_S, FILES, START, e4_contents, write_e4, write_e4_archive

SMALL = {
    "ACC.csv": "1644228000.0, 1644228000.0, 1644228000.0\n32.0, 32.0, 32.0\n64,-64,0\n32,1,-128\n",
    "BVP.csv": "1644228000.00\n64.000000\n-0.00\n1.57\n-5.74\n",
    "EDA.csv": "1644228000.000000\n4.000000\n0.000000\n0.622764\n",
    "TEMP.csv": "1644228002.000000\n4.000000\n34.79\n34.81\n",
    "IBI.csv": "1644228000.000000, IBI\n10.5,0.75\n11.5,1.0\n",
}
"""An export written by hand; the temperature starts two seconds late."""


def write(folder: Path, contents: Mapping[str, str | bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def test_files_written_by_hand(tmp_path: Path) -> None:
    export = read_e4(write(tmp_path, SMALL))
    assert export.start_unix_s == 1644228000
    assert export.duration_s == 2 + 2 / 4
    acc, bvp, eda, temp = (export.signals[name] for name in ("acc", "bvp", "eda", "temp"))
    g = 9.80665
    np.testing.assert_allclose(acc.get_data(), [[g, g / 2], [-g, g / 64], [0, -2 * g]])
    np.testing.assert_allclose(bvp.get_data(), [[0, 1.57, -5.74]])
    np.testing.assert_allclose(eda.get_data(), [[0, 0.622764e-6]])
    np.testing.assert_allclose(temp.get_data(), [[34.79, 34.81]])
    assert acc.ch_names == ["ACC_X", "ACC_Y", "ACC_Z"]
    assert [raw.ch_names for raw in (bvp, eda, temp)] == [["BVP"], ["EDA"], ["TEMP"]]
    assert [raw.info["sfreq"] for raw in (acc, bvp, eda, temp)] == [32, 64, 4, 4]
    assert [raw.first_time for raw in (acc, bvp, eda, temp)] == [0, 0, 0, 2]


def test_an_interval_begins_with_its_first_beat(tmp_path: Path) -> None:
    ibi = read_e4(write(tmp_path, SMALL)).events["ibi"]
    assert ibi.onset.tolist() == [9.75, 10.5]
    assert ibi.duration.tolist() == [0.75, 1.0]


def test_beats_are_told_from_the_start_of_the_recording(tmp_path: Path) -> None:
    early = {name: text.replace("1644228000.0", "1644227997.0") for name, text in SMALL.items() if name != "IBI.csv"}
    export = read_e4(write(tmp_path, {**SMALL, **early}))
    assert export.start_unix_s == 1644227997
    assert export.events["ibi"].onset.tolist() == [12.75, 13.5]


@pytest.mark.parametrize("top", ["", "session/"])
def test_an_archive_is_read_like_a_folder(tmp_path: Path, top: str) -> None:
    archive = write_e4_archive(tmp_path / "session.zip", top=top)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("__MACOSX/._ACC.csv", b"\0")
        opened.writestr("__MACOSX/ACC.csv", b"\0")
    zipped, folder = read_e4(archive), read_e4(write_e4(tmp_path / "folder"))
    assert (zipped.start_unix_s, zipped.duration_s) == (folder.start_unix_s, folder.duration_s) == (START, 60)
    assert list(zipped.signals) == list(folder.signals) == ["acc", "bvp", "eda", "temp"]
    for name, raw in folder.signals.items():
        np.testing.assert_array_equal(raw.get_data(), zipped.signals[name].get_data())
    np.testing.assert_array_equal(zipped.events["ibi"].onset, folder.events["ibi"].onset)
    assert folder.events["ibi"].duration.tolist() == pytest.approx([BEAT_S] * len(folder.events["ibi"]))


@pytest.mark.parametrize("top", ["./", ".//", "a/./b/"])
def test_members_of_an_archive_are_read_by_the_names_that_they_have(tmp_path: Path, top: str) -> None:
    archive = write_e4_archive(tmp_path / "session.zip", top=top)
    assert f"{top}EDA.csv" in zipfile.ZipFile(archive).namelist()
    assert read_e4(archive).duration_s == 60
    assert recorded(archive) == {"acc", "bvp", "eda", "temp", "ibi"}


def test_what_is_recorded_is_what_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "session.zip", "w") as opened:
        opened.writestr("EDA.csv", SMALL["EDA.csv"])
        opened.writestr("__MACOSX/ACC.csv", b"\0")
        opened.writestr("TEMP.csv/", b"")
    assert recorded(tmp_path / "session.zip") == set(read_e4(tmp_path / "session.zip").signals) == {"eda"}
    folder = write_e4(tmp_path / "folder", files=["TEMP.csv", "IBI.csv", "EDA.csv"])
    assert recorded(folder) == {"eda", "temp", "ibi"}
    assert recorded_by_all([folder]) == ("eda", "temp", "ibi")
    assert recorded_by_all([folder, tmp_path / "session.zip"]) == ("eda",)


def test_what_is_an_export(tmp_path: Path) -> None:
    assert is_export(write_e4(tmp_path / "one", files=["EDA.csv"]))
    assert is_export(write_e4_archive(tmp_path / "two.ZIP"))
    assert not is_export(write(tmp_path / "three", {"notes.csv": ""}))
    assert not is_export(tmp_path / "three" / "notes.csv")
    assert not is_export(tmp_path / "gone.zip")


def test_files_that_are_read(tmp_path: Path) -> None:
    folder = write_e4(tmp_path / "one")
    assert [file.name for file in export_files(folder)] == ["ACC.csv", "BVP.csv", "EDA.csv", "TEMP.csv", "IBI.csv"]
    archive = write_e4_archive(tmp_path / "two.zip")
    assert export_files(archive) == [archive]


@pytest.mark.parametrize("missing", ["ACC.csv", "BVP.csv", "EDA.csv", "TEMP.csv", "IBI.csv"])
def test_a_signal_may_be_missing(tmp_path: Path, missing: str) -> None:
    export = read_e4(write_e4(tmp_path, files=[name for name in FILES if name != missing]))
    held = {*export.signals, *export.events}
    assert held == {"acc", "bvp", "eda", "temp", "ibi"} - {missing.removesuffix(".csv").lower()}


def test_a_wristband_that_was_taken_off_is_read_as_recorded(tmp_path: Path) -> None:
    contents = e4_contents()
    flat = "\n".join([*contents["EDA.csv"].splitlines()[:2], *["0.000000"] * 240]) + "\n"
    no_beats = contents["IBI.csv"].splitlines()[0] + "\n"
    export = read_e4(write(tmp_path, {**contents, "EDA.csv": flat, "IBI.csv": no_beats}))
    assert not export.signals["eda"].get_data().any()
    assert len(export.events["ibi"]) == 0


def test_line_ends_and_byte_order_marks_of_other_programs(tmp_path: Path) -> None:
    others = {name: "\ufeff" + text.replace("\n", "\r\n") + "\r\n" for name, text in SMALL.items()}
    export, expected = read_e4(write(tmp_path / "a", others)), read_e4(write(tmp_path / "b", SMALL))
    for name, raw in expected.signals.items():
        np.testing.assert_array_equal(export.signals[name].get_data(), raw.get_data())
    assert export.start_unix_s == expected.start_unix_s


@pytest.mark.parametrize("rows", [["1", "2.25", "0.5"], ["0.25"] * 20 + ["0.50"], ["1.5", "2"] * 10])
def test_a_last_row_without_its_end_may_be_whole(tmp_path: Path, rows: list[str]) -> None:
    write(tmp_path, {"BVP.csv": "\n".join(["1644228000", "64", *rows])})
    assert read_e4(tmp_path).signals["bvp"].get_data()[0].tolist() == [float(row) for row in rows]


LONG = e4_contents()


def with_rows(name: str, edit: Callable[[list[str]], list[str]]) -> dict[str, str]:
    lines = edit(LONG[name].splitlines())
    return {name: "".join(f"{line}\n" for line in lines)}


def shifted(name: str, seconds: float) -> dict[str, str]:
    return {name: e4_contents(start=START + seconds)[name]}


def longer(name: str) -> dict[str, str]:
    return {name: e4_contents(seconds=200)[name]}


BAD: Mapping[str, tuple[Mapping[str, str | bytes], str]] = {
    "empty": ({"EDA.csv": ""}, r"EDA\.csv is empty"),
    "blank": ({"EDA.csv": "\n \n"}, r"EDA\.csv is empty"),
    "empty beats": ({"IBI.csv": ""}, r"IBI\.csv is empty"),
    "header cut": ({"EDA.csv": "1644228000.000000\n"}, r"EDA\.csv ends in its header: it is truncated"),
    "header only": ({"EDA.csv": "1644228000.000000\n4.000000\n"}, r"EDA\.csv has no sample under its header"),
    "no header": (with_rows("EDA.csv", lambda rows: rows[2:]), r"EDA\.csv, row 1: '0\.000000' is no start in unix sec"),
    "no header of three": (with_rows("ACC.csv", lambda rows: rows[2:]), r"ACC\.csv, row 1: .* is no start in unix"),
    "text": ({"EDA.csv": "<html>404</html>\n\n"}, "ends in its header: it is truncated"),
    "column missing": (
        with_rows("ACC.csv", lambda rows: [*rows[:100], "1,2", *rows[100:]]),
        r"ACC\.csv, row 101: '1,2' has 2 columns, expected 3",
    ),
    "column missing in all": (
        with_rows("ACC.csv", lambda rows: [*rows[:2], *(row.rpartition(",")[0] for row in rows[2:])]),
        r"ACC\.csv, row 3: .* has 2 columns, expected 3",
    ),
    "column too many": (
        with_rows("EDA.csv", lambda rows: [*rows[:50], "1.5,2.5", *rows[50:]]),
        r"EDA\.csv, row 51: '1\.5,2\.5' has 2 columns, expected 1",
    ),
    "row cut": ({"ACC.csv": LONG["ACC.csv"] + "1,2"}, r"ACC\.csv, row 1923: '1,2' has 2 columns, .*: it is truncated"),
    "row cut at a comma": ({"ACC.csv": LONG["ACC.csv"] + "1,2,"}, r"row 1923: '1,2,' is not numeric: it is truncated"),
    "half a number": ({"BVP.csv": LONG["BVP.csv"][:-2]}, r"BVP\.csv ends in the middle of a number .* truncated"),
    "half a beat": ({"IBI.csv": LONG["IBI.csv"][:-4]}, r"IBI\.csv ends in the middle of a number .* truncated"),
    "only a sign": ({"BVP.csv": LONG["BVP.csv"] + "-"}, r"BVP\.csv ends in the middle|'-' is not numeric"),
    "no number": (
        with_rows("TEMP.csv", lambda rows: [*rows[:9], "n. a.", *rows[10:]]),
        r"TEMP\.csv, row 10: 'n\. a\.' is not numeric",
    ),
    "not finite": (with_rows("TEMP.csv", lambda rows: [*rows[:9], "nan", *rows[10:]]), r"row 10: 'nan' is not numeric"),
    "infinite": (with_rows("TEMP.csv", lambda rows: [*rows[:9], "inf", *rows[10:]]), r"row 10: 'inf' is not numeric"),
    "binary": ({"TEMP.csv": b"\x00\xff" * 100}, r"TEMP\.csv"),
    "bvp for eda": ({"EDA.csv": LONG["BVP.csv"]}, r"EDA\.csv: 1 column at 64 Hz, expected 1 column at 4 Hz.*BVP\.csv"),
    "acc for bvp": ({"BVP.csv": LONG["ACC.csv"]}, r"BVP\.csv: 3 columns at 32 Hz, expected .*how ACC\.csv looks"),
    "eda for acc": ({"ACC.csv": LONG["EDA.csv"]}, r"ACC\.csv: 1 column at 4 Hz.*how EDA\.csv or TEMP\.csv looks"),
    "hr for temp": ({"TEMP.csv": LONG["HR.csv"]}, r"TEMP\.csv: 1 column at 1 Hz.*how HR\.csv looks"),
    "ibi for eda": ({"EDA.csv": LONG["IBI.csv"]}, r"EDA\.csv, row 1: .* is not numeric.*how IBI\.csv begins"),
    "eda for ibi": ({"IBI.csv": LONG["EDA.csv"]}, r"IBI\.csv, row 1: '1644228000\.000000', expected .*word IBI"),
    "eda and temp": ({"EDA.csv": LONG["TEMP.csv"], "TEMP.csv": LONG["EDA.csv"]}, r"EDA\.csv has values of 32.*swapped"),
    "temp twice": ({"EDA.csv": LONG["TEMP.csv"]}, r"EDA\.csv has values of 32.*were these files swapped"),
    "other rate": (with_rows("EDA.csv", lambda rows: [rows[0], "8.0", *rows[2:]]), r"1 column at 8 Hz, expected 1 col"),
    "several starts": (
        with_rows("ACC.csv", lambda rows: [rows[0].replace("8000.0", "8001.0", 1), *rows[1:]]),
        r"ACC\.csv, rows 1 and 2: .* say several starts or rates",
    ),
    "start": (shifted("BVP.csv", 60), r"do not start together \(ACC\.csv 1644228000, BVP\.csv 1644228060, EDA\.csv 16"),
    "start of beats": (shifted("IBI.csv", -8), r"do not start together .*IBI\.csv 1644227992"),
    "end": (longer("EDA.csv"), r"do not end together \(ACC\.csv 60, BVP\.csv 60, EDA\.csv 200, TEMP\.csv 60; sec"),
    "truncated at a row": (
        {**{name: longer(name)[name] for name in FILES}, **with_rows("BVP.csv", lambda rows: rows)},
        r"do not end together .*BVP\.csv 60, .*the shorter ones are truncated",
    ),
    "beats of a longer session": (longer("IBI.csv"), r"IBI\.csv: a beat at 199 s, after the end of the recording at 6"),
    "beats out of order": ({"IBI.csv": "1644228000, IBI\n5,0.8\n4,0.8\n"}, r"IBI\.csv, row 3: a beat at 4 s.*order"),
    "no time between beats": ({"IBI.csv": "1644228000, IBI\n5,0.8\n6,0\n"}, r"IBI\.csv, row 3: .* intervals above 0"),
    "beats in one column": ({"IBI.csv": "1644228000, IBI\n5.0\n"}, r"IBI\.csv, row 2: '5\.0' has 1 column, expected 2"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("archived", [False, True])
def test_bad_files(tmp_path: Path, case: str, archived: bool) -> None:
    contents, message = BAD[case]
    place = write(tmp_path / "S07", {**LONG, **contents})
    if archived:
        place = Path(shutil.make_archive(str(tmp_path / "S07"), "zip", place))
    with pytest.raises(DataError, match=message) as caught:
        read_e4(place)
    assert str(place) in str(caught.value), "which subject's file"


def test_no_signal_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds none of ACC\.csv, BVP\.csv, EDA\.csv, TEMP\.csv"):
        read_e4(write_e4(tmp_path, files=["IBI.csv", "HR.csv"]))
    with pytest.raises(DataError, match="Cannot read"):
        read_e4(tmp_path / "gone")


def test_archives_that_cannot_be_read(tmp_path: Path) -> None:
    archive = write_e4_archive(tmp_path / "whole.zip")
    for name, content in (("text.zip", b"no archive"), ("cut.zip", archive.read_bytes()[:5000])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name} is no zip archive that can be read"):
            read_e4(tmp_path / name)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("again/EDA.csv", "")
    with pytest.raises(DataError, match=r"whole\.zip holds more than one EDA\.csv"):
        read_e4(archive)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as opened:
        opened.writestr("notes.txt", "")
    with pytest.raises(DataError, match=r"other\.zip holds none of"):
        read_e4(tmp_path / "other.zip")


def test_cold_wrists_and_sweaty_ones_are_no_swapped_files(tmp_path: Path) -> None:
    sweat = "\n".join(["1644228000", "4", "0.0", *["35.5"] * 239]) + "\n"
    frost = "\n".join(["1644228000", "4", *["-3.5"] * 240]) + "\n"
    for number, (eda, temp) in enumerate([(sweat, LONG["TEMP.csv"]), (LONG["EDA.csv"], frost), (sweat, frost)]):
        export = read_e4(write(tmp_path / str(number), {"EDA.csv": eda, "TEMP.csv": temp}))
        assert set(export.signals) == {"eda", "temp"}


@pytest.fixture(scope="module")
def real(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of the real exports, by subject."""
    folder = tmp_path_factory.mktemp("stress_predict")
    places = Places(data=real_data, cache=folder, study=folder)
    root = storage.find_root(StressPredict.card, "Raw_data/S*/EDA.csv", places)
    return {place.name: place for place in (root / "Raw_data").glob("S*")}


@pytest.mark.real_data
def test_all_real_exports(real: Mapping[str, Path]) -> None:
    assert len(real) == 35
    for subject, folder in real.items():
        export = read_e4(folder)
        assert 50 * 60 < export.duration_s < 60 * 60, subject
        assert {name: raw.info["sfreq"] for name, raw in export.signals.items()} == {
            "acc": 32, "bvp": 64, "eda": 4, "temp": 4,
        }  # fmt: skip
        eda, temp = export.signals["eda"].get_data()[0], export.signals["temp"].get_data()[0]
        assert eda[0] == 0, "the artefact of the device is kept"
        assert 1e-7 < np.median(eda) < 1e-5
        assert (np.abs(temp - 30) < 10).all()
        gravity = np.linalg.norm(export.signals["acc"].get_data(), axis=0)
        assert np.median(gravity) == pytest.approx(9.81, abs=0.3)
        ibi = export.events["ibi"]
        assert (ibi.onset[1:] - (ibi.onset + ibi.duration)[:-1] > -0.001).all(), "intervals do not overlap"
        # The device sees a beat where the next interval begins: mostly, they follow one another.
        assert np.median(ibi.duration) == pytest.approx(0.8, abs=0.3)


@pytest.mark.real_data
def test_swapped_files_of_every_real_subject_are_found(real: Mapping[str, Path], tmp_path: Path) -> None:
    for subject, folder in real.items():
        contents = {"EDA.csv": (folder / "TEMP.csv").read_bytes(), "TEMP.csv": (folder / "EDA.csv").read_bytes()}
        with pytest.raises(DataError, match="were these files swapped"):
            read_e4(write(tmp_path / subject, contents))
