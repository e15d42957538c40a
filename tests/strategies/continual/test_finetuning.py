"""Sequential fine-tuning against loops written out by hand."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from pyriemann.geometry.mean import mean_riemann
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.errors import LearningError, StudyError
from benchmarks.normalization import (
    STATISTICS,
    Identity,
    Normalization,
    Normalizer,
    Shared,
    Stream,
    SubjectUnlabelled,
    Unnormalized,
)
from benchmarks.normalization import Training as TrainingStatistics
from benchmarks.parts import build, find
from benchmarks.windows import concatenate
from clients.encoders.mlp import MLP
from clients.network import initial_network
from clients.objectives.cross_entropy import CrossEntropy
from clients.optimizers import OPTIMIZERS, OptimizerName
from clients.predictor import NetworkPredictor
from clients.training import (
    Training,
    class_counts,
    seeded,
    tensors,
    torch_generator,
    train_epoch,
)
from strategies.continual.finetuning import FineTuning
from strategies.contract import Learning, Predictor
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
)

SUBJECTS = ("carol", "alice", "bob")
EPOCHS = 3


def finetuning(
    normalization: Normalization | None = None,
    *,
    encoder: MLP | None = None,
    training: Training | None = None,
    epochs: int = EPOCHS,
) -> FineTuning:
    return FineTuning(
        normalization=normalization or Unnormalized(),
        encoder=encoder or MLP(hidden=(8,)),
        objective=CrossEntropy(),
        training=training or Training(learning_rate=1e-2, batch_size=16),
        epochs=epochs,
    )


def stream(subjects: tuple[str, ...] = SUBJECTS, seed: int = 0) -> Learning:
    return learning(gaussian_windows(subjects, shift=1.0), seed=seed)


def weights(network: nn.Module) -> list[Tensor]:
    return [value.clone() for value in network.state_dict().values()]


def predictors(strategy: FineTuning, problem: Learning) -> list[NetworkPredictor]:
    """What the observer is given, step by step."""
    kept: list[NetworkPredictor] = []

    def observer(step: int, predictor: Predictor) -> None:
        assert isinstance(predictor, NetworkPredictor)
        kept.append(predictor)

    strategy.fit(problem, observer)
    return kept


def same(ours: nn.Module, theirs: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(ours), weights(theirs), strict=True))


def unbalanced() -> Learning:
    """A stream whose subjects have different shares of the classes; the last but one has one class alone."""
    windows = gaussian_windows(("a", "b", "c", "d"), shift=1.0)
    assert windows.y is not None
    index = np.arange(len(windows))
    dropped = (
        ((windows.subject == "a") & (windows.y == 0) & (index % 3 > 0))
        | ((windows.subject == "b") & (windows.y == 1) & (index % 4 > 0))
        | ((windows.subject == "c") & (windows.y == 0))
    )
    return learning(windows.select(~dropped))


# Known answers


class HandWritten:
    """What fine-tuning is, with nothing of Avalanche."""

    def __init__(self, strategy: FineTuning, problem: Learning) -> None:
        windows, classes = problem.training, len(problem.classes)
        self.network = initial_network(strategy.encoder, strategy.objective, windows.x.shape[1:], classes, problem.seed)
        self.normalizer: Normalizer = strategy.normalization.start(problem.geometry)
        for subject in windows.subjects:
            mine = windows.of(subject)
            assert mine.y is not None
            if strategy.normalization.shares:
                self.normalizer = self.normalizer.learn(STATISTICS[problem.geometry](mine.x))
            x, y = tensors(self.normalizer(mine), mine.y)
            present, counts = np.unique(mine.y, return_counts=True)
            weight = torch.ones(classes)
            for label, count in zip(present, counts, strict=True):
                weight[label] = len(mine) / (len(present) * float(count))
            optimizer = torch.optim.Adam(self.network.parameters(), lr=strategy.training.learning_rate, fused=True)
            shuffling = torch_generator(problem.seed, "subject", subject)
            self.network.train()
            for _ in range(strategy.epochs):
                order = torch.randperm(len(x), generator=shuffling)
                for batch in torch.split(order, strategy.training.batch_size):
                    optimizer.zero_grad()
                    each = functional.cross_entropy(self.network(x[batch]), y[batch], reduction="none")
                    (weight[y[batch]] * each).mean().backward()  # type: ignore[no-untyped-call]
                    optimizer.step()


@pytest.mark.parametrize("normalization", [Unnormalized(), Stream(), SubjectUnlabelled()])
@pytest.mark.parametrize("problem", [stream(), stream(seed=5), unbalanced()], ids=["stream", "seed", "unbalanced"])
def test_it_is_a_plain_loop_over_the_subjects_to_the_bit(normalization: Normalization, problem: Learning) -> None:
    strategy = finetuning(normalization)
    predictor = strategy.fit(problem, ignore)
    by_hand = HandWritten(strategy, problem)
    assert same(predictor.network, by_hand.network)
    np.testing.assert_array_equal(predictor.normalizer(problem.training), by_hand.normalizer(problem.training))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_stream_of_one_subject_is_plain_training(optimizer: OptimizerName) -> None:
    training = Training(optimizer=optimizer, learning_rate=1e-2, weight_decay=0.1, batch_size=16)
    strategy, problem = finetuning(training=training), stream(("alice",), seed=3)
    network = initial_network(strategy.encoder, strategy.objective, (4,), 2, problem.seed)
    loss = strategy.objective.loss(class_counts(problem.labels, 2))
    shuffling, data = torch_generator(3, "subject", "alice"), tensors(problem.training.x, problem.labels)
    adapting = training.optimizer_of(network.parameters())
    for _ in range(EPOCHS):
        train_epoch(network, data, loss, adapting, training.batch_size, shuffling)
    assert same(strategy.fit(problem, ignore).network, network)


def test_before_any_learning_the_network_is_the_one_that_every_strategy_starts_from() -> None:
    strategy, problem = finetuning(Stream()), stream(seed=2)
    first, *_ = predictors(strategy, problem)
    assert same(first.network, initial_network(strategy.encoder, strategy.objective, (4,), 2, 2))
    np.testing.assert_array_equal(first.normalizer(problem.training), problem.training.x)


def test_at_each_step_stream_statistics_are_those_of_the_subjects_met_so_far_pooled() -> None:
    problem = stream(("d", "a", "c", "b"))
    _, *later = predictors(finetuning(Stream()), problem)
    for step, predictor in enumerate(later, start=1):
        met = problem.training.of(problem.training.subjects[:step]).x
        expected = np.asarray((problem.training.x - met.mean(0)) / met.std(0), dtype=np.float64)
        np.testing.assert_allclose(predictor.normalizer(problem.training), expected, rtol=1e-10, atol=1e-12)


def test_covariances_are_whitened_by_the_mean_of_the_subjects_met_so_far() -> None:
    problem = learning(covariance_windows(SUBJECTS, shift=0.3), geometry="spd")
    _, *later = predictors(finetuning(Stream()), problem)
    for step, predictor in enumerate(later, start=1):
        met = predictor.normalizer(problem.training.of(SUBJECTS[:step]))
        np.testing.assert_allclose(mean_riemann(met), np.eye(3), atol=1e-6)


# Behaviour


@pytest.mark.parametrize("normalization", [Unnormalized(), Stream()])
def test_what_a_step_hands_over_does_not_depend_on_the_subjects_still_to_come(normalization: Normalization) -> None:
    long = predictors(finetuning(normalization), stream(("a", "b", "c", "d")))
    short = finetuning(normalization).fit(stream(("a", "b")), ignore)
    assert same(long[2].network, short.network)


def test_same_order_same_bits_other_order_other_weights() -> None:
    forth = finetuning(Stream()).fit(stream(), ignore)
    again = finetuning(Stream()).fit(stream(), ignore)
    back = finetuning(Stream()).fit(stream(SUBJECTS[::-1]), ignore)
    assert same(forth.network, again.network)
    assert not same(forth.network, back.network)


def test_the_seed_matters() -> None:
    assert not same(finetuning().fit(stream(seed=0), ignore).network, finetuning().fit(stream(seed=1), ignore).network)


def test_it_learns_and_the_last_subject_is_known_best() -> None:
    windows = gaussian_windows([f"s{number}" for number in range(4)], shift=0.3)
    predictor = finetuning(Stream(), epochs=20).fit(learning(windows), ignore)
    assert balanced_accuracy(predictor, gaussian_windows(["new"], shift=0.3)) > 0.9
    # Two subjects whose classes are swapped: what the first taught is overwritten.
    first, second = gaussian_windows(["first"]), gaussian_windows(["second"])
    assert second.y is not None
    swapped = concatenate([first, replace(second, y=1 - second.y)])
    forgetful = finetuning(epochs=50).fit(learning(swapped), ignore)
    assert balanced_accuracy(forgetful, swapped.of("second")) > 0.9
    assert balanced_accuracy(forgetful, first) < 0.1


def test_the_observer_meets_every_step_and_what_it_keeps_stays_as_it_was() -> None:
    problem = stream()
    recorder = Recorder(problem.training)
    last = finetuning(Stream()).fit(problem, recorder)
    assert recorder.steps == [0, 1, 2, 3]
    unlabelled = problem.training.without(labels=True)
    for predictor, was in zip(recorder.predictors, recorder.probabilities, strict=True):
        np.testing.assert_array_equal(predictor.predict(unlabelled).probabilities, was)
    np.testing.assert_array_equal(last.predict(unlabelled).probabilities, recorder.probabilities[-1])
    for earlier, later in zip(recorder.probabilities, recorder.probabilities[1:], strict=False):
        assert not np.array_equal(earlier, later)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_observer_changes_nothing(dropout: float) -> None:
    strategy = finetuning(Stream(), encoder=MLP(hidden=(8,), dropout=dropout))
    assert same(strategy.fit(stream(), ignore).network, strategy.fit(stream(), disturb).network)


def test_global_random_state_is_neither_used_nor_changed() -> None:
    strategy = finetuning(encoder=MLP(hidden=(8,), dropout=0.5))
    networks = []
    for seed in (1, 2):
        with seeded(seed):
            before = draws()
        with seeded(seed):
            networks.append(strategy.fit(stream(), ignore).network)
            assert draws() == before
    assert same(*networks)


def test_dropout_is_at_work_while_training() -> None:
    with_dropout = finetuning(encoder=MLP(hidden=(8,), dropout=0.5)).fit(stream(), ignore).network
    without = finetuning(encoder=MLP(hidden=(8,))).fit(stream(), ignore).network
    linear = [
        [value for name, value in network.named_parameters() if "weight" in name] for network in (with_dropout, without)
    ]
    assert not any(torch.equal(a, b) for a, b in zip(*linear, strict=True))


def test_nothing_is_printed_and_nobody_is_warned(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        finetuning(Stream()).fit(stream(), ignore)
    assert capfd.readouterr() == ("", "")


def test_the_learning_windows_stay_as_they_are() -> None:
    problem = stream()
    x, y = problem.training.x.copy(), problem.labels.copy()
    finetuning(Stream()).fit(problem, disturb)
    np.testing.assert_array_equal(problem.training.x, x)
    np.testing.assert_array_equal(problem.labels, y)


def test_a_study_builds_it_by_its_name() -> None:
    given = {
        "normalization": Stream(),
        "encoder": MLP(),
        "objective": CrossEntropy(),
        "training": Training(),
    }
    part = find("finetuning", STRATEGIES, "strategy")
    assert build(part, given, {"epochs": 4}, "strategy") == FineTuning(**given, epochs=4)  # type: ignore[arg-type]
    with pytest.raises(StudyError, match=r"strategy\.epochs: .*greater than 0"):
        build(part, given, {"epochs": 0}, "strategy")
    assert part.sequential
    assert not part.uses_validation


# Bad input


def test_statistics_of_subjects_still_to_come_are_refused() -> None:
    with pytest.raises(StudyError, match=r"FineTuning meets them one after another.*use stream"):
        finetuning(TrainingStatistics())


@pytest.mark.parametrize("normalization", [Stream(), SubjectUnlabelled(), Unnormalized()])
def test_the_other_modes_are_taken(normalization: Normalization) -> None:
    predictor = finetuning(normalization).fit(stream(), ignore)
    kind = {Stream: Shared, Unnormalized: Identity}.get(type(normalization))
    assert kind is None or isinstance(predictor.normalizer, kind)
    assert np.isfinite(predictor.predict(stream(("new",)).training.without(labels=True)).probabilities).all()


@pytest.mark.parametrize("subjects", [("only",), SUBJECTS])
def test_divergence_names_the_subject(subjects: tuple[str, ...]) -> None:
    training = Training(optimizer="sgd", learning_rate=1e30, batch_size=16)
    with pytest.raises(LearningError, match=f"diverged at subject {subjects[0]}, number 1 .*learning_rate"):
        finetuning(training=training).fit(stream(subjects), ignore)


def test_divergence_in_the_middle_of_a_stream_names_that_subject() -> None:
    problem = stream()
    x = problem.training.x.copy()
    x[problem.training.subject == "alice"] *= 1e38
    with pytest.raises(LearningError, match="diverged at subject alice, number 2 "):
        finetuning().fit(replace(problem, training=replace(problem.training, x=x)), ignore)


def test_a_class_that_no_subject_has_is_refused_before_anything_is_observed() -> None:
    recorder = Recorder(stream().training)
    with pytest.raises(LearningError, match="No training window of class 'class2'"):
        finetuning().fit(replace(stream(), classes=("class0", "class1", "class2")), recorder)
    assert recorder.steps == []
