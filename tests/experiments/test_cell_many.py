"""Groups of cells: each is what it is alone, a failure stays its own, and memory is bounded."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.cohort import Cohort
from benchmarks.errors import LearningError
from benchmarks.normalization import Stream as StreamStatistics
from benchmarks.normalization import Training as TrainingStatistics
from benchmarks.predictions import Predictions
from benchmarks.windows import Windows
from clients import stack_size
from clients.encoders.mlp import MLP
from clients.objectives.cross_entropy import CrossEntropy
from clients.training import Training
from experiments import cell
from experiments.cell import Job, compute, compute_many
from experiments.records import MeasurementRecord, Outcome
from strategies.continual.finetuning import FineTuning
from strategies.contract import Learning, Listener, Observer, Predictor, Strategy, report
from strategies.federated.averaging import FedAvg
from strategies.federated.federation import Federation
from strategies.grids.in_process import InProcess
from tests.experiments.test_cell import POOLED, Choosing, Knows, Sign, cohort, job

TUNED = FineTuning(
    normalization=StreamStatistics(), encoder=MLP(hidden=(4,), dropout=0.5), objective=CrossEntropy(),
    training=Training(learning_rate=0.05, batch_size=8), epochs=3,
)  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """Predictor that says what was drawn while it was learned."""

    share: float

    def predict(self, windows: Windows, subject: str | None = None) -> Predictions:
        return Predictions(np.tile([self.share, 1 - self.share], (len(windows), 1)))


@dataclass(frozen=True)
class Together(Strategy):
    """Learns side by side, notes what it is handed together, and draws from the global sources."""

    handed: list[tuple[str, ...]] = field(default_factory=list, compare=False)

    @property
    def lockstep(self) -> bool:
        return True

    def fit(self, learning: Learning, observer: Observer) -> Predictor:
        raise AssertionError("it learns many folds at once")

    def fit_many(self, learnings: Sequence[Learning], observers: Sequence[Observer]) -> list[Any]:
        self.handed.append(tuple(missing(learning) for learning in learnings))
        for learning, observer in zip(learnings, observers, strict=True):
            report(observer, 0, {"windows": len(learning.training)})
        return [self.one(learning) for learning in learnings]

    def one(self, learning: Learning) -> Predictor | Exception:
        return Drawn((random.random() + np.random.rand() + torch.rand(1).item()) / 3)


def missing(learning: Learning) -> str:
    """The one subject of four who is not learned from."""
    (name,) = {"S0", "S1", "S2", "S3"} - set(learning.training.subjects)
    return name


def folds(strategy: Strategy, *numbers: int) -> list[Job]:
    return [job(strategy, number) for number in numbers or range(4)]


def said(outcome: Outcome) -> list[list[float]]:
    assert outcome.cause is None, outcome.cause
    return outcome.predictions[0].probabilities.tolist()


# --- each cell is what it is alone ----------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [Sign(), POOLED], ids=["without chance", "with chance"])
def test_cells_that_are_learned_one_after_another_are_as_alone_to_the_bit(strategy: Strategy) -> None:
    alone = [compute(cohort(), one) for one in folds(strategy)]
    for one, other in zip(alone, compute_many(cohort(), folds(strategy)), strict=True):
        assert one.scores == other.scores
        assert said(one) == said(other)


def test_one_cell_that_learns_side_by_side_with_nobody_has_the_seed_of_any_cell() -> None:
    class Alone(Together):
        @property
        def lockstep(self) -> bool:
            return False

    assert said(compute(cohort(), job(Together()))) == said(compute(cohort(), job(Alone())))


def test_what_draws_from_global_sources_is_the_same_each_time_and_moves_none() -> None:
    before = random.getstate(), torch.get_rng_state()
    first = [said(one) for one in compute_many(cohort(), folds(Together()))]
    random.random(), torch.rand(3)
    random.setstate(before[0]), torch.set_rng_state(before[1])
    second = [said(one) for one in compute_many(cohort(), folds(Together()))]
    assert first == second
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    other = [said(one) for one in compute_many(cohort(), [replace(one, seed=1) for one in folds(Together())])]
    assert other != first


def test_outcomes_come_in_the_order_of_the_jobs() -> None:
    strategy = Together()
    outcomes = compute_many(cohort(), folds(strategy, 2, 0, 3, 1))
    assert strategy.handed == [("S2", "S0", "S3", "S1")]
    assert [{score.subject for score in outcome.scores} for outcome in outcomes] == [{"S2"}, {"S0"}, {"S3"}, {"S1"}]


def test_no_job_no_outcome() -> None:
    assert compute_many(cohort(), []) == []


def test_jobs_of_two_strategies_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="one strategy"):
        compute_many(cohort(), [job(Sign()), job(Choosing(), 1)])


# --- failures -------------------------------------------------------------------------------------------------------


class Halting(Together):
    """Of S1 it cannot learn to be without, S2 comes back as an error that nobody raised."""

    def one(self, learning: Learning) -> Predictor | Exception:
        return {"S1": LearningError("diverged"), "S2": KeyError("lost")}.get(missing(learning), Knows())


def test_a_fold_that_fails_leaves_the_others_alone() -> None:
    outcomes = compute_many(cohort(), folds(Halting()))
    assert [outcome.cause for outcome in outcomes] == [None, "diverged", "KeyError: 'lost'", None]
    assert [bool(outcome.scores) for outcome in outcomes] == [True, False, False, True]
    assert all(not outcomes[place].measurements for place in (1, 2))


class Raising(Sign):
    def fit(self, learning: Learning, observer: Observer) -> Predictor:
        if missing(learning) == "S1":
            raise KeyError("here")
        return super().fit(learning, observer)


def test_an_error_of_a_part_is_told_with_its_place_in_the_code() -> None:
    outcomes = compute_many(cohort(), folds(Raising()))
    assert [outcome.cause is None for outcome in outcomes] == [True, False, True, True]
    assert outcomes[1].cause is not None
    assert outcomes[1].cause.startswith("KeyError: 'here' (")
    assert "test_cell_many.py:" in outcomes[1].cause


def test_a_fold_that_cannot_be_split_leaves_the_others_alone() -> None:
    class ChoosingTogether(Together):
        uses_validation = True

        def fit_many(self, learnings: Sequence[Learning], observers: Sequence[Observer]) -> list[Any]:
            self.handed.append(tuple(str(len(learning.training.subjects)) for learning in learnings))
            return [Knows() for _ in learnings]

    strategy = ChoosingTogether()
    jobs = folds(strategy)
    jobs[1] = replace(jobs[1], validation_subjects=3)
    outcomes = compute_many(cohort(), jobs)
    assert strategy.handed == [("2", "2", "2")]
    assert [outcome.cause is None for outcome in outcomes] == [True, False, True, True]
    assert "none is left" in str(outcomes[1].cause)


class Broken(Together):
    def fit_many(self, learnings: Sequence[Learning], observers: Sequence[Observer]) -> list[Any]:
        raise LearningError("no place to run")


class Forgetful(Together):
    def fit_many(self, learnings: Sequence[Learning], observers: Sequence[Observer]) -> list[Any]:
        return [Knows()]


@pytest.mark.parametrize(
    ("strategy", "cause"), [(Broken(), "no place to run"), (Forgetful(), "The strategy learned 1 folds of 4")]
)
def test_what_ends_all_of_them_is_told_of_each(strategy: Strategy, cause: str) -> None:
    outcomes = compute_many(cohort(), folds(strategy))
    assert all(str(outcome.cause).startswith(cause) for outcome in outcomes)


class Odd(Together):
    def one(self, learning: Learning) -> Predictor:
        return Drawn(0.5) if missing(learning) != "S3" else OneWindowShort()


class OneWindowShort:
    def predict(self, windows: Windows, subject: str | None = None) -> Predictions:
        return Predictions(np.full((len(windows) - 1, 2), 0.5))


def test_a_predictor_that_cannot_be_scored_fails_its_own_cell() -> None:
    causes = [outcome.cause for outcome in compute_many(cohort(), folds(Odd()))]
    assert [cause is None for cause in causes] == [True, True, True, False]


# --- memory and time ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folds_of_room", "handed"),
    [(4, [4]), (3.9, [3, 1]), (2, [2, 2]), (1, [1, 1, 1, 1]), (0.5, [1, 1, 1, 1])],
)
def test_no_more_windows_are_held_together_than_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch, folds_of_room: float, handed: list[int]
) -> None:
    # Three subjects with six windows of three numbers each.
    monkeypatch.setattr(cell, "_TOGETHER_BYTES", int(folds_of_room * 3 * 6 * 3 * 8))
    strategy = Together()
    outcomes = compute_many(cohort(), folds(strategy))
    assert [len(batch) for batch in strategy.handed] == handed
    assert [name for batch in strategy.handed for name in batch] == ["S0", "S1", "S2", "S3"]
    assert all(outcome.cause is None for outcome in outcomes)


def test_validation_and_target_windows_take_room_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Greedy(Together):
        uses_validation = True
        needs_target = True

        def fit_many(self, learnings: Sequence[Learning], observers: Sequence[Observer]) -> list[Any]:
            self.handed.append(tuple("" for _ in learnings))
            return [Knows() for _ in learnings]

    one_subject = 6 * 3 * 8
    strategy = Greedy()
    for room, handed in ((4 * 4 * one_subject, [4]), (4 * 4 * one_subject - 1, [3, 1])):
        monkeypatch.setattr(cell, "_TOGETHER_BYTES", room)
        compute_many(cohort(), folds(strategy))
        assert [len(batch) for batch in strategy.handed] == handed
        strategy.handed.clear()


@dataclass
class Clock:
    now: float = 0.0


def test_learning_is_shared_evenly_and_scoring_is_each_cells_own(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(cell.time, "process_time", lambda: clock.now)

    @dataclass(frozen=True)
    class Slow:
        seconds: float

        def predict(self, windows: Windows, subject: str | None = None) -> Predictions:
            clock.now += self.seconds
            return Predictions(np.full((len(windows), 2), 0.5))

    class Costly(Together):
        def fit_many(self, learnings: Sequence[Learning], observers: Sequence[Observer]) -> list[Any]:
            clock.now += 8.0
            return [Slow(1.0), Slow(0.0), LearningError("no"), Slow(3.0)]

    # The final predictor is asked once for all windows of the one subject.
    assert [one.compute_s for one in compute_many(cohort(), folds(Costly()))] == [3.0, 2.0, 2.0, 5.0]


# --- what is measured -----------------------------------------------------------------------------------------------


class Telling(Sign):
    def fit(self, learning: Learning, observer: Observer) -> Predictor:
        assert isinstance(observer, Listener)
        report(observer, 0, {"bytes": 8, "loss": float("nan")})
        observer(0, Knows())
        report(observer, 1, {"bytes": 2.5})
        report(observer, 1, {"bytes": 3.5, "unheard of": 1})
        return Knows()


def test_measurements_are_kept_by_step_and_name_and_the_last_value_counts() -> None:
    told = compute(cohort(), job(Telling())).measurements
    assert [(one.step, one.name) for one in told] == [(0, "bytes"), (0, "loss"), (1, "bytes"), (1, "unheard of")]
    assert told[0] == MeasurementRecord(0, "bytes", 8.0)
    assert np.isnan(told[1].value)
    assert [one.value for one in told[2:]] == [3.5, 1.0]


def test_a_strategy_that_measures_nothing_has_none() -> None:
    assert list(compute(cohort(), job(POOLED)).measurements) == []


def test_a_federation_tells_the_costs_of_each_round() -> None:
    federation = Federation(
        normalization=TrainingStatistics(), encoder=MLP(hidden=(4,)), objective=CrossEntropy(),
        training=Training(batch_size=8), aggregator=FedAvg(), grid=InProcess(), rounds=2,
    )  # fmt: skip
    for outcome in compute_many(cohort(), folds(federation, 0, 1)):
        told = {(one.step, one.name): one.value for one in outcome.measurements}
        assert {step for step, _ in told} == {0, 1, 2}
        # Of three learners one is for validation.
        assert [told[step, "client_rounds"] for step in range(3)] == [0, 2, 2]
        assert all(told[step, name] > 0 for step in range(3) for name in ("bytes_up", "bytes_down"))


# --- streams --------------------------------------------------------------------------------------------------------


def streams(strategy: Strategy) -> list[Job]:
    """Orders and seeds of one fold, and another fold among them."""
    places = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    of_one = [replace(job(strategy, 0), stream=stream, seed=seed) for stream, seed in places]
    return [*of_one[:3], job(strategy, 1), *of_one[3:]]


@pytest.mark.parametrize("strategy", [TUNED, replace(TUNED, diagnostics=True)], ids=["plain", "diagnosed"])
def test_orders_and_seeds_of_a_fold_are_each_what_they_are_alone(strategy: FineTuning) -> None:
    assert strategy.lockstep
    together = compute_many(cohort(), streams(strategy))
    for one, other in zip(together, [compute(cohort(), each) for each in streams(strategy)], strict=True):
        np.testing.assert_allclose(said(one), said(other), atol=1e-5)
        assert [(s.step, s.subject) for s in one.scores] == [(s.step, s.subject) for s in other.scores]
        assert [(m.step, m.name) for m in one.measurements] == [(m.step, m.name) for m in other.measurements]
    assert len({str(said(one)) for one in together}) == len(together)


def test_a_fold_is_split_once_and_let_go_after_its_last_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[cell.Split]] = []
    alive: list[int] = []
    of = cell.Split.of

    def noted(cohort: Cohort, one: Job) -> cell.Split:
        gc.collect()
        alive.append(sum(each() is not None for each in made))
        split = of(cohort, one)
        made.append(weakref.ref(split))
        return split

    monkeypatch.setattr(cell.Split, "of", noted)
    compute_many(cohort(), streams(TUNED))
    assert len(made) == 2, "two folds"
    made.clear(), alive.clear()
    compute_many(cohort(), folds(TUNED))
    assert alive == [0, 0, 0, 0], "each fold has one cell"


def test_as_many_cells_are_learned_together_as_a_stack_has_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handed: list[int] = []
    fit_many = FineTuning.fit_many

    def noted(self: FineTuning, learnings: Sequence[Learning], observers: Sequence[Observer]) -> list[Any]:
        handed.append(len(learnings))
        return fit_many(self, learnings, observers)

    monkeypatch.setattr(FineTuning, "fit_many", noted)
    for largest, expected in ((256, [7]), (5, [5, 2]), (3, [1] * 7)):
        monkeypatch.setattr(stack_size, "_LARGEST", largest)
        compute_many(cohort(), streams(TUNED))
        assert handed == expected
        handed.clear()
