"""The majority class, and the frequencies of all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.windows import concatenate
from strategies.baselines import ClassPrior, Constant, Majority, guess
from tests.strategies.learnings import Recorder, gaussian_windows, ignore, labelled, learning


def majority_of(y: list[int]) -> np.ndarray:
    windows = labelled(np.zeros((len(y), 1)), np.array(y), "a")
    return Majority().fit(learning(windows), ignore).predict(windows.without(labels=True)).probabilities


@pytest.mark.parametrize(("y", "winner"), [([0, 1, 1, 2], 1), ([0, 0, 1, 2], 0), ([2, 2, 1, 1, 0], 1), ([2, 1, 0], 0)])
def test_the_most_frequent_class_and_of_equals_the_first(y: list[int], winner: int) -> None:
    np.testing.assert_array_equal(majority_of(y), np.tile(np.eye(3)[winner], (len(y), 1)))


@given(st.lists(st.integers(0, 2), min_size=0, max_size=20).map(lambda more: [0, 1, 2, *more]))
def test_no_class_is_more_frequent_than_the_one_said(y: list[int]) -> None:
    winner = majority_of(y)[0].argmax()
    assert y.count(int(winner)) == max(y.count(label) for label in range(3))


def test_before_learning_it_is_a_guess() -> None:
    windows = gaussian_windows(["a"], classes=4)
    record = Recorder(windows)
    Majority().fit(learning(windows), record)
    assert record.steps == [0, 1]
    np.testing.assert_array_equal(record.probabilities[0], np.full((80, 4), 0.25))


def test_a_guess_is_even() -> None:
    assert isinstance(guess(3), Constant)
    np.testing.assert_allclose(guess(3).probabilities, 1 / 3)


@pytest.mark.parametrize("counts", [(1, 2, 1), (6, 3, 1), (2, 2, 2)])
def test_the_prior_is_how_often_each_class_is_met(counts: tuple[int, ...]) -> None:
    windows = labelled(np.zeros((sum(counts), 1)), np.repeat([0, 1, 2], counts), "a")
    said = ClassPrior().fit(learning(windows), ignore).predict(windows.without(labels=True)).probabilities
    np.testing.assert_array_equal(said, np.tile(np.array(counts) / sum(counts), (sum(counts), 1)))


def test_the_prior_counts_the_training_windows_of_all_subjects_and_no_others() -> None:
    few, many = (labelled(np.zeros((n, 1)), np.arange(n) % 4 == 0, name) for n, name in ((4, "few"), (40, "many")))
    apart = labelled(np.zeros((50, 1)), np.ones(50, dtype=int), "apart")
    known = learning(concatenate([few, many, apart]), validation=["apart"])
    np.testing.assert_array_equal(ClassPrior().fit(known, ignore).probabilities, [0.75, 0.25])


def test_before_learning_the_prior_is_a_guess() -> None:
    windows = labelled(np.zeros((3, 1)), np.array([0, 0, 1]), "a")
    record = Recorder(windows)
    ClassPrior().fit(learning(windows), record)
    assert record.steps == [0, 1]
    np.testing.assert_array_equal(record.probabilities[0], 0.5)
