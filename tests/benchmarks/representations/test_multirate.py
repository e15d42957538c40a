from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.datasets.contract import Places
from benchmarks.datasets.stress_predict import StressPredict
from benchmarks.errors import SignalError, StudyError
from benchmarks.parts import build
from benchmarks.preprocessing import Preprocessing
from benchmarks.quality import Treatment
from benchmarks.recipe import Recipe, WindowLength
from benchmarks.representations.contract import Signal, Sources
from benchmarks.representations.multirate import Multirate
from tests.benchmarks.recordings import noise, task_of, worn


def counting(samples: int, sfreq: float, begin_s: float = 0.0, channels: int = 1) -> Signal:
    """Signal whose samples tell their own number; further channels add 1000 each."""
    return Signal(np.arange(samples) + 1000.0 * np.arange(channels)[:, None], sfreq, begin_s)


def shown(part: Multirate, onsets_s: list[float], length_s: float, **signals: Signal) -> np.ndarray:
    found = part.represent(Sources(signals), np.array(onsets_s), length_s)
    assert not any(mask.any() for mask in found.missing.values())
    return found.x


def test_a_slow_signal_is_held_inside_a_fast_one() -> None:
    part = Multirate(("bvp", "eda"))
    x = shown(part, [0.0, 7.25], 2.0, bvp=counting(64 * 10, 64.0), eda=counting(4 * 10, 4.0))
    assert x.dtype == np.float32
    assert x.shape == (2, 2, 128)
    np.testing.assert_array_equal(x[:, 0], [np.arange(128), 7.25 * 64 + np.arange(128)])
    np.testing.assert_array_equal(x[:, 1], [np.repeat(np.arange(8), 16), np.repeat(np.arange(29, 37), 16)])


def test_channels_stand_in_the_order_of_the_signals() -> None:
    part = Multirate(("eda", "acc", "bvp"))
    signals = {"bvp": counting(64, 64.0), "eda": counting(4, 4.0), "acc": counting(32, 32.0, channels=3)}
    x = shown(part, [0.0], 1.0, **signals)
    assert x.shape == (1, 5, 64)
    np.testing.assert_array_equal(x[0, :, -1], [3, 31, 1031, 2031, 63])


def test_between_rates_that_are_no_multiples_the_sample_that_is_current_is_shown() -> None:
    x = shown(Multirate(("fast", "slow")), [0.0, 1.0], 1.0, fast=counting(20, 10.0), slow=counting(8, 4.0))
    # Samples of the slow signal are taken at 0, 0.25, 0.5 and 0.75 s, places are every 0.1 s.
    assert x[0, 1].tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    np.testing.assert_array_equal(x[1, 1], x[0, 1] + 4)


def test_signals_that_start_at_different_times_show_the_same_time() -> None:
    fast, slow = counting(64 * 20, 64.0, begin_s=0.5), counting(4 * 20, 4.0, begin_s=3.25)
    x = shown(Multirate(("fast", "slow")), [3.25, 8.0], 2.0, fast=fast, slow=slow)
    for row, onset in zip(x, (3.25, 8.0), strict=True):
        times = onset + np.arange(128) / 64
        np.testing.assert_array_equal(row[0], (times - 0.5) * 64)
        np.testing.assert_array_equal(row[1], np.floor((times - 3.25) * 4))


@settings(max_examples=200)
@given(
    rates=st.tuples(st.sampled_from([64.0, 51.2, 32.0]), st.sampled_from([1.0, 4.0, 7.0, 32.0])),
    begins=st.tuples(st.floats(0, 3), st.floats(0, 3)),
    start=st.integers(0, 20),
)
def test_held_samples_are_those_taken_last(rates: tuple[float, float], begins: tuple[float, float], start: int) -> None:
    fast, slow = (counting(round(60 * rate), rate, begin) for rate, begin in zip(rates, begins, strict=True))
    onset = slow.begin_s + (start + 3 * slow.sfreq) / slow.sfreq
    x = shown(Multirate(("fast", "slow")), [onset], 5.0, fast=fast, slow=slow)[0]
    times = onset + np.arange(x.shape[1]) / fast.sfreq
    for signal, samples in zip((fast, slow), x.astype(float), strict=True):
        age_s = times - (signal.begin_s + samples / signal.sfreq)
        assert age_s.min() > -1e-6
        assert age_s.max() < 1 / signal.sfreq + 1e-6


