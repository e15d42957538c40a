from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.errors import DataError, LearningError
from benchmarks.metrics.contract import Undefined
from benchmarks.metrics.scoring import Score, score, trial_level
from benchmarks.metrics.table import METRICS
from benchmarks.parts import find
from benchmarks.predictions import Predictions
from benchmarks.windows import Windows


def windows(keys, y):
    """Windows of (subject, session, trial) keys."""
    subject, session, trial = (np.array(column) for column in zip(*keys, strict=True))
    labels = None if y is None else np.array(y)
    return Windows(x=np.zeros((len(keys), 1)), subject=subject, session=session, trial=trial, y=labels)


def two_classes(p1):
    p1 = np.array(p1)
    return Predictions(np.column_stack([1 - p1, p1]))


KEYS = [("b", "1", "t"), ("a", "1", "t"), ("b", "1", "t"), ("b", "2", "t"), ("b", "1", "u")]


def test_trial_level_is_the_mean_over_windows_in_order_of_first_appearance():
    y, p = trial_level(two_classes([0.2, 0.9, 0.6, 0.3, 0.5]), windows(KEYS, [0, 1, 0, 1, 1]))
    assert y.tolist() == [0, 1, 1, 1]
    assert p[:, 1] == pytest.approx([0.4, 0.9, 0.3, 0.5])
    assert p.sum(axis=1) == pytest.approx(np.ones(4))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("12"), st.sampled_from("tuv")), min_size=1))
def test_trial_level_equals_a_loop_over_trials(keys):
    label = {key: i % 2 for i, key in enumerate(sorted(set(keys)))}
    p1 = (np.arange(len(keys)) % 7) / 7
    y, p = trial_level(two_classes(p1), windows(keys, [label[key] for key in keys]))
    trials = list(dict.fromkeys(keys))
    assert y.tolist() == [label[trial] for trial in trials]
    expected = [np.mean([p1[i] for i, key in enumerate(keys) if key == trial]) for trial in trials]
    assert p[:, 1] == pytest.approx(expected)


def test_score_computes_each_metric_in_order():
    y, p = np.array([0, 1, 1]), two_classes([0.1, 0.8, 0.3]).probabilities
    metrics = {name: find(name, METRICS, "metric") for name in METRICS}
    scores = score(y, p, metrics)
    assert list(scores) == list(METRICS)
    assert scores["accuracy"] == Score(pytest.approx(2 / 3), None)
    assert scores["balanced_accuracy"] == Score(pytest.approx(3 / 4), None)
    assert scores["auroc"] == Score(1.0, None)


def test_an_undefined_metric_is_nan_with_its_reason_and_the_others_stand():
    def never(y, p):
        raise Undefined("not today")

    def infinite(y, p):
        return math.inf

    y, p = np.array([0, 0]), two_classes([0.1, 0.2]).probabilities
    scores = score(
        y, p, {"auroc": find("auroc", METRICS, "metric"), "never": never, "infinite": infinite, "one": len_of}
    )
    assert math.isnan(scores["auroc"].value)
    assert scores["auroc"].reason == "absent: class 1"
    assert math.isnan(scores["never"].value)
    assert scores["never"].reason == "not today"
    assert math.isnan(scores["infinite"].value)
    assert "inf" in (scores["infinite"].reason or "")
    assert scores["one"] == Score(2.0, None)


def len_of(y, p):
    return len(y)


def test_no_windows_leave_every_metric_undefined():
    y, p = np.empty(0, dtype=np.int64), np.empty((0, 2))
    scores = score(y, p, {name: find(name, METRICS, "metric") for name in METRICS})
    assert set(scores) == set(METRICS)
    assert all(math.isnan(s.value) and s.reason == "nothing to score" for s in scores.values())


def test_an_error_inside_a_metric_is_not_swallowed():
    def broken(y, p):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        score(np.array([0]), np.array([[1.0, 0.0]]), {"broken": broken})


def test_a_trial_of_two_labels_is_named():
    with pytest.raises(DataError, match=r"Subject b, session 1, trial t: .*\[0, 1\]"):
        trial_level(two_classes([0.2, 0.9, 0.6, 0.3, 0.5]), windows(KEYS, [0, 1, 1, 1, 1]))


def test_withheld_labels_cannot_be_scored():
    with pytest.raises(ValueError, match="labels"):
        trial_level(two_classes([0.5] * 5), windows(KEYS, None))


def test_predictions_that_do_not_fit_the_windows_are_the_predictors_fault():
    with pytest.raises(LearningError, match="4 rows for 5 windows"):
        trial_level(two_classes([0.5] * 4), windows(KEYS, [0, 1, 0, 1, 1]))
    with pytest.raises(LearningError, match="1 rows for 2 windows"):
        score(np.array([0, 1]), np.array([[1.0, 0.0]]), {})
    with pytest.raises(LearningError, match=r"2 classes.*class 2"):
        score(np.array([0, 2]), np.array([[1.0, 0.0], [0.0, 1.0]]), {})
