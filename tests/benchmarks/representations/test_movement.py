from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from benchmarks.errors import DataError, StudyError
from benchmarks.parts import build
from benchmarks.representations.contract import Represented, Signal, Sources
from benchmarks.representations.movement import Movement

GRAVITY, SFREQ = 9.80665, 32.0
ONSETS_S = np.array([0.0, 60.0])


def represented(axes: np.ndarray, part: Movement | None = None) -> Represented:
    """Two windows of a minute."""
    return (part or Movement()).represent(Sources({"acc": Signal(axes, SFREQ)}), ONSETS_S, 60.0)


def named(made: Represented) -> dict[str, np.ndarray]:
    return dict(zip(Movement().features(60.0), made.x.T, strict=True))


def arm(swing: float, hertz: float = 2.0) -> np.ndarray:
    """Two minutes of an arm that hangs down the z axis and is pulled along it sinusoidally."""
    time = np.arange(3840) / SFREQ
    return np.stack([np.zeros(3840), np.zeros(3840), GRAVITY + swing * np.sin(2 * np.pi * hertz * time)])


def test_a_sinusoidal_movement() -> None:
    found = named(represented(arm(3.0)))
    # Half of a sine's waves exceed gravity, by 2/pi of the amplitude on average; 16 samples make a wave.
    wave = 3 * np.sin(2 * np.pi * np.arange(16) / 16)
    expected = {
        "acc_enmo": np.maximum(wave, 0).mean(),
        "acc_sd": 3 / np.sqrt(2),
        "acc_jerk": np.abs(np.diff(wave, append=0)).mean() * SFREQ,
        **{f"acc_{axis}_{what}": 0.0 for axis in "xy" for what in ("mean", "sd")},
        "acc_z_mean": GRAVITY,
        "acc_z_sd": 3 / np.sqrt(2),
    }
    assert found.keys() == expected.keys()
    assert expected["acc_enmo"] == pytest.approx(3 / np.pi, rel=0.02)
    for name, value in expected.items():
        # The last of a window's differences is missing.
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-9, err_msg=name)


def test_a_still_wrist_is_no_flaw() -> None:
    made = represented(arm(0.0))
    assert not np.any(list(made.missing.values()))
    np.testing.assert_allclose(made.x, [[0, 0, 0, 0, 0, GRAVITY, 0, 0, 0]] * 2, atol=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_how_the_band_is_turned_changes_the_posture_only(seed: int) -> None:
    random = np.random.default_rng(seed)
    axes = arm(2.0) + random.normal(0, 0.5, (3, 3840))
    turned = Rotation.random(rng=random).as_matrix() @ axes
    before, after = represented(axes).x, represented(turned).x
    np.testing.assert_allclose(after[:, :3], before[:, :3], rtol=1e-9)
    # Of the mean, its length stays.
    np.testing.assert_allclose(np.linalg.norm(after[:, 3:6], axis=1), np.linalg.norm(before[:, 3:6], axis=1), rtol=1e-9)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_missing_sample_takes_its_window(value: float) -> None:
    axes = arm(1.0)
    axes[1, 10] = value
    made = represented(axes)
    assert {reason: mask.tolist() for reason, mask in made.missing.items()} == {
        "acc nan": [True, False],
        "acc implausible": [False, False],
    }
    assert np.isnan(made.x[0]).all()
    np.testing.assert_array_equal(made.x[1], represented(arm(1.0)).x[1])


@pytest.mark.parametrize("scale", [0.0, 1 / GRAVITY, 64 / GRAVITY])
def test_a_dead_sensor_and_other_units_are_not_of_this_earth(scale: float) -> None:
    made = represented(scale * arm(1.0))
    assert made.missing["acc implausible"].all()
    assert np.isnan(made.x).all()


def test_a_centrifuge_where_the_study_says_so() -> None:
    assert not np.isnan(represented(3 * arm(1.0), Movement((0.5, 4.0))).x).any()


def test_it_is_a_control() -> None:
    assert Movement().control


def test_one_axis() -> None:
    with pytest.raises(DataError, match="Signal 'acc' has 1 channel, expected 3"):
        represented(arm(1.0)[:1])


@pytest.mark.parametrize("bounds", [[2, 0.5], [0, 2]])
def test_bounds_that_cannot_be(bounds: list[float]) -> None:
    with pytest.raises(StudyError, match=r"plausible_g"):
        build(Movement, {}, {"plausible_g": bounds}, "representation")
