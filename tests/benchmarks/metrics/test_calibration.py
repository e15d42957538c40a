from __future__ import annotations

import numpy as np
import pytest

from benchmarks.metrics.calibration import brier, ece


def two_classes(confidence, right):
    """Windows of class 0, predicted right or wrong with these confidences."""
    confidence, right = np.asarray(confidence), np.asarray(right)
    p0 = np.where(right, confidence, 1 - confidence)
    return np.zeros(len(p0), dtype=np.int64), np.column_stack([p0, 1 - p0])


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_brier_of_uniform_certain_and_wrong(classes):
    y = np.arange(classes)
    assert brier(y, np.full((classes, classes), 1 / classes)) == pytest.approx(1 - 1 / classes)
    assert brier(y, np.eye(classes)) == 0
    assert brier(y, np.roll(np.eye(classes), 1, axis=1)) == 2


def test_brier_of_two_classes_is_twice_the_error_of_class_1():
    y, p = np.array([0, 1, 1]), np.array([[0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    assert brier(y, p) == pytest.approx(2 * (0.2**2 + 0.3**2 + 0.6**2) / 3)


def test_ece_of_calibrated_and_of_overconfident_predictions():
    right = [True] * 8 + [False] * 2
    assert ece(*two_classes([0.8] * 10, right)) == pytest.approx(0, abs=1e-12)
    assert ece(*two_classes([0.95] * 10, right)) == pytest.approx(0.15)
    assert ece(*two_classes([0.9] * 10, [False] * 10)) == pytest.approx(0.9)


def test_ece_bins_are_closed_above():
    # 0.6 is an edge of fifteen bins: it shares one with 0.55, where errors cancel, and none with 0.62.
    assert ece(*two_classes([0.55, 0.6], [True, False])) == pytest.approx(abs(1 - 1.15) / 2)
    assert ece(*two_classes([0.6, 0.62], [False, True])) == pytest.approx((0.6 + 0.38) / 2)


def test_ece_takes_confidences_a_rounding_above_one():
    assert ece(np.array([0]), np.array([[1 + 5e-5, 0.0]])) == pytest.approx(5e-5)
