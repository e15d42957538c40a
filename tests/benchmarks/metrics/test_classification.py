"""Hand-computed answers; agreement with scikit-learn is in test_table.py."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.metrics import classification as c
from benchmarks.metrics.contract import Undefined


def certain(predicted, classes):
    return np.eye(classes)[predicted]


# True 0 0 0 1 1 2, predicted 0 0 1 1 2 2: recalls 2/3, 1/2, 1; F1 4/5, 1/2, 2/3.
Y = np.array([0, 0, 0, 1, 1, 2])
P = certain([0, 0, 1, 1, 2, 2], 3)


def test_confusion_has_truth_in_rows():
    assert c.confusion(Y, P).tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]


def test_hand_computed_values():
    assert c.accuracy(Y, P) == pytest.approx(4 / 6)
    assert c.balanced_accuracy(Y, P) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert c.macro_f1(Y, P) == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)
    # Agreement 4/6, by chance (3*2 + 2*2 + 1*2) / 36.
    assert c.cohen_kappa(Y, P) == pytest.approx((4 / 6 - 12 / 36) / (1 - 12 / 36))


def test_of_equal_probabilities_the_lowest_class_is_predicted():
    p = np.array([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4]])
    assert c.confusion(np.array([0, 1]), p).diagonal().tolist() == [1, 1, 0]


def test_a_subject_that_lacks_a_class_is_scored_on_those_it_has():
    y, p = np.array([0, 0, 1, 1]), certain([0, 0, 1, 1], 3)
    assert c.balanced_accuracy(y, p) == 1
    assert c.macro_f1_present(y, p) == 1
    assert c.macro_f1(y, p) == pytest.approx(2 / 3)


def test_predicting_an_absent_class_costs_the_true_one():
    y, p = np.array([0, 0, 1, 1]), certain([0, 2, 1, 1], 3)
    assert c.balanced_accuracy(y, p) == pytest.approx((1 / 2 + 1) / 2)
    assert c.macro_f1_present(y, p) == pytest.approx((2 / 3 + 1) / 2)


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    y = np.array([0, 0, 1, 1])
    p1 = np.array([0.1, 0.6, 0.6, 0.9])  # of four pairs three are right and one is a tie
    assert c.auroc(y, np.column_stack([1 - p1, p1])) == pytest.approx(3.5 / 4)


def test_auroc_of_rows_within_the_tolerance_of_predictions_is_not_refused():
    y = np.array([0, 1, 2])
    p = np.array([[0.50005, 0.3, 0.2], [0.3, 0.5, 0.2], [0.2, 0.3, 0.5]])
    assert c.auroc(y, p) == 1


@pytest.mark.parametrize(("classes", "absent"), [(2, "class 1"), (4, "class 1, 3")])
def test_auroc_without_a_class_is_undefined(classes, absent):
    y = np.array([0, 0, min(2, classes - 1) * (classes > 2)])
    with pytest.raises(Undefined, match=absent):
        c.auroc(y, np.full((3, classes), 1 / classes))


def test_kappa_of_one_class_only_is_undefined_but_not_once_another_is_predicted():
    y = np.array([1, 1, 1])
    with pytest.raises(Undefined, match="one class"):
        c.cohen_kappa(y, certain([1, 1, 1], 2))
    assert c.cohen_kappa(y, certain([1, 1, 0], 2)) == 0
