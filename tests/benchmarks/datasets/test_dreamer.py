from __future__ import annotations

import copy
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.cohort import build_cohort
from benchmarks.datasets.contract import Places
from benchmarks.datasets.dreamer import Dreamer
from benchmarks.datasets.dreamer_file import EEG_CHANNELS
from benchmarks.errors import DataError, StudyError
from benchmarks.parts import build
from benchmarks.preprocessing import Preprocessing
from benchmarks.recipe import Recipe, WindowLength
from benchmarks.recording import Trial
from benchmarks.representations.differential_entropy import DifferentialEntropy
from tests.benchmarks.datasets.dreamer_files import RATES, ecg_of, eeg_of, person, viewer, write_dreamer
from tests.benchmarks.datasets.matlab_files import column, hdf5_header, row, write_mat

SCALES = ("arousal", "valence", "dominance")


def dreamer(places: Places, **values: Any) -> Dreamer:
    """As a study file asks for it: `dataset: {name: dreamer, ...}`."""
    return build(Dreamer, {"places": places}, values, "dataset")


@pytest.fixture
def folder(places: Places) -> Path:
    """Two subjects, of four films each."""
    return write_dreamer(places.data / "dreamer", [viewer(0), viewer(1)]).parent


def trials(dataset: Dreamer, task: str | None = None, subject: str = "S01") -> list[Trial]:
    return [trial for recording in dataset.read(subject) for trial in dataset.task(task).cut(recording)]


def labels(dataset: Dreamer, task: str) -> list[int]:
    return [trial.label for trial in trials(dataset, task)]


@pytest.mark.parametrize("compressed", [False, True])
def test_signals_of_a_file_written_by_hand(places: Places, compressed: bool) -> None:
    written = {"S01": viewer(0), "S02": viewer(1)}
    write_dreamer(places.data / "dreamer", list(written.values()), compressed=compressed)
    dataset = dreamer(places)
    assert dataset.subjects() == ("S01", "S02")
    for subject, told in written.items():
        recordings = dataset.read(subject)
        assert len(recordings) == 4
        for number, recording in enumerate(recordings):
            eeg, ecg = recording.signals["eeg"], recording.signals["ecg"]
            assert (recording.subject, recording.session) == (subject, "1")
            assert (eeg.ch_names, set(eeg.get_channel_types())) == (list(EEG_CHANNELS), {"eeg"})
            assert (ecg.ch_names, set(ecg.get_channel_types())) == (["ECG1", "ECG2"], {"ecg"})
            assert (eeg.info["sfreq"], ecg.info["sfreq"]) == (128, 256)
            np.testing.assert_allclose(eeg.get_data() * 1e6, told["EEG"]["stimuli"][number, 0].T, rtol=1e-12)
            np.testing.assert_allclose(ecg.get_data() * 1e6, told["ECG"]["stimuli"][number, 0].T, rtol=1e-12)


def test_a_film_is_a_trial_and_its_own_clock(folder: Path, places: Places) -> None:
    dataset = dreamer(places)
    assert not dataset.one_clock
    found = [(trial.name, trial.start_s, trial.stop_s) for trial in trials(dataset)]
    assert found == [("film_01", 0, 6), ("film_02", 0, 5), ("film_03", 0, 7), ("film_04", 0, 6)]


def test_labels_are_the_subjects_own_ratings(folder: Path, places: Places) -> None:
    dataset = dreamer(places)
    assert tuple(dataset.tasks) == SCALES
    assert dataset.task(None) is not None
    assert dataset.task(None).classes == ("low", "high")
    # Ratings are 1 4 2 5, 3 2 5 1 and 2 3 3 2.
    assert labels(dataset, "arousal") == [0, 1, 0, 1]
    assert labels(dataset, "valence") == [1, 0, 1, 0]
    assert labels(dataset, "dominance") == [0, 1, 1, 0]


