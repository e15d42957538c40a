"""Folds that also score seen people: what is held out of whom, who is asked about it, and by which model."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.cohort import Cohort
from benchmarks.metrics.classification import accuracy
from benchmarks.predictions import Predictions
from benchmarks.protocols.leave_one_subject_out import LeaveOneSubjectOut
from benchmarks.protocols.within_subject import early_and_late
from benchmarks.windows import Windows, concatenate
from experiments.cell import Job, compute, compute_many
from experiments.records import Outcome
from strategies.contract import Learning, Observer, Predictor, Strategy
from strategies.local_only import LocalOnly
from strategies.personal import Personal
from tests.experiments.test_seen import LENGTH_S, PARTS, cohort, places_of

NAMES = ("S0", "S1", "S2", "S3")


@dataclass(frozen=True)
class Asked:
    """Predictor that notes what it is asked, with models of some people's own."""

    notes: list[tuple[Windows, str | None]]
    personal_subjects: frozenset[str] = frozenset()

    def predict(self, windows: Windows, subject: str | None = None) -> Predictions:
        self.notes.append((windows, subject))
        return Predictions(np.full((len(windows), 2), 0.5))


@dataclass(frozen=True)
class Spy(Strategy):
    """Notes all that it is handed, to learn from or to predict; shows its predictor at no step."""

    personal: frozenset[str] = frozenset()
    handed: list[Learning] = field(default_factory=list, compare=False)
    asked: list[tuple[Windows, str | None]] = field(default_factory=list, compare=False)

    def fit(self, learning: Learning, observer: Observer) -> Predictor:
        self.handed.append(learning)
        return Asked(self.asked, self.personal)


class Choosing(Spy):
    uses_validation: ClassVar[bool] = True


class Curious(Spy):
    needs_target: ClassVar[bool] = True


class Sequential(Spy):
    sequential: ClassVar[bool] = True


def job(strategy: Strategy, fold: int = 0, *, seen: bool = True, validation: int = 1) -> Job:
    folds = list(LeaveOneSubjectOut(validation, seen).folds(NAMES))
    metrics = {"accuracy": accuracy}
    return Job(strategy, folds[fold], 0, 0, validation, {"window": metrics, "trial": metrics}, {"window": metrics})


def four(trials: int = 1, trial_s: float = 80.0, *, seed: int = 0, step_s: float = 4.0) -> Cohort:
    return cohort(trials, trial_s, subjects=4, seed=seed, step_s=step_s)


def later_of(whole: Cohort, subjects: Collection[str]) -> dict[str, Windows]:
    of = {name: whole.windows.of(name) for name in subjects}
    return {name: mine.select(early_and_late(mine, LENGTH_S).scored) for name, mine in of.items()}


def done(outcome: Outcome) -> Outcome:
    assert outcome.cause is None, outcome.cause
    return outcome


# --- nobody learns from what is scored ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Spy, Choosing, Curious, Sequential])
@settings(max_examples=15, deadline=None)
@given(
    trials=st.integers(1, 4),
    trial_s=st.floats(20, 90),
    step_s=st.sampled_from([2.0, 4.0]),
    seed=st.integers(0, 99),
    fold=st.integers(0, 3),
)
def test_no_scored_window_of_anybody_was_learned_from_or_neighbours_one_that_was(
    kind: type[Spy], trials: int, trial_s: float, step_s: float, seed: int, fold: int
) -> None:
    whole, spy = four(trials, trial_s, seed=seed, step_s=step_s), kind(frozenset(NAMES))
    done(compute(whole, job(spy, fold)))
    (learning,) = spy.handed
    held_out = NAMES[fold]
    parts = [part for part in (learning.training, learning.validation) if part is not None]
    learned = concatenate(parts)
    assert set(learned.subjects) == set(NAMES) - {held_out}
    scored = {name: [w for w, _ in spy.asked if w.subjects == (name,)] for name in NAMES}
    for name, shown in scored.items():
        mine = whole.windows.of(name)
        assert mine.onset is not None
        for windows in shown:
            places = places_of(windows.x, mine)
            if name == held_out:
                assert len(windows) == len(mine), "all windows of an unseen person are scored"
                continue
            mine_learned = places_of(learned.of(name).x, mine)
            between_s = np.abs(mine.onset[mine_learned][:, None] - mine.onset[places]) - LENGTH_S
            assert between_s.min() >= LENGTH_S - 1e-6
    if learning.target is not None:
        assert learning.target.subjects == (held_out,), "nobody's later windows are told, unlabelled or not"


