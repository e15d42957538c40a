"""Every strategy of the table through the same checks; an entry without a case fails."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np
import pytest

from benchmarks.errors import LearningError, StudyError
from benchmarks.normalization import NORMALIZATIONS, Geometry, Normalization, SubjectUnlabelled
from benchmarks.parts import build, find
from benchmarks.randomness import generator
from benchmarks.windows import Windows
from clients.encoders.mlp import MLP
from clients.objectives.cross_entropy import CrossEntropy
from clients.training import Training, seeded
from strategies.contract import Learning, Predictor, Strategy, check_normalization
from strategies.federated.averaging import FedAvg
from strategies.grids.auto import Auto
from strategies.grids.contract import Place
from strategies.grids.in_process import InProcess
from strategies.grids.stacked import Stacked
from strategies.table import STRATEGIES
from tests.strategies.learnings import (
    Recorder,
    balanced_accuracy,
    covariance_windows,
    disturb,
    draws,
    gaussian_windows,
    ignore,
    learning,
    timed,
)


@dataclass(frozen=True)
class Case:
    """Values of a study file, and what is known beforehand of the strategy.

    Parameters
    ----------
    values : dict
        Of the study file.
    grid : Place
        Where the clients of a federation run.
    learns : bool
        Whether it can be better than a guess.
    geometry : {"vector", "channels", "spd"}
        One that it takes.
    in_sequence : bool
        Whether it meets subjects one after another.
    normalizes : bool
        Whether it takes a normalisation.
    looks : bool
        Whether it looks at the windows' representation; what does not is a control.
    clock : bool
        Whether it looks at the time.
    seen : bool
        Whether it is scored on people whom it learned from.
    trained : bool
        Whether what it says of the windows that it looks at depends on those that it was given to learn from.
    transductive : bool
        Whether it learns from unlabelled windows of the people that are scored.
    """

    values: dict[str, object] = field(default_factory=dict)
    grid: Place = field(default_factory=InProcess)
    learns: bool = True
    geometry: Geometry = "vector"
    in_sequence: bool = False
    normalizes: bool = True
    looks: bool = True
    clock: bool = False
    seen: bool = False
    trained: bool = True
    transductive: bool = False


CASES = {
    "majority": Case(learns=False, normalizes=False, looks=False),
    "class_prior": Case(learns=False, normalizes=False, looks=False),
    "time_linear": Case(normalizes=False, looks=False, clock=True),
    "time_forest": Case({"trees": 20}, normalizes=False, looks=False, clock=True),
    "lda": Case(),
    "tangent_space": Case(geometry="spd"),
    "pooled": Case({"epochs": 8, "patience": 2}),
    "federated": Case({"rounds": 8}, grid=Auto()),
    "federated/in_process": Case({"rounds": 8}, grid=InProcess()),
    "federated/stacked": Case({"rounds": 8}, grid=Stacked()),
    "finetuning": Case({"epochs": 4}, in_sequence=True),
    "ewc": Case({"epochs": 4, "strength": 1.0}, in_sequence=True),
    "ewc/online": Case({"epochs": 4, "strength": 1.0, "mode": "online", "fisher": "empirical"}, in_sequence=True),
    "si": Case({"epochs": 4, "strength": 0.1}, in_sequence=True),
    "mas": Case({"epochs": 4, "strength": 0.1}, in_sequence=True),
    "replay": Case({"epochs": 4, "memory": 60}, in_sequence=True),
    "der": Case({"epochs": 4, "memory": 60}, in_sequence=True),
    "gem": Case({"epochs": 4, "per_subject": 12}, in_sequence=True),
    "agem": Case({"epochs": 4, "memory": 60}, in_sequence=True),
    "lwf": Case({"epochs": 4}, in_sequence=True),
    "dann": Case({"epochs": 4, "memory": 60}, in_sequence=True),
    "dann_target": Case({"epochs": 4}, in_sequence=True, transductive=True),
    "cumulative": Case({"epochs": 4}, in_sequence=True),
    "from_scratch": Case({"epochs": 10}, in_sequence=True),
    "untrained": Case({"inits": 4}, learns=False, in_sequence=True, trained=False),
    "local_only": Case({"epochs": 10}),
    "personal": Case({"epochs": 10}, seen=True),
}
"""By the strategy's name; a second case of one has a word behind it."""

