from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt, sosfreqz

from benchmarks.errors import DataError, StudyError
from benchmarks.parts import build
from benchmarks.representations.differential_entropy import EEG_BANDS, DifferentialEntropy
from tests.benchmarks.recordings import noise

SFREQ = 128.0


def entropy(variance: float) -> float:
    return float(0.5 * np.log(2 * np.pi * np.e * variance))


def test_white_noise_has_the_entropy_of_its_variance_within_each_band() -> None:
    samples, sd = 400_000, 1e-5
    signal = sd * np.random.default_rng(1).standard_normal((2, samples))
    # The middle, so that the filter's start and end play no part.
    out = DifferentialEntropy()(signal, SFREQ, np.array([2000]), samples - 4000)
    assert out.shape == (1, 2, 5)
    for index, (low, high) in enumerate(EEG_BANDS.values()):
        # White noise spreads its variance evenly up to half the sampling rate; two passes square the gain.
        _, gain = sosfreqz(butter(4, (low, high), "bandpass", fs=SFREQ, output="sos"), 2**16, fs=SFREQ)
        passed = np.mean(np.abs(gain) ** 4)
        assert passed == pytest.approx((high - low) / (SFREQ / 2), rel=0.12)
        assert out[0, :, index] == pytest.approx(entropy(sd**2 * passed), abs=0.02)


def test_a_sinusoid_counts_in_its_band_only() -> None:
    time = np.arange(8192) / SFREQ
    signal = 2e-5 * np.sin(2 * np.pi * 10 * time)[None]
    theta, alpha, beta = DifferentialEntropy({"theta": (4, 8), "alpha": (8, 13), "beta": (13, 30)})(
        signal, SFREQ, np.array([2048]), 4096
    )[0, 0]
    assert alpha == pytest.approx(entropy((2e-5) ** 2 / 2), abs=0.01)
    assert theta < alpha - 2
    assert beta < alpha - 2


def test_all_windows_at_once_equal_one_after_another() -> None:
    signal, starts, length = noise(3, 3000), np.array([0, 100, 512, 2488]), 512
    out = DifferentialEntropy()(signal, SFREQ, starts, length)
    for band, (low, high) in enumerate(EEG_BANDS.values()):
        filtered = sosfiltfilt(butter(4, (low, high), "bandpass", fs=SFREQ, output="sos"), signal)
        for index, start in enumerate(starts):
            for channel in range(3):
                variance = np.var(filtered[channel, start : start + length])
                assert out[index, channel, band] == pytest.approx(entropy(variance), abs=1e-12)


def test_bands_stay_in_the_order_of_the_study_file() -> None:
    values = {"bands": {"slow": [1, 4], "fast": [30, 45], "alpha": [8, 13]}, "order": 3}
    made = build(DifferentialEntropy, {}, values, "representation")
    signal, starts = noise(2, 2000), np.array([0, 512])
    one_by_one = [DifferentialEntropy({"it": band}, 3)(signal, SFREQ, starts, 512) for band in made.bands.values()]
    assert list(made.bands.values()) == [(1, 4), (30, 45), (8, 13)]
    np.testing.assert_array_equal(made(signal, SFREQ, starts, 512), np.concatenate(one_by_one, axis=2))


@pytest.mark.filterwarnings("error")
def test_a_dead_channel_gives_minus_infinity_without_a_warning() -> None:
    signal = np.concatenate([noise(1, 2000), np.zeros((1, 2000))])
    out = DifferentialEntropy()(signal, SFREQ, np.array([512]), 512)
    assert np.isfinite(out[0, 0]).all()
    assert (out[0, 1] == -np.inf).all()


def test_a_band_beyond_half_the_sampling_rate() -> None:
    with pytest.raises(StudyError, match="band 30-45 Hz must end below half the sampling rate of 64 Hz"):
        DifferentialEntropy()(noise(1, 1000), 64.0, np.array([0]), 64)


def test_a_signal_too_short_to_be_filtered() -> None:
    with pytest.raises(DataError, match="A signal of 20 samples cannot be filtered"):
        DifferentialEntropy()(noise(1, 20), SFREQ, np.array([0]), 20)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"bands": {"alpha": [13, 8]}}, r"bands\.alpha: the lower edge 13 Hz"),
        ({"bands": {"alpha": [8, 8]}}, r"bands\.alpha: the lower edge 8 Hz"),
        ({"bands": {"alpha": [0, 8]}}, r"representation\.bands\.alpha"),
        ({"bands": {}}, r"representation\.bands"),
        ({"order": 0}, r"representation\.order"),
    ],
)
def test_values_that_cannot_be(values: dict[str, object], place: str) -> None:
    with pytest.raises(StudyError, match=place):
        build(DifferentialEntropy, {}, values, "representation")