def test_a_window_shows_no_sample_beyond_its_signal() -> None:
    # A window of 1.1 s is nearest to 4 samples at 4 Hz, and lasts a little longer than them.
    x = shown(Multirate(("fast", "slow")), [0.0], 1.1, fast=counting(11, 10.0), slow=counting(4, 4.0))
    assert x[0, 1].tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3]


def sine(frequency: float, sfreq: float, seconds: float = 60.0) -> Signal:
    return Signal(np.sin(2 * np.pi * frequency * np.arange(round(seconds * sfreq)) / sfreq)[None], sfreq)


@pytest.mark.parametrize("sfreq", [64.0, 51.2])
@pytest.mark.parametrize("rate", [8.0, 3.0])
def test_decimation_keeps_what_is_slow_and_its_times(sfreq: float, rate: float) -> None:
    slow = 0.8 * rate / 2
    x = shown(Multirate(("bvp",), rate), [10.0], 40.0, bvp=sine(slow, sfreq))[0, 0]
    assert len(x) == 40 * rate
    np.testing.assert_allclose(x, np.sin(2 * np.pi * slow * (10 + np.arange(len(x)) / rate)), atol=2e-3)


@pytest.mark.parametrize("sfreq", [64.0, 51.2])
@pytest.mark.parametrize("rate", [8.0, 3.0])
@pytest.mark.parametrize("beyond", [1.0, 1.3, 2.0, 3.9])
def test_decimation_lets_nothing_fast_through_as_something_slow(sfreq: float, rate: float, beyond: float) -> None:
    # Without a filter a sine of 1.3 times half the rate would look like one of 0.7 times.
    signal = sine(beyond * rate / 2 + 0.01, sfreq)
    x = shown(Multirate(("bvp",), rate, steady=("bvp",)), [10.0], 40.0, bvp=signal)
    assert np.abs(x).max() < 1.1e-3


@pytest.mark.parametrize("rate", [8.0, 10.003, 63.9])
def test_decimated_samples_do_not_drift(rate: float) -> None:
    x = shown(Multirate(("bvp",), rate), [1700.0], 10.0, bvp=sine(0.05, 64.0, 1800.0))[0, 0]
    times = 1700 + np.arange(len(x)) / rate
    # What is shown is at most one sample old, and the sine moves by 0.1 pi a second at most.
    np.testing.assert_allclose(x, np.sin(2 * np.pi * 0.05 * times), atol=0.1 * np.pi / rate + 2e-3)


@pytest.mark.parametrize("rate", [1.0, 3.0, 3.9])
def test_decimation_keeps_a_level_up_to_the_ends(rate: float) -> None:
    x = shown(Multirate(("temp",), rate), [0.0, 40.0], 20.0, temp=Signal(np.full((1, 240), 34.0), 4.0))
    np.testing.assert_allclose(x, 34.0, rtol=1e-6)


def test_slower_signals_are_held_at_a_lower_rate_too() -> None:
    x = shown(Multirate(("bvp", "eda"), 8.0), [2.0], 1.0, bvp=sine(1.0, 64.0), eda=counting(240, 4.0))
    assert x[0, 1].tolist() == [8, 8, 9, 9, 10, 10, 11, 11]


def flawed() -> Sources:
    """Ten seconds, of which the eda is flat in the second and misses a sample in the fifth, and the temp is steady."""
    eda, bvp = noise(1, 40, 1), noise(1, 640, 2)
    eda[0, 4:8] = 1e-6
    bvp[0, 64 * 4 + 3] = np.nan
    return Sources({"bvp": Signal(bvp, 64.0), "eda": Signal(eda, 4.0), "temp": Signal(np.full((1, 40), 33.0), 4.0)})


