from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.errors import StudyError
from benchmarks.parts import build
from benchmarks.representations.contract import Represented, Signal, Sources
from benchmarks.representations.respiration import Respiration
from tests.benchmarks.representations.test_beats import SFREQ, export_of, pulse_train, varied

DURATION_S = 200.0


def breathing(
    rate_hz: float, interval_s: float = 0.0, swing: float = 0.0, level: float = 0.0, usual_s: float = 0.85
) -> Sources:
    """Pulse wave of a heart that beats at 71/min, some of it modulated by a sinusoidal breath, and a little noise."""
    random = np.random.default_rng(2)
    beats = [0.4]
    while beats[-1] < DURATION_S:
        middle = beats[-1] + usual_s / 2
        wave = interval_s * np.sin(2 * np.pi * rate_hz * middle)
        beats.append(beats[-1] + usual_s + wave + 0.005 * random.standard_normal())
    times = np.array(beats)
    height = 60 * (1 + swing * np.sin(2 * np.pi * rate_hz * times))
    time = np.arange(round(DURATION_S * SFREQ)) / SFREQ
    signal = pulse_train(times, DURATION_S, height) + level * np.sin(2 * np.pi * rate_hz * time)
    return Sources({"bvp": Signal((signal + random.normal(0, 0.2, len(signal)))[None], SFREQ)})


def features(found: Represented, window: int = 0) -> dict[str, float]:
    return dict(zip(Respiration().features(60.0), found.x[window], strict=True))


@pytest.mark.parametrize(
    "trace", [{"interval_s": 0.05}, {"swing": 0.2}, {"level": 10.0}, {"interval_s": 0.03, "swing": 0.1, "level": 5.0}]
)
@pytest.mark.parametrize("rate_hz", [0.2, 0.25, 0.35])
def test_each_trace_of_the_breath_tells_its_rate(trace: dict[str, float], rate_hz: float) -> None:
    found = Respiration().represent(breathing(rate_hz, **trace), np.array([20.0, 80.0, 130.0]), 60.0)
    np.testing.assert_allclose(found.x[:, 0], 60 * rate_hz, atol=0.5)


def test_the_depth_of_each_trace() -> None:
    # The standard deviation of a sinusoid is its amplitude over the root of two.
    interval, swing, level = (
        features(Respiration().represent(breathing(0.25, **trace), np.array([20.0]), 120.0))
        for trace in ({"interval_s": 0.05}, {"swing": 0.2}, {"level": 10.0})
    )
    assert np.exp(interval["log_interval_modulation"]) == pytest.approx(0.05 / 0.85 / np.sqrt(2), rel=0.15)
    assert np.exp(swing["log_swing_modulation"]) == pytest.approx(0.2 / np.sqrt(2), rel=0.1)
    # A mean over a beat of 0.85 s smoothes a wave of 0.25 Hz; the height of the pulse is 60 less what the filter takes.
    assert np.exp(level["log_level_modulation"]) == pytest.approx(10 / 60 / np.sqrt(2) * np.sinc(0.25 * 0.85), rel=0.15)
    assert swing["log_interval_modulation"] < interval["log_interval_modulation"] - 1
    assert interval["log_swing_modulation"] < swing["log_swing_modulation"] - 1


def test_the_unit_of_the_signal_does_not_matter() -> None:
    sources = breathing(0.25, interval_s=0.03, swing=0.1)
    scaled = Sources({"bvp": Signal(1e-3 * sources.signals["bvp"].data, SFREQ)})
    one, other = (Respiration().represent(read, np.array([20.0]), 60.0).x for read in (sources, scaled))
    np.testing.assert_allclose(other, one, rtol=1e-6)


def test_breathing_is_regular_and_noise_is_not() -> None:
    clear = Respiration().represent(breathing(0.25, 0.05, 0.2, 10.0), np.array([20.0, 80.0, 130.0]), 60.0)
    still = Respiration().represent(breathing(0.25), np.array([20.0, 80.0, 130.0]), 60.0)
    assert clear.x[:, 1].min() > 0.6
    assert still.x[:, 1].max() < 0.4


