from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import brentq

from benchmarks.datasets.e4 import read_e4
from benchmarks.errors import DataError, StudyError
from benchmarks.parts import build
from benchmarks.representations.contract import Represented, Signal, Sources
from benchmarks.representations.electrodermal import Electrodermal, decompose, responses

SFREQ = 4.0
SLOW_S, FAST_S = 4.0, 0.75
ONSETS_S = np.arange(0.0, 541.0, 60.0)
NAMES = Electrodermal().features(60.0)
BOTH = pytest.mark.parametrize("decomposition", ["highpass", "cvxeda"])


def bateman(since_s: np.ndarray, slow_s: float = SLOW_S, fast_s: float = FAST_S) -> np.ndarray:
    """Response of amplitude one at times after its onset: sweat comes fast and dries slowly."""
    after = np.clip(since_s, 0, None)
    peak_s = rise_s(slow_s, fast_s)
    height = np.exp(-peak_s / slow_s) - np.exp(-peak_s / fast_s)
    return np.asarray((np.exp(-after / slow_s) - np.exp(-after / fast_s)) / height)


def rise_s(slow_s: float = SLOW_S, fast_s: float = FAST_S) -> float:
    return float(np.log(slow_s / fast_s) * slow_s * fast_s / (slow_s - fast_s))


def half_recovery_s(slow_s: float = SLOW_S, fast_s: float = FAST_S) -> float:
    peak_s = rise_s(slow_s, fast_s)
    return float(brentq(lambda t: bateman(np.array(t), slow_s, fast_s) - 0.5, peak_s, 100)) - peak_s


def skin(
    onsets_s: list[float] | np.ndarray = (),
    amplitudes: list[float] | np.ndarray = (),
    *,
    duration_s: float = 600.0,
    sfreq: float = SFREQ,
    level: float = 2.0,
    shape: tuple[float, float] = (SLOW_S, FAST_S),
) -> np.ndarray:
    """Skin conductance in microsiemens: a level that is alive, and responses of known onset and amplitude."""
    time = np.arange(round(duration_s * sfreq)) / sfreq
    alive = level + 1e-4 * np.sin(time)
    each = [amplitude * bateman(time - onset, *shape) for onset, amplitude in zip(onsets_s, amplitudes, strict=True)]
    return np.asarray(np.sum([alive, *each], axis=0))


def busy(seed: int = 0) -> np.ndarray:
    """Ten minutes with a response every ten to twenty seconds on a level that wanders, and a wristband's noise."""
    random = np.random.default_rng(seed)
    onsets = np.cumsum(random.uniform(10, 20, 38))
    eda = skin(onsets, random.uniform(0.05, 0.5, 38))
    return eda + 0.2 * np.sin(2 * np.pi * np.arange(2400) / 1200) + random.normal(0, 0.002, 2400)


def represented(
    microsiemens: np.ndarray,
    part: Electrodermal | None = None,
    onsets_s: np.ndarray = ONSETS_S,
    sfreq: float = SFREQ,
    begin_s: float = 0.0,
) -> Represented:
    """Windows of a minute."""
    signal = Signal(1e-6 * microsiemens[None], sfreq, begin_s)
    return (part or Electrodermal()).represent(Sources({"eda": signal}), onsets_s, 60.0)


def column(made: Represented, name: str) -> np.ndarray:
    return made.x[:, NAMES.index(name)]


def reasons(made: Represented) -> dict[str, list[int]]:
    """Windows that lack features, by reason; they have none of them."""
    lacking = np.any(list(made.missing.values()), axis=0)
    np.testing.assert_array_equal(np.isnan(made.x), np.repeat(lacking[:, None], len(NAMES), axis=1))
    return {reason: np.flatnonzero(mask).tolist() for reason, mask in made.missing.items() if mask.any()}


# Known responses


