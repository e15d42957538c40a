from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.cohort import build_cohort
from benchmarks.datasets.contract import Places
from benchmarks.datasets.wristband import Wristband
from benchmarks.errors import DataError, StudyError
from benchmarks.parts import build
from benchmarks.preprocessing import Preprocessing
from benchmarks.recipe import Recipe, WindowLength
from benchmarks.representations.raw import RawWindows
from tests.benchmarks.datasets.e4_files import START, write_e4, write_e4_archive

PHASES = """\
subject,phase,start,stop,remark
ann,rest,0,20,
ann,talk,20,40.5,loud
ann,walk,45,60,
bob,talk,30,50,
bob,rest,5,25,
"""


def wristband(places: Places, table: str | None = PHASES, **values: Any) -> Wristband:
    """As a study file asks for it: `dataset: {name: e4, ...}`."""
    if table is not None:
        (places.study / "phases.csv").write_text(table)
    return build(Wristband, {"places": places}, {"path": "bands", "phases": "phases.csv"} | values, "dataset")


@pytest.fixture
def bands(places: Places) -> Path:
    """Exports of two people, of 60 s each: a folder and an archive."""
    folder = places.study / "bands"
    write_e4(folder / "ann", files=["EDA.csv", "TEMP.csv", "IBI.csv"])
    write_e4_archive(folder / "bob.zip", start=START + 500)
    (folder / "notes.txt").write_text("no export")
    (folder / ".hidden").mkdir()
    (folder / "empty").mkdir()
    return folder


def trials(dataset: Wristband, subject: str) -> list[tuple[str, int, float, float]]:
    (task,) = dataset.tasks.values()
    cut = [trial for recording in dataset.read(subject) for trial in task.cut(recording)]
    return [(trial.name, trial.label, trial.start_s, trial.stop_s) for trial in cut]


def test_each_phase_is_a_class_of_its_own(bands: Path, places: Places) -> None:
    dataset = wristband(places)
    assert dataset.subjects() == ("ann", "bob")
    assert list(dataset.tasks) == ["phases"]
    assert dataset.task(None).classes == ("rest", "talk", "walk")
    assert trials(dataset, "ann") == [("00_rest", 0, 0, 20), ("01_talk", 1, 20, 40.5), ("02_walk", 2, 45, 60)]
    assert trials(dataset, "bob") == [("00_rest", 0, 5, 25), ("01_talk", 1, 30, 50)], "in the order of time"
    (recording,) = dataset.read("ann")
    assert (recording.subject, recording.session) == ("ann", "1")
    assert set(recording.signals) == {"eda", "temp"}
    assert len(recording.events["ibi"]) > 0


def test_signals_are_those_that_all_exports_of_the_subjects_have(bands: Path, places: Places) -> None:
    dataset = wristband(places)
    assert dataset.one_clock
    assert dataset.signals_of(["ann", "bob"]) == ("eda", "temp", "ibi"), "ann's has no more, bob's archive has all"
    assert dataset.signals_of(["bob"]) == ("acc", "bvp", "eda", "temp", "ibi"), "who is left out does not matter"
    with pytest.raises(DataError, match=r"No export of subject 'bop' .*Did you mean 'bob'"):
        dataset.signals_of(["ann", "bop"])


def test_signals_of_sessions_without_a_phase_do_not_matter(places: Places) -> None:
    write_e4(places.study / "bands" / "ann" / "monday")
    write_e4(places.study / "bands" / "ann" / "friday", files=["EDA.csv", "ACC.csv"])
    write_e4(places.study / "bands" / "ann" / "sunday", files=["EDA.csv"])
    assert wristband(places, SESSIONS).signals_of(["ann"]) == ("acc", "eda")


def test_an_archive_that_cannot_be_read_is_told_before_anything_is(bands: Path, places: Places) -> None:
    (bands / "bob.zip").write_bytes(b"PK no archive")
    with pytest.raises(DataError, match="bob.zip is no zip archive"):
        wristband(places).signals_of(["ann", "bob"])


