"""Training from scratch: every subject of a stream as if it were the only one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.archive import Unarchivable
from benchmarks.errors import StudyError
from benchmarks.normalization import Normalization, Stream, SubjectUnlabelled, Unnormalized
from benchmarks.normalization import Training as TrainingStatistics
from benchmarks.parts import build, find
from clients.encoders.mlp import MLP
from clients.objectives.cross_entropy import CrossEntropy
from clients.training import Training
from strategies.archives import packed, unpacked
from strategies.continual.finetuning import FineTuning
from strategies.continual.from_scratch import FromScratch
from strategies.contract import Learning
from strategies.table import STRATEGIES
from tests.strategies.continual.streams import (
    REGULAR,
    late,
    made,
    of_one_class,
    predictors,
    said,
    same,
    stream,
    validated,
)
from tests.strategies.learnings import (
    balanced_accuracy,
    covariance_windows,
    disturb,
    gaussian_windows,
    ignore,
    learning,
)

MODES = [Unnormalized(), Stream(), SubjectUnlabelled()]
STREAMS = {
    "stream": stream(),
    "validated": validated(stream()),
    "covariances": learning(covariance_windows(("a", "b", "c"), shift=0.3), geometry="spd"),
}

# Known answers


@pytest.mark.parametrize("normalization", MODES)
@pytest.mark.parametrize("problem", STREAMS.values(), ids=STREAMS.keys())
def test_each_network_is_that_of_a_stream_of_the_subject_alone(normalization: Normalization, problem: Learning) -> None:
    parts = {"normalization": normalization, "encoder": REGULAR, "patience": 1}
    first, *later = predictors(made(FromScratch, **parts), problem)
    for subject, found in zip(problem.training.subjects, later, strict=True):
        alone = replace(problem, training=problem.training.of(subject))
        untrained, expected = predictors(made(FineTuning, **parts), alone)
        assert same(found, expected)
        assert same(first, untrained)
        np.testing.assert_array_equal(said(found, problem.training), said(expected, problem.training))
        np.testing.assert_array_equal(said(first, problem.training), said(untrained, problem.training))


# Behaviour


def test_the_order_does_not_matter_to_a_subject() -> None:
    there, back = ("a", "b", "c"), ("c", "b", "a")
    strategy = made(FromScratch, normalization=Stream(), encoder=REGULAR)
    forth = dict(zip(there, predictors(strategy, stream(there))[1:], strict=True))
    round_ = dict(zip(back, predictors(strategy, stream(back))[1:], strict=True))
    for subject in there:
        assert same(forth[subject], round_[subject])


def test_only_the_first_subject_is_learned_as_in_fine_tuning() -> None:
    for normalization in MODES:
        ours = predictors(made(FromScratch, normalization=normalization), stream())
        theirs = predictors(made(FineTuning, normalization=normalization), stream())
        assert [same(*pair) for pair in zip(ours, theirs, strict=True)] == [True, True, False, False]


def test_statistics_are_those_of_the_subject_in_turn() -> None:
    problem = stream()
    _, *later = predictors(made(FromScratch, normalization=Stream()), problem)
    for subject, predictor in zip(problem.training.subjects, later, strict=True):
        mine = problem.training.of(subject).x
        expected = (problem.training.x - mine.mean(0)) / mine.std(0)
        np.testing.assert_allclose(predictor.normalizer(problem.training), expected, rtol=1e-10, atol=1e-12)


def test_the_observer_changes_nothing_and_the_seed_decides() -> None:
    strategy = made(FromScratch, normalization=Stream(), encoder=REGULAR)
    assert same(strategy.fit(stream(), ignore), strategy.fit(stream(), disturb))
    assert not same(strategy.fit(stream(seed=1), ignore), strategy.fit(stream(seed=2), ignore))


@pytest.mark.parametrize("normalization", MODES)
def test_its_predictor_travels(normalization: Normalization) -> None:
    problem = stream()
    predictor = made(FromScratch, normalization=normalization).fit(problem, ignore)
    content = packed(predictor)
    assert content is not None
    np.testing.assert_array_equal(said(unpacked(content), problem.training), said(predictor, problem.training))


def test_a_normaliser_that_has_met_nobody_does_not_travel() -> None:
    first, *_ = predictors(made(FromScratch, normalization=Stream()), stream())
    with pytest.raises(Unarchivable, match="met nobody"):
        first.archive()


def test_a_study_builds_it_by_its_name() -> None:
    given = {"normalization": Stream(), "encoder": MLP(), "objective": CrossEntropy(), "training": Training()}
    part = find("from_scratch", STRATEGIES, "strategy")
    assert build(part, given, {"epochs": 4}, "strategy") == FromScratch(**given, epochs=4)  # type: ignore[arg-type]


# Bad input


def test_a_subject_of_one_class_and_a_class_that_comes_late_are_learned() -> None:
    strategy = made(FromScratch, epochs=30)
    one = of_one_class(stream(), "bob", 1)
    predictor = strategy.fit(one, ignore)
    assert (said(predictor, gaussian_windows(["new"])).argmax(axis=1) == 1).mean() > 0.9
    problem = late(stream(classes=3), 2)
    assert balanced_accuracy(strategy.fit(problem, ignore), problem.training.of("bob")) > 0.8


def test_statistics_of_subjects_still_to_come_are_refused() -> None:
    with pytest.raises(StudyError, match=r"FromScratch meets them one after another.*use stream"):
        made(FromScratch, normalization=TrainingStatistics())