@pytest.mark.parametrize("shape", [(2.0, 0.7), (4.0, 0.75), (6.0, 1.0)])
@pytest.mark.parametrize(("sfreq", "noise", "within"), [(4.0, 0.0, 0.03), (32.0, 0.0, 0.03), (4.0, 0.002, 0.06)])
def test_each_known_response_is_found_once_with_its_amplitude_rise_and_decay(
    shape: tuple[float, float], sfreq: float, noise: float, within: float
) -> None:
    # Calm of half a minute after each: a high-pass filter would swing there.
    onsets = np.arange(20.3, 570, 37.7)
    amplitudes = np.geomspace(0.05, 2, len(onsets))
    eda = skin(onsets, amplitudes, sfreq=sfreq, shape=shape)
    found = responses(eda + np.random.default_rng(1).normal(0, noise, len(eda)), sfreq, 0.02)
    assert len(found.peak) == len(onsets)
    np.testing.assert_allclose(found.peak / sfreq, onsets + rise_s(*shape), atol=0.3)
    np.testing.assert_allclose(found.amplitude, amplitudes, rtol=within)
    # Smoothing makes the foot begin a little sooner.
    np.testing.assert_allclose(found.rise_s, rise_s(*shape) + 0.3, atol=0.45)
    np.testing.assert_allclose(found.recovery_s, half_recovery_s(*shape), atol=0.5)


@pytest.mark.parametrize("drift", [-0.01, 0.0, 0.005])
@pytest.mark.parametrize("count", [3, 8])
def test_neurokits_simulation_has_as_many_responses_as_it_was_told(count: int, drift: float) -> None:
    from neurokit2 import eda_simulate

    eda = eda_simulate(count * 20, sampling_rate=32, scr_number=count, noise=0.005, drift=drift, random_state=3)
    assert len(responses(eda, 32.0, 0.05).peak) == count


def test_responses_are_those_of_neurokit_where_its_relative_threshold_can_say_the_same() -> None:
    from neurokit2 import eda_peaks

    # Neighbours touch, so that no noise decides where the foot is.
    eda = skin(np.arange(5.0, 300, 12.0), 0.2 + 0.4 * np.cos(np.arange(25)) ** 2, duration_s=310)
    eda = eda + 0.05 * np.sin(np.arange(len(eda)) / 120)
    ours = responses(eda, SFREQ, 0.02)
    _, theirs = eda_peaks(gaussian_filter1d(eda, 1.0, mode="nearest"), sampling_rate=SFREQ, amplitude_min=0.02)
    np.testing.assert_array_equal(ours.peak, theirs["SCR_Peaks"])
    # They leave the first one out, and measure its rise from the lowest sample itself.
    np.testing.assert_allclose(ours.amplitude[1:], theirs["SCR_Amplitude"][1:], rtol=0.01)
    np.testing.assert_allclose(ours.rise_s[1:], theirs["SCR_RiseTime"][1:], atol=0.5)
    np.testing.assert_allclose(ours.recovery_s[1:], theirs["SCR_RecoveryTime"][1:], atol=0.25)


def test_the_least_amplitude_is_absolute() -> None:
    eda = skin([30, 90, 150, 210], [0.015, 0.025, 0.06, 5.0])
    assert len(responses(eda, SFREQ, 0.05).peak) == 2
    assert len(responses(eda, SFREQ, 0.02).peak) == 3
    assert len(responses(eda, SFREQ, 0.01).peak) == 4


def test_a_response_on_the_shoulder_of_another_rises_from_where_it_begins() -> None:
    onsets = [30.0, 34.0]
    eda = skin(onsets, [0.5, 0.5])
    found = responses(eda, SFREQ, 0.02)
    left = 0.5 * float(bateman(np.array(onsets[1] - onsets[0])))
    over = eda.max() - 2.0 - left
    # Smoothing fills the narrow valley between them.
    np.testing.assert_allclose(found.amplitude, [0.5, over], rtol=0.12)
    # The first had no time to lose half of its height.
    assert np.isnan(found.recovery_s[0])
    assert np.isfinite(found.recovery_s[1])


def test_a_rise_of_a_minute_is_no_response() -> None:
    hump = 0.05 * np.sin(np.pi * np.arange(480) / 480)
    eda = 2.0 + np.concatenate([np.zeros(960), hump, np.zeros(960)])
    assert len(responses(eda, SFREQ, 0.02).peak) == 0


# Windows