every_strategy = pytest.mark.parametrize("name", CASES)

COHORTS = {
    "vector": gaussian_windows(["a", "b", "c", "d", "e", "new"], shift=0.5, distance=4.0, classes=3),
    "spd": covariance_windows(["a", "b", "c", "d", "e", "new"], shift=0.1, classes=3),
}


def kind(name: str) -> type[Strategy]:
    found: type[Strategy] = find(name.partition("/")[0], STRATEGIES, "strategy")
    return found


def strategy(name: str, mode: Normalization | None = None) -> Strategy:
    given = {
        "normalization": mode or SubjectUnlabelled(),
        "encoder": MLP(hidden=(8,), dropout=0.2),
        "objective": CrossEntropy(),
        "training": Training(learning_rate=0.02, batch_size=16),
        "aggregator": FedAvg(fraction=0.75),
        "grid": CASES[name].grid,
    }
    mine = build(kind(name), given, CASES[name].values, f"configurations.{name}.strategy")
    assert isinstance(mine, Strategy)
    return mine


def problem(name: str, seed: int = 0) -> tuple[Learning, Windows]:
    """What may be learned from, and the labelled windows of a new subject."""
    cohort = COHORTS[CASES[name].geometry]
    cohort = timed(cohort) if strategy(name).needs_onset else cohort
    known = cohort.of(["a", "b", "c", "d", "e"])
    apart = ["e"] if strategy(name).uses_validation else []
    given, new = learning(known, validation=apart, geometry=CASES[name].geometry, seed=seed), cohort.of("new")
    return replace(given, target=new.without(labels=True) if CASES[name].transductive else None), new


def said(predictor: Predictor, windows: Windows) -> np.ndarray:
    return predictor.predict(windows.without(labels=True)).probabilities


def test_every_entry_has_a_case() -> None:
    assert {name.partition("/")[0] for name in CASES} == set(STRATEGIES)


@every_strategy
def test_it_says_of_itself_what_is_so(name: str) -> None:
    mine = kind(name)
    assert issubclass(mine, Strategy)
    assert mine.__dataclass_params__.frozen
    assert mine.sequential is CASES[name].in_sequence
    assert CASES[name].geometry in mine.geometries
    assert ("normalization" in {f.name for f in fields(mine)}) is CASES[name].normalizes
    assert mine.needs_features is CASES[name].looks
    assert mine.control is not (CASES[name].looks and CASES[name].trained)
    assert mine.order_matters is CASES[name].trained
    assert mine.needs_onset is CASES[name].clock
    assert mine.target == ("seen" if CASES[name].seen else "unseen")
    assert mine.needs_target is CASES[name].transductive


MODES = [(name, mode) for name, case in CASES.items() if case.normalizes for mode in NORMALIZATIONS]


@pytest.mark.parametrize(("name", "mode"), MODES)
def test_it_learns_an_easy_cohort_and_refuses_what_makes_no_sense(name: str, mode: str) -> None:
    normalization = build(find(mode, NORMALIZATIONS, "normalization"), {}, {}, "normalization")
    refused = mode == ("training" if CASES[name].in_sequence else "stream")
    if refused:
        with pytest.raises(StudyError, match=r"use .*subject_unlabelled or none"):
            strategy(name, normalization)
        with pytest.raises(StudyError):
            check_normalization(kind(name), normalization)
        return
    known, new = problem(name)
    predictor = strategy(name, normalization).fit(known, ignore)
    assert not CASES[name].learns or balanced_accuracy(predictor, new) > 0.8


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.learns and case.trained])
def test_what_never_learns_is_at_chance(name: str) -> None:
    known, new = problem(name)
    assert balanced_accuracy(strategy(name).fit(known, ignore), new) == pytest.approx(1 / 3)


