from __future__ import annotations

from dataclasses import dataclass, replace
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
from benchmarks.recording import Recording, Task
from benchmarks.representations.contract import (
    FeatureRepresentation,
    Intervals,
    Representation,
    Represented,
    Signal,
    SignalRepresentation,
    Sources,
)
from benchmarks.representations.differential_entropy import DifferentialEntropy
from benchmarks.representations.raw import RawWindows
from benchmarks.windows import FloatArray, IntArray
from tests.benchmarks.recordings import noise, raw_of, recording_of, task_of, worn


@dataclass(frozen=True)
class SampleNumbers(SignalRepresentation):
    """First and last sample of each window, as the signal's one channel counts them."""

    geometry: ClassVar[Geometry] = "vector"

    def __call__(self, signal: FloatArray, sfreq: float, starts: IntArray, length: int) -> FloatArray:
        return np.stack([signal[0, starts], signal[0, starts + length - 1]], axis=1)


@dataclass(frozen=True)
class Cuts(Representation):
    """First sample of each window in each signal, and the one after its last (n, signals, 2)."""

    geometry: ClassVar[Geometry] = "vector"
    as_recorded: ClassVar[bool] = True

    of: tuple[str, ...] = ("bvp", "eda")

    def sources(self, signal: str) -> tuple[str, ...]:
        del signal
        return self.of

    def represent(self, sources: Sources, onsets_s: FloatArray, length_s: float) -> Represented:
        assert tuple(sources.signals) == self.of
        cuts = [
            np.stack([signal.starts(onsets_s), signal.starts(onsets_s) + signal.length(length_s)], axis=1)
            for signal in sources.signals.values()
        ]
        return Represented(np.stack(cuts, axis=1).astype(float))


@dataclass(frozen=True)
class Told(FeatureRepresentation):
    """Two features, the first of which is what the signal's first sample in a window says; both may be missing."""

    untold: bool = False

    def sources(self, signal: str) -> tuple[str, ...]:
        return (signal,)

    def features(self, length_s: float) -> tuple[str, ...]:
        del length_s
        return ("first", "second")

    def represent(self, sources: Sources, onsets_s: FloatArray, length_s: float) -> Represented:
        del length_s
        (signal,) = sources.signals.values()
        first, second = signal.data[:, signal.starts(onsets_s)]
        missing = {} if self.untold else {"no first": np.isnan(first), "no second": np.isnan(second)}
        return Represented(np.stack([first, second], axis=1), missing)


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


def several(**signals: Signal) -> Recording:
    return worn(Sources(signals))


def empty(sfreq: float, seconds: float, begin_s: float = 0.0) -> Signal:
    return Signal(np.zeros((1, round(seconds * sfreq))), sfreq, begin_s)


def test_the_slowest_signal_sets_the_grid() -> None:
    recording = several(bvp=empty(64.0, 100.0), eda=empty(4.0, 100.0))
    found = recipe(2.6, 1.4, Cuts())([recording], task_of((10.1, 15.0, 0))).windows
    # To the nearest sample of 4 Hz: from 10 s, 2.5 s long, every 1.5 s.
    assert found.onset is not None
    assert found.onset.tolist() == [10.0, 11.5]
    np.testing.assert_array_equal(found.x, [[[640, 800], [40, 50]], [[736, 896], [46, 56]]])


SECOND_EXACT = st.integers(0, 200)


@given(
    start=SECOND_EXACT, length=st.integers(5, 60), step=st.integers(1, 40), of=st.sampled_from(["bvp", "acc", "eda"])
)
def test_windows_are_the_same_whichever_signals_are_read(start: int, length: int, step: int, of: str) -> None:
    recording = several(bvp=empty(64.0, 400.0), acc=empty(32.0, 400.0), eda=empty(4.0, 400.0))
    task = task_of((start, start + 150.0, 0))
    one = recipe(length, step, Cuts((of,)))([recording], task).windows
    all_three = recipe(length, step, Cuts(("bvp", "acc", "eda")))([recording], task).windows
    np.testing.assert_array_equal(one.onset, all_three.onset)
    np.testing.assert_array_equal(one.x[:, 0], all_three.x[:, ("bvp", "acc", "eda").index(of)])


def test_a_signal_that_begins_later_or_ends_earlier_only_takes_windows_away() -> None:
    signals = {"bvp": empty(64.0, 47.5, begin_s=12.25), "eda": empty(4.0, 100.0)}
    task = task_of((10.0, 70.0, 0), (80.0, 90.0, 1))
    with pytest.raises(
        DataError, match=r"trial 'trial1': a window of 5 s is longer than the 0\.0 s of signal 'bvp, eda'"
    ):
        recipe(5.0, 5.0, Cuts())([several(**signals)], task)
    found = recipe(5.0, 5.0, Cuts())([several(**signals)], task_of((10.0, 70.0, 0))).windows
    assert found.onset is not None
    # The signals are both there from 12.25 s to 59.75 s.
    assert found.onset.tolist() == [15, 20, 25, 30, 35, 40, 45, 50]
    np.testing.assert_array_equal(found.x[0, 0], [2.75 * 64, 7.75 * 64])


