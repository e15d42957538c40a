from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt
from sklearn.covariance import ledoit_wolf, oas

from benchmarks.errors import StudyError
from benchmarks.parts import build
from benchmarks.representations.covariance import Covariance
from tests.benchmarks.recordings import noise

SFREQ = 128.0


def test_mixed_sources_have_the_covariance_of_their_mixing() -> None:
    mixing = np.array([[2.0, 0.0], [1.0, 0.5]])
    signal = mixing @ noise(2, 400_000)
    out = Covariance(band_hz=None, estimator="scm")(signal, SFREQ, np.array([0]), signal.shape[1])
    np.testing.assert_allclose(out[0], 1e-10 * mixing @ mixing.T, rtol=0.02)


@pytest.mark.parametrize(
    ("estimator", "reference"),
    [
        ("scm", lambda window: np.cov(window, bias=True)),
        ("oas", lambda window: oas(window.T)[0]),
        ("lwf", lambda window: ledoit_wolf(window.T)[0]),
    ],
)
def test_each_window_equals_the_textbook_estimator_of_the_filtered_signal(estimator, reference) -> None:
    signal, starts = noise(3, 3000), np.array([0, 100, 2488])
    out = Covariance(estimator=estimator)(signal, SFREQ, starts, 512)
    filtered = sosfiltfilt(butter(4, (4.0, 45.0), "bandpass", fs=SFREQ, output="sos"), signal)
    assert out.shape == (3, 3, 3)
    for matrix, start in zip(out, starts, strict=True):
        window = filtered[:, start : start + 512]
        np.testing.assert_allclose(matrix, reference(window), rtol=1e-10)


def test_shrinkage_makes_a_dependent_channel_bearable() -> None:
    signal = noise(3, 2000)
    signal = signal - signal.mean(axis=0)
    out = Covariance()(signal, SFREQ, np.arange(0, 1500, 256), 256)
    assert (np.linalg.eigvalsh(out)[:, 0] > 1e-6 * np.linalg.eigvalsh(out)[:, -1]).all()


def test_a_band_beyond_half_the_sampling_rate() -> None:
    with pytest.raises(StudyError, match="band 4-45 Hz must end below half the sampling rate of 64 Hz"):
        Covariance()(noise(2, 1000), 64.0, np.array([0]), 64)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"estimator": "oass"}, r"representation\.estimator"),
        ({"band_hz": [45, 4]}, "band_hz: the lower edge 45 Hz"),
        ({"order": 0}, r"representation\.order"),
    ],
)
def test_values_that_cannot_be(values: dict[str, object], place: str) -> None:
    with pytest.raises(StudyError, match=place):
        build(Covariance, {}, values, "representation")
