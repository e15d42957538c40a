from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks.errors import StudyError
from benchmarks.parts import build
from benchmarks.representations.cardiac import Cardiac
from benchmarks.representations.contract import Intervals, Represented, Signal, Sources
from tests.benchmarks.representations.test_beats import SFREQ, export_of, pulse_train, varied

DURATION_S = 330.0


def told(lengths_s: np.ndarray, height: float | np.ndarray = 60.0, first_s: float = 5.0) -> Sources:
    """A wristband that tells these intervals, over the pulse wave of their beats."""
    beats = first_s + np.append(0, np.cumsum(lengths_s))
    wave = pulse_train(beats, DURATION_S, height if np.isscalar(height) else np.append(height, 60.0))
    return Sources({"bvp": Signal(wave[None], SFREQ)}, {"ibi": Intervals(beats[:-1], np.diff(beats))})


def features(part: Cardiac, found: Represented, length_s: float, window: int = 0) -> dict[str, float]:
    return dict(zip(part.features(length_s), found.x[window], strict=True))


def told_features(sources: Sources, onset_s: float, length_s: float) -> dict[str, float]:
    part = Cardiac(beats="ibi")
    return features(part, part.represent(sources, np.array([onset_s]), length_s), length_s)


def modulated(frequency_hz: float, depth_s: float, usual_s: float = 0.85) -> np.ndarray:
    """Intervals that follow a sinusoid of the time at their middle."""
    lengths, time = [], 5.0
    while time < DURATION_S - 2:
        lengths.append(usual_s + depth_s * np.sin(2 * np.pi * frequency_hz * (time + usual_s / 2)))
        time += lengths[-1]
    return np.array(lengths)


def test_the_variability_of_known_intervals() -> None:
    # Differences of 40, 80, -80 and -40 ms in turn; 17 intervals, 16 differences, of which half exceed 50 ms.
    lengths = np.array([0.80, 0.84, 0.92, 0.84] * 4 + [0.80])
    x = told_features(told(lengths), 5.0, lengths.sum())
    mean = (4 * (0.80 + 0.84 + 0.92 + 0.84) + 0.80) / 17
    squares = 5 * (0.80 - mean) ** 2 + 8 * (0.84 - mean) ** 2 + 4 * (0.92 - mean) ** 2
    assert x["heart_rate"] == pytest.approx(60 / mean)
    assert np.exp(x["log_sdnn"]) == pytest.approx(1e3 * np.sqrt(squares / 16))
    assert np.exp(x["log_rmssd"]) == pytest.approx(1e3 * np.sqrt((0.04**2 + 0.08**2) / 2))
    assert x["pnn50"] == pytest.approx(0.5)
    # The differences sum to zero, so that their deviation is sqrt(16/15) RMSSD. Sums of pairs: 1.64, 1.76, 1.76, 1.64.
    assert np.exp(x["log_sd1_sd2"]) == pytest.approx(np.sqrt((0.04**2 + 0.08**2) / 2) / 0.06)


def test_time_domain_as_neurokit() -> None:
    import neurokit2 as nk

    lengths = 0.8 + 0.05 * np.random.default_rng(4).standard_normal(80).clip(-2, 2)
    x = told_features(told(lengths), 5.0, lengths.sum() + 0.01)
    peaks = {"RRI": 1e3 * lengths, "RRI_Time": np.cumsum(lengths)}
    reference = nk.hrv_time(peaks).iloc[0]
    assert x["heart_rate"] == pytest.approx(6e4 / reference["HRV_MeanNN"])
    assert np.exp(x["log_sdnn"]) == pytest.approx(reference["HRV_SDNN"])
    assert np.exp(x["log_rmssd"]) == pytest.approx(reference["HRV_RMSSD"])
    # NeuroKit2 divides by the number of intervals and in percent, we by the number of differences.
    assert x["pnn50"] == pytest.approx(reference["HRV_pNN50"] / 100 * 80 / 79)
    first, second = lengths[:-1], lengths[1:]
    assert np.exp(x["log_sd1_sd2"]) == pytest.approx(np.std(first - second, ddof=1) / np.std(first + second, ddof=1))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_frequency_domain_as_neurokit() -> None:
    import neurokit2 as nk

    lengths, time, random = [], 0.0, np.random.default_rng(3)
    while time < 300:
        waves = 0.03 * np.sin(2 * np.pi * 0.25 * time) + 0.03 * np.sin(2 * np.pi * 0.1 * time)
        lengths.append(0.85 + waves + 0.01 * random.standard_normal())
        time += lengths[-1]
    x = told_features(told(np.array(lengths)), 5.0, time + 0.01)
    peaks = {"RRI": 1e3 * np.array(lengths), "RRI_Time": np.cumsum(lengths)}
    reference = nk.hrv_frequency(peaks, normalize=False, interpolation_rate=4).iloc[0]
    assert np.exp(x["log_lf"]) == pytest.approx(reference["HRV_LF"], rel=0.1)
    assert np.exp(x["log_hf"]) == pytest.approx(reference["HRV_HF"], rel=0.1)
    assert x["lf_share"] == pytest.approx(reference["HRV_LF"] / (reference["HRV_LF"] + reference["HRV_HF"]), abs=0.03)