def test_what_is_asked_tells_neither_label_nor_place_nor_whose_model_where_there_is_one_for_all() -> None:
    whole, spy = four(), Spy(frozenset({"S1"}))
    done(compute(whole, job(spy)))
    assert all((w.y, w.onset, set(w.trial), set(w.session)) == (None, None, {""}, {""}) for w, _ in spy.asked)
    later = later_of(whole, NAMES[1:])
    told = [(windows.subjects, subject) for windows, subject in spy.asked]
    assert told == [(("S0",), None), (("S1",), None), (("S1",), "S1"), (("S2",), None), (("S3",), None)]
    for windows, _ in spy.asked[1:]:
        (name,) = windows.subjects
        assert sorted(map(tuple, windows.x)) == sorted(map(tuple, later[name].x))
        assert not np.array_equal(windows.x, later[name].x), "the order would tell the class"


def test_all_learners_are_cut_alike_whichever_of_them_choose() -> None:
    whole, plain, choosing = four(), Spy(), Choosing()
    for strategy in (plain, choosing):
        done(compute(whole, job(strategy)))
    (one,), (other,) = plain.handed, choosing.handed
    assert other.validation is not None
    again = concatenate([other.training, other.validation])
    for name in NAMES[1:]:
        np.testing.assert_array_equal(again.of(name).x, one.training.of(name).x)


def test_those_who_are_for_choosing_are_not_scored() -> None:
    spy = Choosing(frozenset(NAMES))
    outcome = done(compute(four(), job(spy, validation=2)))
    (learning,) = spy.handed
    (learner,) = learning.training.subjects
    assert {(p.subject, p.target, p.model) for p in outcome.predictions} == {
        ("S0", "unseen", "shared"), (learner, "seen", "shared"), (learner, "seen", "personal"),
    }  # fmt: skip


# --- rows -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sign:
    """Predictor that is right about everybody; of the people whom it knows by name it says the contrary."""

    personal_subjects: frozenset[str] = frozenset()

    def predict(self, windows: Windows, subject: str | None = None) -> Predictions:
        one = (windows.x[:, 0] > 0).astype(float)
        one = 1 - one if subject is not None else one
        return Predictions(np.stack([1 - one, one], axis=1))


@dataclass(frozen=True)
class Signs(Strategy):
    personal: frozenset[str] = frozenset()

    def fit(self, learning: Learning, observer: Observer) -> Predictor:
        observer(0, Sign(self.personal))
        observer(1, Sign(self.personal))
        return Sign(self.personal)


def plain(whole: Cohort) -> Cohort:
    """The same people, whose first feature has the sign of the class."""
    x = whole.windows.x.copy()
    x[:, 0] = np.where(whole.windows.labels == 1, 1, -1) * (1 + np.abs(x[:, 0]))
    return replace(whole, windows=replace(whole.windows, x=x))


@pytest.mark.parametrize(("trials", "grouping"), [(1, "block"), (3, "trial")])
def test_each_model_is_scored_by_itself(trials: int, grouping: str) -> None:
    outcome = done(compute(plain(four(trials)), job(Signs(frozenset({"S1", "S3"})))))
    final = {(s.subject, s.target, s.model, s.level): s.value for s in outcome.scores if s.final}
    expected = {("S0", "unseen", "shared"): 1.0}
    expected |= {(name, "seen", "shared"): 1.0 for name in NAMES[1:]}
    expected |= {(name, "seen", "personal"): 0.0 for name in ("S1", "S3")}
    assert final == {(*key, level): value for key, value in expected.items() for level in ("window", "trial")}
    assert {s.grouping for s in outcome.scores if s.target == "seen"} == {grouping}
    assert {s.grouping for s in outcome.scores if s.target == "unseen"} == {"trial"}
    assert {s.step for s in outcome.scores if s.final} == {1}


