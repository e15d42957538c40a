from __future__ import annotations

import numpy as np

from benchmarks.representations.signals import slope_per_minute


def test_the_slope_of_straight_lines_in_their_unit_per_minute() -> None:
    seconds = np.arange(240) / 4.0
    windows = np.stack([33 + 0.5 * seconds / 60, 7 - 2 * seconds / 60, np.full(240, 5.0)])
    np.testing.assert_allclose(slope_per_minute(windows, 4.0), [0.5, -2, 0], atol=1e-12)


def test_the_slope_is_that_of_least_squares() -> None:
    # Of 0, 3, 0, 4 at a sample a second: deviations from the mean time -1.5, -0.5, 0.5, 1.5, whose squares sum to 5.
    slope = (-1.5 * 0 - 0.5 * 3 + 0.5 * 0 + 1.5 * 4) / 5
    np.testing.assert_allclose(slope_per_minute(np.array([[0.0, 3, 0, 4], [0, 0, 0, 1]]), 1.0), [60 * slope, 18])