def test_windows_tell_what_happened_in_them() -> None:
    eda = skin([130, 145, 160, 190], [0.1, 0.2, 0.6, 0.3])
    made = represented(eda)
    assert not reasons(made)
    np.testing.assert_allclose(column(made, "scr_rate"), [0, 0, 3, 1, *[0] * 6])
    np.testing.assert_allclose(column(made, "scr_amplitude"), [0, 0, 0.3, 0.3, *[0] * 6], rtol=0.03)
    np.testing.assert_allclose(column(made, "scr_amplitude_sum"), [0, 0, 0.9, 0.3, *[0] * 6], rtol=0.03)
    np.testing.assert_allclose(column(made, "scr_rise"), [0, 0, 3 * 1.8, 1.8, *[0] * 6], rtol=0.15)
    np.testing.assert_allclose(
        column(made, "scr_recovery"), half_recovery_s() * np.array([0, 0, 3, 1, *[0] * 6]), rtol=0.15
    )
    np.testing.assert_allclose(column(made, "tonic_mean"), [cut.mean() for cut in np.split(eda, 10)], rtol=0.01)
    assert column(made, "phasic_sd").argmax() == 2


@pytest.mark.parametrize(("onset_s", "rates"), [(57.9, [1, 0]), (58.9, [0, 1])])
def test_a_response_belongs_to_the_window_that_it_peaks_in(onset_s: float, rates: list[int]) -> None:
    made = represented(skin([onset_s], [0.3]))
    np.testing.assert_array_equal(column(made, "scr_rate")[:2], rates)


def test_half_a_window_has_twice_the_rate() -> None:
    signal = Signal(1e-6 * skin([4, 20], [0.3, 0.3])[None], SFREQ)
    made = Electrodermal().represent(Sources({"eda": signal}), np.array([0.0]), 30.0)
    assert column(made, "scr_rate") == pytest.approx(4.0)
    assert column(made, "scr_amplitude_sum") == pytest.approx(1.2, rel=0.04)


@BOTH
def test_a_drift_is_a_slope_and_no_response(decomposition: str) -> None:
    minutes = np.arange(2400) / 240
    made = represented(2.0 + 0.3 * minutes, Electrodermal(decomposition))
    np.testing.assert_allclose(column(made, "tonic_slope"), 0.3, rtol=0.01)
    np.testing.assert_allclose(column(made, "tonic_mean"), 2.0 + 0.3 * (np.arange(10) + 239 / 480), rtol=1e-3)
    np.testing.assert_allclose(column(made, "phasic_sd"), 0, atol=1e-3)
    np.testing.assert_array_equal(made.x[:, 3:], 0)


def test_the_convex_model_tells_its_own_responses_from_the_level() -> None:
    onsets = np.arange(15.0, 590, 15.0)
    level = 3 + 0.3 * np.sin(2 * np.pi * np.arange(2400) / 1600)
    phasic = skin(onsets, np.full(len(onsets), 0.5), level=0.0, shape=(2.0, 0.7))
    convex, highpass = (decompose(level + phasic, SFREQ, method) for method in ("cvxeda", "highpass"))
    middle = slice(240, -240)
    np.testing.assert_allclose(convex[0][middle], level[middle], atol=0.06)
    np.testing.assert_allclose(convex[1][middle], phasic[middle], atol=0.1)
    # A filter cannot tell the responses' mean from the level.
    assert np.abs(highpass[0][middle] - level[middle]).mean() > 0.08


@BOTH
@settings(max_examples=5, deadline=None)
@given(factor=st.floats(0.2, 5.0))
def test_another_unit_changes_the_unit_only(decomposition: str, factor: float) -> None:
    part = Electrodermal(decomposition)
    scaled = Electrodermal(decomposition, *(factor * limit for limit in (0.02, 0.03, 1.0)))
    before, after = represented(busy(), part).x, represented(factor * busy(), scaled).x
    units = [factor if name in {"scr_rate", "scr_rise", "scr_recovery"} else 1.0 for name in NAMES]
    np.testing.assert_allclose(after * units, factor * before, rtol=1e-4, atol=1e-9)


