from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.errors import DataError, SignalError, StudyError
from benchmarks.normalization import Geometry
from benchmarks.parts import build
from benchmarks.preprocessing import Preprocessing
from benchmarks.quality import Treatment
from benchmarks.recipe import Recipe, WindowLength
from benchmarks.recording import Recording
from benchmarks.representations.contract import Representation, SignalRepresentation
from benchmarks.representations.differential_entropy import DifferentialEntropy
from benchmarks.representations.raw import RawWindows
from benchmarks.windows import FloatArray, IntArray
from tests.benchmarks.recordings import noise, raw_of, recording_of, task_of


@dataclass(frozen=True)
class SampleNumbers(SignalRepresentation):
    """First and last sample of each window, as the signal's one channel counts them."""

    geometry: ClassVar[Geometry] = "vector"

    def __call__(self, signal: FloatArray, sfreq: float, starts: IntArray, length: int) -> FloatArray:
        return np.stack([signal[0, starts], signal[0, starts + length - 1]], axis=1)


def recipe(
    length_s: float = 1.0,
    step_s: float | None = None,
    representation: Representation | None = None,
    treatment: Treatment = "drop",
    preprocessing: Preprocessing | None = None,
) -> Recipe:
    return Recipe(
        "eeg",
        preprocessing or Preprocessing(),
        WindowLength(length_s, step_s),
        representation or RawWindows(),
        treatment,
    )


def counting(samples: int, sfreq: float, start_s: float = 0.0) -> Recording:
    return recording_of(raw_of(np.arange(samples)[None].astype(float), sfreq, start_s=start_s))


def test_windows_of_two_trials_with_all_that_is_known_of_them() -> None:
    found = recipe(1.0)([counting(100, 10.0)], task_of((0.5, 3.0, 1), (4.0, 5.0, 0))).windows
    np.testing.assert_array_equal(found.x, [[range(5, 15)], [range(15, 25)], [range(40, 50)]])
    assert found.y is not None
    assert found.onset is not None
    assert found.y.tolist() == [1, 1, 0]
    assert found.onset.tolist() == [0.5, 1.5, 4.0]
    assert found.trial.tolist() == ["trial0", "trial0", "trial1"]
    assert found.subject.tolist() == ["S1"] * 3
    assert found.session.tolist() == ["1"] * 3


def test_windows_that_overlap() -> None:
    found = recipe(1.0, 0.5, SampleNumbers())([counting(100, 10.0)], task_of((0.0, 2.4, 0))).windows
    assert found.x.tolist() == [[0, 9], [5, 14], [10, 19]]


def test_times_between_samples_go_to_the_nearest_one() -> None:
    trials = task_of((0.0, 1.04, 0), (1.04, 2.06, 1))
    found = recipe(1.0, None, SampleNumbers())([counting(100, 10.0)], trials).windows
    assert found.x.tolist() == [[0, 9], [10, 19]]


def test_a_trial_may_begin_before_its_signal_and_end_after_it() -> None:
    late = counting(20, 10.0, start_s=10.0)
    found = recipe(1.0, None, SampleNumbers())([late], task_of((5.0, 60.0, 0))).windows
    assert found.x.tolist() == [[0, 9], [10, 19]]
    assert found.onset is not None
    assert found.onset.tolist() == [10.0, 11.0]


def test_resampling_keeps_the_times_of_windows() -> None:
    halved = recipe(1.0, preprocessing=Preprocessing(resample_hz=64.0))
    found = halved([recording_of(raw_of(noise(2, 1280), 128.0, start_s=3.0))], task_of((4.0, 7.0, 0))).windows
    assert found.x.shape == (3, 2, 64)
    assert found.onset is not None
    assert found.onset.tolist() == [4.0, 5.0, 6.0]


def test_flaws_are_found_at_the_rate_of_the_recording() -> None:
    data = noise(2, 1280)
    data[0, 640:768] = 0.0
    part = recipe(1.0, preprocessing=Preprocessing(resample_hz=50.0))
    found = part([recording_of(raw_of(data, 128.0))], task_of((0.0, 10.0, 0)))
    assert found.report.unusable == {"flat": 1}
    assert found.windows.onset is not None
    assert found.windows.onset.tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9]


@pytest.mark.parametrize(("length_s", "start_s"), [(257 / 128, 0.0), (1.0, 129 / 128)])
def test_the_last_window_may_end_with_a_resampled_signal_that_became_longer(length_s: float, start_s: float) -> None:
    data = noise(1, 1003)
    data[0, -1] = np.nan
    part = recipe(length_s, preprocessing=Preprocessing(resample_hz=128.0), treatment="fail")
    with pytest.raises(SignalError, match="1 nan of 1"):
        part([recording_of(raw_of(data, 500.0))], task_of((start_s, 3.0, 0)))