def test_learning_curves_are_of_the_unseen_person_alone() -> None:
    outcome = done(compute(four(), job(Signs(frozenset(NAMES)))))
    curve = [s for s in outcome.scores if not s.final]
    assert [(s.step, s.subject, s.target, s.model) for s in curve] == [
        (step, "S0", "unseen", "shared") for step in (0, 1)
    ]


def test_predictions_are_of_the_later_windows_in_their_order() -> None:
    whole = four()
    outcome = done(compute(plain(whole), job(Signs(frozenset({"S2"})))))
    later = later_of(whole, NAMES[1:])
    for record in outcome.predictions:
        if record.target == "seen":
            np.testing.assert_array_equal(record.onset, later[record.subject].onset)
            np.testing.assert_array_equal(record.y, later[record.subject].y)
            right = record.probabilities.argmax(axis=1) == record.y
            assert right.all() if record.model == "shared" else not right.any()


def test_the_rows_of_the_unseen_person_are_made_as_without_seen_people() -> None:
    whole = plain(four())
    with_seen, without = (done(compute(whole, job(Signs(), seen=seen))) for seen in (True, False))
    assert [s for s in with_seen.scores if s.target == "unseen"] == without.scores
    assert {s.target for s in without.scores} == {"unseen"}


def test_a_strategy_for_seen_people_is_as_without() -> None:
    with_seen, without = (done(compute(four(), job(Personal(*PARTS), seen=seen))) for seen in (True, False))
    assert with_seen.scores == without.scores
    assert {(s.subject, s.target, s.model) for s in without.scores} == {("S0", "seen", "personal")}


def test_folds_of_a_group_score_their_own_people() -> None:
    jobs = [job(Signs(), number) for number in range(4)]
    for number, outcome in enumerate(compute_many(four(), jobs)):
        assert {s.subject for s in outcome.scores if s.target == "unseen"} == {NAMES[number]}
        assert {s.subject for s in outcome.scores if s.target == "seen"} == set(NAMES) - {NAMES[number]}


def test_a_person_whose_own_way_nobody_shares_is_served_by_a_network_of_the_persons_own() -> None:
    whole = four(trials=3)
    turned = np.where(whole.windows.subject == "S1", -1, 1)
    whole = replace(whole, windows=replace(whole.windows, x=turned[:, None] * whole.windows.x))

    @dataclass(frozen=True)
    class Named(LocalOnly):
        """Says for whom it has networks of their own."""

        def fit(self, learning: Learning, observer: Observer):  # type: ignore[no-untyped-def, override]
            ensemble = super().fit(learning, observer)
            return _Named(ensemble, frozenset(ensemble.members))

    outcome = done(compute(whole, job(Named(*PARTS[:-1], 60))))
    final = {
        s.model: s.value
        for s in outcome.scores
        if s.final and s.level == "window" and (s.subject, s.target) == ("S1", "seen")
    }
    assert final["personal"] > 0.9
    assert final["shared"] < 0.2


@dataclass(frozen=True)
class _Named:
    predictor: Predictor
    personal_subjects: frozenset[str]

    def predict(self, windows: Windows, subject: str | None = None) -> Predictions:
        return self.predictor.predict(windows, subject)


# --- bad input ------------------------------------------------------------------------------------------------------


def test_without_times_nobody_can_be_held_out_later_and_the_cell_says_what_to_do() -> None:
    blind = replace(four(), windows=four().windows.without(onset=True))
    outcome = compute(blind, job(Signs()))
    assert str(outcome.cause).startswith("S1: when its windows start and how long they are must be known")
    assert "protocol.seen" in str(outcome.cause)
    done(compute(blind, job(Signs(), seen=False)))


def test_one_person_who_cannot_be_cut_is_named() -> None:
    whole = four()
    # One window of each trial is left.
    short = (whole.windows.subject != "S2") | (np.arange(len(whole.windows)) % 20 == 0)
    outcome = compute(replace(whole, windows=whole.windows.select(short)), job(Signs()))
    assert str(outcome.cause).startswith("S2: class 0")
    assert "exclude the person" in str(outcome.cause)