@BOTH
def test_a_window_does_not_depend_on_which_others_are_asked_for(decomposition: str) -> None:
    part, onsets = Electrodermal(decomposition), np.arange(0.0, 541.0, 30.0)
    whole = represented(busy(), part, onsets)
    np.testing.assert_allclose(represented(busy(), part, onsets[[7, 3]]).x, whole.x[[7, 3]], rtol=1e-9)


def test_a_signal_that_begins_later_than_its_recording() -> None:
    shifted = represented(busy(), onsets_s=ONSETS_S + 2.5, begin_s=2.5)
    np.testing.assert_array_equal(shifted.x, represented(busy()).x)


# Flaws


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_missing_sample_takes_its_window_and_no_other(value: float) -> None:
    eda = busy()
    eda[500] = value
    made, clean = represented(eda), represented(busy())
    assert reasons(made) == {"eda nan": [2]}
    np.testing.assert_allclose(np.delete(made.x, 2, 0), np.delete(clean.x, 2, 0), rtol=0.05, atol=0.005)


@BOTH
def test_the_zeros_that_a_wristband_begins_with_do_not_reach_the_first_minute(decomposition: str) -> None:
    eda = busy()
    eda[:8] = [0.0, 0.62, 0.9, 1.2, 1.5, 1.7, 1.9, 2.0]
    made, clean = represented(eda, Electrodermal(decomposition)), represented(busy(), Electrodermal(decomposition))
    assert not reasons(made)
    np.testing.assert_allclose(made.x, clean.x, rtol=0.1, atol=0.02)


@pytest.mark.parametrize("loose", [0.0, 0.02])
def test_a_wristband_taken_off_takes_the_windows_that_it_fills(loose: float) -> None:
    eda = busy()
    eda[480:850] = loose
    made, clean = represented(eda), represented(busy())
    # It lies on the table from 120 s to 212.5 s: all of the third window, and half of the fourth.
    assert reasons(made) == {"eda flat": [2], "eda no contact": [2, 3]}
    kept = [0, 1, 4, 5, 6, 7, 8, 9]
    np.testing.assert_allclose(made.x[kept], clean.x[kept], rtol=0.1, atol=0.05)


def test_electrodes_that_slip_for_a_moment_are_no_responses() -> None:
    eda = np.random.default_rng(0).normal(2.0, 0.002, 2400)
    eda[[100, 101, 300, 600]] = 0.0
    # Falls of a quarter, well above the least conductance.
    eda[[900, 1500]] = 1.5
    made = represented(eda)
    assert not reasons(made)
    np.testing.assert_allclose(made.x, [[2.0, *[0.0] * 7]] * 10, atol=0.01)


def test_an_amplifier_that_changes_its_range_is_no_response() -> None:
    eda = np.random.default_rng(0).normal(0.5, 0.001, 2400)
    # Ten recordings of Stress-Predict have nearly these samples, where the skin first reaches 0.67 uS.
    eda[1000:1011] = [0.65, 0.66, 0.67, 1.03, 1.49, 1.97, 2.46, 1.80, 1.29, 0.80, 0.51]
    made = represented(eda)
    assert not reasons(made)
    np.testing.assert_allclose(column(made, "tonic_mean"), 0.5, atol=0.02)
    # The amplifier's way up to the change may look like one small response; never like one of two microsiemens.
    assert column(made, "scr_amplitude_sum").max() < 0.1


def test_how_much_of_a_window_may_be_bridged() -> None:
    eda = busy()
    # With two seconds on either side, a fifth of the third window.
    eda[520:552] = 0.0
    assert reasons(represented(eda)) == {}
    assert reasons(represented(eda, Electrodermal(lost_share=0.19))) == {"eda no contact": [2]}
    assert reasons(represented(eda, Electrodermal(lost_share=0.21))) == {}


@BOTH
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("value", "lacking"), [(np.nan, ["eda nan"]), (0.0, ["eda flat", "eda no contact"]), (2.0, ["eda flat"])]
)
def test_a_recording_without_any_skin(decomposition: str, value: float, lacking: list[str]) -> None:
    made = represented(np.full(2400, value), Electrodermal(decomposition))
    assert reasons(made) == {reason: list(range(10)) for reason in lacking}


