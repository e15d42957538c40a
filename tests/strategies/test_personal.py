"""The bound of a person's own windows: the network of a subject alone, scored as one of a seen person."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.errors import LearningError
from benchmarks.normalization import Training as TrainingStatistics
from clients.encoders.mlp import MLP
from clients.objectives.cross_entropy import CrossEntropy
from clients.training import Training
from strategies.local_only import LocalOnly
from strategies.personal import Personal
from tests.strategies.learnings import Recorder, gaussian_windows, ignore, learning

COHORT = gaussian_windows(["a", "b"], shift=2.0)
PARTS = (TrainingStatistics(), MLP(hidden=(8,)), CrossEntropy(), Training(batch_size=16), 4)


def test_it_is_what_the_person_alone_would_learn_among_others() -> None:
    personal = Personal(*PARTS).fit(learning(COHORT.of("b")), ignore)
    among_others = LocalOnly(*PARTS).fit(learning(COHORT), ignore)
    mine = COHORT.of("b").without(labels=True)
    np.testing.assert_array_equal(
        personal.predict(mine, "b").probabilities, among_others.predict(mine, "b").probabilities
    )


def test_a_step_is_the_person() -> None:
    record = Recorder(COHORT.of("b"))
    Personal(*PARTS).fit(learning(COHORT.of("b")), record)
    assert record.steps == [0, 1]


def test_of_several_people_each_has_a_network_of_its_own() -> None:
    both = Personal(*PARTS).fit(learning(COHORT), ignore)
    for name, mine in COHORT.by_subject():
        one = Personal(*PARTS).fit(learning(mine), ignore)
        np.testing.assert_array_equal(both.predict(mine, name).probabilities, one.predict(mine, name).probabilities)


def test_a_person_without_a_class_is_an_error() -> None:
    known = learning(COHORT)
    one_class = COHORT.of("b").select(COHORT.of("b").labels == 0)
    lacking = type(known)(one_class, None, known.classes, known.geometry, known.seed)
    with pytest.raises(LearningError, match="No training window of class 'class1' among subjects b"):
        Personal(*PARTS).fit(lacking, ignore)