@every_strategy
def test_it_looks_at_the_representation_if_and_only_if_it_says_so(name: str) -> None:
    known, new = problem(name)
    order = generator("other windows").permutation(len(known.training))
    other = replace(known, training=replace(known.training, x=known.training.x[order]))
    fits = [strategy(name).fit(each, ignore) for each in (known, other)]
    assert np.array_equal(*[said(fit, new) for fit in fits]) is not (CASES[name].looks and CASES[name].trained)
    shown = replace(new, x=new.x[::-1].copy())
    assert np.array_equal(said(fits[0], shown), said(fits[0], new)) is not CASES[name].looks


@every_strategy
def test_two_fits_agree_to_the_bit_whatever_ran_before(name: str) -> None:
    known, new = problem(name)
    with seeded("one"):
        first = said(strategy(name).fit(known, ignore), new)
    with seeded("two"):
        np.testing.assert_array_equal(said(strategy(name).fit(known, ignore), new), first)


@every_strategy
def test_the_seed_matters_if_and_only_if_it_says_so(name: str) -> None:
    (one, new), (two, _) = problem(name, seed=1), problem(name, seed=2)
    same = np.array_equal(said(strategy(name).fit(one, ignore), new), said(strategy(name).fit(two, ignore), new))
    assert same is not strategy(name).stochastic


@every_strategy
def test_the_observer_is_called_before_learning_and_then_step_by_step(name: str) -> None:
    known, new = problem(name)
    record = Recorder(new)
    final = strategy(name).fit(known, record)
    assert record.steps == list(range(len(record.steps)))
    assert len(record.steps) > 1
    assert balanced_accuracy(record.predictors[0], new) < 0.7
    assert any(np.array_equal(said(final, new), shown) for shown in record.probabilities[1:])


@every_strategy
def test_a_predictor_that_the_observer_keeps_stays_as_it_was(name: str) -> None:
    known, new = problem(name)
    record = Recorder(new)
    strategy(name).fit(known, record)
    for predictor, before in zip(record.predictors, record.probabilities, strict=True):
        np.testing.assert_array_equal(said(predictor, new), before)


@every_strategy
def test_the_observer_changes_nothing(name: str) -> None:
    known, new = problem(name)
    alone = said(strategy(name).fit(known, ignore), new)
    with seeded("observer"):
        np.testing.assert_array_equal(said(strategy(name).fit(known, disturb), new), alone)


@every_strategy
def test_fitting_leaves_the_random_state_and_the_windows_as_they_were(name: str) -> None:
    known, _ = problem(name)
    kept = [part.select(np.arange(len(part))) for part in (known.training, known.validation) if part is not None]
    with seeded("before"):
        before = draws()
    with seeded("before"):
        strategy(name).fit(known, ignore)
        assert draws() == before
    for part, copy in zip((known.training, known.validation), kept, strict=False):
        assert part is not None
        np.testing.assert_array_equal(part.x, copy.x)
        np.testing.assert_array_equal(part.y, copy.y)


@every_strategy
def test_its_predictor_consumes_no_randomness(name: str) -> None:
    known, new = problem(name)
    predictor = strategy(name).fit(known, ignore)
    with seeded("before"):
        before = draws()
    with seeded("before"):
        first = said(predictor, new)
        np.testing.assert_array_equal(said(predictor, new), first)
        assert draws() == before


@every_strategy
def test_all_classes_have_a_column_even_where_one_alone_is_shown(name: str) -> None:
    known, new = problem(name)
    predictor = strategy(name).fit(known, ignore)
    assert new.y is not None
    only = new.select(new.y == 1)
    assert said(predictor, only).shape == (len(only), 3)
    assert said(predictor, new.select(np.array([0]))).shape == (1, 3)


@every_strategy
def test_without_validation_subjects_it_learns_all_the_same(name: str) -> None:
    known, new = problem(name)
    predictor = strategy(name).fit(replace(known, validation=None), ignore)
    assert balanced_accuracy(predictor, new) >= (0.8 if CASES[name].learns else 0.0)


