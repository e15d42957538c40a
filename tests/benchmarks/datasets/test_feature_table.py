from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.datasets.contract import Places
from benchmarks.datasets.feature_table import FeatureTable
from benchmarks.errors import DataError, SignalError, StudyError
from benchmarks.parts import build
from benchmarks.protocols.within_subject import early_and_late
from benchmarks.quality import SubjectWindows

# Two subjects by two phases by two windows; the order of rows within S02 is that of time only by `start`.
CSV = """\
,id,phase,day,start,stress,eda_mean,eda_sd,hr_mean,note
0,S02,task,1,30,yes,2.5,0.25,80,a
1,S02,rest,1,10,no,1.0,0.10,60,b
2,S02,rest,1,0,no,1.5,0.15,61,c
3,S02,task,1,20,yes,2.0,0.20,79,d
4,S01,rest,1,0,no,1.1,0.11,70,e
5,S01,rest,1,10,no,1.2,0.12,71,f
6,S01,task,1,20,yes,2.1,0.21,90,g
7,S01,rest,2,30,no,1.3,0.13,72,h
"""
FEATURES = ["eda_*", "hr_mean"]


def table(places: Places, content: str | None = CSV, **values: Any) -> FeatureTable:
    """As a study file asks for it: `dataset: {name: table, ...}`."""
    if content is not None:
        (places.study / "my.csv").write_text(content)
    given = {"path": "my.csv", "subject": "id", "label": "stress", "features": FEATURES} | values
    return build(FeatureTable, {"places": places}, given, "dataset")


def load(dataset: FeatureTable, subject: str) -> SubjectWindows:
    return dataset.load(subject, dataset.task(None), None)


def edited(old: str, new: str) -> str:
    assert old in CSV
    return CSV.replace(old, new)


def test_rows_become_windows(places: Places) -> None:
    dataset = table(places)
    assert dataset.subjects() == ("S01", "S02")
    assert dataset.default_signal is None
    assert list(dataset.tasks) == ["stress"]
    assert dataset.task(None).classes == ("no", "yes")
    found = load(dataset, "S02")
    windows = found.windows
    np.testing.assert_array_equal(windows.x, [[2.5, 0.25, 80], [1.0, 0.10, 60], [1.5, 0.15, 61], [2.0, 0.20, 79]])
    assert windows.x.dtype == np.float64
    assert windows.subject.tolist() == ["S02"] * 4
    assert windows.session.tolist() == ["1"] * 4
    assert windows.y is not None
    assert windows.y.tolist() == [1, 0, 0, 1]
    assert windows.onset is None
    assert (found.report.subject, found.report.windows, found.report.dropped) == ("S02", 4, 0)
    assert found.report.unusable == {}


def test_optional_columns_and_order_of_time(places: Places) -> None:
    windows = load(table(places, trial="phase", session="day", onset="start"), "S02").windows
    assert windows.onset is not None
    assert windows.onset.tolist() == [0, 10, 20, 30]
    assert windows.trial.tolist() == ["rest", "rest", "task", "task"]
    np.testing.assert_array_equal(windows.x[:, 2], [61, 60, 79, 80])
    windows = load(table(places, trial="phase", session="day"), "S01").windows
    assert windows.session.tolist() == ["1", "1", "1", "2"]


def test_sessions_stay_in_the_order_of_the_file(places: Places) -> None:
    # Names do not tell which day came first, and not all subjects have their days in the same order.
    days = {"S1": ["day1", "day2", "day10"], "S2": ["day10", "day1"]}
    rows = [
        f"{subject},{day},{onset},{onset // 20},{number}"
        for subject, mine in days.items()
        for number, day in enumerate(mine)
        for onset in (20, 0, 30, 10)
    ]
    dataset = table(places, "\n".join(["id,day,start,stress,f", *rows]), features=["f"], session="day", onset="start")
    for subject, mine in days.items():
        windows = load(dataset, subject).windows
        assert windows.session.tolist() == [day for day in mine for _ in range(4)]
        assert windows.x[:, 0].tolist() == [number for number in range(len(mine)) for _ in range(4)]
        assert windows.onset is not None
        assert windows.onset.tolist() == [0, 10, 20, 30] * len(mine)