def test_a_trial_that_holds_a_window_but_none_on_its_grid() -> None:
    signals = {"bvp": empty(64.0, 4.5, begin_s=11.0), "eda": empty(4.0, 100.0)}
    # 4.5 s are there, but the trial's second window starts at 14 s.
    with pytest.raises(DataError, match=r"a window of 4 s is longer than the 1\.5 s of signal"):
        recipe(4.0, 4.0, Cuts())([several(**signals)], task_of((10.0, 30.0, 0)))


RATES = st.floats(1, 130)


@settings(max_examples=300)
@given(
    rates=st.lists(RATES, min_size=1, max_size=4),
    begins=st.lists(st.floats(0, 5), min_size=4, max_size=4),
    ends=st.lists(st.floats(40, 60), min_size=4, max_size=4),
    trial=st.tuples(st.floats(-5, 20), st.floats(45, 80)),
    length_s=st.floats(1.5, 10),
    step_s=st.floats(1, 10),
)
def test_every_window_lies_inside_its_trial_and_inside_all_signals(
    rates: list[float],
    begins: list[float],
    ends: list[float],
    trial: tuple[float, float],
    length_s: float,
    step_s: float,
) -> None:
    names = [f"signal{index}" for index in range(len(rates))]
    signals = {
        name: empty(rate, end - begin, begin)
        for name, rate, begin, end in zip(names, rates, begins, ends, strict=False)
    }
    recording = several(**signals)
    found = recipe(length_s, step_s, Cuts(tuple(names)))([recording], task_of((*trial, 0))).windows
    slowest = min(rates)
    assert found.onset is not None
    for name, cuts in zip(names, np.moveaxis(found.x, 1, 0), strict=True):
        raw = recording.signals[name]
        assert cuts[:, 0].min() >= 0
        assert cuts[:, 1].max() <= raw.n_times
        assert (cuts[:, 1] - cuts[:, 0]).min() >= 1
        # As near to the window's time as its own samples allow.
        np.testing.assert_allclose(
            cuts[:, 0] / raw.info["sfreq"] + raw.first_time, found.onset, atol=0.51 / raw.info["sfreq"]
        )
    assert found.onset.min() >= trial[0] - 0.51 / slowest
    assert found.onset.max() + round(length_s * slowest) / slowest <= trial[1] + 0.51 / slowest
    np.testing.assert_allclose(np.diff(found.onset), round(step_s * slowest) / slowest)


def test_events_reach_the_representation() -> None:
    met: list[Sources] = []

    class Beats(Cuts):
        def represent(self, sources: Sources, onsets_s: FloatArray, length_s: float) -> Represented:
            met.append(sources)
            return Represented(np.zeros((len(onsets_s), 1)))

    beats = Intervals(np.array([0.5, 1.5, 4.0]), np.array([1.0, 0.75, 0.5]))
    recording = worn(Sources({"bvp": empty(64.0, 10.0)}, {"ibi": beats}))
    recipe(1.0, None, Beats(("ibi", "bvp")))([recording], task_of((0.0, 10.0, 0)))
    ((given_beats,),) = [tuple(sources.events.values()) for sources in met]
    np.testing.assert_array_equal(given_beats.start_s, beats.start_s)
    np.testing.assert_array_equal(given_beats.length_s, beats.length_s)
    with pytest.raises(DataError, match="S1: ibi alone give no time to cut windows by"):
        recipe(1.0, None, Beats(("ibi",)))([recording], task_of((0.0, 10.0, 0)))
    with pytest.raises(DataError, match=r"S1: no signal 'eda' in its recording\. Legal: bvp, ibi\."):
        recipe(1.0, None, Beats(("bvp", "eda")))([recording], task_of((0.0, 10.0, 0)))


def told(treatment: Treatment, *, untold: bool = False) -> tuple[Recipe, list[Recording], Task]:
    """Six windows: the second lacks one feature, the third is infinite, the fifth lacks both."""
    data = np.arange(12.0).reshape(2, 6)
    data[0, 1] = data[0, 4] = data[1, 4] = np.nan
    data[1, 2] = np.inf
    return recipe(1.0, None, Told(untold), treatment), [recording_of(raw_of(data, 1.0))], task_of((0.0, 6.0, 0))


