"""Networks that learned nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.errors import LearningError, StudyError
from benchmarks.normalization import Normalization, Stream, SubjectUnlabelled, Unnormalized
from benchmarks.normalization import Training as TrainingStatistics
from benchmarks.parts import build, find
from benchmarks.randomness import derive
from clients.encoders.mlp import MLP
from clients.network import initial_network
from clients.objectives.cross_entropy import CrossEntropy
from clients.predictor import NetworkPredictor
from strategies.contract import Learning
from strategies.table import STRATEGIES
from strategies.untrained import Untrained
from tests.strategies.learnings import (
    Recorder,
    balanced_accuracy,
    disturb,
    gaussian_windows,
    ignore,
    learning,
)


def untrained(normalization: Normalization | None = None, inits: int = 4) -> Untrained:
    return Untrained(
        normalization=normalization or Stream(), encoder=MLP(hidden=(8,)), objective=CrossEntropy(), inits=inits
    )


def problem(subjects: tuple[str, ...] = ("a", "b", "c"), *, seed: int = 0) -> Learning:
    return learning(gaussian_windows(subjects, shift=1.0), seed=seed)


# Known answers


@pytest.mark.parametrize("normalization", [Stream(), SubjectUnlabelled(), Unnormalized()])
def test_every_step_is_a_network_of_its_own_with_the_normaliser_of_nobody(normalization: Normalization) -> None:
    known = problem(seed=3)
    record = Recorder(known.training)
    last = untrained(normalization).fit(known, record)
    assert record.steps == [0, 1, 2, 3]
    nobody = normalization.start("vector")
    for step, probabilities in enumerate(record.probabilities):
        network = initial_network(MLP(hidden=(8,)), CrossEntropy(), (4,), 2, derive(3, "untrained", step))
        expected = NetworkPredictor(network, nobody, CrossEntropy()).predict(record.windows).probabilities
        np.testing.assert_array_equal(probabilities, expected)
    np.testing.assert_array_equal(last.predict(record.windows).probabilities, record.probabilities[-1])


def test_no_network_is_the_one_that_the_strategies_of_the_cell_start_from() -> None:
    known = problem(seed=3)
    record = Recorder(known.training)
    untrained().fit(known, record)
    start = initial_network(MLP(hidden=(8,)), CrossEntropy(), (4,), 2, 3)
    said = [NetworkPredictor(start, Stream().start("vector"), CrossEntropy()).predict(record.windows).probabilities]
    different = {probabilities.tobytes() for probabilities in [*said, *record.probabilities]}
    assert len(different) == 5


def test_many_of_them_are_at_chance() -> None:
    """The mean over 200 networks of a balanced accuracy that has a standard deviation of at most a half."""
    known = problem(("a",))
    scores: list[float] = []
    untrained(inits=200).fit(known, lambda step, predictor: scores.append(balanced_accuracy(predictor, known.training)))
    assert np.mean(scores) == pytest.approx(0.5, abs=3.5 * 0.5 / 200**0.5)
    assert np.std(scores) > 0.1


# Behaviour


def test_nothing_of_the_windows_is_learned_but_their_shape() -> None:
    known, new = problem(), gaussian_windows(["new"]).without(labels=True)
    other = problem(("x", "y"))
    swapped = replace(known, training=replace(known.training, y=1 - known.labels, x=known.training.x * 100))
    ours, *others = (
        untrained().fit(one, ignore).predict(new).probabilities
        for one in (known, other, swapped, replace(known, validation=gaussian_windows(["a", "b", "c"], seed=9)))
    )
    for found in others:
        np.testing.assert_array_equal(found, ours)


def test_the_observer_changes_nothing_and_the_seed_decides() -> None:
    new = gaussian_windows(["new"]).without(labels=True)
    quiet, loud, other = (
        untrained().fit(problem(seed=seed), observer).predict(new).probabilities
        for seed, observer in ((1, ignore), (1, disturb), (2, ignore))
    )
    np.testing.assert_array_equal(loud, quiet)
    assert not np.array_equal(other, quiet)


def test_it_takes_what_a_stream_takes_in_one_order() -> None:
    assert Untrained.control
    assert Untrained.sequential
    assert not Untrained.order_matters
    given = {"normalization": Stream(), "encoder": MLP(), "objective": CrossEntropy()}
    part = find("untrained", STRATEGIES, "strategy")
    assert build(part, given, {"inits": 5}, "strategy") == Untrained(**given, inits=5)  # type: ignore[arg-type]
    with pytest.raises(StudyError, match=r"strategy\.inits: .*greater than 0"):
        build(part, given, {"inits": 0}, "strategy")
    with pytest.raises(StudyError, match="use stream"):
        untrained(TrainingStatistics())


def test_a_class_that_nobody_shows_is_named_before_anything_is_observed() -> None:
    record = Recorder(problem().training)
    with pytest.raises(LearningError, match="No training window of class 'class2'"):
        untrained().fit(replace(problem(), classes=("class0", "class1", "class2")), record)
    assert record.steps == []
