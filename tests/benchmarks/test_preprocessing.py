from __future__ import annotations

import mne
import numpy as np
import pytest

from benchmarks.errors import StudyError
from benchmarks.parts import build
from benchmarks.preprocessing import Preprocessing, bridged
from tests.benchmarks.recordings import noise, raw_of

SFREQ = 250.0
TIME = np.arange(5000) / SFREQ
MIDDLE = slice(1250, -1250)


def sine(frequency: float, time: np.ndarray = TIME) -> np.ndarray:
    return 1e-5 * np.sin(2 * np.pi * frequency * time)


def test_the_default_leaves_the_signal_as_it_is() -> None:
    raw = raw_of(noise(3, 1000), SFREQ)
    np.testing.assert_array_equal(Preprocessing()(raw).get_data(), raw.get_data())


def test_a_band_keeps_what_is_in_it_without_delay_and_takes_the_rest_away() -> None:
    raw = raw_of(np.stack([sine(10), sine(10) + sine(100) + 1e-3]), SFREQ)
    out = Preprocessing(band_hz=(2.0, 40.0))(raw).get_data()[:, MIDDLE]
    np.testing.assert_allclose(out, np.stack([sine(10)] * 2)[:, MIDDLE], atol=1e-7)


@pytest.mark.parametrize(("band", "kept"), [((None, 40.0), 1.0), ((60.0, None), 100.0)])
def test_an_open_edge_is_a_low_or_high_pass(band: tuple[float | None, float | None], kept: float) -> None:
    out = Preprocessing(band_hz=band)(raw_of((sine(1) + sine(100))[None], SFREQ)).get_data()[0, MIDDLE]
    np.testing.assert_allclose(out, sine(kept)[MIDDLE], atol=1e-7)


def test_a_notch_takes_the_mains_and_its_harmonic() -> None:
    mains = sine(10) + sine(50) + sine(100)
    out = Preprocessing(notch_hz=(50.0, 100.0))(raw_of(mains[None], SFREQ)).get_data()[0, MIDDLE]
    np.testing.assert_allclose(out, sine(10)[MIDDLE], atol=1e-6 * 0.1)


def test_channels_that_mne_calls_no_data_are_filtered_too() -> None:
    raw = raw_of((1.0 + sine(100))[None], SFREQ, ["EDA"], "gsr")
    out = Preprocessing(notch_hz=100.0, band_hz=(None, 40.0))(raw).get_data()[0, MIDDLE]
    np.testing.assert_allclose(out, 1.0, atol=1e-7)


def test_the_average_reference_is_over_the_channels_that_are_used() -> None:
    data = noise(4, 500)
    out = Preprocessing(channels=("E2", "E0"), reference="average")(raw_of(data, SFREQ))
    assert out.ch_names == ["E2", "E0"]
    np.testing.assert_allclose(out.get_data(), data[[2, 0]] - data[[2, 0]].mean(axis=0), atol=1e-18)


@pytest.mark.parametrize("channels", [("E0", "E1"), ("E0", "E1", "E3")])
def test_reference_channels_are_subtracted_and_left_out(channels: tuple[str, ...]) -> None:
    data = noise(4, 500)
    raw = raw_of(data, SFREQ)
    both = Preprocessing(channels=channels, reference=("E2", "E3"))
    assert both.picks(raw)[:2] == ["E0", "E1"]
    assert set(both.picks(raw)[2:]) == {"E2", "E3"}
    out = both(raw)
    assert out.ch_names == ["E0", "E1"]
    np.testing.assert_allclose(out.get_data(), data[:2] - data[2:].mean(axis=0), atol=1e-18)
    one = Preprocessing(reference="E3")(raw)
    np.testing.assert_allclose(one.get_data(), data[:3] - data[3], atol=1e-18)


def test_resampling_keeps_the_signal_and_its_time() -> None:
    out = Preprocessing(resample_hz=100.0)(raw_of((sine(7) + sine(80))[None], SFREQ))
    assert out.info["sfreq"] == 100
    assert out.n_times == 2000
    time = np.arange(2000) / 100
    turning = 2 * np.mean(out.get_data()[0, 300:-300] * np.exp(-2j * np.pi * 7 * time[300:-300])) / -1j
    assert abs(turning) == pytest.approx(1e-5, rel=1e-3)
    assert abs(np.angle(turning)) / (2 * np.pi * 7) < 0.5 / 100


