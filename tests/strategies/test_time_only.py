"""The clock alone: what a line and a forest can tell of it, and that nothing else reaches them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from benchmarks.errors import LearningError, StudyError
from benchmarks.normalization import Training
from benchmarks.parts import build
from benchmarks.randomness import generator
from benchmarks.windows import Windows
from strategies.time_only import TimeForest, TimeLinear, TimeOnly
from tests.strategies.learnings import Recorder, balanced_accuracy, gaussian_windows, ignore, labelled, learning


def clocked(onset: np.ndarray, y: np.ndarray, subject: str = "a") -> Windows:
    """Windows of which nothing but the onset tells the class."""
    noise = generator("noise", subject).standard_normal((len(y), 2))
    return replace(labelled(noise, y.astype(int), subject), onset=onset.astype(float))


SECONDS = np.arange(0.0, 400.0, 4.0)
THRESHOLD = clocked(SECONDS, SECONDS >= 260)
INTERVAL = clocked(SECONDS, (SECONDS >= 120) & (SECONDS < 280))


def test_a_line_finds_a_threshold_where_it_is_between_the_class_means_whatever_the_frequencies() -> None:
    predictor = TimeLinear(C=1e6).fit(learning(THRESHOLD), ignore)
    assert balanced_accuracy(predictor, THRESHOLD) == 1.0
    at = replace(THRESHOLD, onset=np.linspace(200.0, 320.0, len(SECONDS)))
    task = predictor.predict(at.without(labels=True)).probabilities[:, 1]
    assert (np.diff(task) >= 0).all()
    assert 256 < at.onset[np.searchsorted(task, 0.5)] < 262  # type: ignore[index]


def test_a_line_is_the_weighted_regression_of_standardised_seconds() -> None:
    onset, y = np.array([0.0, 10, 20, 30, 60, 90]), np.array([0, 0, 1, 0, 1, 0])
    windows = clocked(onset, y)
    said = TimeLinear(C=0.5).fit(learning(windows), ignore).predict(windows).probabilities[:, 1]
    time = (onset - onset.mean()) / onset.std()
    weight = np.array([6 / (2 * 4), 6 / (2 * 2)])[y]

    def loss(slope: float, intercept: float) -> float:
        return float(0.5 * weight @ np.logaddexp(0, -(2 * y - 1) * (slope * time + intercept)) + slope**2 / 2)

    def best_intercept(slope: float) -> float:
        return float(minimize_scalar(lambda intercept: loss(slope, intercept), tol=1e-10).x)

    slope = minimize_scalar(lambda slope: loss(slope, best_intercept(slope)), tol=1e-10).x
    np.testing.assert_allclose(said, 1 / (1 + np.exp(-slope * time - best_intercept(slope))), atol=1e-3)


def test_a_forest_finds_intervals_and_a_line_cannot() -> None:
    in_turn = clocked(SECONDS, SECONDS // 50 % 2)
    for windows in (INTERVAL, in_turn):
        assert balanced_accuracy(TimeForest().fit(learning(windows), ignore), windows) == 1.0
    # An interval beside which as much time lies on the left as on the right is no matter of earlier or later.
    assert balanced_accuracy(TimeLinear().fit(learning(INTERVAL), ignore), INTERVAL) < 0.7


def test_the_clock_is_everybodys() -> None:
    others = replace(INTERVAL, subject=np.full(len(SECONDS), "b"))
    predictor = TimeForest().fit(learning(INTERVAL), ignore)
    np.testing.assert_array_equal(predictor.predict(others).probabilities, predictor.predict(INTERVAL).probabilities)
    late = replace(others, onset=SECONDS + 1000)
    assert balanced_accuracy(predictor, late) == 0.5, "seconds from the recording's start, and not from a window's"


@pytest.mark.parametrize("strategy", [TimeLinear(), TimeForest()])
def test_a_rare_class_weighs_as_much_as_the_others(strategy: TimeOnly) -> None:
    # Of the early windows 8 in 20 are of the rare class, of the late ones none.
    early = np.repeat(SECONDS[:10], 20)
    onset = np.concatenate([early, SECONDS[50:]])
    y = np.concatenate([np.arange(len(early)) % 20 >= 12, np.zeros(50)])
    said = strategy.fit(learning(clocked(onset, y)), ignore).predict(clocked(SECONDS[:5], np.zeros(5))).probabilities
    assert (said[:, 1] > 0.5).all()


def test_another_seed_grows_another_forest_and_more_trees_are_more_trees() -> None:
    blurred = clocked(SECONDS, generator("blurred").random(len(SECONDS)) < 0.5)
    said = [TimeForest().fit(learning(blurred, seed=seed), ignore).predict(blurred).probabilities for seed in (1, 2)]
    assert not np.array_equal(*said)
    votes = TimeForest(trees=3).fit(learning(blurred), ignore).predict(blurred).probabilities
    assert not np.allclose(votes, said[0])


def test_before_learning_it_is_a_guess() -> None:
    record = Recorder(INTERVAL)
    TimeForest().fit(learning(INTERVAL), record)
    assert record.steps == [0, 1]
    np.testing.assert_array_equal(record.probabilities[0], 0.5)


@pytest.mark.parametrize("strategy", [TimeLinear(), TimeForest()])
def test_without_onsets_it_says_so(strategy: TimeOnly) -> None:
    windows = gaussian_windows(["a", "b"])
    with pytest.raises(LearningError, match=r"do not say when they start.*dataset\.onset"):
        strategy.fit(learning(windows), ignore)
    with pytest.raises(LearningError, match="do not say when they start"):
        strategy.fit(learning(THRESHOLD), ignore).predict(windows)


@pytest.mark.parametrize(
    ("part", "values"), [(TimeLinear, {"C": 0}), (TimeForest, {"trees": 0}), (TimeForest, {"model": "linear"})]
)
def test_values_out_of_range_are_refused(part: type[TimeOnly], values: dict[str, object]) -> None:
    with pytest.raises(StudyError, match=rf"strategy\.{next(iter(values))}"):
        build(part, {}, values, "strategy")


def test_it_has_no_normalisation() -> None:
    assert "normalization" not in vars(TimeLinear())
    with pytest.raises(StudyError, match=r"strategy\.normalization: no such key"):
        build(TimeLinear, {}, {"normalization": Training()}, "strategy")
