from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks.datasets.contract import Places
from benchmarks.datasets.eegmat import EEG_CHANNELS, Eegmat
from benchmarks.errors import DataError
from tests.benchmarks.datasets.edf_files import UV_PER_STEP, edf_bytes, sines, write_eegmat_subject

DRIFT = "first_vs_last_minute_of_rest"


@pytest.mark.parametrize("sfreq", [128, 500])
def test_signals_of_a_file_written_by_hand(places: Places, sfreq: int) -> None:
    write_eegmat_subject(places.data / "eegmat", "Subject00", sfreq, rest_s=8, arithmetic_s=4)
    rest, arithmetic = Eegmat(places).read("Subject00")
    for recording, condition, seconds in ((rest, "rest", 8), (arithmetic, "arithmetic", 4)):
        assert (recording.subject, recording.session) == ("Subject00", "1")
        assert list(recording.annotations.description) == [condition]
        assert (recording.annotations.onset[0], recording.annotations.duration[0]) == (0, seconds)
        written = list(sines(sfreq, seconds).values())
        eeg, ecg = recording.signals["eeg"], recording.signals["ecg"]
        assert eeg.info["sfreq"] == ecg.info["sfreq"] == sfreq
        assert eeg.ch_names == list(EEG_CHANNELS)
        assert set(eeg.get_channel_types()) == {"eeg"}
        assert (ecg.ch_names, ecg.get_channel_types()) == (["ECG"], ["ecg"])
        np.testing.assert_allclose(eeg.get_data() * 1e6, written[:19], atol=UV_PER_STEP / 2 + 1e-6)
        np.testing.assert_allclose(ecg.get_data() * 1e6, written[20:], atol=UV_PER_STEP / 2 + 1e-6)


def test_rest_vs_arithmetic_takes_whole_files(places: Places) -> None:
    write_eegmat_subject(places.data / "eegmat", "Subject00", rest_s=8, arithmetic_s=4)
    dataset = Eegmat(places)
    task = dataset.task(None)
    assert task.classes == ("rest", "arithmetic")
    assert task.excluded == {}
    trials = [trial for recording in dataset.read("Subject00") for trial in task.cut(recording)]
    assert [(trial.label, trial.start_s, trial.stop_s) for trial in trials] == [(0, 0, 8), (1, 0, 4)]
    assert len({trial.name for trial in trials}) == 2


def test_the_clock_of_a_file_is_none_of_the_session(places: Places) -> None:
    write_eegmat_subject(places.data / "eegmat", "Subject00", rest_s=8, arithmetic_s=4)
    dataset = Eegmat(places)
    assert not dataset.one_clock
    assert set(dataset.signals_of(["Subject00"])) == set(dataset.read("Subject00")[0].signals)


def test_drift_control_takes_two_minutes_of_rest(places: Places) -> None:
    write_eegmat_subject(places.data / "eegmat", "Subject00", rest_s=122, arithmetic_s=2)
    dataset = Eegmat(places)
    task = dataset.task(DRIFT)
    rest, arithmetic = dataset.read("Subject00")
    assert [(trial.label, trial.start_s, trial.stop_s) for trial in task.cut(rest)] == [(0, 0, 60), (1, 62, 122)]
    assert len({trial.name for trial in task.cut(rest)}) == 2
    assert task.cut(arithmetic) == []
    assert list(task.excluded) == ["Subject31"]
    assert "80 s" in task.excluded["Subject31"]


def test_channels_in_another_order_are_put_in_ours(places: Places) -> None:
    write_eegmat_subject(places.data / "eegmat", "Subject00")
    backwards = dict(reversed(sines(128, 8).items()))
    (places.data / "eegmat" / "Subject00_1.edf").write_bytes(edf_bytes(backwards, 128))
    eeg = Eegmat(places).read("Subject00")[0].signals["eeg"]
    assert eeg.ch_names == list(EEG_CHANNELS)
    np.testing.assert_allclose(eeg.get_data() * 1e6, list(sines(128, 8).values())[:19], atol=UV_PER_STEP / 2 + 1e-6)


@pytest.mark.parametrize("top", ["", "eeg-during-mental-arithmetic-tasks-1.0.0/"])
@pytest.mark.parametrize("archived", [False, True])
def test_found_with_and_without_a_top_folder(places: Places, top: str, archived: bool) -> None:
    source = places.data.parent / "source"
    for subject in ("Subject10", "Subject02"):
        write_eegmat_subject(source / top, subject, rest_s=2, arithmetic_s=2)
    assert Eegmat.present(places) is None
    if archived:
        with zipfile.ZipFile(places.data / "eegmat.zip", "w") as archive:
            for file in source.rglob("*.edf"):
                archive.write(file, file.relative_to(source))
    else:
        source.rename(places.data / "eegmat")
    dataset = Eegmat(places)
    assert dataset.subjects() == ("Subject02", "Subject10")
    assert len(dataset.read("Subject10")) == 2
    assert Eegmat.present(places) == places.data / ("eegmat.zip" if archived else "eegmat")