def test_a_condition_that_recurs_is_no_trial(places: Places) -> None:
    stretches = [("A", 0, 60), ("B", 60, 160), ("A", 160, 260), ("B", 260, 560)]
    rows = [(name, number, start_s) for number, (name, *span) in enumerate(stretches) for start_s in range(*span, 10)]
    header = "id,condition,stretch,start,stress,f"
    content = "\n".join([header, *(f"S01,{name},{name}{n},{start_s},{name},1" for name, n, start_s in rows)])
    dataset = table(places, content, features=["f"], trial="condition", onset="start")
    with pytest.raises(DataError, match=r"subject S01, session 1, begin in .*: 'A' from 0 to 250 s and 'B' from 60 to"):
        dataset.subjects()
    assert set(load(table(places, content, features=["f"], trial="condition"), "S01").windows.trial) == {"A", "B"}
    for trial in ("stretch", None):
        windows = load(table(places, content, features=["f"], trial=trial, onset="start"), "S01").windows
        assert len(set(windows.trial)) == 4


def test_trials_with_clocks_of_their_own_are_sessions(places: Places) -> None:
    rows = [f"S01,{trial},{start_s},{trial},1" for trial in ("a", "b") for start_s in (0, 10)]
    content = "\n".join(["id,trial,start,stress,f", *rows])
    for trial in ("trial", None):
        with pytest.raises(DataError, match=r"in the same stretch of time.* make it a session \(dataset\.session\)"):
            table(places, content, features=["f"], trial=trial, onset="start").subjects()
    dataset = table(places, content, features=["f"], session="trial", onset="start")
    assert load(dataset, "S01").windows.session.tolist() == ["a", "a", "b", "b"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Places:
    study = tmp_path_factory.mktemp("study")
    return Places(data=study, cache=study / "cache", study=study)


stretches = st.lists(
    st.tuples(st.sampled_from("ABab"), st.integers(0, 3), st.integers(4, 12), st.sampled_from("12")),
    min_size=2,
    max_size=8,
)


@settings(max_examples=100, deadline=None)
@given(stretches, st.sampled_from([10.0, 30.0]), st.sampled_from([None, "name"]), st.sampled_from([None, "day"]))
def test_names_that_recur_are_refused_or_kept_apart(
    written: Places, drawn: list[tuple[str, int, int, str]], step_s: float, trial: str | None, session: str | None
) -> None:
    length_s, clock_s, rows = 30.0, 0.0, []
    # The first two are of two classes; a name is of one class, small and capital letters being two names of it.
    for position, (letter, pause, count, day) in enumerate(drawn):
        name = letter if position > 1 else "AB"[position]
        clock_s += pause * 15.0
        rows += [f"S01,{name},{day},{clock_s + step_s * k!r},{name.lower()},1" for k in range(count)]
        clock_s += step_s * (count - 1) + length_s
    content = "\n".join(["id,name,day,start,stress,f", *rows])
    dataset = table(written, content, features=["f"], trial=trial, session=session, onset="start", length_s=length_s)
    if trial is None:
        dataset.subjects()  # runs never recur, so nothing is refused
    try:
        windows = load(dataset, "S01").windows
        within = early_and_late(windows, length_s)
    except DataError:
        return
    assert windows.onset is not None
    for name in set(windows.session):
        here = windows.session == name
        learned_s, scored_s = windows.onset[here & within.learned], windows.onset[here & within.scored]
        assert (np.abs(learned_s[:, None] - scored_s) >= 2 * length_s - 1e-5).all()


def test_without_a_trial_column_a_trial_is_a_run_of_one_label(places: Places) -> None:
    def runs(subject: str, **values: Any) -> list[int]:
        names = load(table(places, **values), subject).windows.trial.tolist()
        return [sorted(set(names)).index(name) for name in names]

    assert runs("S01") == [0, 0, 1, 2]
    assert runs("S02") == [0, 1, 1, 2]
    assert runs("S02", onset="start") == [0, 0, 1, 1], "in the order of time"


def test_rows_of_subjects_may_alternate(places: Places) -> None:
    lines = CSV.splitlines()
    alternating = "\n".join([lines[0], *(line for pair in zip(lines[1:5], lines[5:], strict=True) for line in pair)])
    for subject in ("S01", "S02"):
        one, other = load(table(places), subject).windows, load(table(places, alternating), subject).windows
        np.testing.assert_array_equal(one.x, other.x)
        np.testing.assert_array_equal(one.trial, other.trial)


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (["hr_mean", "eda_*"], [80, 2.5, 0.25]),
        (["*_mean"], [2.5, 80]),
        (["eda_mean", "eda_*", "eda_mean"], [2.5, 0.25]),
        (["[eh]*_mean"], [2.5, 80]),
    ],
)
def test_features_by_name_and_pattern(places: Places, features: list[str], expected: list[float]) -> None:
    np.testing.assert_array_equal(load(table(places, features=features), "S02").windows.x[0], expected)