@pytest.mark.parametrize("rate", [None, 8.0])
def test_flawed_windows_are_missing_with_their_reason(rate: float | None) -> None:
    part = Multirate(("bvp", "eda", "temp"), rate)
    found = part.represent(flawed(), np.arange(10.0), 1.0)
    assert {reason: np.flatnonzero(mask).tolist() for reason, mask in found.missing.items() if mask.any()} == {
        "eda flat": [1],
        "bvp nan": [4],
    }
    assert np.isnan(found.x[4, 0]).all()
    assert np.isnan(found.x[1, 1]).all()
    assert np.isnan(found.x).any(axis=2).sum() == 2


def recipe(part: Multirate, treatment: Treatment = "drop") -> Recipe:
    return Recipe("eda", Preprocessing(), WindowLength(1.0), part, treatment)


def test_flawed_windows_are_left_out_of_a_cohort() -> None:
    found = recipe(Multirate(("bvp", "eda", "temp")))([worn(flawed())], task_of((0.0, 10.0, 0)))
    assert found.windows.x.shape == (8, 3, 64)
    assert found.windows.onset is not None
    assert found.windows.onset.tolist() == [0, 2, 3, 5, 6, 7, 8, 9]
    assert (found.report.unusable, found.report.dropped) == ({"bvp nan": 1, "eda flat": 1}, 2)
    with pytest.raises(SignalError, match=r"signal 'bvp, eda, temp' has unusable windows \(1 bvp nan, 1 eda flat of"):
        recipe(Multirate(("bvp", "eda", "temp")), "fail")([worn(flawed())], task_of((0.0, 10.0, 0)))


def test_what_is_no_signal() -> None:
    with pytest.raises(StudyError, match="signals: 'ibi' has no samples"):
        Multirate(("bvp", "ibi")).represent(Sources({"bvp": counting(640, 64.0)}), np.array([0.0]), 1.0)


def test_a_rate_at_which_a_window_has_no_sample() -> None:
    with pytest.raises(StudyError, match=r"rate_hz: a window of 4 s has no sample at 0\.1 Hz"):
        Multirate(("bvp",), 0.1).represent(Sources({"bvp": counting(640, 64.0)}), np.array([0.0]), 4.0)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"signals": []}, r"representation\.signals"),
        ({"signals": ["bvp", "eda", "bvp"]}, "signals: 'bvp' stands twice"),
        ({"rate_hz": 0}, r"representation\.rate_hz"),
        ({"rate_hz": float("inf")}, r"representation\.rate_hz"),
    ],
)
def test_values_that_cannot_be(values: dict[str, object], place: str) -> None:
    with pytest.raises(StudyError, match=place):
        build(Multirate, {}, values, "representation")


@pytest.mark.real_data
def test_real_windows_show_the_samples_as_recorded(real_data: Path, tmp_path: Path) -> None:
    dataset = StressPredict(Places(real_data, tmp_path, tmp_path))
    (recording,) = dataset.read("S02")
    cut = Recipe("eda", Preprocessing(), WindowLength(60.0, 30.0), Multirate())([recording], dataset.task(None))
    windows = cut.windows
    assert windows.x.shape == (len(windows), 6, 3840)
    assert windows.onset is not None
    for x, onset in zip(windows.x, windows.onset, strict=True):
        bvp, eda, temp, *acc = x
        for shown_samples, name in ((bvp, "bvp"), (eda, "eda"), (temp, "temp"), (acc, "acc")):
            raw = recording.signals[name]
            first, repeats = round(onset * raw.info["sfreq"]), round(64 / raw.info["sfreq"])
            samples = raw.get_data(start=first, stop=first + 3840 // repeats).astype(np.float32)
            np.testing.assert_array_equal(np.atleast_2d(shown_samples), np.repeat(samples, repeats, axis=1))
