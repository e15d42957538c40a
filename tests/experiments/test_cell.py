"""One cell: what a strategy can reach, what the observer does, and how failures are told."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import factorial
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.cohort import Cohort
from benchmarks.errors import LearningError
from benchmarks.metrics.classification import accuracy, balanced_accuracy
from benchmarks.normalization import Training as TrainingStatistics
from benchmarks.predictions import Predictions
from benchmarks.protocols.leave_one_subject_out import LeaveOneSubjectOut
from benchmarks.windows import Windows
from clients.encoders.mlp import MLP
from clients.objectives.cross_entropy import CrossEntropy
from clients.training import Training
from experiments.cell import Anonymous, Job, Split, Witness, compute
from experiments.cell import learning_of as learning_from
from strategies.contract import Learning, Observer, Predictor, Strategy
from strategies.pooled import Pooled


@dataclass(frozen=True)
class Knows:
    """Predictor that says class 1 where the first feature is above zero."""

    def predict(self, windows: Windows, subject: str | None = None) -> Predictions:
        one = (windows.x[:, 0] > 0).astype(float)
        return Predictions(np.stack([1 - one, one], axis=1))


@dataclass(frozen=True)
class Sign(Strategy):
    """Knows the answer without learning."""

    def fit(self, learning: Learning, observer: Observer) -> Predictor:
        observer(0, Knows())
        observer(1, Knows())
        return Knows()


class Sequential(Sign):
    sequential: ClassVar[bool] = True


class Choosing(Sign):
    uses_validation: ClassVar[bool] = True


class Curious(Sign):
    needs_target: ClassVar[bool] = True


class Clockwatcher(Curious):
    needs_onset: ClassVar[bool] = True
    control: ClassVar[bool] = True


POOLED = Pooled(
    normalization=TrainingStatistics(), encoder=MLP(hidden=(4,), dropout=0.5), objective=CrossEntropy(),
    training=Training(learning_rate=0.05, batch_size=8), epochs=3,
)  # fmt: skip


def cohort(subjects: int = 4, windows: int = 6, seed: int = 0) -> Cohort:
    """Subjects with two trials each, whose names and places give the class away; x[:, 0] carries its sign."""
    rng = np.random.default_rng(seed)
    n = subjects * windows
    y = np.tile(np.repeat([0, 1], windows // 2), subjects)
    x = rng.normal(size=(n, 3))
    x[:, 0] = np.where(y == 1, 1.0, -1.0) * np.abs(x[:, 0])
    columns = {
        "subject": np.repeat([f"S{i}" for i in range(subjects)], windows),
        "session": np.full(n, "1"),
        "trial": np.where(y == 1, "task", "rest"),
        "onset": np.tile(np.arange(windows, dtype=float), subjects),
        "y": y.astype(np.int64),
    }
    return Cohort("toy", "sign", ("rest", "task"), "vector", Windows(x=x, **columns), (), "f", simulated=True)


def learning_of(cohort: Cohort, job: Job) -> Learning:
    return learning_from(cohort, job, Split.of(cohort, job))


def job(strategy: Strategy, fold: int = 0, *, subjects: int = 4, seed: int = 0, stream: int = 0) -> Job:
    folds = list(LeaveOneSubjectOut().folds([f"S{i}" for i in range(subjects)]))
    metrics = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy}
    return Job(strategy, folds[fold], seed, stream, 1, {"window": metrics, "trial": metrics}, {"window": metrics})


def reachable(root: object) -> list[np.ndarray]:
    """Every array that can be reached from an object without leaving plain data."""
    found, waiting, met = [], [root], set()
    while waiting:
        item = waiting.pop()
        if id(item) in met or isinstance(item, type) or callable(item):
            continue
        met.add(id(item))
        if isinstance(item, np.ndarray):
            found.append(item)
            if item.base is not None:
                waiting.append(item.base)
        waiting += gc.get_referents(item)
    return found


@pytest.mark.parametrize("kind", [Sign, Sequential, Choosing])
@settings(max_examples=40, deadline=None)
@given(subjects=st.integers(3, 7), windows=st.sampled_from([2, 4, 8]), seed=st.integers(0, 999), data=st.data())
def test_no_learning_window_is_of_a_scored_subject(
    kind: type[Strategy], subjects: int, windows: int, seed: int, data: st.DataObject
) -> None:
    whole = cohort(subjects, windows, seed)
    stream = data.draw(st.integers(0, min(9, factorial(subjects - 1) - 1)))
    cell = job(kind(), data.draw(st.integers(0, subjects - 1)), subjects=subjects, seed=seed, stream=stream)
    learning = learning_of(whole, cell)
    (held_out,) = cell.fold.scored
    learned = [part for part in (learning.training, learning.validation) if part is not None]
    assert all(held_out not in part.subjects for part in learned)
    assert sorted(s for part in learned for s in part.subjects) == sorted(cell.fold.learners)
    rows = {row.tobytes() for row in whole.windows.of(held_out).x}
    assert not any(row.tobytes() in rows for part in learned for row in part.x)


@pytest.mark.parametrize("kind", [Sign, Sequential, Choosing, Curious])
def test_held_out_windows_and_labels_cannot_be_reached_from_what_a_strategy_gets(kind: type[Strategy]) -> None:
    whole, cell = cohort(), job(kind())
    learning = learning_of(whole, cell)
    arrays = reachable(learning)
    assert any(np.shares_memory(array, learning.training.x) for array in arrays), "the walk finds what is there"
    assert not any(np.shares_memory(array, mine) for array in arrays for mine in (whole.windows.x, whole.windows.y))
    if not kind.needs_target:
        # The name of the held-out subject stands in no array either.
        assert not any("S0" in array for array in arrays if array.dtype.kind == "U")


@dataclass(frozen=True)
class Spy(Sign):
    """Looks at all that it is handed, while it learns."""

    def fit(self, learning: Learning, observer: Observer) -> Predictor:
        observer(0, Knows())
        held_out = [array for array in reachable([learning, vars(observer)]) if array.shape[1:] == (3,)]
        assert sum(len(array) for array in held_out if array.base is None) == len(learning.training)
        return Knows()


def test_the_observer_holds_no_window_while_a_strategy_learns() -> None:
    assert compute(cohort(), job(Spy())).cause is None


def test_what_is_scored_tells_neither_label_nor_trial_session_onset_or_place() -> None:
    mine = cohort().windows.of("S0")
    hidden = Anonymous.of(mine).windows
    assert hidden.y is None
    assert hidden.onset is None
    assert set(hidden.trial) == set(hidden.session) == {""}
    assert not np.array_equal(hidden.x, mine.x)


def test_a_target_tells_neither_label_nor_trial_nor_place() -> None:
    whole = cohort()
    target = learning_of(whole, job(Curious())).target
    assert target is not None
    assert target.y is None
    assert target.onset is None
    assert set(target.trial) == {""}
    mine = whole.windows.of("S0")
    assert not np.array_equal(target.x, mine.x), "the order would tell the class"
    assert sorted(map(tuple, target.x)) == sorted(map(tuple, mine.x))


def test_onsets_are_for_those_who_declare_that_they_need_them() -> None:
    assert learning_of(cohort(), job(Sign())).training.onset is None
    clock = learning_of(cohort(), job(Clockwatcher()))
    assert clock.training.onset is not None
    assert clock.target is not None
    assert clock.target.onset is not None


@given(seed=st.integers(0, 999))
def test_predictions_of_shuffled_windows_return_to_their_place(seed: int) -> None:
    mine = cohort(seed=seed).windows.of("S2")
    hidden = Anonymous.of(mine)
    assert np.array_equal(
        hidden.in_order(Knows().predict(hidden.windows)).probabilities, Knows().predict(mine).probabilities
    )


def test_the_order_of_a_stream_is_that_of_the_fold() -> None:
    first, second = (learning_of(cohort(), job(Sequential(), stream=k)).training.subjects for k in (0, 1))
    assert first == job(Sequential()).fold.order(("S1", "S2", "S3"), 0)
    assert {first, second} != {first}, "two orders of this fold differ"


def test_a_known_predictor_is_scored_by_hand() -> None:
    outcome = compute(cohort(), job(Sign()))
    assert outcome.cause is None
    final = {(s.level, s.metric): s.value for s in outcome.scores if s.final}
    assert final == {
        (level, metric): 1.0 for level in ("window", "trial") for metric in ("accuracy", "balanced_accuracy")
    }
    assert sorted({s.step for s in outcome.scores if not s.final}) == [0, 1]
    assert all((s.subject, s.target, s.grouping) == ("S0", "unseen", "trial") for s in outcome.scores)
    (said,) = outcome.predictions
    assert said.y.tolist() == [0, 0, 0, 1, 1, 1]
    assert said.probabilities.argmax(axis=1).tolist() == [0, 0, 0, 1, 1, 1]
    assert said.trial.tolist() == ["1/rest"] * 3 + ["1/task"] * 3
    assert said.onset.tolist() == [0, 1, 2, 3, 4, 5]


def test_step_zero_is_scored_before_any_learning() -> None:
    outcome = compute(cohort(), job(POOLED))
    learning = learning_of(cohort(), job(POOLED))
    from clients.network import initial_network

    untouched = initial_network(MLP(hidden=(4,), dropout=0.5), CrossEntropy(), (3,), 2, learning.seed)
    normalizer = TrainingStatistics().start("vector")
    from benchmarks.normalization import STATISTICS

    normalizer = normalizer.learn(STATISTICS["vector"](learning.training.x))
    with torch.no_grad():
        x = torch.tensor(normalizer(cohort().windows.of("S0")), dtype=torch.float32)
        said = untouched.eval()(x).argmax(dim=1).numpy()
    first = next(s.value for s in outcome.scores if s.step == 0 and s.metric == "accuracy")
    assert first == np.mean(said == cohort().windows.of("S0").y)


def fitted_weights(observer: Callable[[int, Any], None]) -> list[np.ndarray]:
    learning = learning_of(cohort(), job(POOLED))
    predictor: Any = POOLED.fit(learning, observer)
    return [weight.detach().numpy() for weight in predictor.network.parameters()]


def test_the_observer_changes_nothing() -> None:
    silent = fitted_weights(lambda step, predictor: None)
    witness = Witness()
    watched = fitted_weights(witness)
    assert len(witness.predictors) > 1
    assert all(np.array_equal(a, b) for a, b in zip(silent, watched, strict=True))


@dataclass
class Growing:
    """Predictor that its strategy goes on changing."""

    sure: float = 0.0

    def predict(self, windows: Windows, subject: str | None = None) -> Predictions:
        one = np.where(windows.x[:, 0] > 0, self.sure, 0.0)
        return Predictions(np.stack([1 - one, one], axis=1))


class Careless(Sign):
    def fit(self, learning: Learning, observer: Observer) -> Predictor:
        shown = Growing()
        observer(0, shown)
        shown.sure = 1.0
        observer(1, shown)
        return shown


def test_a_predictor_is_scored_as_it_was_shown_even_if_it_changes_afterwards() -> None:
    curve = {
        s.step: s.value for s in compute(cohort(), job(Careless())).scores if s.metric == "accuracy" and not s.final
    }
    assert curve == {0: 0.5, 1: 1.0}


def test_no_random_state_moves() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    compute(cohort(), job(POOLED))
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_cell_is_the_same_to_the_bit_whatever_ran_before() -> None:
    one = compute(cohort(), job(POOLED))
    torch.rand(3), random.random()
    compute(cohort(seed=5), job(POOLED, fold=2, seed=9))
    other = compute(cohort(), job(POOLED))
    assert one.scores == other.scores
    assert np.array_equal(one.predictions[0].probabilities, other.predictions[0].probabilities)
    assert compute(cohort(), job(POOLED, seed=1)).predictions[0].probabilities.tolist() != (
        one.predictions[0].probabilities.tolist()
    )


@dataclass(frozen=True)
class Failing(Sign):
    error: type[Exception] = LearningError

    def fit(self, learning: Learning, observer: Observer) -> Predictor:
        raise self.error("it went wrong")


@pytest.mark.parametrize(("error", "told"), [(LearningError, "it went wrong"), (KeyError, "KeyError: 'it went wrong'")])
def test_a_failure_is_an_outcome_with_its_cause(error: type[Exception], told: str) -> None:
    outcome = compute(cohort(), job(Failing(error)))
    assert outcome.cause is not None
    assert outcome.cause.startswith(told)
    assert not outcome.scores
    assert not outcome.predictions


def test_a_subject_without_a_class_is_scored_and_what_is_undefined_says_why() -> None:
    whole = cohort()
    one_class = replace(whole, windows=whole.windows.select((whole.windows.subject != "S0") | (whole.windows.y == 0)))
    from benchmarks.metrics.classification import auroc

    outcome = compute(one_class, replace(job(Sign()), metrics={"window": {"auroc": auroc, "accuracy": accuracy}}))
    final = {s.metric: s for s in outcome.scores if s.final}
    assert np.isnan(final["auroc"].value)
    assert final["auroc"].reason
    assert final["accuracy"].value == 1.0