def test_a_pattern_passes_over_columns_with_a_role_and_the_saved_index(places: Places) -> None:
    content = "\n".join(line.rpartition(",")[0] for line in CSV.splitlines())
    roles = {"trial": "phase", "session": "day", "onset": "start"}
    windows = load(table(places, content, features=["*"], **roles), "S02").windows
    assert windows.x.shape == (4, 3), "only eda_mean, eda_sd and hr_mean"
    without = load(table(places, content, features=["*"], trial="phase", session="day"), "S02").windows
    assert without.x.shape == (4, 3), "start tells the time, whatever its role"
    named = load(table(places, content, features=["*", "start"], trial="phase", session="day"), "S02").windows
    assert named.x.shape == (4, 4), "who names a column gets it"


@pytest.mark.parametrize("column", ["id", "stress", "phase", "start"])
def test_a_column_with_a_role_cannot_be_named_as_a_feature(places: Places, column: str) -> None:
    with pytest.raises(StudyError, match=rf"dataset\.features: '{column}' is the column of the"):
        table(places, features=["eda_*", column], trial="phase", onset="start")


@pytest.mark.parametrize(
    ("labels", "classes", "y"),
    [
        (["b", "a", "b", "c"], ("a", "b", "c"), [1, 0, 1, 2]),
        (["10", "2", "10", "-1"], ("-1", "2", "10"), [2, 1, 2, 0]),
        (["1.0", "0.0", "1.0", "1.0"], ("0", "1"), [1, 0, 1, 1]),
        (["True", "False", "True", "True"], ("False", "True"), [1, 0, 1, 1]),
    ],
)
def test_classes_are_sorted_text_or_whole_numbers(
    places: Places, labels: list[str], classes: tuple[str, ...], y: list[int]
) -> None:
    rows = [f"S{k // 2},{label},{k}.5" for k, label in enumerate(labels)]
    dataset = table(places, "\n".join(["id,stress,f", *rows]), features=["f"])
    assert dataset.task(None).classes == classes
    found = [label for subject in dataset.subjects() for label in load(dataset, subject).windows.y.tolist()]  # type: ignore[union-attr]
    assert found == y


def test_names_of_subjects_are_kept_as_written_and_numbers_sorted_as_such(places: Places) -> None:
    rows = [f"{subject},{label},1" for subject in ("10", "02", "1") for label in ("no", "yes")]
    assert table(places, "\n".join(["id,stress,f", *rows]), features=["f"]).subjects() == ("1", "02", "10")