def test_the_lowest_rating_that_is_high_is_a_value_of_the_study(folder: Path, places: Places) -> None:
    above_three = dreamer(places, high=4)
    assert labels(above_three, "valence") == [0, 0, 1, 0]
    assert labels(above_three, "dominance") == [0, 0, 0, 0]
    assert labels(dreamer(places, high=5), "arousal") == [0, 0, 0, 1]
    assert labels(dreamer(places, high=2), "valence") == [1, 1, 1, 0]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Places:
    places = Places(*(tmp_path_factory.mktemp(name) for name in ("data", "cache", "study")))
    write_dreamer(places.data / "dreamer", [viewer(0), viewer(1)])
    return places


@settings(max_examples=15, deadline=None)
@given(last_s=st.floats(0.5, 9))
def test_the_last_seconds_of_films_are_cut_alike_from_both_signals(shared: Places, last_s: float) -> None:
    whole, late = dreamer(shared).read("S01"), dreamer(shared, last_s=last_s).read("S01")
    for one, other in zip(whole, late, strict=True):
        duration_s = min(last_s, one.annotations.duration[0])
        assert other.annotations.onset[0] == 0
        assert other.annotations.duration[0] == pytest.approx(duration_s, abs=0.5 / 128 + 1e-9)
        for name, sfreq in (("eeg", 128), ("ecg", 256)):
            kept, full = other.signals[name].get_data(), one.signals[name].get_data()
            assert kept.shape[1] == pytest.approx(duration_s * sfreq, abs=0.5 + 1e-6)
            np.testing.assert_array_equal(kept, full[:, full.shape[1] - kept.shape[1] :])


def test_the_last_seconds_of_a_film_that_is_shorter_are_all_of_it(folder: Path, places: Places) -> None:
    assert [trial.stop_s for trial in trials(dreamer(places, last_s=6))] == [6, 5, 6, 6]


def test_a_file_without_heart(places: Places) -> None:
    write_dreamer(places.data / "dreamer", [viewer(0, heart=False), viewer(1, heart=False)])
    dataset = dreamer(places)
    assert dataset.signals_of(["S01", "S02"]) == ("eeg",)
    assert set(dataset.read("S02")[0].signals) == {"eeg"}


def test_signals_are_told_without_reading_them(folder: Path, places: Places) -> None:
    dataset = dreamer(places)
    assert dataset.signals_of(["S01", "S02"]) == ("eeg", "ecg")
    with pytest.raises(DataError, match=r"No subject 'S03' in .*DREAMER\.mat\. Legal: S01, S02"):
        dataset.signals_of(["S03"])


def test_one_subject_without_heart(places: Places) -> None:
    write_dreamer(places.data / "dreamer", [viewer(0), viewer(1, heart=False)])
    with pytest.raises(DataError, match=r"S02: no field 'ECG'\. Legal: Age, EEG"):
        dreamer(places).read("S02")


@pytest.mark.parametrize("names", [("EEG_SamplingRate", "ECG_SamplingRate"), ("eegsamplingrate", "ECG_samplingRate")])
def test_rates_are_those_that_the_file_tells(places: Places, names: tuple[str, str]) -> None:
    rates = dict(zip(names, (64.0, 512), strict=True))
    eeg, ecg = [eeg_of(n, 3, sfreq=64) for n in range(2)], [ecg_of(n, 3, sfreq=512) for n in range(2)]
    told = person(eeg, ecg, {scale: [1, 5] for scale in SCALES})
    write_dreamer(places.data / "dreamer", [told], rates)
    recording = dreamer(places).read("S01")[0]
    assert (recording.signals["eeg"].info["sfreq"], recording.signals["ecg"].info["sfreq"]) == (64, 512)
    assert recording.annotations.duration[0] == 3


def test_rates_that_the_file_does_not_tell_are_the_published_ones(places: Places) -> None:
    write_dreamer(places.data / "dreamer", [viewer(0)], {})
    signals = dreamer(places).read("S01")[0].signals
    assert (signals["eeg"].info["sfreq"], signals["ecg"].info["sfreq"]) == (128, 256)


