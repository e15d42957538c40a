from __future__ import annotations

import csv
import datetime
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import openpyxl
import pytest

from benchmarks.cohort import build_cohort, choose_subjects
from benchmarks.datasets import storage
from benchmarks.datasets.contract import Places
from benchmarks.datasets.stress_predict import StressPredict
from benchmarks.errors import DataError, StudyError
from benchmarks.preprocessing import Preprocessing
from benchmarks.recipe import Recipe, WindowLength
from benchmarks.recording import Recording
from benchmarks.representations.raw import RawWindows
from tests.benchmarks.datasets.e4_files import LABELLED, SECONDS, START, write_e4, write_stress_predict

LABELS = "Processed_data/Improved_All_Combined_hr_rsp_binary.csv"
LOG = "Processed_data/Time_logs.xlsx"
STRESSORS = ("stroop", "interview", "hyperventilation")

Bounds = dict[str, tuple[float, float]]


def phases(recording: Recording) -> Bounds:
    """Start and stop of each phase, rounded to the millisecond, in the order of time."""
    told = recording.annotations
    return {
        str(name): (round(float(onset), 3), round(float(onset + duration), 3))
        for name, onset, duration in zip(told.description, told.onset, told.duration, strict=True)
    }


def read(dataset: StressPredict, subject: str) -> Recording:
    (recording,) = dataset.read(subject)
    return recording


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Stress-Predict of S01, S02 and S03 (with two of the five files, to be quick); not to be changed."""
    starts = {"S01": START, "S02": START, "S03": START + 8400}
    return write_stress_predict(tmp_path_factory.mktemp("small"), starts, files=["EDA.csv", "TEMP.csv"])


@pytest.fixture
def copy(small: Path, places: Places) -> Path:
    """A copy of it where the data set is looked for."""
    return shutil.copytree(small, places.data / "stress_predict")


def test_phases_of_a_set_written_by_hand(copy: Path, places: Places) -> None:
    # The log's boundaries are drawn in by a minute; those of the label file are exact. S03's clock passes noon.
    expected = {
        "baseline": (60, 240),
        "stroop": (370, 487),
        "relax_1": (487, 655),
        "interview": (655, 835),
        "relax_2": (835, 1025),
        "hyperventilation": (1025, 1145),
        "relax_3": (1145, 1260),
        "questionnaire": (1380, 1440),
        "final_relax": (1560, 1620),
    }
    dataset = StressPredict(places)
    assert dataset.subjects() == ("S01", "S02", "S03")
    for subject in ("S02", "S03"):
        recording = read(dataset, subject)
        assert (recording.subject, recording.session) == (subject, "1")
        assert list(phases(recording).items()) == list(expected.items())
        assert set(recording.signals) == {"eda", "temp"}


def test_signals_are_those_that_all_of_the_subjects_have(copy: Path, places: Places) -> None:
    dataset = StressPredict(places)
    assert dataset.one_clock
    assert dataset.signals_of(["S02", "S03"]) == ("eda", "temp")
    (copy / "Raw_data" / "S03" / "TEMP.csv").unlink()
    assert dataset.signals_of(["S02", "S03"]) == ("eda",)
    assert dataset.signals_of(["S02"]) == ("eda", "temp")
    with pytest.raises(DataError, match="No folder of subject 'S04'"):
        dataset.signals_of(["S04"])


def test_phases_of_a_subject_in_the_log_only(copy: Path, places: Places) -> None:
    # Two minutes of Stroop and of hyperventilation leave nothing that is safe.
    assert phases(read(StressPredict(places), "S01")) == {
        "baseline": (60, 240),
        "relax_1": (540, 600),
        "interview": (720, 780),
        "relax_2": (900, 960),
        "relax_3": (1200, 1260),
        "questionnaire": (1380, 1440),
        "final_relax": (1560, 1620),
    }


def test_times_count_from_the_start_of_the_recording(copy: Path, places: Places) -> None:
    before = phases(read(StressPredict(places), "S02"))
    for file in ("EDA.csv", "TEMP.csv"):
        path = copy / "Raw_data" / "S02" / file
        path.write_text(path.read_text().replace(f"{START}.000000", f"{START - 20}.500000"))
    after = phases(read(StressPredict(places), "S02"))
    assert after == {name: (start + 19.5, stop + 19.5) for name, (start, stop) in before.items()}


def relabel(root: Path, subject: str, edit: Callable[[int, int], int | None]) -> None:
    """Rewrite the label of each second of a subject, counted from its first row (9 s); None takes the row out."""
    header, *rows = (root / LABELS).read_text().splitlines()
    number, kept, second = subject[1:].lstrip("0"), [header], 9
    for row in rows:
        *fields, label = row.split(",")
        if fields[0] == number:
            new = edit(second, int(label))
            second += 1
            if new is None:
                continue
            label = str(new)
        kept.append(",".join([*fields, label]))
    (root / LABELS).write_text("\n".join(kept) + "\n")


def labelled(*runs: tuple[int, int]) -> Callable[[int, int], int]:
    return lambda second, _: int(any(start <= second < stop for start, stop in runs))


COPIED = ((360, 480), (660, 840), (1020, 1140))
"""The stressors as the log has them, to the second."""


def test_rests_keep_away_from_boundaries_that_were_copied_from_the_log(copy: Path, places: Places) -> None:
    relabel(copy, "S02", labelled(*COPIED))
    found = phases(read(StressPredict(places), "S02"))
    assert [found[name] for name in STRESSORS] == list(COPIED), "as labelled"
    assert found["baseline"] == (60, 240)
    assert found["relax_1"] == (540, 600)
    assert found["relax_2"] == (900, 960)
    assert found["relax_3"] == (1200, 1260)
    # Who pressed the button on the minute knows the boundary all the same.
    tags = copy / "Raw_data" / "S02" / "tags_S02.csv"
    tags.write_text("".join(f"{START + edge}.4\n" for run in COPIED for edge in run) + "1644180000\n")
    found = phases(read(StressPredict(places), "S02"))
    assert [found[name] for name in ("relax_1", "relax_2", "relax_3")] == [(480, 660), (840, 1020), (1140, 1260)]
    tags.unlink()
    assert phases(read(StressPredict(places), "S02"))["relax_1"] == (540, 600)


def test_phases_from_the_log_keep_out_of_the_stressors(copy: Path, places: Places) -> None:
    relabel(copy, "S02", labelled((200, 400), *LABELLED[1:]))
    found = phases(read(StressPredict(places), "S02"))
    assert found["baseline"] == (60, 200)
    assert found["relax_1"] == (400, 655)


def test_tasks(copy: Path, places: Places) -> None:
    dataset = StressPredict(places)
    recording = read(dataset, "S02")
    assert next(iter(dataset.tasks)) == "interview_vs_flanking_rests"
    found = {
        name: (task.classes, [(trial.label, trial.start_s, trial.stop_s) for trial in task.cut(recording)])
        for name, task in dataset.tasks.items()
    }
    rests = [(0, 60, 240), (0, 487, 655), (0, 835, 1025)]
    assert found == {
        "interview_vs_flanking_rests": (("rest", "interview"), [rests[1], (1, 655, 835), rests[2]]),
        "stress_vs_rest": (
            ("rest", "stress"),
            [rests[0], (1, 370, 487), rests[1], (1, 655, 835), rests[2], (1, 1025, 1145)],
        ),
        "four_classes": (
            ("rest", *STRESSORS),
            [rests[0], (1, 370, 487), rests[1], (2, 655, 835), rests[2], (3, 1025, 1145)],
        ),
        "first_vs_second_half_of_baseline": (("first_half", "second_half"), [(0, 60, 150), (1, 150, 240)]),
    }
    for task in dataset.tasks.values():
        names = [trial.name for trial in task.cut(recording)]
        assert len(set(names)) == len(names)


def test_s01_is_left_out_of_every_task_with_its_reason(copy: Path, places: Places) -> None:
    dataset = StressPredict(places)
    for name in dataset.tasks:
        assert choose_subjects(dataset, name, None) == ("S02", "S03")
        with pytest.raises(StudyError, match="S01 cannot take part .* Stroop task came before its baseline"):
            choose_subjects(dataset, name, ["S01", "S02"])


@pytest.mark.parametrize("top", ["", "Stress-Predict-Dataset-main/"])
def test_found_in_an_archive(small: Path, places: Places, tmp_path: Path, top: str) -> None:
    assert StressPredict.present(places) is None
    shutil.copytree(small, tmp_path / "source" / top)
    shutil.make_archive(str(places.data / "stress_predict"), "zip", tmp_path / "source")
    assert StressPredict.present(places) == places.data / "stress_predict.zip"
    assert phases(read(StressPredict(places), "S02"))["stroop"] == (370, 487)


def test_fingerprint_follows_the_subjects_own_files_and_rows(copy: Path, places: Places) -> None:
    def fingerprints() -> list[str]:
        dataset = StressPredict(places)
        return [dataset.fingerprint(subject) for subject in ("S01", "S02", "S03")]

    def changed(before: list[str]) -> list[bool]:
        return [one != other for one, other in zip(before, fingerprints(), strict=True)]

    before = fingerprints()
    assert len(set(before)) == 3
    assert not any(changed(before))
    (copy / "Raw_data" / "S02" / "HR.csv").write_text("not read")
    assert not any(changed(before))
    relabel(copy, "S03", labelled((371, 487), *LABELLED[1:]))
    assert changed(before) == [False, False, True]
    before = fingerprints()
    edit_log(copy, "S02", {"K": "10:09"})
    assert changed(before) == [False, True, False]
    before = fingerprints()
    (copy / "Raw_data" / "S01" / "tags_S01.csv").write_text("1644228100\n")
    write_e4(copy / "Raw_data" / "S03", SECONDS, START + 8400, seed=9, files=["EDA.csv"])
    assert changed(before) == [True, False, True]


def edit_log(root: Path, subject: str, cells: Mapping[str, str | None]) -> None:
    """Write cells of a subject's row, by column letter, as times where they are; without cells, take the row out."""
    book = openpyxl.load_workbook(root / LOG)
    sheet = book.active
    row = next(row for row in range(1, 40) if sheet[f"A{row}"].value == subject)
    for column, value in cells.items():
        sheet[f"{column}{row}"] = datetime.time.fromisoformat(value) if value and ":" in value else value
    if not cells:
        sheet.delete_rows(row)
    book.save(root / LOG)