def test_a_rate_that_is_not_clear_may_be_refused() -> None:
    onsets = np.array([20.0, 80.0, 130.0])
    strict = Respiration(min_regularity=0.5)
    clear, still = (
        strict.represent(read, onsets, 60.0) for read in (breathing(0.25, 0.05, 0.2, 10.0), breathing(0.25))
    )
    assert not clear.missing["no clear breathing"].any()
    assert still.missing["no clear breathing"].all()
    assert np.isnan(still.x[:, 0]).all()
    assert np.isfinite(still.x[:, 1:]).all()


def test_a_slow_heart_cannot_tell_of_fast_breaths() -> None:
    # At 52 beats a minute all above 26 breaths a minute would be taken for something slower.
    found = Respiration().represent(breathing(0.47, swing=0.1, usual_s=1.15), np.array([20.0, 80.0]), 60.0)
    assert (found.x[:, 0] < 60 * 0.5 / 1.15).all()


def test_every_other_pulse_is_no_breath() -> None:
    found = Respiration().represent(breathing(0.5 / 1.15, swing=0.1, usual_s=1.15), np.array([20.0, 80.0]), 60.0)
    assert (found.x[:, 0] < 25).all()
    assert (found.x[:, 1] < 0.4).all()


def test_a_band_of_ones_own() -> None:
    sources = breathing(0.12, swing=0.3)
    default = Respiration().represent(sources, np.array([20.0]), 60.0)
    fast = Respiration(band_hz=(0.2, 0.5)).represent(sources, np.array([20.0]), 60.0)
    assert default.x[0, 0] == pytest.approx(7.2, abs=0.5)
    assert fast.x[0, 0] > 12


def test_why_windows_are_missing() -> None:
    wave = pulse_train(varied(400), 330.0)
    wave[round(60 * SFREQ) : round(121 * SFREQ)] = 3.0
    wave[round(130 * SFREQ)] = np.nan
    moved = slice(round(180 * SFREQ), round(230 * SFREQ))
    wave[moved] += 2000 * np.random.default_rng(0).standard_normal(moved.stop - moved.start)
    found = Respiration().represent(Sources({"bvp": Signal(wave[None], SFREQ)}), np.arange(0.0, 270, 60), 60.0)
    assert {reason: mask.tolist() for reason, mask in found.missing.items()} == {
        "bvp flat": [False, True, False, False, False],
        "bvp nan": [False, False, True, False, False],
        "too few beats": [False, False, False, True, False],
        "no clear breathing": [False] * 5,
    }
    np.testing.assert_array_equal(np.isnan(found.x), np.isin(np.arange(5), [1, 2, 3])[:, None].repeat(5, axis=1))


def test_a_window_shorter_than_two_breaths() -> None:
    with pytest.raises(StudyError, match=r"windows of 15 s are too short for breaths of 0\.1 Hz.*20 s or longer"):
        Respiration().represent(breathing(0.25), np.array([20.0]), 15.0)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"band_hz": [0.5, 0.1]}, r"band_hz: the lower edge 0\.5 Hz"),
        ({"min_regularity": 1.0}, r"representation\.min_regularity"),
        ({"min_coverage": 0}, r"representation\.min_coverage"),
    ],
)
def test_values_that_cannot_be(values: dict[str, object], place: str) -> None:
    with pytest.raises(StudyError, match=place):
        build(Respiration, {}, values, "representation")


@pytest.mark.real_data
def test_hyperventilation_of_a_subject_with_a_clear_signal(real_data: Path, tmp_path: Path) -> None:
    sources = export_of("S33", real_data, tmp_path)
    # By the label file S33 hyperventilated from 2163 s to 2334 s after the start of the recording.
    during = Respiration().represent(sources, np.array([2170.0, 2200.0, 2230.0, 2260.0]), 60.0).x
    around = Respiration().represent(sources, np.array([1960.0, 2020.0, 2080.0, 2360.0, 2420.0, 2480.0]), 60.0).x
    assert during[:, 0].min() > 20
    assert np.nanmax(around[:, 0]) < 18