def test_parquet_and_csv_give_the_same(places: Places) -> None:
    roles = {"trial": "phase", "session": "day", "onset": "start"}
    csv = table(places, **roles)
    frame = pd.read_csv(places.study / "my.csv", index_col=0)
    frame.to_parquet(places.study / "my.parquet")
    parquet = table(places, path="my.parquet", **roles)
    assert parquet.subjects() == csv.subjects()
    for subject in csv.subjects():
        one, other = load(csv, subject).windows, load(parquet, subject).windows
        for column in ("x", "subject", "session", "trial", "onset", "y"):
            np.testing.assert_array_equal(getattr(one, column), getattr(other, column))
        assert csv.fingerprint(subject) == parquet.fingerprint(subject)


def test_whole_numbers_of_any_type_name_a_subject_alike(places: Places) -> None:
    for kind in (int, float, str):
        frame = pd.DataFrame({"id": np.array([7, 7, 8, 8]).astype(kind), "stress": [0, 1, 0, 1], "f": [1.0, 2, 3, 4]})
        frame.to_parquet(places.study / "my.parquet")
        assert table(places, path="my.parquet", features=["f"]).subjects() == ("7", "8")


def test_absolute_path(places: Places, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_text(CSV)
    assert table(places, None, path=str(elsewhere)).subjects() == ("S01", "S02")


def test_fingerprint_follows_the_subjects_rows_and_the_settings(places: Places) -> None:
    def fingerprints(content: str = CSV, **values: Any) -> list[str]:
        dataset = table(places, content, **values)
        return [dataset.fingerprint(subject) for subject in ("S01", "S02")]

    before = fingerprints()
    assert before == fingerprints()
    assert before[0] != before[1]
    changed = fingerprints(edited("0.25,80", "0.26,80"))
    assert changed[0] == before[0]
    assert changed[1] != before[1]
    relabelled = fingerprints(edited("1,10,no,1.0", "1,10,yes,1.0"))
    assert relabelled[0] == before[0]
    assert relabelled[1] != before[1]
    assert fingerprints(edited("30,yes,2.5,0.25,80,a", "30,yes,2.5,0.25,80,z")) == before, "no part of the data"
    settings: list[dict[str, Any]] = [
        {"features": ["eda_*"]},
        {"missing": "fail"},
        {"missing": "impute"},
        {"trial": "phase"},
    ]
    for values in settings:
        assert not set(before) & set(fingerprints(**values))


MISSING = edited("0.10,60", ",60").replace("1.5,0.15", "inf,0.15")


def test_missing_features_are_dropped_and_reported(places: Places) -> None:
    dataset = table(places, MISSING)
    found = load(dataset, "S02")
    np.testing.assert_array_equal(found.windows.x[:, 0], [2.5, 2.0])
    assert found.windows.y is not None
    assert found.windows.y.tolist() == [1, 1]
    assert found.report.windows == 4
    assert found.report.unusable == {"nan": 2}
    assert found.report.dropped == 2
    assert load(dataset, "S01").report.dropped == 0


def test_missing_features_can_be_refused(places: Places) -> None:
    with pytest.raises(SignalError, match=r"subject S02: 2 of 4 rows .*eda_mean, eda_sd.*dataset\.missing says fail"):
        load(table(places, MISSING, missing="fail"), "S02")
    assert len(load(table(places, MISSING, missing="fail"), "S01").windows) == 4


def test_missing_features_can_be_left_to_be_imputed(places: Places) -> None:
    dataset = table(places, MISSING, missing="impute")
    found = load(dataset, "S02")
    np.testing.assert_array_equal(
        found.windows.x, [[2.5, 0.25, 80], [1.0, np.nan, 60], [np.nan, 0.15, 61], [2.0, 0.20, 79]]
    )
    assert (found.report.windows, found.report.dropped, found.report.imputed) == (4, 0, 2)
    assert found.report.unusable == {"nan": 2}
    assert (load(dataset, "S01").report.imputed, load(dataset, "S01").report.unusable) == (0, {})


def test_a_subject_that_is_imputed_whole_is_kept_and_reported(places: Places) -> None:
    content = "id,stress,f,g\nS1,0,,1\nS1,1,,2\nS2,0,,\nS2,1,,inf\nS3,0,1,1\nS3,1,2,2\n"
    dataset = table(places, content, features=["f", "g"], missing="impute")
    found = load(dataset, "S2")
    assert found.windows.x.shape == (2, 2)
    assert np.isnan(found.windows.x).all()
    assert (found.report.windows, found.report.dropped, found.report.imputed) == (2, 0, 2)
    assert found.report.unusable == {"nan": 2}
    assert load(dataset, "S1").report.imputed == 2
    assert load(dataset, "S3").report.imputed == 0


def test_whether_time_can_be_asked_for(places: Places) -> None:
    assert not table(places).one_clock
    assert table(places, onset="start").one_clock
    assert table(places).signals_of(["S01", "S02"]) == ()


def test_length_of_the_windows(places: Places) -> None:
    assert table(places).window_s is None
    assert table(places, length_s=60).window_s == 60


def test_subject_without_a_usable_row(places: Places) -> None:
    content = CSV.replace("80,a", ",a").replace("60,b", ",b").replace("61,c", ",c").replace("79,d", ",d")
    with pytest.raises(SignalError, match=r"subject S02: 4 of 4 rows .*hr_mean, so no usable row is left"):
        load(table(places, content), "S02")


def only(*subjects: str) -> str:
    header, *rows = CSV.splitlines()
    return "\n".join([header, *(row for row in rows if row.split(",")[1] in subjects)])


BAD: Mapping[str, tuple[str, dict[str, Any], str]] = {
    "label column": (CSV, {"label": "stres"}, r"no column 'stres', named as dataset\.label.*id.*Did you mean 'stress'"),
    "trial column": (CSV, {"trial": "fase"}, r"no column 'fase', named as dataset\.trial.*Did you mean 'phase'"),
    "feature column": (CSV, {"features": ["eda_maen"]}, r"is or matches 'eda_maen'.*Did you mean 'eda_mean'"),
    "pattern": (CSV, {"features": ["eda_*", "emg_*"]}, r"no feature column is or matches 'emg_\*'.*eda_mean"),
    "pattern of roles only": (CSV, {"features": ["str*"]}, r"is or matches 'str\*'"),
    "text": (CSV, {"features": ["eda_mean", "note"]}, r"'note' is not numeric: it holds 'a' in data rows 1, 2"),
    "one value": (
        edited("1.1,0.11", "1.1,n. a."),
        {},
        r"'eda_sd' is not numeric: it holds 'n\. a\.' in data row 5 \(the first under the header is 1\)",
    ),
    "onset": (edited("1,20,yes,2.1", "1,soon,yes,2.1"), {"onset": "start"}, r"onset column 'start' is not numeric"),
    "empty feature": (
        "id,stress,f,g\nS1,0,1,\nS1,1,2,\n",
        {"features": ["f", "g"]},
        "feature column 'g' is empty in every row",
    ),
    "no label": (
        edited("S01,rest,1,10,no", "S01,rest,1,10,").replace("2,30,no", "2,30,NA"),
        {},
        r"the label is missing in data rows 6, 8 .* of column 'stress'",
    ),
    "no subject": (edited("3,S02", "3,"), {}, r"the subject is missing in data row 4 .* of column 'id'"),
    "no onset": (edited("1,10,no,1.2", "1,,no,1.2"), {"onset": "start"}, "the onset is missing in data row 6"),
    "single row": (
        CSV + "8,S03,rest,1,0,no,1,1,1,i\n9,S04,rest,1,0,no,1,1,1,j\n",
        {},
        "a single row of subjects S03, S04",
    ),
    "one class": (CSV.replace("yes", "no"), {}, "label column 'stress' holds only 'no'"),
    "fractional label": (CSV.replace("yes", "1").replace(",no,", ",0.5,"), {}, r"holds 0\.5 in data rows 2, 3, 5, 6,"),
    "infinite label": (CSV.replace("yes", "1").replace(",no,", ",inf,"), {}, "holds inf in data rows 2"),
    "trial of two labels": (
        edited("S01,rest,1,10,no", "S01,rest,1,10,yes"),
        {"trial": "phase", "session": "day"},
        r"trial 'rest' of subject S01, session 1, has several labels \(no, yes\)",
    ),
    "header only": (CSV.splitlines()[0], {}, "has no rows under its header"),
    "nothing": ("", {}, r"my\.csv cannot be read as \.csv"),
    "ragged": (edited("71,f", "71,f,extra,extra"), {}, r"my\.csv cannot be read as \.csv.*line 7"),
    "more fields than the header": (
        "id,stress,f\nS1,0,1,2\nS1,1,1,2\n",
        {"features": ["f"]},
        r"my\.csv cannot be read as \.csv",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_files(places: Places, case: str) -> None:
    content, values, message = BAD[case]
    dataset = table(places, content, **values)
    with pytest.raises(DataError, match=message) as caught:
        dataset.subjects()
    assert str(places.study / "my.csv") in str(caught.value)


def test_dates_are_no_features(places: Places) -> None:
    frame = pd.DataFrame({"id": ["a", "a"], "stress": [0, 1], "when": pd.to_datetime(["2022-01-01", "2022-01-02"])})
    frame.to_parquet(places.study / "my.parquet")
    with pytest.raises(DataError, match="'when' is not numeric"):
        table(places, path="my.parquet", features=["when"]).subjects()


def test_files_that_cannot_be_read(places: Places) -> None:
    with pytest.raises(DataError, match=r"No file .*gone\.csv.*folder of the study"):
        table(places, path="gone.csv").subjects()
    (places.study / "my.xlsx").write_bytes(b"PK")
    with pytest.raises(StudyError, match=r"my\.xlsx is neither of \.csv, \.parquet"):
        table(places, path="my.xlsx").subjects()
    (places.study / "my.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match=r"my\.parquet cannot be read as \.parquet"):
        table(places, path="my.parquet").subjects()
    (places.study / "latin.csv").write_bytes("id,stress,f\nJosé,0,1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.csv cannot be read as \.csv"):
        table(places, path="latin.csv").subjects()


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"features": []}, "dataset.features"),
        ({"features": "eda_*"}, "dataset.features"),
        ({"missing": "keep"}, "dataset.missing"),
        ({"length_s": 0}, "dataset.length_s"),
        ({"length_s": float("inf")}, "dataset.length_s"),
        ({"labels": "stress"}, "dataset.labels.*Did you mean 'label'"),
        ({"label": "id"}, "dataset.label: the subject's column"),
    ],
)
def test_settings_that_are_wrong(places: Places, values: Mapping[str, Any], field: str) -> None:
    with pytest.raises(StudyError, match=field):
        table(places, **values)


def test_unknown_subject(places: Places) -> None:
    dataset = table(places)
    for ask in (lambda: load(dataset, "S1"), lambda: dataset.fingerprint("S1")):
        with pytest.raises(DataError, match=r"no row of subject 'S1'.*Did you mean 'S01'"):
            ask()


def test_a_recipe_is_refused(places: Places) -> None:
    dataset = table(places)
    with pytest.raises(StudyError, match="Remove signal, preprocessing, windows"):
        dataset.load("S01", dataset.task(None), object())  # type: ignore[arg-type]


def test_a_pattern_takes_no_clock_for_a_feature_but_rise_times_are_features(places: Places) -> None:
    content = "id,stress,Time_s,onset,rise_time,hr\n" + "".join(
        f"S{i % 3},{i % 2},{i},{i},{i}.5,{i}\n" for i in range(12)
    )
    assert load(table(places, content, features=["*"]), "S0").windows.x.shape == (4, 2)