BAD_LABELS: Mapping[str, tuple[Callable[[int, int], int | None], str]] = {
    "gap in a stressor": (
        lambda second, label: None if second == 700 else label,
        rf"S02 has second {START + 701} after second {START + 699}",
    ),
    "gap at a boundary": (
        lambda second, label: None if 835 <= second < 840 else label,
        rf"S02 has second {START + 840} after second {START + 834}",
    ),
    "gap in a rest": (
        lambda second, label: None if second == 100 else label,
        rf"S02 has second {START + 101} after second {START + 99}",
    ),
    "no subject": (lambda second, label: None, "no row of participant 2, so that the phases of S02 are not known"),
    "two stressors": (labelled(*LABELLED[:2]), r"S02 has 2 runs of label 1 among 5 runs\. Expected 3 \(stroop, inter"),
    "four stressors": (labelled(*LABELLED, (1300, 1310)), "S02 has 4 runs of label 1 among 9 runs"),
    "stressor at once": (labelled((9, 487), *LABELLED[1:]), "S02 has 3 runs of label 1 among 6 runs"),
    "stressor to the end": (labelled(*LABELLED[:2], (1025, 9999)), "S02 has 3 runs of label 1 among 6 runs"),
    "no stressor": (labelled(), "S02 has 0 runs of label 1 among 1 runs"),
    "another label": (lambda second, label: 2 * label, r"data row 362: 2, 1644228370, 2 in Participant, Time\(sec\)"),
    "far from the log": (
        lambda second, _: int(any(start <= second < stop for start, stop in ((10, 30), *LABELLED[1:]))),
        r"S02: stroop is 450 s apart in Improved_All.*csv and in Time_logs\.xlsx",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_LABELS)
def test_bad_labels(copy: Path, places: Places, case: str) -> None:
    edit, message = BAD_LABELS[case]
    relabel(copy, "S02", edit)
    with pytest.raises(DataError, match=message) as caught:
        StressPredict(places).read("S02")
    assert "S02" in str(caught.value) or LABELS in str(caught.value)
    if case != "another label":
        assert phases(read(StressPredict(places), "S03"))["stroop"] == (370, 487), "a subject of its own"


BAD_LOGS: Mapping[str, tuple[Mapping[str, str | None], str]] = {
    "no subject": ({}, r"Time_logs\.xlsx has no row of S02, so that its phases are not known"),
    "text": ({"M": "soon"}, r"the start of interview of S02 is 'soon', expected a time of day"),
    "empty": ({"T": None}, r"the end of relax_3 of S02 is nan, expected a time of day"),
    "wrong order": ({"G": "10:07"}, r"baseline of S02 does not end after its start"),
    "outside": ({"W": "10:40", "X": "10:45"}, r"S02: final_relax, at 2460 to 2640 s, lies outside the recording of 1"),
    "overlap": ({"U": "10:15"}, r"S02: questionnaire begins at 960 s, before the end of relax_2 at 1025 s"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_LOGS)
def test_bad_logs(copy: Path, places: Places, case: str) -> None:
    cells, message = BAD_LOGS[case]
    edit_log(copy, "S02", cells)
    with pytest.raises(DataError, match=message):
        StressPredict(places).read("S02")
    assert phases(read(StressPredict(places), "S03"))["stroop"] == (370, 487), "a subject of its own"


@pytest.mark.parametrize("file", [LABELS, LOG])
def test_tables_that_cannot_be_read(copy: Path, places: Places, file: str) -> None:
    (copy / file).write_bytes(b"<html>404</html>")
    with pytest.raises(DataError, match=rf"{Path(file).name} cannot be read"):
        StressPredict(places).read("S02")
    (copy / file).unlink()
    with pytest.raises(DataError, match=rf"{Path(file).name} is missing, which tells the phases of all subjects"):
        StressPredict(places).read("S02")


def test_tables_with_other_columns(copy: Path, places: Places) -> None:
    content = (copy / LABELS).read_text()
    (copy / LABELS).write_text(content.replace("Label", "Stress", 1))
    with pytest.raises(DataError, match=r"binary\.csv cannot be read .* columns Participant, Time\(sec\), Label"):
        StressPredict(places).read("S02")
    (copy / LABELS).write_text(content.replace(",0\n", ",calm\n", 1))
    with pytest.raises(DataError, match=r"binary\.csv cannot be read .*calm"):
        StressPredict(places).read("S02")
    (copy / LABELS).write_text(content)
    book = openpyxl.load_workbook(copy / LOG)
    book.active.insert_cols(7)
    book.save(copy / LOG)
    with pytest.raises(DataError, match=r"Time_logs\.xlsx: column 7 is not 'Baseline/Questionniare', the start of bas"):
        StressPredict(places).read("S02")


def test_stressor_after_the_end_of_the_recording(copy: Path, places: Places) -> None:
    write_e4(copy / "Raw_data" / "S02", 1100, START, files=["EDA.csv", "TEMP.csv"])
    with pytest.raises(DataError, match="S02: hyperventilation, at 1025 to 1145 s, lies outside the recording of 1100"):
        StressPredict(places).read("S02")


def test_presses_that_are_no_numbers(copy: Path, places: Places) -> None:
    (copy / "Raw_data" / "S02" / "tags_S02.csv").write_text("soon\n")
    with pytest.raises(DataError, match=r"tags_S02\.csv cannot be read .*unix seconds"):
        StressPredict(places).read("S02")


def test_damaged_file_of_a_subject(copy: Path, places: Places) -> None:
    (copy / "Raw_data" / "S02" / "EDA.csv").write_text("")
    with pytest.raises(DataError, match=r"Raw_data/S02/EDA\.csv is empty"):
        StressPredict(places).read("S02")


def test_missing_signal_is_told_by_the_recipe(copy: Path, places: Places) -> None:
    (copy / "Raw_data" / "S02" / "EDA.csv").unlink()
    recipe = Recipe("eda", Preprocessing(), WindowLength(60, 30), RawWindows())
    dataset = StressPredict(places)
    with pytest.raises(DataError, match="S02: no signal 'eda' in its recording"):
        dataset.load("S02", dataset.task(None), recipe)


def test_unknown_subject_and_missing_set(copy: Path, places: Places, tmp_path: Path) -> None:
    dataset = StressPredict(places)
    for ask in (dataset.read, dataset.fingerprint):
        with pytest.raises(DataError, match="No folder of subject 's2'.*S02"):
            ask("s2")
    with pytest.raises(DataError, match=r"https://github\.com/italha-d/Stress-Predict-Dataset"):
        StressPredict(Places(data=tmp_path / "none", cache=tmp_path, study=tmp_path)).subjects()


@pytest.fixture(scope="module")
def real_places(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Places:
    folder = tmp_path_factory.mktemp("stress_predict")
    return Places(data=real_data, cache=folder, study=folder)


@pytest.fixture(scope="module")
def real(real_places: Places) -> StressPredict:
    return StressPredict(real_places)


@pytest.fixture(scope="module")
def real_labels(real_places: Places) -> dict[str, dict[int, int]]:
    """Label of each unix second of each subject, read by other means than the data set's."""
    root = storage.find_root(StressPredict.card, LABELS, real_places)
    labels: dict[str, dict[int, int]] = {}
    with (root / LABELS).open(newline="") as stream:
        for row in csv.DictReader(stream):
            labels.setdefault(f"S{int(row['Participant']):02d}", {})[int(row["Time(sec)"])] = int(row["Label"])
    return labels


BY_HAND: Mapping[str, tuple[int, Bounds]] = {
    "S02": (
        1644227574,
        {
            "baseline": (6, 486),  # logged 9:52-10:02; the recording starts at 9:52:54
            "stroop": (622, 998),
            "relax_1": (998, 1270),
            "interview": (1270, 1925),
            "relax_2": (1925, 2227),
            "hyperventilation": (2227, 2357),
            "relax_3": (2357, 2526),  # logged to 10:36
            "questionnaire": (2646, 2826),  # logged 10:36-10:41
            "final_relax": (2946, 3426),  # logged 10:41-10:51
        },
    ),
    "S10": (
        1644844459,
        {
            "baseline": (41, 461),  # logged 1:14-1:23; the recording starts at 13:14:19
            "stroop": (563, 865),
            "relax_1": (865, 1181),
            "interview": (1181, 1748),
            "relax_2": (1748, 2047),
            "hyperventilation": (2047, 2180),
            "relax_3": (2180, 2441),  # logged to 1:56
            "questionnaire": (2561, 2621),  # logged 1:56-1:59
            "final_relax": (2741, 2981),  # logged 1:59-2:05
        },
    ),
    "S23": (
        1646052269,
        {
            "baseline": (91, 571),  # logged 12:45-12:55; the recording starts at 12:44:29
            "stroop": (588, 976),
            "relax_1": (976, 1326),
            "interview": (1326, 1885),
            "relax_2": (1885, 2173),
            "hyperventilation": (2173, 2298),
            "relax_3": (2298, 2551),  # logged to 1:28
            "questionnaire": (2671, 2731),  # logged 1:28-1:31
            "final_relax": (2851, 3031),  # logged 1:31-1:36
        },
    ),
}
"""Start of the recording, unix seconds, and its phases, read off the published files by hand."""


@pytest.mark.real_data
@pytest.mark.parametrize("subject", BY_HAND)
def test_phases_checked_by_hand(
    real: StressPredict, real_labels: Mapping[str, Mapping[int, int]], subject: str
) -> None:
    start, expected = BY_HAND[subject]
    assert phases(read(real, subject)) == expected
    for stressor in STRESSORS:
        first, stop = (int(start + bound) for bound in expected[stressor])
        around = [real_labels[subject][second] for second in (first - 1, first, stop - 1, stop)]
        assert around == [0, 1, 1, 0]


@pytest.mark.real_data
def test_phases_of_all_real_subjects(real: StressPredict, real_labels: Mapping[str, Mapping[int, int]]) -> None:
    assert real.subjects() == tuple(f"S{number:02d}" for number in range(1, 36))
    copied = {"S06", "S17"}
    for subject in real.subjects()[1:]:
        recording = read(real, subject)
        found = phases(recording)
        start = min(second for second in real_labels[subject]) - 9
        stressed = sorted(second - start for second, label in real_labels[subject].items() if label)
        inside = [second for name in STRESSORS for second in range(*map(int, found[name]))]
        assert stressed == inside, subject
        bounds = [bound for span in found.values() for bound in span]
        assert bounds == sorted(bounds), "phases are in order and do not overlap"
        assert bounds[0] >= 0
        assert bounds[-1] <= max(raw.n_times / raw.info["sfreq"] for raw in recording.signals.values())
        exact = found["relax_1"] == (found["stroop"][1], found["interview"][0])
        assert exact == (subject not in copied), subject
        assert found["baseline"][1] - found["baseline"][0] >= 240
        assert set(found) == {
            "baseline", "relax_1", "relax_2", "relax_3", "questionnaire", *STRESSORS,
            *([] if subject == "S28" else ["final_relax"]),
        }  # fmt: skip


@pytest.mark.real_data
def test_boundaries_of_real_subjects_that_were_copied_from_the_log(real: StressPredict) -> None:
    # S06's label file is the log's; its button was pressed at 1043 s, 83 s after the end of Stroop as labelled.
    found = phases(read(real, "S06"))
    assert [found[name] for name in STRESSORS] == [(600, 960), (1320, 1980), (2280, 2400)]
    assert (found["relax_1"], found["relax_2"]) == ((1080, 1260), (2040, 2220))
    # Of S17 only the end of Stroop and of the interview.
    found = phases(read(real, "S17"))
    assert (found["relax_1"], found["relax_2"]) == ((1091, 1361), (2051, 2339))


@pytest.mark.real_data
def test_the_first_real_subject_is_known_from_the_log(real: StressPredict) -> None:
    # The log's minutes after the start at 9:27:41, drawn in by one: Stroop is 9:29-9:34, and comes first.
    found = phases(read(real, "S01"))
    assert list(found)[:3] == ["stroop", "relax_1", "baseline"]
    assert (found["stroop"], found["baseline"]) == ((139, 319), (739, 859))


@pytest.mark.real_data
@pytest.mark.parametrize("task", ["interview_vs_flanking_rests", "stress_vs_rest", "four_classes"])
def test_no_window_crosses_a_phase(
    real: StressPredict, real_labels: Mapping[str, Mapping[int, int]], task: str
) -> None:
    recipe = Recipe("eda", Preprocessing(), WindowLength(60, 30), RawWindows())
    cohort = build_cohort(real, task, ["S02", "S06", "S10", "S23"], recipe, None)
    windows = cohort.windows
    assert windows.x.shape[1:] == (1, 240)
    assert windows.onset is not None
    for subject, onset, label in zip(windows.subject, windows.onset, windows.labels, strict=True):
        start = min(real_labels[subject]) - 9
        seconds = range(int(np.floor(start + onset)), int(np.ceil(start + onset + 60)))
        # The label file begins nine seconds late, when nobody is stressed yet.
        told = {real_labels[subject].get(second, 0) for second in seconds}
        assert told == {int(label > 0)}


@pytest.mark.real_data
def test_no_window_crosses_the_middle_of_the_baseline(real: StressPredict) -> None:
    recipe = Recipe("eda", Preprocessing(), WindowLength(60, 30), RawWindows())
    found = build_cohort(real, "first_vs_second_half_of_baseline", ["S02", "S10"], recipe, None).windows.of("S02")
    # Baseline is 6-486 s, its middle 246 s.
    assert found.onset is not None
    assert found.onset[found.labels == 0].tolist() == [6, 36, 66, 96, 126, 156, 186]
    assert found.onset[found.labels == 1].tolist() == [246, 276, 306, 336, 366, 396, 426]