def test_classes_of_several_phases_in_the_order_of_the_study(bands: Path, places: Places) -> None:
    dataset = wristband(places, classes={"still": ["rest"], "moved": ["walk", "talk"]})
    assert dataset.task(None).classes == ("still", "moved")
    assert [label for _, label, _, _ in trials(dataset, "ann")] == [0, 1, 1]
    dataset = wristband(places, classes={"walk": ["walk"], "rest": ["rest"]})
    assert trials(dataset, "ann") == [("00_rest", 1, 0, 20), ("02_walk", 0, 45, 60)], "talk is not used"


def test_unix_seconds(bands: Path, places: Places) -> None:
    seconds = wristband(places)
    expected = {subject: trials(seconds, subject) for subject in seconds.subjects()}
    starts = {"ann": START, "bob": START + 500}
    header, *rows = PHASES.splitlines()
    unix = [header]
    for row in rows:
        subject, phase, start, stop, remark = row.split(",")
        unix.append(f"{subject},{phase},{starts[subject] + float(start)},{starts[subject] + float(stop)},{remark}")
    dataset = wristband(places, "\n".join(unix))
    assert {subject: trials(dataset, subject) for subject in dataset.subjects()} == expected


SESSIONS = """\
subject,session,phase,start,stop,trial
ann,monday,rest,0,20,first
ann,monday,talk,20,40,second
ann,friday,talk,30,60,first
"""


def test_sessions_and_named_trials(places: Places) -> None:
    folder = places.study / "bands" / "ann"
    write_e4(folder / "monday")
    write_e4_archive(folder / "friday.zip", start=START + 86400)
    write_e4(folder / "sunday")
    dataset = wristband(places, SESSIONS)
    assert [recording.session for recording in dataset.read("ann")] == ["monday", "friday"], "none of sunday"
    assert trials(dataset, "ann") == [("first", 0, 0, 20), ("second", 1, 20, 40), ("first", 1, 30, 60)]
    with pytest.raises(DataError, match=r"row 1: ann has the sessions friday, monday, sunday, and the table no column"):
        wristband(places, SESSIONS.replace("session", "visit")).read("ann")
    with pytest.raises(DataError, match=r"data row 3: no session 'fryday' of ann\. Legal.*Did you mean 'friday'"):
        wristband(places, SESSIONS.replace("friday", "fryday")).read("ann")


def test_sessions_are_in_the_order_of_their_starts_whatever_their_names(places: Places) -> None:
    days = {"day1": 0, "day10": 9, "day2": 1}
    for name, day in days.items():
        write_e4(places.study / "bands" / "ann" / name, start=START + 86400 * day, files=["EDA.csv"])
    rows = [f"ann,{name},{phase},{start},{start + 20}" for name in days for phase, start in (("rest", 0), ("talk", 20))]
    dataset = wristband(places, "\n".join(["subject,session,phase,start,stop", *rows]))
    assert [recording.session for recording in dataset.read("ann")] == ["day1", "day2", "day10"]


def test_the_one_session_of_a_subject_need_not_be_named(places: Places) -> None:
    write_e4(places.study / "bands" / "ann" / "2022-02-07")
    dataset = wristband(places, PHASES.partition("bob")[0])
    assert [recording.session for recording in dataset.read("ann")] == ["2022-02-07"]
    assert len(trials(dataset, "ann")) == 3