def test_dry_skin_is_in_contact() -> None:
    eda = skin([30, 90], [0.03, 0.03], level=0.06)
    np.testing.assert_array_equal(column(represented(eda), "scr_rate")[:2], [1, 1])
    assert reasons(represented(eda, Electrodermal(contact_microsiemens=0.2))) == {"eda no contact": list(range(10))}


# Bad input


def test_two_channels() -> None:
    with pytest.raises(DataError, match="Signal 'eda' has 2 channels, expected 1"):
        Electrodermal().represent(Sources({"eda": Signal(np.ones((2, 400)), SFREQ)}), np.array([0.0]), 60.0)


@pytest.mark.parametrize(("decomposition", "samples"), [("highpass", 8), ("cvxeda", 3)])
def test_a_recording_too_short_to_be_decomposed(decomposition: str, samples: int) -> None:
    signal = Signal(1e-6 * (1 + np.arange(float(samples)))[None], SFREQ)
    with pytest.raises(DataError, match=rf"Signal 'eda' of {samples / 4:g} s cannot be decomposed by {decomposition}"):
        Electrodermal(decomposition).represent(Sources({"eda": signal}), np.array([0.0]), samples / SFREQ)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"decomposition": "median"}, r"representation\.decomposition"),
        ({"response_microsiemens": 0}, r"representation\.response_microsiemens"),
        ({"contact_microsiemens": -1}, r"representation\.contact_microsiemens"),
        ({"fall_microsiemens": float("nan")}, r"representation\.fall_microsiemens"),
        ({"lost_share": 1}, r"representation\.lost_share"),
    ],
)
def test_values_that_cannot_be(values: dict[str, object], place: str) -> None:
    with pytest.raises(StudyError, match=place):
        build(Electrodermal, {}, values, "representation")


# People


def worn_by(subject: str, data: Path, folder: Path) -> Signal:
    """Electrodermal signal of a subject of Stress-Predict."""
    with zipfile.ZipFile(data / "stress_predict.zip") as archive:
        for member in archive.namelist():
            if member.startswith(f"Raw_data/{subject}/") and member.endswith(".csv"):
                archive.extract(member, folder)
    raw = read_e4(folder / "Raw_data" / subject).signals["eda"]
    return Signal(raw.get_data(), raw.info["sfreq"], raw.first_time)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("subject", "no_contact"),
    [
        ("S05", range(1)),  # moist skin, 2-6 uS
        ("S08", range(1)),  # dry skin, 0.1-0.2 uS
        ("S17", range(10, 30)),  # electrodes slip all the time
        ("S28", range(3, 4)),  # taken off in the last minute and a half
    ],
)
def test_people(subject: str, no_contact: range, real_data: Path, tmp_path: Path) -> None:
    signal = worn_by(subject, real_data, tmp_path)
    onsets = np.arange(0.0, signal.data.shape[1] / signal.sfreq - 60, 30.0)
    made = Electrodermal().represent(Sources({"eda": signal}), onsets, 60.0)
    lacking = reasons(made)
    assert set(lacking) <= {"eda no contact"}
    assert len(lacking.get("eda no contact", [])) in no_contact
    x = made.x[np.isfinite(made.x).all(axis=1)]
    found = dict(zip(NAMES, x.T, strict=True))
    assert len(x) > 70
    assert found["tonic_mean"].min() > 0.03
    assert found["tonic_mean"].max() < 1e6 * signal.data.max()
    assert found["scr_rate"].max() <= 20
    some = found["scr_rate"] > 0
    assert found["scr_amplitude"][some].min() >= 0.02
    rise = found["scr_rise"][some] / found["scr_rate"][some]
    assert 1.0 < np.median(rise) < 4.0
    assert rise.max() <= 5.0


@pytest.mark.real_data
def test_moist_skin_responds_more_than_dry_skin(real_data: Path, tmp_path: Path) -> None:
    rates = {}
    for subject in ("S05", "S08"):
        signal = worn_by(subject, real_data, tmp_path)
        made = Electrodermal().represent(Sources({"eda": signal}), np.arange(60.0, 3000, 60.0), 60.0)
        rates[subject] = np.nanmean(column(made, "scr_rate"))
    assert rates["S05"] > 3
    assert rates["S08"] < 1