def test_electrodes_in_another_order_are_put_in_ours(places: Places) -> None:
    backwards = list(reversed(EEG_CHANNELS))
    told = viewer(0)
    write_dreamer(places.data / "dreamer", [told], {**RATES, "EEG_Electrodes": row(backwards)})
    eeg = dreamer(places).read("S01")[0].signals["eeg"]
    assert eeg.ch_names == list(EEG_CHANNELS)
    np.testing.assert_allclose(eeg.get_data() * 1e6, told["EEG"]["stimuli"][0, 0].T[::-1], rtol=1e-12)


def test_integers_and_columns_of_small_types_are_read_alike(places: Places) -> None:
    whole = [np.arange(28, dtype=np.int16).reshape(2, 14) + n for n in range(2)]
    told = person(whole, None, {scale: np.array([1, 5], dtype=np.uint8) for scale in SCALES})  # type: ignore[misc]
    write_dreamer(places.data / "dreamer", [told])
    recordings = dreamer(places).read("S01")
    np.testing.assert_allclose(recordings[1].signals["eeg"].get_data() * 1e6, whole[1].T, rtol=1e-12)


def test_found_in_an_archive_with_a_top_folder(places: Places, tmp_path: Path) -> None:
    assert Dreamer.present(places) is None
    file = write_dreamer(tmp_path / "source", [viewer(0), viewer(1)])
    with zipfile.ZipFile(places.data / "dreamer.zip", "w") as archive:
        archive.write(file, "some/top/DREAMER.mat")
    assert Dreamer.present(places) == places.data / "dreamer.zip"
    assert len(dreamer(places).read("S02")) == 4


def test_fingerprint_follows_the_file_the_subject_and_the_values_of_the_study(places: Places) -> None:
    def fingerprints(**values: Any) -> list[str]:
        return [dreamer(places, **values).fingerprint(subject) for subject in ("S01", "S02")]

    write_dreamer(places.data / "dreamer", [viewer(0), viewer(0)])
    before = fingerprints()
    assert before == fingerprints(high=3, last_s=None)
    assert before[0] != before[1], "the place in the file counts, even if the contents are the same"
    for values in ({"high": 4}, {"last_s": 60}, {"last_s": 30}):
        assert not set(before) & set(fingerprints(**values))
    write_dreamer(places.data / "dreamer", [viewer(0), viewer(1)])
    assert not set(before) & set(fingerprints())


def test_windows_of_a_cohort(folder: Path, places: Places) -> None:
    recipe = Recipe("eeg", Preprocessing(), WindowLength(2.0), DifferentialEntropy())
    cohort = build_cohort(dreamer(places), "valence", None, recipe, None)
    windows = cohort.windows
    assert windows.x.shape == (2 * (3 + 2 + 3 + 3), 14, 5)
    assert windows.y is not None
    assert windows.y[:11].tolist() == [1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0]
    assert windows.onset is not None
    assert windows.onset[:5].tolist() == [0, 2, 4, 0, 2]
    # Alpha, of amplitude 4 times the rating of arousal, is a sine of variance a^2 / 2 on noise of 25 uV^2 over 0-64 Hz.
    alpha = windows.x[:11, :, 2].mean(axis=1)
    expected = [
        0.5 * np.log(2 * np.pi * np.e * 1e-12 * ((4 * rating) ** 2 / 2 + 25 * 5 / 64))
        for rating in [1] * 3 + [4] * 2 + [2] * 3 + [5] * 3
    ]
    np.testing.assert_allclose(alpha, expected, atol=0.25)