def test_paths_may_be_absolute(bands: Path, places: Places, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.csv").write_text(PHASES)
    moved = shutil.move(bands, tmp_path / "moved")
    dataset = wristband(places, None, path=str(moved), phases=str(tmp_path / "elsewhere.csv"))
    assert dataset.subjects() == ("ann", "bob")
    assert len(trials(dataset, "bob")) == 2


def test_fingerprint_follows_the_subjects_own_files_and_rows_and_the_classes(bands: Path, places: Places) -> None:
    def fingerprints(table: str = PHASES, **values: Any) -> list[str]:
        dataset = wristband(places, table, **values)
        return [dataset.fingerprint(subject) for subject in ("ann", "bob")]

    before = fingerprints()
    assert before == fingerprints()
    assert before[0] != before[1]
    moved = fingerprints(PHASES.replace("5,25", "5,24"))
    assert (moved[0] == before[0], moved[1] == before[1]) == (True, False)
    header, *rows = PHASES.splitlines()
    assert fingerprints("\n".join([header, *rows[3:], *rows[:3]])) == before, "the order of the file says nothing"
    assert not set(fingerprints(classes={"rest": ["rest"], "talk": ["talk"]})) & set(before)
    write_e4(bands / "ann", seed=1, files=["EDA.csv"])
    after = fingerprints()
    assert (after[0] == before[0], after[1] == before[1]) == (False, True)


def edited(old: str, new: str) -> str:
    assert old in PHASES
    return PHASES.replace(old, new)


BAD: Mapping[str, tuple[str, str]] = {
    "overlap": (edited("ann,talk,20", "ann,talk,19"), r"rest and talk of ann, session 1, overlap \(data rows 1 and 2"),
    "same twice": (PHASES + "bob,rest,5,25,\n", r"rest and rest of bob, session 1, overlap \(data rows 5 and 6\)"),
    "backwards": (edited("45,60", "60,45"), r"data row 3: walk of ann starts at 60 and stops at 45, not later"),
    "no length": (edited("45,60", "45,45"), r"data row 3: walk of ann starts at 45 and stops at 45"),
    "unknown subject": (edited("bob,rest", "rob,rest"), r"data row 5: no recording of subject 'rob'.*mean 'bob'"),
    "no column": (edited("phase,", "condition,"), r"no column 'phase'; it has subject, condition, start, stop, remark"),
    "no value": (edited("ann,walk", "ann,"), r"data row 3: no phase\. Fill it"),
    "no number": (edited("40.5", "40 s"), r"data row 2: stop is '40 s'\. Expected seconds"),
    "not finite": (edited("40.5", "inf"), r"data row 2: stop is 'inf'"),
    "negative": (edited("bob,rest,5", "bob,rest,-5"), r"data row 5: start is '-5'"),
    "one in unix": (edited("45,60", f"{START + 45},{START + 60}"), r"data row 3: 1644228045 .* not of the clock"),
    "half in unix": (edited("45,60", f"45,{START + 60}"), r"data row 3: 45 to 1644228060 is not of the clock of row 1"),
    "no rows": (PHASES.splitlines()[0], r"has no rows under its header"),
    "nothing": ("", r"cannot be read as a CSV file"),
    "ragged": (edited("loud", "loud,again"), r"cannot be read as a CSV file"),
    "two trials of a name": (
        "subject,phase,start,stop,trial\nann,rest,0,9,a\nann,talk,9,18,b\nann,walk,18,27,a\n",
        r"two trials of ann, session 1, are called 'a' \(data rows 1 and 3\)",
    ),
    "one phase": ("subject,phase,start,stop\nann,rest,0,9\n", r"has only the phase 'rest'\. At least two"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_tables(bands: Path, places: Places, case: str) -> None:
    table, message = BAD[case]
    with pytest.raises(DataError, match=message) as caught:
        _ = wristband(places, table).tasks
    assert str(places.study / "phases.csv") in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "45,60",
            "45,60.5",
            r"data row 3: walk of ann, session 1, at 45 to 60\.5 s, lies outside the recording of 60 s",
        ),
        ("30,50", "3000,5000", r"data row 4: talk of bob, session 1, at 3000 to 5000 s, lies outside"),
    ],
)
def test_phases_outside_the_recording(bands: Path, places: Places, old: str, new: str, message: str) -> None:
    dataset = wristband(places, edited(old, new))
    subject, other = ("ann", "bob") if "ann" in message else ("bob", "ann")
    with pytest.raises(DataError, match=message):
        dataset.read(subject)
    assert dataset.read(other)


def test_phases_before_the_recording_in_unix_seconds(bands: Path, places: Places) -> None:
    table = f"subject,phase,start,stop\nann,rest,{START - 1},{START + 9}\nann,talk,{START + 9},{START + 18}\n"
    with pytest.raises(DataError, match=r"rest of ann, session 1, at -1 to 9 s, .* starts at unix second 1644228000"):
        wristband(places, table).read("ann")


def test_subject_without_a_phase(bands: Path, places: Places) -> None:
    dataset = wristband(places, PHASES.partition("bob")[0])
    assert dataset.subjects() == ("ann", "bob")
    for ask in (dataset.read, dataset.fingerprint):
        with pytest.raises(DataError, match=r"phases\.csv has no phase of subject bob"):
            ask("bob")
    assert len(trials(dataset, "ann")) == 3


