from __future__ import annotations

from itertools import pairwise

import mne
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.datasets.contract import Places
from benchmarks.datasets.eegmat import Eegmat
from benchmarks.quality import unusable_windows
from tests.benchmarks.recordings import noise


def flags(signal: np.ndarray, length: int = 10) -> dict[str, list[int]]:
    """Windows without overlap that are flagged, by reason."""
    starts = np.arange(0, signal.shape[1] - length + 1, length)
    return {reason: np.flatnonzero(mask).tolist() for reason, mask in unusable_windows(signal, starts, length).items()}


def test_each_reason_where_it_is() -> None:
    signal = noise(3, 60)
    signal[0, 10:20] = 3e-6
    signal[1, 32:36] = signal[1].max() + 1e-6
    signal[2, 45] = np.nan
    signal[2, 59] = np.inf
    assert flags(signal) == {"flat": [1], "clipped": [3], "nan": [4, 5]}


def test_a_constant_run_shorter_than_the_window_is_not_flat() -> None:
    signal = noise(1, 60)
    signal[0, 10:19] = 3e-6
    signal[0, 25:35] = 2e-6
    assert flags(signal)["flat"] == []


def test_a_dead_channel_is_flat_everywhere_and_clipped_nowhere() -> None:
    signal = np.concatenate([noise(2, 60), np.zeros((1, 60))])
    assert flags(signal) == {"flat": [0, 1, 2, 3, 4, 5], "clipped": [], "nan": []}


def test_a_channel_without_a_sample() -> None:
    signal = np.concatenate([noise(1, 60), np.full((1, 60), np.nan)])
    assert flags(signal) == {"flat": [], "clipped": [], "nan": [0, 1, 2, 3, 4, 5]}


def test_clipping_at_either_rail_in_all_windows_that_it_reaches() -> None:
    signal = noise(1, 60)
    signal[0, 18:23] = 9e-5
    signal[0, 50:53] = -9e-5
    assert flags(signal)["clipped"] == [1, 2, 5]


def test_two_equal_samples_at_the_extreme_are_chance() -> None:
    signal = noise(1, 60)
    signal[0, 18:20] = 9e-5
    assert flags(signal)["clipped"] == []


def test_a_smooth_peak_of_a_quantised_signal_is_not_clipped() -> None:
    slow = np.round(300 * np.sin(2 * np.pi * 0.5 * np.arange(1200) / 128))
    widest = max(len(run) for run in np.split(slow, np.flatnonzero(np.diff(slow)) + 1) if run[0] == slow.max())
    assert widest >= 3
    assert flags(slow[None] * 1e-6)["clipped"] == []


def test_a_signal_that_holds_its_values_is_not_clipped() -> None:
    held = np.repeat(np.random.default_rng(0).integers(0, 40, 200), 4).astype(float)
    assert flags(held[None], 40)["clipped"] == []
    held[400:430] = 60
    assert flags(held[None], 40)["clipped"] == [10]


def test_contact_that_is_lost_is_clipped() -> None:
    skin = 2e-6 + np.cumsum(1e-9 * np.random.default_rng(0).standard_normal(600))
    skin[:12] = 0
    assert flags(skin[None], 60)["clipped"] == [0]


SIGNALS = st.lists(
    st.lists(st.sampled_from([0.0, 1.0, 2.0, 9.0, np.nan]), min_size=24, max_size=24), min_size=1, max_size=3
)


@given(SIGNALS, st.integers(1, 12), st.integers(1, 7))
def test_flags_equal_a_plain_loop(signal: list[list[float]], length: int, step: int) -> None:
    x = np.array(signal)
    starts = np.arange(0, x.shape[1] - length + 1, step)
    found = unusable_windows(x, starts, length)
    for index, start in enumerate(starts):
        window = x[:, start : start + length]
        assert found["nan"][index] == np.isnan(window).any()
        assert found["flat"][index] == (length > 1 and any((channel == channel[0]).all() for channel in window))
        stuck = [any(start <= t < start + length for t in _stuck(channel)) for channel in x]
        assert found["clipped"][index] == any(stuck)


def _stuck(channel: np.ndarray) -> list[int]:
    """Samples at a rail, by walking over the runs of equal values of one channel."""
    bounds = [0, *(t for t in range(1, len(channel)) if channel[t] != channel[t - 1]), len(channel)]
    runs = [(start, stop, channel[start]) for start, stop in pairwise(bounds)]
    steps = [abs(b[2] - a[2]) for a, b in pairwise(runs)]
    known = [step for step in steps if not np.isnan(step)]
    if not known:
        return []
    stuck: list[int] = []
    for index, (start, stop, value) in enumerate(runs):
        beside = [step for step in steps[max(index - 1, 0) : index + 1] if not np.isnan(step)]
        at_rail = value in (np.nanmin(channel), np.nanmax(channel))
        long = stop - start >= 3 * round(len(channel) / len(runs))
        if at_rail and long and beside and max(beside) >= 4 * min(known):
            stuck += range(start, stop)
    return stuck


@pytest.mark.real_data
def test_real_recordings_are_usable_until_they_are_clipped(real_data, tmp_path) -> None:
    recording = Eegmat(Places(real_data, tmp_path, tmp_path)).read("Subject05")[0]
    signal: mne.io.BaseRaw = recording.signals["eeg"]
    x = signal.get_data()
    assert flags(x, 512) == {"flat": [], "clipped": [], "nan": []}
    rail = np.quantile(np.abs(x[3]), 0.95)
    x[3] = x[3].clip(-rail, rail)
    assert len(flags(x, 512)["clipped"]) > 0.9 * (x.shape[1] // 512)