def test_who_lacks_a_class_is_told(places: Places) -> None:
    told = viewer(1)
    told["ScoreArousal"] = np.full((4, 1), 5.0)
    write_dreamer(places.data / "dreamer", [viewer(0), told])
    recipe = Recipe("eeg", Preprocessing(), WindowLength(2.0), DifferentialEntropy())
    cohort = build_cohort(dreamer(places), "arousal", None, recipe, None)
    assert cohort.missing_classes() == {"S02": ("low",)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"high": 1}, "dataset.high"),
        ({"high": 6}, "dataset.high"),
        ({"last_s": 0}, "dataset.last_s"),
        ({"last_s": float("nan")}, "dataset.last_s"),
        ({"first_s": 60}, "dataset.first_s: no such key. Legal: high, last_s"),
    ],
)
def test_settings_that_are_wrong(places: Places, values: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        dreamer(places, **values)


def test_missing_data_set_and_where_to_ask_for_it(places: Places) -> None:
    with pytest.raises(DataError, match=r"(?s)DREAMER.*Get it from https://zenodo\.org/records/546113.*asked for"):
        dreamer(places).subjects()


@pytest.mark.parametrize("subject", ["S1", "S00", "S03"])
def test_unknown_subject(folder: Path, places: Places, subject: str) -> None:
    for ask in (dreamer(places).read, dreamer(places).fingerprint):
        with pytest.raises(DataError, match=rf"No subject '{subject}' in .*Legal: S01, S02"):
            ask(subject)


def test_truncated_file(folder: Path, places: Places) -> None:
    file = folder / "DREAMER.mat"
    file.write_bytes(file.read_bytes()[:-2000])
    dataset = dreamer(places)
    assert dataset.subjects() == ("S01", "S02"), "its first bytes tell"
    with pytest.raises(DataError, match=r"DREAMER\.mat is truncated or damaged"):
        dataset.read("S02")


def test_file_of_version_7_3(folder: Path, places: Places) -> None:
    (folder / "DREAMER.mat").write_bytes(hdf5_header())
    with pytest.raises(DataError, match=r"DREAMER\.mat is a MATLAB file of version 7\.3 \(HDF5\)"):
        dreamer(places).subjects()


def test_a_struct_of_another_name(places: Places) -> None:
    write_mat(places.data / "dreamer" / "DREAMER.mat", {"dreamer": {"Data": row([viewer(0)])}})
    with pytest.raises(DataError, match=r"no variable 'DREAMER'\. Legal: dreamer"):
        dreamer(places).subjects()


def _fewer_channels(told: dict[str, Any]) -> None:
    told["EEG"]["stimuli"][2, 0] = told["EEG"]["stimuli"][2, 0][:, :13]


def _across(told: dict[str, Any]) -> None:
    told["EEG"]["stimuli"][0, 0] = told["EEG"]["stimuli"][0, 0].T


def _text(told: dict[str, Any]) -> None:
    told["EEG"]["stimuli"][0, 0] = "none"


def _empty_film(told: dict[str, Any]) -> None:
    told["EEG"]["stimuli"][1, 0] = np.zeros((0, 14))


def _one_heart_channel(told: dict[str, Any]) -> None:
    told["ECG"]["stimuli"][0, 0] = told["ECG"]["stimuli"][0, 0][:, :1]


def _short_heart(told: dict[str, Any]) -> None:
    told["ECG"]["stimuli"][3, 0] = told["ECG"]["stimuli"][3, 0][:1000]


def _fewer_heart_films(told: dict[str, Any]) -> None:
    told["ECG"]["stimuli"] = told["ECG"]["stimuli"][:3]


def _no_ratings(told: dict[str, Any]) -> None:
    del told["ScoreValence"]


def _fewer_ratings(told: dict[str, Any]) -> None:
    told["ScoreDominance"] = told["ScoreDominance"][:3]


def _missing_rating(told: dict[str, Any]) -> None:
    told["ScoreArousal"] = np.array([[1.0], [np.nan], [2.0], [5.0]])


def _rating_of_nine(told: dict[str, Any]) -> None:
    told["ScoreArousal"] = np.array([[1.0], [4.0], [9.0], [5.0]])


def _rating_of_zero(told: dict[str, Any]) -> None:
    told["ScoreValence"] = np.array([[0.0], [4.0], [2.0], [5.0]])


def _spelled_otherwise(told: dict[str, Any]) -> None:
    told["EEG"]["stimulus"] = told["EEG"].pop("stimuli")


def _no_cells(told: dict[str, Any]) -> None:
    told["EEG"]["stimuli"] = np.zeros((4, 14))


def _no_struct(told: dict[str, Any]) -> None:
    told["EEG"] = column([np.zeros((4, 14))])


BAD_PEOPLE: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "channels": (_fewer_channels, r"S02, EEG\.stimuli, film 3: found an array of shape \(896, 13\).*14 columns"),
    "channels first": (_across, r"EEG\.stimuli, film 1: found an array of shape \(14, 768\).*a row for each sample"),
    "text": (_text, r"EEG\.stimuli, film 1: expected numbers, found <U4"),
    "empty film": (_empty_film, r"EEG\.stimuli, film 2: found an array of shape \(0, 14\)"),
    "heart channels": (_one_heart_channel, r"ECG\.stimuli, film 1: found an array of shape \(1536, 1\).*2 columns"),
    "short heart": (_short_heart, r"film 4: 6\.0 s of EEG at 128 Hz and 3\.9 s of ECG at 256 Hz"),
    "heart films": (_fewer_heart_films, "S02: 4 of EEG, 3 of ECG, 4 of arousal, 4 of valence, 4 of dominance"),
    "no ratings": (_no_ratings, r"S02: no field 'ScoreValence'\. Legal: Age, ECG, EEG, Gender, ScoreArousal"),
    "fewer ratings": (_fewer_ratings, "S02: 4 of EEG, 4 of ECG, 4 of arousal, 4 of valence, 3 of dominance"),
    "missing rating": (_missing_rating, "S02, film 2: no rating of arousal. Expected 1 to 5"),
    "rating of nine": (_rating_of_nine, "S02, film 3: arousal is rated 9. Expected 1 to 5"),
    "rating of zero": (_rating_of_zero, "S02, film 1: valence is rated 0"),
    "spelling": (_spelled_otherwise, r"S02, EEG: no field 'stimuli'\. Legal: baseline, stimulus\. Did you mean"),
    "no cells": (_no_cells, r"S02, EEG\.stimuli: expected a row or column of cells, found float64 of shape \(4, 14\)"),
    "no struct": (_no_struct, r"S02, EEG: expected a struct with a field 'stimuli'"),
}


