"""The majority class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.baselines import Constant, Majority, guess
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