@pytest.mark.parametrize(
    ("frequency_hz", "band", "other"),
    [(0.17, "log_hf", "log_lf"), (0.25, "log_hf", "log_lf"), (0.1, "log_lf", "log_hf")],
)
def test_a_sinusoid_has_its_power_in_its_band(frequency_hz: float, band: str, other: str) -> None:
    x = told_features(told(modulated(frequency_hz, 0.03)), 20.0, 300.0)
    assert np.exp(x[band]) == pytest.approx(30.0**2 / 2, rel=0.1)
    assert x[other] < x[band] - 3
    assert x["lf_share"] == pytest.approx(float(band == "log_lf"), abs=0.05)


def test_bands_are_told_where_the_window_allows() -> None:
    assert Cardiac().features(30.0)[-1] == "pulse_swing_spread"
    assert Cardiac().features(60.0)[-1] == "log_hf"
    assert Cardiac().features(59.984375) == Cardiac().features(60.0)
    assert Cardiac().features(119.0)[-3:] == ("log_hf", "log_lf", "lf_share")
    assert Cardiac().features(90.0) == Cardiac().features(60.0)


def test_beats_of_the_pulse_wave_tell_what_the_wristband_tells() -> None:
    sources = told(modulated(0.25, 0.04))
    ours, theirs = (
        features(part, part.represent(sources, np.array([60.0]), 120.0), 120.0)
        for part in (Cardiac(), Cardiac(beats="ibi"))
    )
    assert ours["heart_rate"] == pytest.approx(theirs["heart_rate"], abs=0.2)
    for name in ("log_sdnn", "log_rmssd", "log_hf"):
        assert ours[name] == pytest.approx(theirs[name], abs=0.25)


def test_the_height_of_the_pulse() -> None:
    heights = np.where(np.arange(350) < 190, 30.0, 60.0)
    sources = told(np.full(350, 0.85), heights)
    part = Cardiac()
    found = part.represent(sources, np.array([30.0, 100.0, 200.0]), 60.0)
    low, _, high = (features(part, found, 60.0, window) for window in range(3))
    assert high["log_pulse_swing"] - low["log_pulse_swing"] == pytest.approx(np.log(2), abs=0.01)
    assert low["pulse_swing_spread"] < 0.01
    turn = part.represent(sources, np.array([5.0 + 190 * 0.85 - 30]), 60.0)
    # Half of the pulses are twice as high as the other half.
    assert features(part, turn, 60.0)["pulse_swing_spread"] == pytest.approx(np.log(2) / 2, rel=0.05)


@pytest.mark.parametrize(
    ("change", "bound"),
    [
        (lambda beats: np.delete(beats, 40), 0.05),
        (lambda beats: np.insert(beats, 41, beats[40] + 0.4), 0.05),
        (lambda beats: np.delete(beats, np.arange(40, 60)), 0.1),
    ],
    ids=["missed", "extra", "gap"],
)
def test_wrong_beats_hardly_change_the_features(change, bound: float) -> None:
    beats = varied(110, first_s=3.0)
    wave = Signal(pulse_train(beats, 120.0)[None], SFREQ)
    whole, changed = (
        told_features(Sources({"bvp": wave}, {"ibi": Intervals(b[:-1], np.diff(b))}), 3.0, 90.0)
        for b in (beats, change(beats))
    )
    assert changed["heart_rate"] == pytest.approx(whole["heart_rate"], rel=0.01)
    for name in ("log_sdnn", "log_rmssd"):
        assert changed[name] == pytest.approx(whole[name], abs=bound)


def test_a_heart_like_a_clock_has_finite_features() -> None:
    x = told_features(told(np.full(350, 0.875)), 20.0, 120.0)
    assert np.isfinite(list(x.values())).all()
    assert (x["log_sdnn"], x["log_rmssd"], x["pnn50"]) == (0.0, 0.0, 0.0)