def test_the_original_is_untouched() -> None:
    data = noise(3, 1000)
    data[1, 100] = np.nan
    raw = raw_of(data, SFREQ)
    Preprocessing(("E1", "E2"), 50.0, (1.0, 40.0), "average", 100.0)(raw)
    assert raw.ch_names == ["E0", "E1", "E2"]
    np.testing.assert_array_equal(raw.get_data(), data)


def test_missing_samples_are_bridged_by_straight_lines() -> None:
    signal = np.array([[np.nan, 1, np.nan, np.nan, 4, np.inf], [0, 1, 2, 3, 4, 5], [np.nan] * 6])
    expected = np.array([[1, 1, 2, 3, 4, 4], [0, 1, 2, 3, 4, 5], [np.nan] * 6])
    np.testing.assert_array_equal(bridged(signal), expected)


def test_a_missing_sample_does_not_spread_over_the_channel() -> None:
    whole = noise(2, 5000)
    gap = whole.copy()
    gap[0, 2000:2003] = np.nan
    step = Preprocessing(band_hz=(4.0, 40.0))
    with_gap, without = (step(raw_of(data, SFREQ)).get_data() for data in (gap, whole))
    assert np.isfinite(with_gap).all()
    np.testing.assert_array_equal(with_gap[1], without[1])
    np.testing.assert_allclose(with_gap[0, 3000:], without[0, 3000:], atol=1e-12)


def test_the_steps_in_words() -> None:
    assert Preprocessing().describe() == "no preprocessing"
    every = Preprocessing(("Fz", "Cz"), 50.0, (1.0, 40.0), "average", 128.0)
    assert every.describe() == "channels Fz Cz, notch 50 Hz, 1-40 Hz, average reference, resampled to 128 Hz"
    some = Preprocessing(notch_hz=(50.0, 100.0), band_hz=(None, 0.5), reference=("A1", "A2"))
    assert some.describe() == "notch 50 100 Hz, up to 0.5 Hz, A1 A2 reference"
    assert Preprocessing(band_hz=(0.1, None)).describe() == "from 0.1 Hz"


def test_values_come_from_a_study_file() -> None:
    values = {"channels": ["Fz"], "notch_hz": [50, 100], "band_hz": [1, None], "reference": "Cz", "resample_hz": 128}
    made = build(Preprocessing, {}, values, "preprocessing")
    assert made == Preprocessing(("Fz",), (50.0, 100.0), (1.0, None), "Cz", 128.0)


@pytest.mark.parametrize("step", [Preprocessing(channels=("Fzz",)), Preprocessing(reference=("Fz", "Fzz"))])
def test_a_channel_that_is_not_there(step: Preprocessing) -> None:
    raw = raw_of(noise(2, 100), SFREQ, ["Fz", "Cz"])
    with pytest.raises(StudyError, match=r"'Fzz'.*Legal: Cz, Fz\. Did you mean 'Fz'"):
        step(raw)


@pytest.mark.parametrize("step", [Preprocessing(band_hz=(1.0, 125.0)), Preprocessing(notch_hz=(50.0, 125.0))])
def test_a_frequency_beyond_half_the_sampling_rate(step: Preprocessing) -> None:
    with pytest.raises(StudyError, match="125 Hz is not below half the signal's sampling rate of 250 Hz"):
        step(raw_of(noise(2, 1000), SFREQ))


def test_a_reference_that_cannot_be() -> None:
    eda: mne.io.BaseRaw = raw_of(noise(1, 100), 4.0, ["EDA"], "gsr")
    with pytest.raises(StudyError, match="no EEG channel"):
        Preprocessing(reference="average")(eda)
    with pytest.raises(StudyError, match="no channel is left"):
        Preprocessing(channels=("E0",), reference="E0")(raw_of(noise(2, 100), SFREQ))


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"band_hz": [40, 1]}, "band_hz: the lower edge 40 Hz"),
        ({"band_hz": [0, 40]}, r"preprocessing\.band_hz"),
        ({"band_hz": [1]}, r"preprocessing\.band_hz"),
        ({"notch_hz": -50}, r"preprocessing\.notch_hz"),
        ({"resample_hz": "fast"}, r"preprocessing\.resample_hz"),
        ({"channels": []}, r"preprocessing\.channels"),
        ({"chanels": ["Fz"]}, "Did you mean 'channels'"),
    ],
)
def test_values_that_cannot_be(values: dict[str, object], place: str) -> None:
    with pytest.raises(StudyError, match=place):
        build(Preprocessing, {}, values, "preprocessing")