def test_unknown_subject(bands: Path, places: Places) -> None:
    dataset = wristband(places)
    for ask in (dataset.read, dataset.fingerprint):
        with pytest.raises(DataError, match=r"No export of subject 'an' .*Did you mean 'ann'"):
            ask("an")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"a": ["rest"], "b": ["tlak"]}, r"dataset\.classes: no phase 'tlak' .*Did you mean 'talk'"),
        ({"a": ["rest"], "b": ["talk", "rest"]}, r"dataset\.classes: phase 'rest' stands there twice"),
        ({"a": ["rest", "talk"]}, r"dataset\.classes"),
        ({"a": ["rest"], "b": []}, r"dataset\.classes\.b"),
        ({"a": "rest", "b": "talk"}, r"dataset\.classes\.a"),
    ],
)
def test_bad_classes(bands: Path, places: Places, classes: Mapping[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        _ = wristband(places, classes=classes).tasks


def test_files_that_are_not_there(places: Places) -> None:
    with pytest.raises(DataError, match=r"No folder .*bands\. dataset\.path starts in the folder of the study file"):
        wristband(places).subjects()
    (places.study / "bands" / "empty").mkdir(parents=True)
    with pytest.raises(DataError, match=r"bands holds no export of an E4 wristband\. Expected, for each subject"):
        wristband(places).subjects()
    write_e4(places.study / "bands" / "ann", files=["EDA.csv"])
    with pytest.raises(DataError, match=r"No file .*gone\.csv\. dataset\.phases starts in the folder of the study"):
        wristband(places, phases="gone.csv").read("ann")


def test_subject_that_is_there_twice(bands: Path, places: Places) -> None:
    write_e4_archive(bands / "ann.zip")
    with pytest.raises(DataError, match=r"ann.* and .*ann.* have the same name"):
        wristband(places).subjects()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """Two people whose electrodermal signal of 250 s counts its own samples, in microsiemens."""
    study = tmp_path_factory.mktemp("study")
    for subject in ("ann", "bob"):
        (study / "bands" / subject).mkdir(parents=True)
        rows = "\n".join([f"{START}", "4", *(f"{sample}" for sample in range(1000))])
        (study / "bands" / subject / "EDA.csv").write_text(rows + "\n")
    return Places(data=study, cache=study / "cache", study=study)


gaps_and_lengths = st.lists(
    st.tuples(st.floats(0, 6), st.floats(5, 30), st.sampled_from("xyz")), min_size=2, max_size=6
)


@settings(max_examples=25, deadline=None)
@given(gaps_and_lengths, st.floats(0.5, 5), st.floats(0.25, 5))
def test_windows_never_cross_a_phase(
    recorded: Places, drawn: list[tuple[float, float, str]], length_s: float, step_s: float
) -> None:
    spans, now = {}, 0.0
    # The first two are of two classes, so that there is something to tell apart.
    for position, (gap, length, name) in enumerate(drawn):
        phase = name if position > 1 else "xy"[position]
        start, now = now + gap, now + gap + length
        spans[f"{position:02d}_{phase}"] = (phase, start, now)
    rows = [
        f"{subject},{phase},{start!r},{stop!r}" for subject in ("ann", "bob") for phase, start, stop in spans.values()
    ]
    dataset = wristband(recorded, "\n".join(["subject,phase,start,stop", *rows]))
    recipe = Recipe("eda", Preprocessing(), WindowLength(length_s, step_s), RawWindows(), treatment="keep")
    cohort = build_cohort(dataset, None, None, recipe, None)
    windows = cohort.windows.of("ann")
    # The samples tell where a window truly is, in quarters of a second; half of one is the rounding of a phase.
    samples = np.round(windows.x[:, 0] * 1e6).astype(int)
    for trial, label, numbers in zip(windows.trial, windows.labels, samples, strict=True):
        phase, start, stop = spans[str(trial)]
        assert cohort.classes[label] == phase
        assert numbers.tolist() == list(range(numbers[0], numbers[0] + round(length_s * 4)))
        assert start - 0.125 <= numbers[0] / 4
        assert (numbers[-1] + 1) / 4 <= stop + 0.125
    assert set(windows.trial.tolist()) == set(spans), "a phase is longer than a window"