def test_why_windows_are_missing() -> None:
    wave = pulse_train(varied(400), DURATION_S)
    random = np.random.default_rng(0)
    wave[round(60 * SFREQ) : round(121 * SFREQ)] = 3.0
    wave[round(130 * SFREQ)] = np.nan
    moved = slice(round(180 * SFREQ), round(230 * SFREQ))
    wave[moved] += 2000 * random.standard_normal(moved.stop - moved.start)
    found = Cardiac().represent(Sources({"bvp": Signal(wave[None], SFREQ)}), np.arange(0.0, 270, 60), 60.0)
    assert {reason: mask.tolist() for reason, mask in found.missing.items()} == {
        "bvp flat": [False, True, False, False, False],
        "bvp nan": [False, False, True, False, False],
        "too few beats": [False, False, False, True, False],
    }
    # All of a window's features are missing, or none.
    np.testing.assert_array_equal(np.isnan(found.x), np.isin(np.arange(5), [1, 2, 3])[:, None].repeat(8, axis=1))


def test_a_wristband_that_tells_of_no_beat() -> None:
    sources = told(np.full(350, 0.85))
    silent = Sources(sources.signals, {"ibi": Intervals(np.empty(0), np.empty(0))})
    found = Cardiac(beats="ibi").represent(silent, np.array([0.0, 60.0]), 60.0)
    assert found.missing["too few beats"].all()
    assert np.isnan(found.x).all()


def test_coverage_decides_which_windows_are_told() -> None:
    beats = varied(72, first_s=0.0)
    kept = (beats < 10) | (beats > 30)
    sources = Sources(
        {"bvp": Signal(pulse_train(beats, 70.0)[None], SFREQ)},
        {"ibi": Intervals(beats[kept][:-1], np.diff(beats[kept]))},
    )
    # Some 40 of 60 s are covered.
    told_of = [
        bool(np.isfinite(Cardiac("ibi", share).represent(sources, np.zeros(1), 60.0).x).all()) for share in (0.6, 0.7)
    ]
    assert told_of == [True, False]


def test_what_it_reads() -> None:
    assert Cardiac().sources("eeg") == ("bvp",)
    assert Cardiac(beats="ibi").sources("eeg") == ("bvp", "ibi")


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"beats": "ecg"}, r"representation\.beats"),
        ({"min_coverage": 0}, r"representation\.min_coverage"),
        ({"min_coverage": 1.1}, r"representation\.min_coverage"),
    ],
)
def test_values_that_cannot_be(values: dict[str, object], place: str) -> None:
    with pytest.raises(StudyError, match=place):
        build(Cardiac, {}, values, "representation")


@pytest.mark.real_data
@pytest.mark.parametrize("subject", ["S06", "S13", "S33", "S34"])
def test_the_rate_of_real_hearts_is_the_published_one(real_data: Path, tmp_path: Path, subject: str) -> None:
    import pandas as pd

    with zipfile.ZipFile(real_data / "stress_predict.zip") as archive:
        published = pd.read_csv(archive.open("Processed_data/Improved_All_Combined_hr_rsp_binary.csv"))
        start_s = float(archive.read(f"Raw_data/{subject}/BVP.csv").split()[0])
    published = published[published["Participant"] == int(subject[1:])]
    second, rate = published["Time(sec)"].to_numpy() - start_s, published["HR"].to_numpy()

    sources = export_of(subject, real_data, tmp_path)
    onsets = np.arange(60.0, 3000.0, 60.0)
    ours = Cardiac().represent(sources, onsets, 60.0)
    clear = np.isfinite(ours.x).all(axis=1)
    assert clear.mean() > 0.75
    theirs = np.array([rate[(second >= onset) & (second < onset + 60)].mean() for onset in onsets])
    # The published rate is the device's own, which movement misleads now and then.
    assert np.median(np.abs(ours.x[clear, 0] - theirs[clear])) < 3.0
    assert np.abs(np.mean(ours.x[clear, 0] - theirs[clear])) < 2.0

    told_by_device = Cardiac(beats="ibi").represent(sources, onsets, 60.0)
    both = clear & np.isfinite(told_by_device.x).all(axis=1)
    assert np.mean(np.abs(ours.x[both, 0] - told_by_device.x[both, 0])) < 1.0
    assert np.median(np.abs(ours.x[both, 2] - told_by_device.x[both, 2])) < 0.2
