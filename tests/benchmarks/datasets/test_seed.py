from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.cohort import build_cohort
from benchmarks.datasets.contract import Places
from benchmarks.datasets.seed import EEG_CHANNELS, Seed
from benchmarks.errors import DataError, StudyError
from benchmarks.parts import build
from benchmarks.preprocessing import Preprocessing
from benchmarks.recipe import Recipe, WindowLength
from benchmarks.representations.differential_entropy import DifferentialEntropy
from tests.benchmarks.datasets.matlab_files import hdf5_header, write_mat
from tests.benchmarks.datasets.seed_files import DAYS, LABELS, raw_of, write_labels, write_seed, write_session


def seed(places: Places, **values: Any) -> Seed:
    """As a study file asks for it: `dataset: {name: seed, ...}`."""
    return build(Seed, {"places": places}, values, "dataset")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two subjects, with films of 0.5 s in the first session and of 0.1 s in the others; not to be changed."""
    return write_seed(tmp_path_factory.mktemp("small"), seconds=0.5)


@pytest.fixture
def folder(small: Path, places: Places) -> Path:
    """A copy of it where the data set is looked for."""
    return shutil.copytree(small, places.data / "seed" / "Preprocessed_EEG")


def test_channels_are_those_of_the_cap() -> None:
    assert len(EEG_CHANNELS) == len(set(EEG_CHANNELS)) == 62
    assert (EEG_CHANNELS[0], EEG_CHANNELS[27], EEG_CHANNELS[-1]) == ("FP1", "CZ", "CB2")


def test_signals_of_files_written_by_hand(folder: Path, places: Places) -> None:
    dataset = seed(places)
    assert dataset.subjects() == ("S01", "S02")
    assert not dataset.one_clock
    assert dataset.signals_of(["S01", "S02"]) == ("eeg",)
    for number, subject in enumerate(dataset.subjects(), 1):
        recordings = dataset.read(subject)
        assert len(recordings) == 15
        for recording, written in zip(recordings, raw_of(number, 1, 100).values(), strict=True):
            eeg = recording.signals["eeg"]
            assert (recording.subject, recording.session, set(recording.signals)) == (subject, "1", {"eeg"})
            assert (eeg.ch_names, set(eeg.get_channel_types())) == (list(EEG_CHANNELS), {"eeg"})
            assert eeg.info["sfreq"] == 200
            np.testing.assert_allclose(eeg.get_data() * 1e6, written, rtol=1e-12)


def test_films_are_trials_with_the_emotions_of_the_label_file(folder: Path, places: Places) -> None:
    dataset = seed(places)
    task = dataset.task(None)
    assert list(dataset.tasks) == ["emotion"]
    assert task.classes == ("negative", "neutral", "positive")
    trials = [trial for recording in dataset.read("S02") for trial in task.cut(recording)]
    assert [trial.name for trial in trials] == [f"film_{film:02d}" for film in range(1, 16)]
    assert [trial.label for trial in trials] == [label + 1 for label in LABELS]
    assert {(trial.start_s, trial.stop_s) for trial in trials} == {(0, 0.5)}


def test_a_session_is_the_rank_of_its_day(folder: Path, places: Places) -> None:
    recordings = seed(places, sessions=[3, 1]).read("S01")
    assert [recording.session for recording in recordings] == ["1"] * 15 + ["3"] * 15, "as they were recorded"
    written = raw_of(1, 3, 20)["djc_eeg1"]
    np.testing.assert_allclose(recordings[15].signals["eeg"].get_data() * 1e6, written, rtol=1e-12)
    # A day before all others makes another session the first; the year counts before the month.
    first, _, last = (folder / f"1_{day}.mat" for day in DAYS[1])
    last.rename(folder / "1_20121231.mat")
    (recording, *_) = seed(places).read("S01")
    np.testing.assert_allclose(recording.signals["eeg"].get_data() * 1e6, written, rtol=1e-12)
    assert first.is_file()


def test_subjects_are_sorted_by_number(small: Path, places: Places) -> None:
    folder = places.data / "seed" / "Preprocessed_EEG"
    folder.mkdir(parents=True)
    for number in (10, 9, 2):
        for day in DAYS[1]:
            shutil.copy(small / f"1_{DAYS[1][0]}.mat", folder / f"{number}_{day}.mat")
    assert seed(places).subjects() == ("S02", "S09", "S10")


@pytest.mark.parametrize("archived", [False, True])
def test_found_at_any_depth(small: Path, places: Places, archived: bool) -> None:
    assert Seed.present(places) is None
    if archived:
        with zipfile.ZipFile(places.data / "seed.zip", "w") as archive:
            for file in small.iterdir():
                archive.write(file, Path("SEED", "SEED_EEG", "Preprocessed_EEG", file.name))
    else:
        shutil.copytree(small, places.data / "seed" / "SEED_EEG" / "Preprocessed_EEG")
    assert Seed.present(places) == places.data / ("seed.zip" if archived else "seed")
    assert seed(places).subjects() == ("S01", "S02")


def test_fingerprint_follows_the_files_that_are_used_and_the_labels(folder: Path, places: Places) -> None:
    def fingerprints(**values: Any) -> list[str]:
        return [seed(places, **values).fingerprint(subject) for subject in ("S01", "S02")]

    before = fingerprints()
    assert before == fingerprints(sessions=[1])
    assert before[0] != before[1]
    assert not set(before) & set(fingerprints(sessions=[2]))
    assert not set(before) & set(fingerprints(sessions=[1, 2]))
    write_session(folder, 2, 2, raw_of(2, 2, 30))
    assert fingerprints() == before, "a session that is not used"
    write_session(folder, 2, 1, raw_of(2, 1, 30))
    assert [one == other for one, other in zip(fingerprints(), before, strict=True)] == [True, False]
    write_labels(folder, [-label for label in LABELS])
    assert not set(before) & set(fingerprints())


def test_windows_of_a_cohort(places: Places) -> None:
    write_seed(places.data / "seed", seconds=4.0)
    recipe = Recipe("eeg", Preprocessing(), WindowLength(2.0), DifferentialEntropy())
    windows = build_cohort(seed(places), None, None, recipe, None).windows
    assert windows.x.shape == (2 * 15 * 2, 62, 5)
    assert windows.y is not None
    assert windows.y[:30].tolist() == [label + 1 for label in LABELS for _ in range(2)]
    # Alpha, of amplitude 4, 12 or 20, is a sine of variance a^2 / 2 on noise of 25 uV^2 over 0-100 Hz.
    alpha = windows.x[:30:2, :, 2].mean(axis=1)
    expected = [0.5 * np.log(2 * np.pi * np.e * 1e-12 * ((12 + 8 * label) ** 2 / 2 + 1.25)) for label in LABELS]
    np.testing.assert_allclose(alpha, expected, atol=0.25)


def test_missing_data_set_and_where_to_ask_for_it(places: Places) -> None:
    with pytest.raises(DataError, match=r"(?s)SEED.*Get it from https://bcmi\.sjtu\.edu\.cn.*asked for"):
        seed(places).subjects()


@pytest.mark.parametrize(
    ("sessions", "message"),
    [
        ([], "dataset.sessions"),
        ([0], "dataset.sessions"),
        ([4], "dataset.sessions"),
        (1, "dataset.sessions"),
        ([1, 1], r"dataset: sessions: \[1, 1\] names a session twice|dataset: sessions: \(1, 1\) names"),
    ],
)
def test_sessions_that_are_wrong(places: Places, sessions: Any, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        seed(places, sessions=sessions)


def ask_all(dataset: Seed, subject: str) -> dict[str, Callable[[], object]]:
    return {
        "read": lambda: dataset.read(subject),
        "fingerprint": lambda: dataset.fingerprint(subject),
        "signals_of": lambda: dataset.signals_of([subject]),
    }


@pytest.mark.parametrize("ask", ["read", "fingerprint", "signals_of"])
def test_files_that_do_not_tell_the_sessions(folder: Path, places: Places, ask: str) -> None:
    with pytest.raises(DataError, match=r"No file of subject '1' in .*Legal: S01, S02"):
        ask_all(seed(places), "1")[ask]()
    shutil.copy(folder / f"1_{DAYS[1][1]}.mat", folder / f"01_{DAYS[1][1]}.mat")
    with pytest.raises(DataError, match=r"S01 has two files of one day .*01_20131030\.mat, 1_20131030\.mat"):
        ask_all(seed(places), "S01")[ask]()
    (folder / f"2_{DAYS[2][0]}.mat").unlink()
    with pytest.raises(DataError, match=r"S02 has 2 files .*2_20140413\.mat, 2_20140419\.mat\. Expected 3"):
        ask_all(seed(places), "S02")[ask]()
    shutil.copy(folder / f"2_{DAYS[2][1]}.mat", folder / "2_20140501.mat")
    shutil.copy(folder / f"2_{DAYS[2][1]}.mat", folder / "2_20140502.mat")
    with pytest.raises(DataError, match="S02 has 4 files"):
        ask_all(seed(places), "S02")[ask]()


def test_files_of_other_names_are_passed_over(folder: Path, places: Places) -> None:
    for name in ("1_20131027 (1).mat", "1_2013.mat", "a_20131027.mat", "1_20131028.txt"):
        (folder / name).write_text("no recording")
    assert seed(places).subjects() == ("S01", "S02")
    assert len(seed(places).read("S01")) == 15


LABEL_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "absent": (lambda folder: (folder / "label.mat").unlink(), r"Cannot read .*label\.mat: No such file"),
    "shorter": (lambda folder: write_labels(folder, LABELS[:14]), r"label\.mat: found the labels 1, 0.*Expected 15"),
    "longer": (lambda folder: write_labels(folder, [*LABELS, 1]), r"label\.mat: found the labels 1, 0.*Expected 15"),
    "of another scale": (lambda folder: write_labels(folder, [2, *LABELS[1:]]), "found the labels 2, 0.*-1, 0 and 1"),
    "of another name": (lambda folder: write_labels(folder, key="Label"), r"no variable 'label'\. Legal: Label"),
    "of text": (
        lambda folder: write_mat(folder / "label.mat", {"label": "positive"}),
        r"label\.mat, label: expected numbers",
    ),
    "truncated": (
        lambda folder: (folder / "label.mat").write_bytes((folder / "label.mat").read_bytes()[:150]),
        r"label\.mat is truncated or damaged",
    ),
}


@pytest.mark.parametrize("case", LABEL_FILES)
def test_label_files_that_are_wrong(folder: Path, places: Places, case: str) -> None:
    spoil, message = LABEL_FILES[case]
    spoil(folder)
    for ask in (seed(places).read, seed(places).fingerprint):
        with pytest.raises(DataError, match=message):
            ask("S01")


def test_labels_in_a_column_are_read_alike(folder: Path, places: Places) -> None:
    before = seed(places).fingerprint("S01")
    write_mat(folder / "label.mat", {"label": np.array(LABELS, dtype=np.float64)[:, None]})
    assert seed(places).fingerprint("S01") == before


FILMS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "missing film": (lambda films: films.pop("djc_eeg7"), r"found djc_eeg1, .*Expected one for each of the films 1 to"),
    "film too many": (lambda films: films.update(djc_eeg16=films["djc_eeg1"]), "djc_eeg16.*films 1 to 15"),
    "film twice": (lambda films: films.update(dj_eeg3=films["djc_eeg1"]), "dj_eeg3.*films 1 to 15"),
    "other spelling": (
        lambda films: films.update({name.replace("_eeg", "_EEG"): films.pop(name) for name in list(films)}),
        r"found none of the variables '\.\+_eeg.*', among djc_EEG1",
    ),
    "fewer channels": (
        lambda films: films.update(djc_eeg5=films["djc_eeg5"][:61]),
        r"djc_eeg5: found an array of shape \(61, 20\).*62 channels",
    ),
    "samples first": (
        lambda films: films.update(djc_eeg5=films["djc_eeg5"].T),
        r"djc_eeg5: found an array of shape \(20, 62\)",
    ),
    "no samples": (
        lambda films: films.update(djc_eeg15=np.zeros((62, 0))),
        r"djc_eeg15: found an array of shape \(62, 0\)",
    ),
    "text": (lambda films: films.update(djc_eeg1="none"), "djc_eeg1: expected numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILMS)
def test_films_that_are_wrong(folder: Path, places: Places, case: str) -> None:
    spoil, message = FILMS[case]
    films: dict[str, Any] = raw_of(1, 1, 20)
    spoil(films)
    file = write_session(folder, 1, 1, films)
    with pytest.raises(DataError, match=message) as caught:
        seed(places).read("S01")
    assert str(file) in str(caught.value)
    assert len(seed(places, sessions=[2]).read("S01")) == 15, "other sessions are not touched"


def test_films_beside_other_variables(folder: Path, places: Places) -> None:
    write_session(folder, 1, 1, {"remark": "none", **raw_of(1, 1, 20), "djc_eeg": np.zeros((62, 20))})
    assert len(seed(places).read("S01")) == 15


@pytest.mark.parametrize("ending", [b"", b"\0" * 100])
def test_truncated_recording(folder: Path, places: Places, ending: bytes) -> None:
    file = folder / f"1_{DAYS[1][0]}.mat"
    file.write_bytes(file.read_bytes()[:-1000] + ending)
    with pytest.raises(DataError, match=r"1_20131027\.mat is truncated or damaged|films 1 to 15"):
        seed(places).read("S01")


def test_recording_of_version_7_3(folder: Path, places: Places) -> None:
    (folder / f"1_{DAYS[1][0]}.mat").write_bytes(hdf5_header())
    with pytest.raises(DataError, match=r"1_20131027\.mat is a MATLAB file of version 7\.3 \(HDF5\)"):
        seed(places).read("S01")