@pytest.mark.parametrize("case", BAD_PEOPLE)
def test_subjects_of_another_layout(places: Places, case: str) -> None:
    spoil, message = BAD_PEOPLE[case]
    told = copy.deepcopy(viewer(1))
    spoil(told)
    file = write_dreamer(places.data / "dreamer", [viewer(0), told])
    dataset = dreamer(places)
    assert len(dataset.read("S01")) == 4, "the other subject is not touched"
    with pytest.raises(DataError, match=message) as caught:
        dataset.read("S02")
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"EEG_SamplingRate": 0.0}, r"EEG_SamplingRate: found \[\[0\.0\]\]\. Expected one number of Hz"),
        ({"EEG_SamplingRate": "128"}, r"EEG_SamplingRate: found \['128'\]"),
        ({"ECG_SamplingRate": np.array([256.0, 128])}, r"ECG_SamplingRate: found \[\[256\.0, 128\.0\]\]"),
        ({"EEG_SamplingRate": 64.0}, "film 1: 12.0 s of EEG at 64 Hz and 6.0 s of ECG at 256 Hz"),
        ({"EEG_Electrodes": row(["Cz", *EEG_CHANNELS[1:]])}, r"EEG_Electrodes: found Cz, F7.*Expected AF3, F7"),
        ({"EEG_Electrodes": row(EEG_CHANNELS[1:])}, r"EEG_Electrodes: found F7.*Expected AF3"),
        ({"EEG_Electrodes": "AF3"}, r"EEG_Electrodes: expected a row or column of cells"),
    ],
)
def test_files_that_tell_something_else_of_all(places: Places, others: dict[str, Any], message: str) -> None:
    write_dreamer(places.data / "dreamer", [viewer(0)], others)
    with pytest.raises(DataError, match=message):
        dreamer(places).read("S01")


def test_subjects_that_are_no_cells(places: Places) -> None:
    write_mat(places.data / "dreamer" / "DREAMER.mat", {"DREAMER": {"Data": viewer(0)}})
    with pytest.raises(DataError, match=r"expected DREAMER\.Data to be an array of cells"):
        dreamer(places).subjects()
