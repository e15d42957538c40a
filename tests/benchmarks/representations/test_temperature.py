from __future__ import annotations

import numpy as np
import pytest

from benchmarks.errors import DataError, StudyError
from benchmarks.parts import build
from benchmarks.representations.contract import Represented, Signal, Sources
from benchmarks.representations.temperature import Temperature

ONSETS_S = np.array([0.0, 60.0, 120.0])


def represented(celsius: np.ndarray, part: Temperature | None = None) -> Represented:
    """Three windows of a minute at 4 Hz."""
    return (part or Temperature()).represent(Sources({"temp": Signal(celsius[None], 4.0)}), ONSETS_S, 60.0)


def warming() -> np.ndarray:
    """Three minutes that begin at 33 degrees and warm by half a degree a minute."""
    return 33 + 0.5 * np.arange(720) / 240


def test_a_warming_hand() -> None:
    made = represented(warming())
    assert Temperature().features(60.0) == ("temperature_mean", "temperature_slope", "temperature_sd")
    # Of n equally spaced values from 0 to d the standard deviation is d sqrt((n + 1) / (12 (n - 1))).
    sd = 0.5 * 239 / 240 * np.sqrt(241 / (12 * 239))
    expected = [[33 + 0.5 * (minute + 239 / 480), 0.5, sd] for minute in range(3)]
    np.testing.assert_allclose(made.x, expected, rtol=1e-9)
    assert not np.any(list(made.missing.values()))


def test_a_window_within_one_step_of_the_thermometer_is_no_flaw() -> None:
    np.testing.assert_allclose(represented(np.full(720, 33.51)).x, [[33.51, 0, 0]] * 3, atol=1e-9)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("value", "reasons"),
    [
        (np.nan, ["temp nan"]),
        (np.inf, ["temp nan", "temp implausible"]),
        (14.9, ["temp implausible"]),
        (45.1, ["temp implausible"]),
    ],
)
def test_a_sample_that_is_not_of_skin_takes_its_window(value: float, reasons: list[str]) -> None:
    celsius = warming()
    celsius[300] = value
    made = represented(celsius)
    assert {reason: mask.tolist() for reason, mask in made.missing.items() if mask.any()} == {
        reason: [False, True, False] for reason in reasons
    }
    assert np.isnan(made.x[1]).all()
    np.testing.assert_array_equal(made.x[[0, 2]], represented(warming()).x[[0, 2]])


def test_a_cold_room_where_the_study_says_so() -> None:
    assert not np.isnan(represented(np.linspace(10, 12, 720), Temperature((5.0, 45.0))).x).any()
    assert np.isnan(represented(np.linspace(10, 12, 720)).x).all()


def test_two_thermometers() -> None:
    with pytest.raises(DataError, match="Signal 'temp' has 2 channels, expected 1"):
        Temperature().represent(Sources({"temp": Signal(np.zeros((2, 720)), 4.0)}), ONSETS_S, 60.0)


def test_bounds_in_the_wrong_order() -> None:
    with pytest.raises(StudyError, match="plausible_celsius: the lowest, 45, must lie below the highest, 15"):
        build(Temperature, {}, {"plausible_celsius": [45, 15]}, "representation")