def test_fingerprint_follows_the_subjects_own_files(places: Places) -> None:
    folder = places.data / "eegmat"
    for subject in ("Subject00", "Subject01"):
        write_eegmat_subject(folder, subject, rest_s=2, arithmetic_s=2)
    before = [Eegmat(places).fingerprint(subject) for subject in ("Subject00", "Subject01")]
    assert before[0] != before[1], "file names count, even if the contents are the same"
    whole = (folder / "Subject01_2.edf").read_bytes()
    (folder / "Subject01_2.edf").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    after = [Eegmat(places).fingerprint(subject) for subject in ("Subject00", "Subject01")]
    assert before[0] == after[0]
    assert before[1] != after[1]


@pytest.fixture(scope="module")
def real(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Eegmat:
    folder = tmp_path_factory.mktemp("eegmat")
    return Eegmat(Places(data=real_data, cache=folder, study=folder))


@pytest.mark.real_data
def test_all_real_recordings(real: Eegmat) -> None:
    assert real.subjects() == tuple(f"Subject{number:02d}" for number in range(36))
    expected = dict.fromkeys(real.subjects(), 182.0) | {"Subject31": 80.0, "Subject04": 170.0}
    for subject in real.subjects():
        rest, arithmetic = real.read(subject)
        assert rest.signals["eeg"].ch_names == arithmetic.signals["eeg"].ch_names == list(EEG_CHANNELS)
        # "About 182 s": all but the two named ones have between 180 and 188 s.
        assert rest.annotations.duration[0] == pytest.approx(expected[subject], abs=8)
        assert arithmetic.annotations.duration[0] == pytest.approx(62)
        if subject not in real.task(DRIFT).excluded:
            first, last = real.task(DRIFT).cut(rest)
            assert first.stop_s < last.start_s
    assert real.read("Subject31")[0].annotations.duration[0] == pytest.approx(80)
    assert real.read("Subject04")[0].annotations.duration[0] == pytest.approx(170)


@pytest.mark.real_data
def test_real_signals_are_physiological(real: Eegmat) -> None:
    rest, _ = real.read("Subject05")
    sd = rest.signals["eeg"].get_data().std(axis=1)
    assert ((sd > 2e-6) & (sd < 50e-6)).all(), "scalp EEG is some ten microvolts"
    ecg = rest.signals["ecg"].get_data()[0]
    assert 1e-4 < np.ptp(ecg) < 5e-3, "an ECG spans about a millivolt"


@pytest.mark.real_data
def test_subject_whose_rest_is_too_short_for_the_drift_control(real: Eegmat) -> None:
    with pytest.raises(DataError, match="Subject31: its rest lasts 80 s"):
        real.task(DRIFT).cut(real.read("Subject31")[0])


def test_missing_data_set(places: Places) -> None:
    with pytest.raises(DataError, match=r"https://physionet\.org/content/eegmat"):
        Eegmat(places).subjects()


@pytest.mark.parametrize(("number", "condition"), [(1, "rest"), (2, "arithmetic")])
def test_missing_file_of_a_subject(places: Places, number: int, condition: str) -> None:
    for subject in ("Subject00", "Subject01"):
        write_eegmat_subject(places.data / "eegmat", subject, rest_s=2, arithmetic_s=2)
    (places.data / "eegmat" / f"Subject01_{number}.edf").unlink()
    dataset = Eegmat(places)
    assert dataset.subjects() == ("Subject00", "Subject01")
    for ask in (dataset.read, dataset.fingerprint):
        with pytest.raises(DataError, match=rf"Subject01_{number}\.edf, the recording of {condition}, is missing"):
            ask("Subject01")


def test_unknown_subject(places: Places) -> None:
    write_eegmat_subject(places.data / "eegmat", "Subject00", rest_s=2, arithmetic_s=2)
    with pytest.raises(DataError, match="Did you mean 'Subject00'"):
        Eegmat(places).read("subject00")


def test_truncated_recording(places: Places) -> None:
    write_eegmat_subject(places.data / "eegmat", "Subject00", rest_s=2, arithmetic_s=2)
    file = places.data / "eegmat" / "Subject00_2.edf"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"Subject00_2\.edf is truncated"):
        Eegmat(places).read("Subject00")


def test_recording_without_a_channel(places: Places) -> None:
    write_eegmat_subject(places.data / "eegmat", "Subject00", rest_s=2, arithmetic_s=2)
    fewer = {label: signal for label, signal in sines(128, 2).items() if label not in ("EEG Cz", "ECG ECG")}
    (places.data / "eegmat" / "Subject00_1.edf").write_bytes(edf_bytes(fewer, 128))
    with pytest.raises(DataError, match=r"Subject00_1\.edf: no channel Cz, ECG"):
        Eegmat(places).read("Subject00")
