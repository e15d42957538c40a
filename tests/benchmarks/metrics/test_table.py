"""Every metric of the table against scikit-learn (or, for ECE, against its definition written out)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sk

from benchmarks.metrics.contract import Undefined
from benchmarks.metrics.table import CURVE_METRICS, LOWER_IS_BETTER, METRICS, WINDOW_ONLY, chance_level
from benchmarks.parts import find


def _auroc(y, p):
    classes = p.shape[1]
    if len(set(y)) < classes:
        return math.nan
    return sk.roc_auc_score(y, p[:, 1]) if classes == 2 else sk.roc_auc_score(y, p, multi_class="ovr")


def _ece(y, p):
    confidence, right, total = p.max(axis=1), p.argmax(axis=1) == y, 0.0
    for m in range(15):
        inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def _f1(y, p, labels):
    return sk.f1_score(y, p.argmax(1), labels=labels, average="macro", zero_division=0)


REFERENCES = {
    "accuracy": lambda y, p: sk.accuracy_score(y, p.argmax(1)),
    "balanced_accuracy": lambda y, p: sk.balanced_accuracy_score(y, p.argmax(1)),
    "macro_f1_present": lambda y, p: _f1(y, p, np.unique(y)),
    "macro_f1": lambda y, p: _f1(y, p, range(p.shape[1])),
    "cohen_kappa": lambda y, p: sk.cohen_kappa_score(y, p.argmax(1), labels=range(p.shape[1])),
    "auroc": _auroc,
    "brier": lambda y, p: sum(sk.brier_score_loss(y == c, p[:, c], pos_label=True) for c in range(p.shape[1])),
    "ece": _ece,
}


@st.composite
def scored(draw):
    """Labels and probabilities with ties, certain ones, and subjects that lack a class."""
    classes = draw(st.integers(2, 4))
    n = draw(st.integers(1, 30))
    y = draw(arrays(np.int64, n, elements=st.integers(0, classes - 1)))
    weights = draw(arrays(np.int64, (n, classes), elements=st.integers(0, 5)))
    weights[weights.sum(axis=1) == 0] = 1
    return y, weights / weights.sum(axis=1, keepdims=True)


def test_every_metric_has_a_reference():
    assert set(REFERENCES) == set(METRICS)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.filterwarnings("ignore:.*:UserWarning", "ignore:.*:RuntimeWarning")
@settings(deadline=None)
@given(data=scored())
def test_metric_agrees_with_its_reference(name, data):
    y, p = data
    try:
        value = find(name, METRICS, "metric")(y, p)
    except Undefined:
        value = math.nan
    assert value == pytest.approx(REFERENCES[name](y, p), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_perfect_predictions_have_the_best_value(name, classes):
    y = np.repeat(np.arange(classes), 3)
    value = find(name, METRICS, "metric")(y, np.eye(classes)[y])
    assert value == (0 if name in LOWER_IS_BETTER else 1)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_a_plain_float(name):
    y = np.array([0, 1, 1])
    assert type(find(name, METRICS, "metric")(y, np.full((3, 2), 0.5))) is float


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_a_predictor_that_knows_nothing_scores_chance(name, classes):
    y = np.repeat(np.arange(classes), np.arange(1, classes + 1))
    constant = np.tile(np.arange(classes, 0, -1.0), (len(y), 1)) / sum(range(classes + 1))
    level = chance_level(name, classes)
    if name in {"balanced_accuracy", "cohen_kappa", "auroc"}:
        assert level is not None
        assert find(name, METRICS, "metric")(y, constant) == pytest.approx(level, abs=1e-15)
    else:
        assert level is None


def test_a_users_own_metric_has_no_chance_level():
    assert chance_level("my.own:metric", 2) is None


def test_what_is_said_of_metrics_names_metrics_that_exist():
    assert set(CURVE_METRICS) <= set(METRICS)
    assert set(METRICS) >= WINDOW_ONLY
    assert set(METRICS) >= LOWER_IS_BETTER
    assert not WINDOW_ONLY & set(CURVE_METRICS)
