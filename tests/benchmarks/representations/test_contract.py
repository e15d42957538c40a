from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.representations.contract import Signal


def test_times_of_a_signal_that_begins_late() -> None:
    signal = Signal(np.zeros((2, 40)), 4.0, begin_s=10.0)
    assert signal.end_s == 20.0
    assert signal.starts(np.array([10.0, 10.2, 19.75])).tolist() == [0, 1, 39]
    assert signal.length(2.6) == 10


@pytest.mark.parametrize(
    ("onset_s", "length_s", "held"),
    [
        (10.0, 10.0, True),
        (9.9, 10.0, True),
        (9.8, 10.0, False),
        (10.2, 10.0, False),
        (10.1, 10.1, True),
        (19.75, 0.25, True),
        (19.75, 0.5, False),
    ],
)
def test_a_window_is_held_to_the_nearest_sample(onset_s: float, length_s: float, held: bool) -> None:
    signal = Signal(np.zeros((1, 40)), 4.0, begin_s=10.0)
    assert signal.holds(np.array([onset_s]), length_s).tolist() == [held]


@given(
    samples=st.integers(1, 300),
    sfreq=st.floats(0.5, 100),
    begin_s=st.floats(-5, 50),
    onset_s=st.floats(-10, 100),
    length_s=st.floats(0, 60),
)
def test_held_windows_can_be_cut(samples: int, sfreq: float, begin_s: float, onset_s: float, length_s: float) -> None:
    signal = Signal(np.zeros((1, samples)), sfreq, begin_s)
    onsets, length = np.array([onset_s]), signal.length(length_s)
    (start,) = signal.starts(onsets)
    if signal.holds(onsets, length_s)[0]:
        assert signal.data[:, start : start + length].shape == (1, length)
        assert start >= 0
    else:
        assert onset_s < begin_s - 0.4999 / sfreq or onset_s + length_s > signal.end_s - 1.0001 / sfreq
