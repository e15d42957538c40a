"""Cumulative training against loops over the windows of everybody so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.errors import LearningError, StudyError
from benchmarks.normalization import STATISTICS, Normalization, Stream, SubjectUnlabelled, Unnormalized
from benchmarks.normalization import Training as TrainingStatistics
from benchmarks.parts import build, find
from benchmarks.windows import Windows, concatenate
from clients.encoders.mlp import MLP
from clients.network import initial_network
from clients.objectives.cross_entropy import CrossEntropy
from clients.predictor import NetworkPredictor
from clients.selection import BestModel, validation_score
from clients.training import Training, class_counts, seeded, tensors, torch_generator, train_epoch
from strategies.continual.cumulative import Cumulative
from strategies.continual.finetuning import FineTuning
from strategies.contract import Learning
from strategies.table import STRATEGIES
from tests.strategies.continual.streams import (
    BATCH,
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
from tests.strategies.learnings import balanced_accuracy, disturb, gaussian_windows, ignore, learning

MODES = [Unnormalized(), Stream(), SubjectUnlabelled()]

# Known answers


def unbalanced() -> Learning:
    """Subjects with different numbers of windows of the two classes."""
    problem = stream(("a", "b", "c"))
    windows, index = problem.training, np.arange(len(problem.training))
    dropped = ((windows.subject == "a") & (windows.labels == 0) & (index % 3 > 0)) | (
        (windows.subject == "b") & (windows.labels == 1) & (index % 4 > 0)
    )
    return replace(problem, training=windows.select(~dropped))


Judges = Callable[[tuple[str, ...]], tuple[str, ...]]
"""Whose validation windows judge an epoch, of the subjects met so far."""


def by_hand(strategy: Cumulative, problem: Learning, judges: Judges | None = None) -> list[NetworkPredictor]:
    """The strategy without Avalanche: after each subject, the network that its loop would have handed over."""
    windows, classes = problem.training, len(problem.classes)
    network = initial_network(strategy.encoder, strategy.objective, windows.x.shape[1:], classes, problem.seed)
    kept = []
    for step, subject in enumerate(windows.subjects, start=1):
        met = windows.of(windows.subjects[:step])
        normalizer = strategy.normalization.start(problem.geometry)
        if strategy.normalization.shares:
            normalizer = normalizer.learn(STATISTICS[problem.geometry](met.x))
        data = tensors(normalizer(met), met.labels)
        loss = strategy.objective.loss(class_counts(met.labels, classes))
        optimizer = strategy.training.optimizer_of(network.parameters())
        shuffling = torch_generator(problem.seed, "subject", subject)
        predictor = NetworkPredictor(network, normalizer, strategy.objective)
        best: BestModel[torch.nn.Module] = BestModel()
        with seeded(problem.seed, "subject", subject, "global"):
            for epoch in range(1, strategy.epochs + 1):
                train_epoch(network, data, loss, optimizer, strategy.training.batch_size, shuffling)
                if judges is None or problem.validation is None:
                    continue
                best.offer(epoch, validation_score(predictor, problem.validation.of(judges(met.subjects))), network)
                if epoch - best.step >= strategy.patience:
                    break
        if judges is not None:
            network.load_state_dict(best.model.state_dict())
        kept.append(predictor.snapshot())
    return kept


def close(ours: NetworkPredictor, theirs: NetworkPredictor, windows: Windows) -> None:
    np.testing.assert_allclose(said(ours, windows), said(theirs, windows), atol=1e-3)


@pytest.mark.parametrize("normalization", MODES)
@pytest.mark.parametrize("problem", [stream(), unbalanced()], ids=["stream", "unbalanced"])
def test_it_is_a_loop_over_the_windows_of_everybody_so_far(normalization: Normalization, problem: Learning) -> None:
    strategy = made(Cumulative, normalization=normalization)
    _, *later = predictors(strategy, problem)
    for found, expected in zip(later, by_hand(strategy, problem), strict=True):
        close(found, expected, problem.training)


@pytest.mark.parametrize("normalization", MODES)
def test_an_epoch_is_judged_by_the_validation_windows_of_everybody_so_far(normalization: Normalization) -> None:
    """Those of the last subject are labelled the other way round: by them alone, the first epoch would be the best."""
    problem = stream(("a", "b", "c"))
    apart = gaussian_windows(("a", "b", "c"), per_class=10, shift=1.0, seed=7)
    swapped = np.where(apart.subject == "c", 1 - apart.labels, apart.labels)
    problem = replace(problem, validation=replace(apart, y=swapped))
    training = Training(learning_rate=1e-3, batch_size=BATCH)
    strategy = made(Cumulative, normalization=normalization, epochs=6, patience=2, training=training)
    _, *later = predictors(strategy, problem)
    for found, expected in zip(later, by_hand(strategy, problem, lambda met: met), strict=True):
        close(found, expected, problem.training)
    *_, judged_by_the_last = by_hand(strategy, problem, lambda met: met[-1:])
    assert np.abs(said(later[-1], apart) - said(judged_by_the_last, apart)).max() > 0.01


# Behaviour


def test_the_first_subject_is_learned_as_in_fine_tuning_and_the_second_is_not() -> None:
    ours, theirs = predictors(made(Cumulative), stream()), predictors(made(FineTuning), stream())
    assert [same(*pair) for pair in zip(ours, theirs, strict=True)] == [True, True, False, False]


def test_nobody_is_forgotten() -> None:
    """Two subjects with classes of their own side of an axis each: the last alone would overwrite the first."""
    first, second = gaussian_windows(["first"], distance=6.0), gaussian_windows(["second"], distance=6.0)
    apart = concatenate([first, replace(second, x=-second.x)])
    problem = learning(apart)
    encoder, training = MLP(hidden=(16,)), Training(learning_rate=0.02, batch_size=BATCH)
    parts = {"encoder": encoder, "training": training, "epochs": 40}
    kept, overwritten = (made(kind, **parts).fit(problem, ignore) for kind in (Cumulative, FineTuning))
    assert balanced_accuracy(kept, apart.of("first")) > 0.9
    assert balanced_accuracy(kept, apart.of("second")) > 0.9
    assert balanced_accuracy(overwritten, apart.of("first")) < 0.5


@pytest.mark.parametrize("normalization", MODES)
def test_what_a_step_hands_over_does_not_depend_on_the_subjects_still_to_come(normalization: Normalization) -> None:
    strategy = made(Cumulative, normalization=normalization, encoder=REGULAR)
    long, short = (predictors(strategy, validated(stream(names))) for names in (("a", "b", "c", "d"), ("a", "b")))
    assert same(long[2], short[-1])


def test_the_observer_changes_nothing_and_the_seed_decides() -> None:
    strategy = made(Cumulative, normalization=Stream(), encoder=REGULAR)
    assert same(strategy.fit(stream(), ignore), strategy.fit(stream(), disturb))
    assert not same(strategy.fit(stream(seed=1), ignore), strategy.fit(stream(seed=2), ignore))


def test_a_strategy_serves_one_stream_after_another() -> None:
    strategy = made(Cumulative)
    first = strategy.fit(stream(), ignore)
    strategy.fit(stream(("x", "y")), ignore)
    assert same(strategy.fit(stream(), ignore), first)


def test_a_study_builds_it_by_its_name() -> None:
    given = {"normalization": Stream(), "encoder": MLP(), "objective": CrossEntropy(), "training": Training()}
    part = find("cumulative", STRATEGIES, "strategy")
    assert build(part, given, {"epochs": 4}, "strategy") == Cumulative(**given, epochs=4)  # type: ignore[arg-type]


# Bad input


def test_a_stream_of_one_subject_is_fine_tuning() -> None:
    assert same(made(Cumulative).fit(stream(("a",)), ignore), made(FineTuning).fit(stream(("a",)), ignore))


def test_a_subject_of_one_class_and_a_class_that_comes_late_are_learned() -> None:
    strategy = made(Cumulative, epochs=30)
    for problem in (of_one_class(stream(), "alice", 1), late(stream(classes=3), 2)):
        predictor = strategy.fit(problem, ignore)
        assert balanced_accuracy(predictor, problem.training) > 0.8


def test_statistics_of_subjects_still_to_come_are_refused() -> None:
    with pytest.raises(StudyError, match=r"Cumulative meets them one after another.*use stream"):
        made(Cumulative, normalization=TrainingStatistics())


def test_divergence_names_the_subject_in_turn() -> None:
    problem = stream(("a", "b"))
    x = np.where((problem.training.subject == "b")[:, None], 1e38 * problem.training.x, problem.training.x)
    with pytest.raises(LearningError, match="diverged at subject b, number 2 "):
        made(Cumulative).fit(replace(problem, training=replace(problem.training, x=x)), ignore)