# Strategies in sequence are given windows to validate on of the subjects that they learn from, or none.
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.in_sequence])
def test_validation_subjects_are_looked_at_only_if_it_says_so(name: str) -> None:
    known, new = problem(name)
    nothing = said(strategy(name).fit(replace(known, validation=None), ignore), new)
    with_some = said(strategy(name).fit(replace(known, validation=new), ignore), new)
    assert np.array_equal(nothing, with_some) or strategy(name).uses_validation


@every_strategy
def test_a_class_that_nobody_shows_is_named(name: str) -> None:
    known, _ = problem(name)
    assert known.training.y is not None
    lacking = replace(known, training=known.training.select(known.training.y != 2))
    with pytest.raises(LearningError, match="No training window of class 'class2' among subjects a, b, c, d"):
        strategy(name).fit(lacking, ignore)


@every_strategy
def test_representations_that_it_does_not_take_are_refused(name: str) -> None:
    known, _ = problem(name)
    everything: tuple[Geometry, ...] = ("vector", "channels", "spd")
    for geometry in set(everything) - set(strategy(name).geometries):
        with pytest.raises(LearningError, match=r"learns from .*, found"):
            strategy(name).fit(replace(known, geometry=geometry), ignore)


# Folds learned together


def three(name: str) -> list[Learning]:
    """Folds of one configuration and seed: others learn in each."""
    known, _ = problem(name)
    return [
        replace(known, training=known.training.of([one for one in known.training.subjects if one != out]))
        for out in ("a", "b", "c")
    ]


def assert_as_alone(name: str, found: Predictor | Exception, alone: Predictor) -> None:
    assert not isinstance(found, Exception), found
    _, new = problem(name)
    if strategy(name).lockstep:
        np.testing.assert_allclose(said(found, new), said(alone, new), atol=1e-4)
    else:
        np.testing.assert_array_equal(said(found, new), said(alone, new))


@every_strategy
def test_folds_learned_together_are_as_each_alone_and_their_observers_change_nothing(name: str) -> None:
    mine, folds = strategy(name), three(name)
    records = [Recorder(problem(name)[1]) for _ in folds]
    with seeded("before"):
        before = draws()
    with seeded("before"):
        shown = mine.fit_many(folds, records)
        assert draws() == before
    with seeded("observer"):
        disturbed = mine.fit_many(folds, [disturb] * 3)
    for found, other, record, fold in zip(shown, disturbed, records, folds, strict=True):
        assert not isinstance(found, Exception)
        assert not isinstance(other, Exception)
        np.testing.assert_array_equal(said(other, problem(name)[1]), said(found, problem(name)[1]))
        alone = Recorder(problem(name)[1])
        assert_as_alone(name, found, mine.fit(fold, alone))
        assert record.steps == alone.steps
        assert record.measures.keys() == alone.measures.keys()


@every_strategy
def test_a_fold_that_fails_is_an_exception_in_its_place(name: str) -> None:
    mine, (first, second, third) = strategy(name), three(name)
    lacking = replace(second, training=second.training.select(second.labels != 2))
    found = mine.fit_many([first, lacking, third, third], [ignore, ignore, ignore, fail])
    assert isinstance(found[1], LearningError)
    assert "No training window of class 'class2'" in str(found[1])
    assert isinstance(found[3], RuntimeError)
    assert str(found[3]) == "an observer that fails"
    assert_as_alone(name, found[0], mine.fit(first, ignore))
    assert_as_alone(name, found[2], mine.fit(third, ignore))


def fail(step: int, predictor: Predictor) -> None:
    raise RuntimeError("an observer that fails")


@every_strategy
def test_every_fold_has_an_observer(name: str) -> None:
    folds, one_too_few = three(name), [ignore, ignore]
    with pytest.raises(ValueError, match="zip"):
        strategy(name).fit_many(folds, one_too_few)
    assert strategy(name).fit_many([], []) == []