@pytest.mark.parametrize("treatment", ["drop", "keep"])
def test_windows_that_lack_a_feature_are_left_out_and_counted(treatment: Treatment) -> None:
    part, recordings, task = told(treatment)
    found = part(recordings, task)
    assert found.windows.x.tolist() == [[0, 6], [3, 9], [5, 11]]
    assert found.windows.onset is not None
    assert found.windows.onset.tolist() == [0, 3, 5]
    assert found.report.unusable == {"no first": 2, "no second": 1, "nan": 1}
    assert (found.report.windows, found.report.dropped, found.report.imputed) == (6, 3, 0)


def test_windows_that_lack_a_feature_are_there_to_be_imputed() -> None:
    part, recordings, task = told("impute")
    found = part(recordings, task)
    missing = np.nan
    np.testing.assert_array_equal(found.windows.x, [[0, 6], [missing, 7], [3, 9], [missing, missing], [5, 11]])
    assert found.report.unusable == {"no first": 2, "no second": 1, "nan": 1}
    assert (found.report.windows, found.report.dropped, found.report.imputed) == (6, 1, 2)


def test_windows_that_lack_a_feature_may_stop_a_study() -> None:
    part, recordings, task = told("fail")
    with pytest.raises(SignalError, match=r"unusable windows \(2 no first, 1 no second, 1 nan of 6\)"):
        part(recordings, task)


def test_what_lacks_a_feature_without_a_reason_is_counted_all_the_same() -> None:
    part, recordings, task = told("drop", untold=True)
    assert part(recordings, task).report.unusable == {"nan": 3}
    with pytest.raises(SignalError, match=r"unusable windows \(3 nan of 6\)"):
        replace(part, treatment="fail")(recordings, task)


def test_a_subject_of_whom_nothing_is_known_is_imputed_as_a_whole_if_the_study_says_so() -> None:
    part, _, task = told("impute")
    off = [recording_of(raw_of(np.full((2, 6), np.nan), 1.0))]
    report = part(off, task).report
    assert (report.windows, report.dropped, report.imputed) == (6, 0, 6)
    with pytest.raises(SignalError, match=r"no usable window \(6 no first, 6 no second of 6\).* or impute features"):
        replace(part, treatment="drop")(off, task)


def test_flawed_signals_are_not_imputed() -> None:
    data = noise(2, 2000)
    data[1, 500] = np.nan
    part = recipe(2.0, representation=DifferentialEntropy({"alpha": (8.0, 13.0)}), treatment="impute")
    found = part([recording_of(raw_of(data, 100.0))], task_of((0.0, 20.0, 0)))
    assert (found.report.unusable, found.report.dropped, found.report.imputed) == ({"nan": 1}, 1, 0)


def test_only_vectors_of_features_can_be_imputed() -> None:
    with pytest.raises(ValueError, match="impute is for vectors of features, and RawWindows gives none"):
        recipe(treatment="impute")


def test_a_representation_of_signals_as_recorded_gets_them_as_recorded() -> None:
    data = noise(2, 600)
    data[:, 100:300] = 1e-5
    part = recipe(1.0, None, Told(), preprocessing=Preprocessing(resample_hz=50.0, channels=("E1",)))
    found = part([recording_of(raw_of(data, 100.0))], task_of((0.0, 6.0, 0)))
    np.testing.assert_array_equal(found.windows.x, data[:, ::100].T)
    assert found.report.unusable == {}


@dataclass(frozen=True)
class Both(SignalRepresentation):
    """First samples of two signals after the study's preprocessing."""

    geometry: ClassVar[Geometry] = "vector"

    def sources(self, signal: str) -> tuple[str, ...]:
        return (signal, "bvp")

    def represent(self, sources: Sources, onsets_s: FloatArray, length_s: float) -> Represented:
        del length_s
        return Represented(np.stack([one.data[0, one.starts(onsets_s)] for one in sources.signals.values()], axis=1))

    def __call__(self, signal: FloatArray, sfreq: float, starts: IntArray, length: int) -> FloatArray:
        raise NotImplementedError


def test_flaws_of_all_preprocessed_signals_count() -> None:
    eeg, bvp = noise(1, 1000, 1), noise(1, 600, 2)
    eeg[0, 250] = np.nan
    bvp[0, 240:310] = 1e-5
    recording = several(eeg=Signal(eeg, 100.0), bvp=Signal(bvp, 60.0))
    found = recipe(1.0, None, Both(), preprocessing=Preprocessing(resample_hz=50.0))([recording], task_of((0, 10, 0)))
    assert found.windows.onset is not None
    assert found.windows.onset.tolist() == [0, 1, 3, 5, 6, 7, 8, 9]
    assert found.report.unusable == {"flat": 1, "nan": 1}


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