@settings(max_examples=200)
@given(
    bounds=st.lists(st.floats(0, 30), min_size=2, max_size=8, unique=True),
    sfreq=st.sampled_from([7.0, 10.0, 12.8, 64.0]),
    length_s=st.floats(0.2, 5),
    step_s=st.floats(0.2, 5),
)
def test_windows_never_cross_a_trial(bounds: list[float], sfreq: float, length_s: float, step_s: float) -> None:
    bounds.sort()
    trials = [(start, stop, 0) for start, stop in zip(bounds[::2], bounds[1::2], strict=False)]
    # To the nearest sample, both borders of a trial may move by half of one, and so may a window's length.
    trials = [trial for trial in trials if trial[1] - trial[0] > length_s + 1.5 / sfreq]
    if not trials:
        return
    recording = counting(round(30 * sfreq), sfreq)
    found = recipe(length_s, step_s, SampleNumbers())([recording], task_of(*trials)).windows
    assert sorted(set(found.trial)) == [f"trial{index}" for index in range(len(trials))]
    for name, (start, stop, _) in zip(sorted(set(found.trial)), trials, strict=True):
        first, last = found.x[found.trial == name].T
        assert first.min() >= start * sfreq - 0.5
        assert last.max() < stop * sfreq + 0.5
        assert (last - first + 1 == round(length_s * sfreq)).all()
        assert (np.diff(first) == round(step_s * sfreq)).all()
        assert stop * sfreq + 0.5 < last.max() + 1 + round(step_s * sfreq) + 1


def flawed(treatment: Treatment) -> tuple[Recipe, list[Recording]]:
    data = noise(2, 600)
    data[0, 100:200] = 1e-5
    data[1, 250] = np.nan
    return recipe(1.0, treatment=treatment), [recording_of(raw_of(data, 100.0))]


def test_unusable_windows_are_dropped_and_counted() -> None:
    part, recordings = flawed("drop")
    found = part(recordings, task_of((0.0, 6.0, 0)))
    assert found.windows.onset is not None
    assert found.windows.onset.tolist() == [0, 3, 4, 5]
    assert (found.report.subject, found.report.windows, found.report.dropped) == ("S1", 6, 2)
    assert found.report.unusable == {"flat": 1, "nan": 1}


def test_kept_windows_are_all_but_those_with_missing_samples() -> None:
    part, recordings = flawed("keep")
    found = part(recordings, task_of((0.0, 6.0, 0)))
    assert found.windows.onset is not None
    assert found.windows.onset.tolist() == [0, 1, 3, 4, 5]
    assert found.report.dropped == 1
    assert found.report.unusable == {"flat": 1, "nan": 1}


def test_unusable_windows_may_stop_a_study() -> None:
    part, recordings = flawed("fail")
    with pytest.raises(SignalError, match=r"S1: signal 'eeg' has unusable windows \(1 flat, 1 nan of 6\)"):
        part(recordings, task_of((0.0, 6.0, 0)))
    assert len(part(recordings, task_of((3.0, 6.0, 0))).windows) == 3


def test_a_representation_that_is_not_finite_counts_as_missing() -> None:
    data = noise(2, 2000)
    data[1] = 0.0
    part = recipe(2.0, representation=DifferentialEntropy({"alpha": (8.0, 13.0)}), treatment="keep")
    with pytest.raises(SignalError, match=r"no usable window \(10 flat, 10 nan of 10\)"):
        part([recording_of(raw_of(data, 100.0))], task_of((0.0, 20.0, 0)))


def test_a_recording_without_usable_windows_leaves_those_of_others() -> None:
    dead = noise(2, 300)
    dead[0] = np.nan
    recordings = [recording_of(raw_of(data, 100.0), session=s) for s, data in (("1", dead), ("2", noise(2, 300)))]
    found = recipe(1.0)(recordings, task_of((0.0, 3.0, 0)))
    assert found.windows.session.tolist() == ["2"] * 3
    assert found.report.unusable == {"nan": 3}
    assert found.report.windows == 6
    with pytest.raises(SignalError, match=r"no usable window \(3 nan of 3\)"):
        recipe(1.0)(recordings[:1], task_of((0.0, 3.0, 0)))


def test_a_window_longer_than_its_trial() -> None:
    with pytest.raises(DataError, match=r"S1, trial 'trial1': a window of 4 s is longer than the 3\.0 s"):
        recipe(4.0)([counting(200, 10.0)], task_of((0.0, 8.0, 0), (8.0, 11.0, 1)))
    with pytest.raises(DataError, match=r"longer than the 0\.0 s of signal 'eeg'"):
        recipe(4.0)([counting(200, 10.0)], task_of((50.0, 60.0, 0)))


def test_a_window_of_no_sample() -> None:
    with pytest.raises(DataError, match="under one sample of signal 'eeg' at 10 Hz"):
        recipe(1.0, 0.01)([counting(200, 10.0)], task_of((0.0, 8.0, 0)))


def test_a_signal_that_is_not_there() -> None:
    eda = Recording("S7", "1", {"eda": raw_of(noise(1, 100), 4.0)}, mne.Annotations([], [], []))
    with pytest.raises(DataError, match=r"S7: no signal 'eeg' in its recording\. Legal: eda\."):
        recipe()([eda], task_of((0.0, 8.0, 0)))


def test_a_task_that_finds_nothing() -> None:
    with pytest.raises(DataError, match="no trial in S1 1"):
        recipe()([counting(200, 10.0)], task_of())


@pytest.mark.parametrize("values", [{"length_s": 0}, {"length_s": float("nan")}, {"length_s": 4, "step_s": -1}])
def test_lengths_that_cannot_be(values: dict[str, float]) -> None:
    with pytest.raises(StudyError, match=r"windows\.(length|step)_s"):
        build(WindowLength, {}, values, "windows")
