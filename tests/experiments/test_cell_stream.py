"""Cells of streams: who is scored after which step, as what, and the matrix R that comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest

from benchmarks.cohort import Cohort
from benchmarks.metrics.classification import accuracy
from benchmarks.predictions import Predictions
from benchmarks.protocols.contract import Fold
from benchmarks.protocols.within_subject import in_three
from benchmarks.windows import Windows
from experiments.cell import Job, compute
from experiments.records import Outcome, ScoreRecord
from strategies.contract import Learning, Observer, Predictor, Strategy
from tests.experiments.test_seen import LENGTH_S, cohort, places_of

LEARNERS, HELD_OUT = ("S0", "S1", "S2"), ("S3", "S4")


@dataclass(frozen=True)
class Knows:
    """Right about the people whom it knows, and wrong about all others: it tells them by the mean of a feature."""

    known: Mapping[float, str]

    def predict(self, windows: Windows, subject: str | None = None) -> Predictions:
        assert subject is None
        assert windows.y is None
        assert windows.onset is None
        task = windows.x[:, 0] > 0
        right = task if windows.subjects[0] in self.known.values() else ~task
        return Predictions(np.stack([1.0 - right, right], axis=1).astype(float))


@dataclass(frozen=True)
class Meets(Strategy):
    """Knows the people whom it has met."""

    sequential: ClassVar[bool] = True

    handed: list[Learning] = field(default_factory=list, compare=False)

    def fit(self, learning: Learning, observer: Observer) -> Predictor:
        self.handed.append(learning)
        known: dict[float, str] = {}
        observer(0, Knows({}))
        for step, subject in enumerate(learning.training.subjects, start=1):
            known[float(step)] = subject
            observer(step, Knows(dict(known)))
        return Knows(known)


class Together(Meets):
    sequential: ClassVar[bool] = False


def people(trials: int = 1, trial_s: float = 80.0) -> Cohort:
    made = cohort(trials, trial_s, subjects=5)
    # Told without error, so that what is right is known beforehand.
    x = made.windows.x.copy()
    x[:, 0] = np.where(made.windows.labels == 1, 1.0, -1.0)
    return replace(made, windows=replace(made.windows, x=x))


def job(strategy: Strategy, stream: int = 0) -> Job:
    metrics = {"accuracy": accuracy}
    levels = {"window": metrics, "trial": metrics}
    return Job(strategy, Fold("stream", HELD_OUT, LEARNERS, tracked=True), 0, stream, 0, levels, levels)


def done(outcome: Outcome) -> Outcome:
    assert outcome.cause is None, outcome.cause
    return outcome


def curve(outcome: Outcome, level: str = "window") -> list[ScoreRecord]:
    return [one for one in outcome.scores if not one.final and one.level == level]


# --- known answers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", range(4))
def test_the_matrix_of_a_toy_with_three_people_is_the_one_worked_out_by_hand(stream: int) -> None:
    """Nobody is known at first, and everybody from the step on at which they are met: a triangle of ones."""
    strategy = Meets()
    outcome = done(compute(people(), job(strategy, stream)))
    order = strategy.handed[0].training.subjects
    assert sorted(order) == list(LEARNERS)
    found = np.full((4, 3), np.nan)
    for one in curve(outcome):
        if one.subject in LEARNERS:
            found[one.step, order.index(one.subject)] = one.value
    np.testing.assert_array_equal(found, [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]])


def test_a_learner_is_unseen_until_it_is_met_and_seen_afterwards() -> None:
    strategy = Meets()
    outcome = done(compute(people(), job(strategy)))
    order = strategy.handed[0].training.subjects
    for one in curve(outcome):
        met = one.subject in order and one.step > order.index(one.subject)
        assert one.target == ("seen" if met else "unseen")


def test_orders_differ_and_are_the_same_for_every_strategy() -> None:
    orders = []
    for stream in range(6):
        first, second = Meets(), Meets()
        compute(people(), job(first, stream))
        compute(people(3), job(second, stream))
        assert first.handed[0].training.subjects == second.handed[0].training.subjects
        orders.append(first.handed[0].training.subjects)
    assert len(set(orders)) > 2


# --- behaviour ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("trials", "grouping"), [(1, "block"), (4, "trial")])
def test_what_is_learned_from_validated_on_and_scored_are_the_three_parts_of_a_person(
    trials: int, grouping: str
) -> None:
    whole, strategy = people(trials), Meets()
    outcome = done(compute(whole, job(strategy)))
    (learning,) = strategy.handed
    assert learning.validation is not None
    assert learning.validation.subjects == learning.training.subjects
    for name in LEARNERS:
        mine = whole.windows.of(name)
        parts = in_three(mine, LENGTH_S)
        assert set(places_of(learning.training.of(name).x, mine)) == set(np.flatnonzero(parts.learned))
        assert set(places_of(learning.validation.of(name).x, mine)) == set(np.flatnonzero(parts.validation))
    assert {one.grouping for one in curve(outcome) if one.subject in LEARNERS} == {grouping}
    assert {one.grouping for one in curve(outcome) if one.subject in HELD_OUT} == {"trial"}


def test_trials_are_scored_where_whole_trials_are_held_out() -> None:
    blocks, trials = (done(compute(people(count), job(Meets()))) for count in (1, 4))
    assert {one.subject for one in curve(blocks, "trial")} == set(HELD_OUT)
    assert {one.subject for one in curve(trials, "trial")} == {*LEARNERS, *HELD_OUT}
    together = done(compute(people(), job(Together())))
    assert {one.subject for one in together.scores if one.level == "trial"} == set(HELD_OUT)


def test_people_held_out_are_scored_at_every_step_on_all_windows_and_their_predictions_alone_are_kept() -> None:
    outcome = done(compute(people(), job(Meets())))
    for name in HELD_OUT:
        assert [one.step for one in curve(outcome) if one.subject == name] == [0, 1, 2, 3]
    assert [one.subject for one in outcome.predictions] == list(HELD_OUT)
    assert all(len(one.y) == 40 for one in outcome.predictions)


def test_a_strategy_that_meets_people_together_scores_learners_at_the_end_alone() -> None:
    outcome = done(compute(people(), job(Together())))
    assert {one.subject for one in curve(outcome)} == set(HELD_OUT)
    final = {one.subject: one.target for one in outcome.scores if one.final}
    assert final == dict.fromkeys(LEARNERS, "seen") | dict.fromkeys(HELD_OUT, "unseen")


def test_a_fold_without_people_held_out_scores_its_learners() -> None:
    choosing = replace(job(Meets()), fold=Fold("choosing", (), LEARNERS, tracked=True))
    outcome = done(compute(people(), choosing))
    assert {one.subject for one in outcome.scores} == set(LEARNERS)
    assert outcome.predictions == []


# --- bad input ------------------------------------------------------------------------------------------------------


def test_a_person_whose_trials_are_too_short_ends_the_cell_with_a_message() -> None:
    outcome = compute(people(trial_s=8.0), job(Meets()))
    assert outcome.cause is not None
    assert "S0" in outcome.cause
    assert "windows.length_s" in outcome.cause
