from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.datasets.films import Told, annotated_film, cut_film, film_signal
from benchmarks.recording import Recording


def test_a_film_is_one_trial_from_start_to_end() -> None:
    annotations = annotated_film(7, 12.5, {"arousal": "4.0", "valence": "2.0"})
    assert list(annotations.description) == ["film_07/arousal=4.0/valence=2.0"]
    recording = Recording("S01", "1", {}, annotations)
    (trial,) = cut_film(recording, lambda told: int(float(told["valence"])))
    assert (trial.name, trial.label, trial.start_s, trial.stop_s) == ("film_07", 2, 0, 12.5)


@given(
    number=st.integers(1, 99),
    ratings=st.dictionaries(st.sampled_from(["arousal", "valence", "liking"]), st.floats(1, 9)),
)
def test_what_is_told_comes_back_to_the_bit(number: int, ratings: dict[str, float]) -> None:
    def label(told: Told) -> int:
        assert {name: float(value) for name, value in told.items()} == ratings
        return 1

    annotations = annotated_film(number, 1.0, {name: repr(value) for name, value in ratings.items()})
    (trial,) = cut_film(Recording("S01", "1", {}, annotations), label)
    assert (trial.name, trial.label) == (f"film_{number:02d}", 1)


def test_a_signal_is_in_volts() -> None:
    raw = film_signal(np.array([[1.0, 2.0], [30.0, 40.0]]), ("A", "B"), 256.0, "ecg")
    assert (raw.ch_names, raw.get_channel_types(), raw.info["sfreq"]) == (["A", "B"], ["ecg", "ecg"], 256)
    np.testing.assert_allclose(raw.get_data(), [[1e-6, 2e-6], [30e-6, 40e-6]], rtol=1e-12)


def test_a_recording_of_several_stretches_is_no_film() -> None:
    two = annotated_film(1, 1.0, {}) + annotated_film(2, 1.0, {})
    with pytest.raises(ValueError, match="too many values"):
        cut_film(Recording("S01", "1", {}, two), lambda told: 0)
