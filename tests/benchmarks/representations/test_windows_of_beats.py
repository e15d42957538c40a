from __future__ import annotations

import numpy as np

from benchmarks.representations.beats import Beats
from benchmarks.representations.contract import Signal
from benchmarks.representations.windows_of_beats import of_windows


def test_only_sound_windows_with_enough_beats_are_described() -> None:
    # A beat a second, none from 60 s to 90 s; the wave stands still from 30 s to 60 s and lacks a sample at 100 s.
    start_s = np.concatenate([np.arange(0.0, 60), np.arange(90.0, 150)])
    beats = Beats(start_s, np.ones(120), np.full(120, 2.0), start_s)
    wave = np.sin(np.arange(1500))
    wave[300:600], wave[1000] = 0.0, np.nan
    onsets_s, asked = np.array([0.0, 30, 60, 70, 90, 120]), []

    def described(window: Beats) -> list[float]:
        asked.append(len(window.start_s))
        return [float(window.level[0]), np.nan]

    made = of_windows(beats, Signal(wave[None], 10.0), onsets_s, 30.0, 0.5, 2, described)
    assert {reason: np.flatnonzero(mask).tolist() for reason, mask in made.missing.items()} == {
        "bvp flat": [1],
        "bvp nan": [4],
        "too few beats": [2, 3],
    }
    np.testing.assert_array_equal(made.x[:, 0], [0, np.nan, np.nan, np.nan, np.nan, 120])
    assert np.isnan(made.x[:, 1]).all()
    assert asked == [30, 30]
