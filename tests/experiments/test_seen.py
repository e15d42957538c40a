"""Cells of strategies that learn from the scored person: what they get, what is kept from them, what is scored."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.cohort import Cohort, build_cohort
from benchmarks.datasets.contract import Places
from benchmarks.metrics.classification import accuracy, balanced_accuracy
from benchmarks.normalization import Training as TrainingStatistics
from benchmarks.predictions import Predictions
from benchmarks.protocols.leave_one_subject_out import LeaveOneSubjectOut
from benchmarks.protocols.within_subject import early_and_late
from benchmarks.windows import Windows, concatenate
from clients.alone import train_alone
from clients.encoders.mlp import MLP
from clients.objectives.cross_entropy import CrossEntropy
from clients.training import Training
from experiments.cell import Job, compute
from experiments.plan import Plan
from experiments.study import Study
from strategies.contract import Learning, Observer, Strategy, Target
from strategies.local_only import LocalOnly
from strategies.personal import Personal

LENGTH_S = 4.0
PARTS = (TrainingStatistics(), MLP(hidden=(8,)), CrossEntropy(), Training(learning_rate=0.02, batch_size=16), 10)


def person(name: str, trials: int, trial_s: float, seed: int, step_s: float = LENGTH_S) -> Windows:
    """Trials of two classes in turn, one right after another; each window's features are its own."""
    rng = np.random.default_rng([seed, *name.encode()])
    starts_s = np.arange(0, trial_s - LENGTH_S + 1e-9, step_s)
    trial = np.repeat(np.arange(2 * trials), len(starts_s))
    y = trial % 2
    x = rng.normal(size=(len(y), 3))
    x[:, 0] += 4 * y - 2
    return Windows(
        x=x,
        subject=np.full(len(y), name),
        session=np.full(len(y), "1"),
        trial=np.array([f"t{number}" for number in trial]),
        onset=trial * trial_s + np.tile(starts_s, 2 * trials),
        y=y.astype(np.int64),
    )


def cohort(trials: int = 1, trial_s: float = 80.0, *, subjects: int = 3, seed: int = 0, step_s: float = 4.0) -> Cohort:
    windows = concatenate([person(f"S{k}", trials, trial_s, seed, step_s) for k in range(subjects)])
    made = Cohort("toy", "sign", ("rest", "task"), "vector", windows, (), "f", simulated=True)
    return replace(made, length_s=LENGTH_S)


def job(strategy: Strategy, fold: int = 0, subjects: int = 3) -> Job:
    folds = list(LeaveOneSubjectOut().folds([f"S{k}" for k in range(subjects)]))
    metrics = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy}
    return Job(strategy, folds[fold], 0, 0, 1, {"window": metrics, "trial": metrics}, {"window": metrics})


@dataclass(frozen=True)
class Asked:
    """Predictor that notes what it is asked."""

    notes: list[tuple[Windows, str | None]]

    def predict(self, windows: Windows, subject: str | None = None) -> Predictions:
        self.notes.append((windows, subject))
        return Predictions(np.full((len(windows), 2), 0.5))


@dataclass(frozen=True)
class Spy(Strategy):
    """Notes all that it is handed, to learn from or to predict."""

    target: ClassVar[Target] = "seen"

    handed: list[Learning] = field(default_factory=list)
    asked: list[tuple[Windows, str | None]] = field(default_factory=list)

    def fit(self, learning: Learning, observer: Observer) -> Asked:
        self.handed.append(learning)
        return Asked(self.asked)


def places_of(rows: np.ndarray, among: Windows) -> np.ndarray:
    """Where windows with these features, which no two windows share, stand among others."""
    found = (rows[:, None] == among.x).all(axis=2)
    assert (found.sum(axis=1) == 1).all(), "each is one of them"
    return found.argmax(axis=1)


@settings(max_examples=40, deadline=None)
@given(
    trials=st.integers(1, 5),
    trial_s=st.floats(20, 90),
    step_s=st.sampled_from([1.0, 2.0, 4.0]),
    seed=st.integers(0, 99),
)
def test_it_is_handed_the_scored_persons_earlier_windows_and_never_a_neighbour_of_a_scored_one(
    trials: int, trial_s: float, step_s: float, seed: int
) -> None:
    whole, spy = cohort(trials, trial_s, seed=seed, step_s=step_s), Spy()
    outcome = compute(whole, job(spy, fold=1))
    assert outcome.cause is None
    ((learning,), ((shown, subject),)) = spy.handed, spy.asked
    assert subject == "S1"
    assert learning.training.subjects == ("S1",), "nobody else's windows"
    assert (learning.validation, learning.target, learning.training.onset) == (None, None, None)
    assert (shown.y, shown.onset, set(shown.trial)) == (None, None, {""})
    mine = whole.windows.of("S1")
    assert mine.onset is not None
    learned, scored = places_of(learning.training.x, mine), places_of(shown.x, mine)
    np.testing.assert_array_equal(learning.labels, mine.labels[learned])
    between_s = np.abs(mine.onset[learned][:, None] - mine.onset[scored]) - LENGTH_S
    assert between_s.min() >= LENGTH_S - 1e-6
    (said,) = outcome.predictions
    np.testing.assert_array_equal(said.onset, mine.onset[np.sort(scored)])
    np.testing.assert_array_equal(said.y, mine.labels[np.sort(scored)])


@pytest.mark.parametrize(("trials", "grouping"), [(1, "block"), (2, "block"), (3, "trial")])
def test_every_row_is_of_a_seen_person_and_says_what_was_held_out(trials: int, grouping: str) -> None:
    outcome = compute(cohort(trials), job(Personal(*PARTS)))
    assert outcome.cause is None
    assert {(s.subject, s.target, s.grouping) for s in outcome.scores} == {("S0", "seen", grouping)}
    assert {s.level for s in outcome.scores if s.final} == {"window", "trial"}
    assert sorted({s.step for s in outcome.scores if not s.final}) == [0, 1]
    assert {p.target for p in outcome.predictions} == {"seen"}


def test_it_is_the_network_that_the_early_windows_alone_train() -> None:
    whole, cell = cohort(), job(Personal(*PARTS), fold=2)
    (said,) = compute(whole, cell).predictions
    mine = whole.windows.of("S2")
    within = early_and_late(mine, LENGTH_S)
    normalization, encoder, objective, training, epochs = PARTS
    alone = train_alone(
        mine.select(within.learned), normalization=normalization, encoder=encoder, objective=objective,
        training=training, epochs=epochs, geometry="vector", classes=2, seed=learning_seed(whole, cell),
    )  # fmt: skip
    expected = alone.predict(mine.select(within.scored).without(labels=True)).probabilities
    np.testing.assert_allclose(said.probabilities, expected, rtol=1e-6)


def learning_seed(whole: Cohort, cell: Job) -> int:
    spy = Spy()
    compute(whole, replace(cell, strategy=spy))
    return spy.handed[0].seed


def test_other_peoples_windows_change_nothing() -> None:
    whole = cohort()
    mine = whole.windows.subject == "S0"
    other = replace(whole, windows=replace(whole.windows, x=np.where(mine[:, None], whole.windows.x, 9.0)))
    one, two = (compute(each, job(Personal(*PARTS))) for each in (whole, other))
    assert one.scores == two.scores
    assert not np.array_equal(whole.windows.x, other.windows.x)


def test_a_person_whose_own_way_nobody_shares_is_told_by_the_bound_and_not_by_others() -> None:
    whole = cohort(trials=3)
    turned = np.where(whole.windows.subject == "S0", -1, 1)
    whole = replace(whole, windows=replace(whole.windows, x=turned[:, None] * whole.windows.x))
    parts = (*PARTS[:-1], 100)
    final = {}
    for strategy in (Personal(*parts), LocalOnly(*parts)):
        scores = compute(whole, job(strategy)).scores
        final[strategy.target] = next(s.value for s in scores if s.final and s.metric == "balanced_accuracy")
    assert final["seen"] > 0.9
    assert final["unseen"] < 0.2


def test_without_onsets_the_cell_fails_with_what_to_do() -> None:
    whole = cohort()
    blind = replace(whole, windows=whole.windows.without(onset=True))
    for lacking in (blind, replace(whole, length_s=None)):
        outcome = compute(lacking, job(Personal(*PARTS)))
        assert outcome.cause is not None
        assert outcome.cause.startswith("S0: when its windows start and how long they are must be known")
        assert compute(lacking, job(LocalOnly(*PARTS))).cause is None


def test_trials_too_short_to_hold_anything_back_fail_with_their_lengths() -> None:
    outcome = compute(cohort(trial_s=8.0), job(Personal(*PARTS)))
    assert outcome.cause is not None
    assert "class 0 (trials: 't0' of 8 s) has no window left to learn from" in outcome.cause


@pytest.mark.real_data
def test_two_people_of_eegmat(real_data: Path, tmp_path: Path) -> None:
    study = {
        "study": "bound",
        "dataset": "eegmat",
        "subjects": ["Subject00", "Subject01"],
        "windows": {"length_s": 4},
        "protocol": {"name": "loso", "validation_subjects": 0},
        "seeds": 1,
        "controls": ["class_prior"],
        "configurations": {"personal": {"strategy": "personal", "normalization": "training"}},
    }
    plan = Plan(Study.model_validate(study), Places(real_data, tmp_path, tmp_path))
    personal = next(c for c in plan.configurations if c.label == "personal")
    whole = build_cohort(plan.dataset, plan.task_name, plan.subjects, plan.recipe(personal), None)
    cells = [cell for cell in plan.cells() if cell.configuration is personal]
    assert len(cells) == 2
    for cell in cells:
        outcome = compute(whole, plan.job(cell))
        assert outcome.cause is None, outcome.cause
        (subject,) = cell.fold.scored
        assert {(s.subject, s.target, s.grouping) for s in outcome.scores} == {(subject, "seen", "block")}
        (said,) = outcome.predictions
        # Rest lasts 180 s in windows, arithmetic 60 s: their last quarters begin at 135 and 45 s.
        onsets = {label: said.onset[said.y == label].tolist() for label in (0, 1)}
        assert onsets == {0: list(range(136, 180, 4)), 1: [48, 52, 56]}
