"""Federations, with federated averaging as their aggregator: known answers, determinism, privacy, costs, failures."""

from __future__ import annotations

import io
import logging
import random
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from flwr.app import Message
from flwr.serverapp.strategy import FedAvg as FlowerFedAvg
from torch import nn

from benchmarks.errors import LearningError, StudyError
from benchmarks.normalization import Normalization, Stream, SubjectUnlabelled, Unnormalized, fitted
from benchmarks.normalization import Training as TrainingMoments
from benchmarks.parts import build, find
from benchmarks.windows import Windows, concatenate
from clients import stacked as stacked_trainer
from clients.encoders.contract import Encoder
from clients.encoders.mlp import MLP
from clients.lesson import Learned, Lesson, Trainer
from clients.network import initial_network
from clients.objectives.cross_entropy import CrossEntropy
from clients.predictor import NetworkPredictor
from clients.selection import validation_score
from clients.stack import Stack
from clients.training import Training, tensors, torch_generator, train_epoch
from strategies.contract import Learning, Observer, Predictor
from strategies.federated import costs as module
from strategies.federated.averaging import FedAvg
from strategies.federated.federation import Federation
from strategies.federated.fedper import FedPer
from strategies.federated.robust import Krum
from strategies.federated.table import AGGREGATIONS
from strategies.grids.auto import Auto
from strategies.grids.client_grid import ClientGrid
from strategies.grids.contract import Answer, Client, Letter, Opened, Place
from strategies.grids.in_process import InProcess, one_by_one
from strategies.grids.stacked import Stacked
from strategies.grids.table import GRIDS
from strategies.table import STRATEGIES
from tests.strategies.learnings import (
    Recorder,
    balanced_accuracy,
    covariance_windows,
    disturb,
    gaussian_windows,
    ignore,
    labelled,
    learning,
)

SUBJECTS = ("S1", "S2", "S3", "S4")
every_grid = pytest.mark.parametrize("grid", [InProcess(), Stacked()], ids=["in_process", "stacked"])
SGD = Training(optimizer="sgd", learning_rate=0.1, batch_size=8)


def federation(fraction: float = 1.0, **changes: Any) -> Federation:
    given: dict[str, Any] = {
        "normalization": Unnormalized(),
        "encoder": MLP((5,)),
        "objective": CrossEntropy(),
        "training": SGD,
        "aggregator": FedAvg(fraction),
        "grid": InProcess(),
        "rounds": 3,
        "local_epochs": 1,
    }
    return Federation(**{**given, **changes})


def unequal(sizes: Iterable[int] = (3, 20, 7)) -> Windows:
    """Subjects with different numbers of windows per class, in an order that is not the alphabet's."""
    names = ("S3", "S1", "S2")
    return concatenate(
        [gaussian_windows([name], per_class=size, shift=1.0) for name, size in zip(names, sizes, strict=True)]
    )


def state(predictor: Predictor | Exception) -> dict[str, torch.Tensor]:
    assert isinstance(predictor, NetworkPredictor), predictor
    return predictor.network.state_dict()


def assert_equal(one: Predictor | Exception, other: Predictor | Exception) -> None:
    for name, value in state(one).items():
        assert torch.equal(value, state(other)[name]), name


class Listening(ClientGrid):
    """Grid that notes which nodes were asked what, and what the clients told in the first round."""

    def __init__(self, strategy: Federation, problem: Learning) -> None:
        super().__init__(strategy.clients(problem), one_by_one)
        self.asked: list[tuple[str, list[int]]] = []
        self.told: dict[int, dict[str, np.ndarray]] = {}

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        messages = list(messages)
        if messages:
            nodes = sorted(message.metadata.dst_node_id for message in messages)
            self.asked.append((messages[0].metadata.message_type, nodes))
        replies = super().send_and_receive(messages, timeout=timeout)
        for reply in replies:
            if "arrays" in reply.content:
                weights = {name: array.numpy() for name, array in reply.content["arrays"].items()}
                self.told.setdefault(reply.metadata.src_node_id, weights)
        return replies


def led(strategy: Federation, problem: Learning) -> Listening:
    grid = Listening(strategy, problem)
    strategy.lead(grid, problem, ignore)
    return grid


def asked(strategy: Federation, problem: Learning) -> list[tuple[str, list[int]]]:
    return led(strategy, problem).asked


# Known answers


def average_by_hand(problem: Learning, rounds: int, local_epochs: int) -> dict[str, torch.Tensor]:
    """FedAvg of McMahan et al. (2017), algorithm 1, with all clients, written out in plain torch."""
    model = initial_network(MLP((5,)), CrossEntropy(), (4,), 2, problem.seed)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    counts = np.bincount(problem.labels)
    class_weight = torch.tensor(counts.sum() / (2 * counts), dtype=torch.float32)
    for number in range(1, rounds + 1):
        total = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in weights.items()}
        for subject, own in problem.training.by_subject():
            assert own.y is not None
            x, y = torch.tensor(own.x, dtype=torch.float32), torch.tensor(own.y)
            model.load_state_dict(weights)
            shuffling = torch_generator(problem.seed, "client", subject, number)
            for _ in range(local_epochs):
                for batch in torch.randperm(len(x), generator=shuffling).split(8):
                    log_p = torch.log_softmax(model(x[batch]), dim=1)[torch.arange(len(batch)), y[batch]]
                    gradients = torch.autograd.grad(-(class_weight[y[batch]] * log_p).mean(), list(model.parameters()))
                    with torch.no_grad():
                        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                            parameter -= 0.1 * gradient
            for name, value in model.state_dict().items():
                total[name] += value.double() * len(x) / len(problem.training)
        weights = {name: value.float() for name, value in total.items()}
    return weights


@pytest.mark.parametrize("local_epochs", [1, 3])
def test_it_equals_a_weighted_average_of_clients_trained_by_hand(local_epochs: int) -> None:
    problem = learning(unequal(), seed=5)
    found = federation(local_epochs=local_epochs).fit(problem, ignore)
    expected = average_by_hand(problem, rounds=3, local_epochs=local_epochs)
    for name, value in state(found).items():
        np.testing.assert_allclose(value.numpy(), expected[name].numpy(), atol=1e-6, rtol=0)


def test_one_client_with_one_local_epoch_is_plain_training() -> None:
    problem = learning(gaussian_windows(["S1"]))
    found = federation(rounds=4).fit(problem, ignore)

    model = initial_network(MLP((5,)), CrossEntropy(), (4,), 2, problem.seed)
    loss, optimizer = CrossEntropy().loss(np.array([20, 20])), SGD.optimizer_of(model.parameters())
    for number in range(1, 5):
        shuffling = torch_generator(problem.seed, "client", "S1", number)
        train_epoch(model, tensors(problem.training.x, problem.labels), loss, optimizer, 8, shuffling)
    assert_equal(found, NetworkPredictor(model, found.normalizer, found.objective))


def test_federated_statistics_normalise_as_pooled_ones() -> None:
    problem = learning(unequal())
    found = federation(normalization=TrainingMoments()).fit(problem, ignore)
    pooled = fitted(TrainingMoments(), problem.training, "vector")
    np.testing.assert_allclose(found.normalizer(problem.training), pooled(problem.training), rtol=1e-10, atol=1e-10)


def test_it_learns() -> None:
    windows = gaussian_windows([*SUBJECTS, "S5"], distance=5.0, shift=0.5)
    problem = learning(windows.of(SUBJECTS))
    found = federation(normalization=TrainingMoments(), rounds=10).fit(problem, ignore)
    assert balanced_accuracy(found, windows.of("S5")) > 0.9


def test_batch_norm_statistics_are_averaged_with_the_weights() -> None:
    problem = learning(unequal())
    # One round in one batch: momentum 0.1 from a running mean of zero.
    one_batch = Training(optimizer="sgd", learning_rate=0.1, batch_size=64)
    found = federation(encoder=Normed(), rounds=1, training=one_batch).fit(problem, ignore)
    np.testing.assert_allclose(
        state(found)["0.running_mean"].numpy(), 0.1 * problem.training.x.mean(axis=0), rtol=1e-5, atol=1e-6
    )
    assert int(state(found)["0.num_batches_tracked"]) == 1


class Normed(Encoder):
    """Batch norm and a linear layer."""

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        return nn.Sequential(nn.BatchNorm1d(shape[0]), nn.Linear(shape[0], outputs))


# Rounds, validation, observer


def test_the_observer_sees_the_start_and_every_round() -> None:
    problem = learning(gaussian_windows(SUBJECTS))
    recorder = Recorder(problem.training)
    federation(rounds=3).fit(problem, recorder)
    assert recorder.steps == [0, 1, 2, 3]
    start = initial_network(MLP((5,)), CrossEntropy(), (4,), 2, problem.seed)
    before = recorder.predictors[0]
    assert isinstance(before, NetworkPredictor)
    assert_equal(before, NetworkPredictor(start, before.normalizer, before.objective))


def test_predictors_that_an_observer_keeps_stay_as_they_were() -> None:
    problem = learning(gaussian_windows(SUBJECTS))
    recorder = Recorder(problem.training)
    federation(rounds=3).fit(problem, recorder)
    for predictor, then in zip(recorder.predictors, recorder.probabilities, strict=True):
        now = predictor.predict(problem.training.without(labels=True)).probabilities
        np.testing.assert_array_equal(now, then)
    assert not np.array_equal(recorder.probabilities[0], recorder.probabilities[-1])


@pytest.mark.parametrize("validation", [(), ("S4",)])
def test_an_observer_changes_nothing(validation: tuple[str, ...]) -> None:
    problem = learning(gaussian_windows(SUBJECTS, shift=1.0), validation=validation)
    strategy = federation(encoder=MLP((5,), dropout=0.3), fraction=0.7, rounds=4)
    assert_equal(strategy.fit(problem, ignore), strategy.fit(problem, disturb))


def test_without_validation_subjects_the_last_round_is_kept() -> None:
    problem = learning(gaussian_windows(SUBJECTS))
    recorder = Recorder(problem.training)
    found = federation(rounds=3).fit(problem, recorder)
    last = recorder.predictors[-1]
    assert isinstance(last, NetworkPredictor)
    assert_equal(found, last)


def test_the_best_round_on_the_validation_subjects_is_kept() -> None:
    # A step this large overshoots soon, so that the best round lies in the middle.
    windows = gaussian_windows(SUBJECTS, per_class=8, shift=1.5, distance=1.0)
    problem = learning(windows, validation=["S4"])
    assert problem.validation is not None
    recorder = Recorder(problem.validation)
    wild = Training(optimizer="sgd", learning_rate=1.0, batch_size=8)
    strategy = federation(normalization=TrainingMoments(), rounds=8, training=wild)
    found = strategy.fit(problem, recorder)
    networks = [one for one in recorder.predictors if isinstance(one, NetworkPredictor)]
    scores = [validation_score(one, problem.validation) for one in networks]
    best = 1 + int(np.argmax(scores[1:]))
    assert 1 < best < 8
    assert_equal(found, networks[best])


def test_validation_subjects_are_not_learned_from() -> None:
    problem = learning(gaussian_windows(SUBJECTS), validation=["S4"])
    assert list(federation().clients(problem)) == ["S1", "S2", "S3"]


def test_the_untrained_network_is_never_the_best_round() -> None:
    """Labels of the validation subject are swapped, so that every round of learning makes its score worse."""
    windows = gaussian_windows(SUBJECTS, distance=6.0)
    problem = learning(windows, validation=["S4"])
    assert problem.validation is not None
    assert problem.validation.y is not None
    problem = replace(problem, validation=replace(problem.validation, y=1 - problem.validation.y))
    recorder = Recorder(windows)
    found = federation(rounds=3).fit(problem, recorder)
    first = recorder.predictors[1]
    assert isinstance(first, NetworkPredictor)
    assert_equal(found, first)


# Determinism


def test_the_same_again_to_the_bit_whatever_the_global_random_state() -> None:
    problem = learning(unequal())
    strategy = federation(encoder=MLP((5,), dropout=0.3), fraction=0.7, rounds=4, normalization=TrainingMoments())
    found = []
    for noise in (1, 2):
        random.seed(noise)
        np.random.seed(noise)
        torch.manual_seed(noise)
        before = random_state()
        found.append(strategy.fit(problem, ignore))
        assert random_state() == before
    assert_equal(*found)


def test_the_seed_changes_the_result() -> None:
    problem = learning(unequal())
    one, other = (federation().fit(replace(problem, seed=seed), ignore) for seed in (1, 2))
    assert not torch.equal(state(one)["1.weight"], state(other)["1.weight"])


def test_a_share_of_the_clients_trains_in_a_round_and_all_tell_their_summary() -> None:
    problem = learning(gaussian_windows([f"S{i}" for i in range(10)], per_class=2))
    heard = asked(federation(fraction=0.3, rounds=6), problem)
    everyone = list(range(2, 12))
    assert heard[:2] == [("query.tell", everyone), ("query.hear", everyone)]
    rounds = [nodes for kind, nodes in heard[2:] if kind == "train"]
    assert [len(nodes) for nodes in rounds] == [3] * 6
    assert len({tuple(nodes) for nodes in rounds}) > 1


def test_at_least_one_client_trains() -> None:
    problem = learning(gaussian_windows(["S1", "S2"]))
    assert [len(nodes) for kind, nodes in asked(federation(fraction=0.1), problem) if kind == "train"] == [1, 1, 1]


def test_who_is_drawn_depends_on_the_seed_alone() -> None:
    problem = learning(gaussian_windows([f"S{i}" for i in range(10)], per_class=2))
    strategy = federation(fraction=0.3, rounds=6)
    again = asked(strategy, problem)
    assert asked(strategy, problem) == again
    assert asked(strategy, replace(problem, seed=1)) != again


# Privacy


def test_a_client_holds_its_own_windows_and_no_others() -> None:
    problem = learning(unequal())
    clients = federation().clients(problem)
    assert list(clients) == ["S3", "S1", "S2"]
    for name, one in clients.items():
        assert one.subject == name
        assert one.windows.subjects == (name,)
        first, last = np.flatnonzero(problem.training.subject == name)[[0, -1]]
        for others in (problem.training.x[:first], problem.training.x[last + 1 :]):
            assert not np.shares_memory(one.windows.x, others)
        np.testing.assert_array_equal(one.windows.x, problem.training.of(name).x)
    np.testing.assert_array_equal(np.concatenate([one.windows.x for one in clients.values()]), problem.training.x)


def test_what_a_client_sends_does_not_depend_on_the_windows_of_others() -> None:
    """Others reach a client through the weights and the summary only: in the first round, with no shared moments,
    through the class counts alone."""

    def first_reply(problem: Learning) -> dict[str, np.ndarray]:
        grid = led(federation(rounds=1), problem)
        return grid.told[grid.get_node_ids()[0]]

    windows = gaussian_windows(SUBJECTS)
    moved = replace(windows, x=np.where((windows.subject == "S1")[:, None], windows.x, windows.x * 3 + 1))
    one, other = first_reply(learning(windows)), first_reply(learning(moved))
    assert one
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name])


# Unusual and bad input


def test_a_client_with_a_single_window_takes_part() -> None:
    windows = unequal()
    single = np.concatenate([np.flatnonzero(windows.subject == "S3")[:1], np.flatnonzero(windows.subject != "S3")])
    problem = learning(windows.select(single))
    found = federation(normalization=TrainingMoments(), rounds=2).fit(problem, ignore)
    expected = federation(normalization=TrainingMoments(), rounds=2).fit(learning(windows), ignore)
    assert all(torch.isfinite(value).all() for value in state(found).values())
    assert not torch.equal(state(found)["1.weight"], state(expected)["1.weight"])


def test_a_subject_with_one_class_takes_part() -> None:
    own = gaussian_windows(["S1"])
    assert own.y is not None
    problem = learning(concatenate([own.select(own.y == 0), gaussian_windows(["S2"])]))
    assert all(torch.isfinite(value).all() for value in state(federation().fit(problem, ignore)).values())


def test_raw_windows_and_recentred_covariances_are_taken() -> None:
    rng = np.random.default_rng(0)
    raw = concatenate([labelled(rng.standard_normal((6, 2, 8)), np.arange(6) % 2, name) for name in ("S1", "S2")])
    channels = learning(raw, geometry="channels")
    found = federation(normalization=TrainingMoments()).fit(channels, ignore)
    assert found.predict(raw.without(labels=True)).probabilities.shape == (12, 2)
    matrices = covariance_windows(["S1", "S2"], per_class=5)
    recentred = federation(normalization=SubjectUnlabelled()).fit(learning(matrices, geometry="spd"), ignore)
    assert recentred.predict(matrices.without(labels=True)).probabilities.shape == (20, 2)


def test_the_riemannian_mean_of_a_federation_is_refused() -> None:
    problem = learning(covariance_windows(["S1", "S2"], per_class=5), geometry="spd")
    with pytest.raises(LearningError, match="Riemannian mean over subjects"):
        federation(normalization=TrainingMoments()).fit(problem, ignore)


def test_normalisation_in_sequence_is_refused() -> None:
    with pytest.raises(StudyError, match="Stream grows subject by subject, but Federation"):
        federation(normalization=Stream())


def test_a_client_that_fails_is_named_with_its_cause() -> None:
    windows = gaussian_windows(SUBJECTS)
    x = windows.x.copy()
    x[windows.subject == "S2"] = np.inf
    with pytest.raises(LearningError) as caught:
        federation().fit(learning(replace(windows, x=x)), ignore)
    said = "3 of 4 clients gave a usable reply, 4 are needed. Failed: S2: LearningError: Training diverged"
    assert str(caught.value).startswith(said)
    assert isinstance(caught.value.__cause__, LearningError)


def test_a_class_that_nobody_has_is_refused() -> None:
    problem = replace(learning(gaussian_windows(SUBJECTS)), classes=("class0", "class1", "joy"))
    with pytest.raises(LearningError, match="No training window of class 'joy'"):
        federation().fit(problem, ignore)


def test_an_aggregation_that_needs_more_clients_than_there_are_does_not_wait_for_them() -> None:
    @dataclass(frozen=True)
    class Demanding(FedAvg):
        fewest: ClassVar[int] = 5  # type: ignore[misc]

    strategy = federation(aggregator=Demanding(), rounds=1)
    with pytest.raises(LearningError, match="Demanding needs 5 clients, and there are 4 training subjects"):
        strategy.fit(learning(gaussian_windows(SUBJECTS)), ignore)
    strategy.fit(learning(gaussian_windows([*SUBJECTS, "S5"])), ignore)


# Manners


def test_flower_is_silent_and_speaks_again_afterwards() -> None:
    # Flower's own handler writes to standard error; a handler of ours sees what would reach it.
    logger, heard = logging.getLogger("flwr"), io.StringIO()
    before, handler = logger.level, logging.StreamHandler(heard)
    logger.addHandler(handler)
    try:
        federation().fit(learning(gaussian_windows(SUBJECTS)), ignore)
        with pytest.raises(LearningError):
            federation().fit(learning(gaussian_windows(SUBJECTS)), fail)
        assert heard.getvalue() == ""
        assert logger.level == before
        logger.info("heard")
        assert heard.getvalue() == "heard\n"
    finally:
        logger.removeHandler(handler)


def fail(step: int, predictor: object) -> None:
    raise LearningError("an observer that fails")


def test_a_study_gives_its_values() -> None:
    part = find("federated", STRATEGIES, "strategy")
    given = {
        "normalization": TrainingMoments(),
        "encoder": MLP(),
        "objective": CrossEntropy(),
        "training": Training(),
        "aggregator": build(find("fedavg", AGGREGATIONS, "aggregator"), {}, {"fraction": 0.5}, "aggregator"),
        "grid": build(find("in_process", GRIDS, "grid"), {}, {}, "grid"),
    }
    strategy = build(part, given, {"rounds": 7}, "configurations.fedavg.strategy")
    assert (strategy.rounds, strategy.local_epochs, strategy.min_replies) == (7, 1, None)
    assert (strategy.aggregator, strategy.grid) == (FedAvg(0.5), InProcess())
    assert strategy.uses_validation
    for values, said in [
        ({"rounds": 0}, "rounds: input should be greater than 0"),
        ({"rounds": 1, "local_epochs": 0}, "local_epochs: input should be greater than 0"),
        ({"rounds": 1, "min_replies": 0}, "min_replies: input should be greater than 0"),
        ({"rounds": 1, "momentum": 1}, "momentum: no such key"),
        ({}, "rounds must be given"),
    ]:
        with pytest.raises(StudyError, match=said):
            build(part, given, values, "configurations.fedavg.strategy")
    for fraction in (0, -0.5, 1.5):
        with pytest.raises(StudyError, match="aggregator.fraction: input should be"):
            build(FedAvg, {}, {"fraction": fraction}, "aggregator")


# Clients that fail


def spoilt(windows: Windows, *names: str) -> Windows:
    """The windows, those of some subjects infinite, so that their training diverges."""
    return replace(windows, x=np.where(np.isin(windows.subject, names)[:, None], np.inf, windows.x))


@every_grid
def test_a_round_goes_on_with_enough_replies(grid: Place) -> None:
    """All subjects have the same class counts, so a client that never replies might as well not be there."""
    windows = gaussian_windows(SUBJECTS)
    recorder = Recorder(windows)
    found = federation(grid=grid, min_replies=3).fit(learning(spoilt(windows, "S2")), recorder)
    assert_equal(found, federation(grid=grid).fit(learning(windows.of(["S1", "S3", "S4"])), ignore))
    failed = [recorder.measures[step]["failed_replies"] for step in recorder.steps]
    assert failed == [0, 1, 1, 1]
    assert [recorder.measures[step]["client_rounds"] for step in recorder.steps] == [0, 3, 3, 3]


@every_grid
def test_too_few_replies_end_it_at_once_with_the_causes(grid: Place) -> None:
    windows = gaussian_windows(SUBJECTS)
    problem, recorder = learning(spoilt(windows, "S2", "S4")), Recorder(windows)
    said = r"2 of 4 clients gave a usable reply, 3 are needed. Failed: S2: .*diverged.*; S4: .*diverged"
    with pytest.raises(LearningError, match=said):
        federation(grid=grid, min_replies=3).fit(problem, recorder)
    assert recorder.steps == [0]


def test_more_replies_than_clients_are_never_waited_for() -> None:
    with pytest.raises(LearningError, match="A federation of 4 clients, at least 5 are needed"):
        federation(min_replies=5).fit(learning(gaussian_windows(SUBJECTS)), ignore)


# Costs

# Arrays of the network of 4 features, 5 hidden units and 2 classes: each a header of 128 bytes and 4 bytes a number.
WEIGHTS = 4 * 128 + 4 * (5 * 4 + 5 + 2 * 5 + 2)
# Flower counts a number in a record as 8 bytes, besides its name.
CONFIG = len("server-round") + 8 + len("local-epochs") + 8
METRICS = len("num-examples") + 8 + len("train-loss") + 8
# Class counts in int64; count, mean and squares of each feature in 64 bits.
COUNTS = 128 + 8 * 2
MOMENTS = COUNTS + 3 * (128 + 8 * 4)


def measured(strategy: Federation, problem: Learning) -> list[dict[str, float]]:
    recorder = Recorder(gaussian_windows(["new"]))
    strategy.fit(problem, recorder)
    assert list(recorder.measures) == recorder.steps
    return [recorder.measures[step] for step in recorder.steps]


@every_grid
@pytest.mark.parametrize(
    ("fraction", "clients"), [(1.0, [4, 4, 4]), (0.5, [2, 2, 2]), (0.3, [1, 1, 1]), (0.99, [3, 3, 3])]
)
@pytest.mark.parametrize(("mode", "summary"), [(Unnormalized(), COUNTS), (TrainingMoments(), MOMENTS)])
def test_what_travels_is_counted(
    fraction: float, clients: list[int], mode: Normalization, summary: int, grid: Place
) -> None:
    problem = learning(gaussian_windows(SUBJECTS, per_class=3))
    start, *rounds = measured(federation(fraction, normalization=mode, grid=grid), problem)
    # Everybody tells a summary and hears the sum of all.
    assert (start["bytes_up"], start["bytes_down"]) == (4 * summary, 4 * summary)
    assert (start["client_rounds"], start["failed_replies"]) == (0, 0)
    assert [each["bytes_down"] for each in rounds] == [n * (WEIGHTS + CONFIG) for n in clients]
    assert [each["bytes_up"] for each in rounds] == [n * (WEIGHTS + METRICS) for n in clients]
    assert [each["client_rounds"] for each in rounds] == clients
    assert all(each["failed_replies"] == 0 for each in rounds)
    assert not any("personal_bytes" in each for each in (start, *rounds)), "nobody keeps anything to itself"


def test_costs_do_not_depend_on_the_number_of_windows_nor_on_who_listens() -> None:
    few, many = (learning(gaussian_windows(SUBJECTS, per_class=n)) for n in (2, 20))
    travelled = [[(m["bytes_down"], m["bytes_up"]) for m in measured(federation(), problem)] for problem in (few, many)]
    assert travelled[0] == travelled[1]
    assert_equal(federation().fit(few, Recorder(few.training)), federation().fit(few, ignore))


def test_a_reply_that_fails_costs_what_was_sent_down_alone() -> None:
    problem = learning(spoilt(gaussian_windows(SUBJECTS), "S2"))
    _, first, *_ = measured(federation(min_replies=1), problem)
    assert first["bytes_down"] == 4 * (WEIGHTS + CONFIG)
    assert first["bytes_up"] == 3 * (WEIGHTS + METRICS)
    assert (first["client_rounds"], first["failed_replies"]) == (3, 1)


@dataclass
class Clock:
    """Time that only passes where the test says so: a second of wall and two of computing for each message."""

    wall: float = 0.0
    compute: float = 0.0

    def engine(self, letters: Sequence[Letter]) -> list[Answer]:
        self.wall += len(letters)
        self.compute += 2 * len(letters)
        return one_by_one(letters)

    def score(self, recorder: Recorder) -> Observer:
        """An observer that takes long."""

        class Slow(Recorder):
            def __call__(slow, step: int, predictor: Predictor) -> None:  # noqa: N805
                self.wall += 1000
                self.compute += 1000
                recorder(step, predictor)

            def measured(slow, step: int, values: Mapping[str, float]) -> None:  # noqa: N805
                recorder.measured(step, values)

        return Slow(recorder.windows)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    fake = SimpleNamespace(perf_counter=lambda: made.wall, process_time=lambda: made.compute)
    monkeypatch.setattr(module, "time", fake)
    return made


@dataclass(frozen=True)
class Timed(Place):
    """Trains one after another and lets the clock tell how long that takes."""

    clock: Clock
    lockstep: bool = False  # type: ignore[misc]

    def engine(self, clients: Mapping[str, Client], trainer: Trainer) -> Opened:
        return nullcontext(self.clock.engine)


def test_time_is_that_of_the_federation_and_not_of_those_who_watch_it(clock: Clock) -> None:
    problem = learning(gaussian_windows(SUBJECTS, per_class=3))
    recorder = Recorder(problem.training)
    federation(0.5, grid=Timed(clock)).fit(problem, clock.score(recorder))
    assert [recorder.measures[step]["wall_s"] for step in recorder.steps] == [8, 2, 2, 2]
    assert [recorder.measures[step]["compute_s"] for step in recorder.steps] == [16, 4, 4, 4]


def test_folds_side_by_side_share_the_time_and_not_what_travels(clock: Clock) -> None:
    problems = [learning(gaussian_windows(names, per_class=3)) for names in (SUBJECTS, ("S1", "S2"))]
    recorders = [Recorder(problem.training) for problem in problems]
    strategy = federation(0.5, grid=Timed(clock, lockstep=True))
    strategy.fit_many(problems, [clock.score(recorder) for recorder in recorders])
    for name, a_message in {"wall_s": 1, "compute_s": 2}.items():
        # Two folds of four and two clients: all tell and hear, and half of them train in each of three rounds.
        total = sum(sum(each[name] for each in recorder.measures.values()) for recorder in recorders)
        assert total == pytest.approx(a_message * (2 * (4 + 2) + 3 * (2 + 1)))
    assert [recorder.measures[1]["client_rounds"] for recorder in recorders] == [2, 1]
    assert [recorder.measures[1]["bytes_down"] for recorder in recorders] == [
        n * (WEIGHTS + CONFIG) for n in (2, 1)
    ]  # fmt: skip


@pytest.mark.parametrize("together", [False, True])
def test_what_personal_models_cost_stands_apart(clock: Clock, together: bool) -> None:
    problem = learning(gaussian_windows(SUBJECTS, per_class=3))
    recorder = Recorder(problem.training)
    strategy = federation(aggregator=FedPer(), grid=Timed(clock, lockstep=together))
    strategy.fit_many([problem], [clock.score(recorder)])
    head = 2 * 128 + 4 * (2 * 5 + 2)
    rounds = [recorder.measures[step] for step in (1, 2, 3)]
    assert [each["bytes_down"] for each in rounds] == [4 * (WEIGHTS - head + CONFIG)] * 3
    assert [each["bytes_up"] for each in rounds] == [4 * (WEIGHTS - head + METRICS)] * 3
    assert [each["personal_bytes"] for each in rounds] == [4 * (head + len("num-examples") + 8)] * 3
    assert [each["client_rounds"] for each in rounds] == [4] * 3
    # Four messages a round; those that collect the heads for scoring would not be sent in a federation in use.
    assert [each["wall_s"] for each in rounds] == [4] * 3


# Folds learned together


def folds(validation: Sequence[str] = (), seed: int = 5) -> list[Learning]:
    """Leave one of four unequal subjects out, the others learn."""
    sizes = {"S1": 4, "S2": 15, "S3": 9, "S4": 6}
    windows = concatenate([gaussian_windows([name], size, shift=1.0) for name, size in sizes.items()])
    return [
        learning(windows.of([name for name in sizes if name != out]), validation=[v for v in validation if v != out],
                 seed=seed)
        for out in sizes
    ]  # fmt: skip


class Double(MLP):
    """The same in float64."""

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        return super().build(shape, outputs).double()


def together(strategy: Federation, problems: Sequence[Learning], observer: Observer = ignore) -> list[Any]:
    return strategy.fit_many(problems, [observer] * len(problems))


def assert_close(one: Predictor | Exception, other: Predictor | Exception, atol: float) -> None:
    assert state(one).keys() == state(other).keys()
    for name, value in state(one).items():
        torch.testing.assert_close(value, state(other)[name], rtol=0, atol=atol, msg=name)


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "some clients a round": {"fraction": 0.7, "rounds": 5},
    "dropout": {"encoder": MLP((5,), dropout=0.3)},
    "epochs": {"local_epochs": 3, "normalization": TrainingMoments()},
    "shared windows": {"local_epochs": 2, "normalization": SubjectUnlabelled()},
    "adam": {"training": Training("adam", 0.01, batch_size=8)},
}
every_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)


@every_variant
def test_in_process_folds_learn_as_each_alone_to_the_bit(variant: dict[str, Any]) -> None:
    strategy = federation(**variant)
    assert not strategy.lockstep
    for found, problem in zip(together(strategy, folds()), folds(), strict=True):
        assert_equal(found, strategy.fit(problem, ignore))


@every_variant
def test_stacked_folds_learn_what_those_in_process_learn(variant: dict[str, Any]) -> None:
    strategy = federation(**variant)
    stacked = replace(strategy, grid=Stacked())
    assert stacked.lockstep
    for found, problem in zip(together(stacked, folds()), folds(), strict=True):
        assert_close(found, strategy.fit(problem, ignore), atol=1e-4)
        assert_close(stacked.fit(problem, ignore), strategy.fit(problem, ignore), atol=1e-4)


@every_variant
def test_in_float64_grids_agree_to_a_millionth(variant: dict[str, Any]) -> None:
    encoder = variant.get("encoder", MLP((5,)))
    strategy = federation(**{**variant, "encoder": Double(encoder.hidden, encoder.dropout)})
    stacked = together(replace(strategy, grid=Stacked()), folds())
    for found, problem in zip(stacked, folds(), strict=True):
        assert {value.dtype for value in state(found).values()} == {torch.float64}
        assert_close(found, strategy.fit(problem, ignore), atol=1e-6)


@pytest.mark.parametrize(
    ("normalization", "shared"), [(Unnormalized(), True), (SubjectUnlabelled(), True), (TrainingMoments(), False)]
)
def test_folds_hold_the_windows_of_a_subject_once_where_they_are_the_same(
    monkeypatch: pytest.MonkeyPatch, normalization: Normalization, shared: bool
) -> None:
    met: list[Sequence[Lesson]] = []
    before = Stack.learn

    def watched(self: Stack) -> list[Learned | Exception]:
        met.extend(self.rows)
        return before(self)

    monkeypatch.setattr(stacked_trainer, "_SMALLEST_ROWS", 1)
    monkeypatch.setattr(Stack, "learn", watched)
    together(federation(grid=Stacked(), normalization=normalization, rounds=2), folds())
    assert sum(map(len, met)) == 2 * 4 * 3
    assert {len(row) for row in met} == ({3} if shared else {1})
    assert len({lesson.x.data_ptr() for row in met for lesson in row}) == (4 if shared else 4 * 3)


def test_the_measured_grid_is_one_of_the_others() -> None:
    strategy = federation(grid=Auto())
    assert strategy.lockstep
    for found, expected in zip(together(strategy, folds()), together(federation(grid=Stacked()), folds()), strict=True):
        assert_equal(found, expected)


@every_grid
def test_folds_together_are_the_same_again_to_the_bit(grid: Place) -> None:
    strategy = federation(0.7, grid=grid, encoder=MLP((5,), dropout=0.3))
    for one, other in zip(together(strategy, folds()), together(strategy, folds()), strict=True):
        assert_equal(one, other)
    for one, other in zip(together(strategy, folds()), together(strategy, folds(seed=6)), strict=True):
        assert not torch.equal(state(one)["1.weight"], state(other)["1.weight"])


@every_grid
def test_folds_together_leave_every_global_random_state_as_it_was(grid: Place) -> None:
    strategy = federation(0.7, grid=grid, encoder=MLP((5,), dropout=0.3))
    found = []
    for noise in (1, 2):
        random.seed(noise)
        np.random.seed(noise)
        torch.manual_seed(noise)
        before = random_state()
        found.append(together(strategy, folds()))
        assert random_state() == before
    for one, other in zip(*found, strict=True):
        assert_equal(one, other)


def random_state() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


@pytest.mark.parametrize("validation", [(), ("S1", "S2")])
@every_grid
def test_observers_of_folds_together_change_nothing(grid: Place, validation: tuple[str, ...]) -> None:
    strategy = federation(0.7, grid=grid, encoder=MLP((5,), dropout=0.3))
    alone = together(strategy, folds(validation))
    for one, other in zip(together(strategy, folds(validation), disturb), alone, strict=True):
        assert_equal(one, other)


@every_grid
def test_each_observer_sees_its_own_fold_step_by_step(grid: Place) -> None:
    problems = folds()
    recorders = [Recorder(problem.training) for problem in problems]
    strategy = federation(grid=grid)
    found = strategy.fit_many(problems, recorders)
    for last, recorder, problem in zip(found, recorders, problems, strict=True):
        alone = Recorder(problem.training)
        strategy.fit(problem, alone)
        assert recorder.steps == alone.steps == [0, 1, 2, 3]
        for shown, expected in zip(recorder.probabilities, alone.probabilities, strict=True):
            np.testing.assert_allclose(shown, expected, atol=1e-5)
        assert_equal(last, recorder.predictors[-1])
        for predictor, then in zip(recorder.predictors, recorder.probabilities, strict=True):
            unlabelled = problem.training.without(labels=True)
            np.testing.assert_array_equal(predictor.predict(unlabelled).probabilities, then)
        for costs, expected in zip(recorder.measures.values(), alone.measures.values(), strict=True):
            for name in ("bytes_down", "bytes_up", "client_rounds", "failed_replies"):
                assert costs[name] == expected[name]


@every_grid
def test_each_fold_keeps_its_own_best_round(grid: Place) -> None:
    wild = Training(optimizer="sgd", learning_rate=1.0, batch_size=8)
    strategy = federation(grid=grid, training=wild, rounds=8)
    problems = folds(validation=("S3", "S4"))
    recorders = [Recorder(problem.training) for problem in problems]
    kept = []
    for found, recorder, problem in zip(strategy.fit_many(problems, recorders), recorders, problems, strict=True):
        assert problem.validation is not None
        scores = [validation_score(one, problem.validation) for one in recorder.predictors[1:]]
        kept.append(1 + int(np.argmax(scores)))
        assert_equal(found, recorder.predictors[kept[-1]])
    assert len(set(kept)) > 1
    assert min(kept) < 8


def failing_at(step: int) -> Observer:
    def observe(now: int, predictor: Predictor) -> None:
        if now == step:
            raise LearningError(f"scoring failed at step {step}")

    return observe


@every_grid
def test_a_fold_that_fails_is_an_exception_in_its_place_and_the_others_go_on(grid: Place) -> None:
    strategy, (first, second, third, fourth) = federation(grid=grid), folds()
    lacking = replace(second, classes=("class0", "class1", "joy"))
    diverging = replace(third, training=spoilt(third.training, "S2"))
    found = strategy.fit_many(
        [first, lacking, diverging, fourth, first, fourth],
        [ignore, ignore, ignore, ignore, failing_at(0), failing_at(2)],
    )
    causes = ["No training window of class 'joy'", "2 of 3 clients gave a usable reply", "at step 0", "at step 2"]
    for failed, cause in zip([found[1], found[2], found[4], found[5]], causes, strict=True):
        assert isinstance(failed, LearningError)
        assert cause in str(failed)
    for one, problem in ((found[0], first), (found[3], fourth)):
        assert_close(one, federation().fit(problem, ignore), atol=1e-4)
    assert isinstance(found[2].__cause__, LearningError)


@every_grid
def test_folds_that_all_fail_are_as_many_exceptions(grid: Place) -> None:
    problems = [replace(problem, classes=("class0", "class1", "joy")) for problem in folds()]
    assert [type(found) for found in together(federation(grid=grid), problems)] == [LearningError] * 4


@every_grid
def test_no_fold_is_no_predictor_and_one_fold_is_one(grid: Place) -> None:
    strategy = federation(grid=grid)
    assert strategy.fit_many([], []) == []
    (found,) = together(strategy, folds()[:1])
    assert_equal(found, strategy.fit(folds()[0], ignore))


def test_flower_is_silent_about_folds_together_too() -> None:
    logger, heard = logging.getLogger("flwr"), io.StringIO()
    before, handler = logger.level, logging.StreamHandler(heard)
    logger.addHandler(handler)
    try:
        federation(grid=Stacked()).fit_many(folds(), [ignore, failing_at(1), ignore, failing_at(0)])
        assert heard.getvalue() == ""
        assert logger.level == before
    finally:
        logger.removeHandler(handler)


class Forgetful(FlowerFedAvg):
    """Aggregator that loses a layer."""

    def aggregate_train(self, *args: Any, **kwargs: Any) -> Any:
        arrays, metrics = super().aggregate_train(*args, **kwargs)
        assert arrays is not None
        del arrays["3.bias"]
        return arrays, metrics


@dataclass(frozen=True)
class Loses(FedAvg):
    def aggregator(self, clients: int) -> Any:
        return Forgetful(**self.sampling)


def test_an_aggregator_that_loses_weights_is_named() -> None:
    problem = learning(gaussian_windows(SUBJECTS))
    with pytest.raises(LearningError, match=r"Forgetful gave no weights for 3\.bias of the network"):
        federation(aggregator=Loses()).fit(problem, ignore)


def test_fewer_replies_than_the_aggregator_can_use_are_refused() -> None:
    problem = learning(gaussian_windows([f"S{i}" for i in range(6)]))
    with pytest.raises(LearningError, match="Krum needs the replies of 5 clients in a round, and min_replies is 4"):
        federation(aggregator=Krum(malicious=1), min_replies=4).fit(problem, ignore)


def test_more_replies_than_clients_train_in_a_round_are_refused_before_anybody_is_asked() -> None:
    problem = learning(gaussian_windows([f"S{i}" for i in range(10)]))
    with pytest.raises(LearningError, match="min_replies is 6, and 5 of 10 clients train in a round"):
        federation(0.5, min_replies=6).fit(problem, ignore)


def test_a_client_that_told_nothing_takes_no_part() -> None:
    """Class weights and moments would not be those of all who train."""
    problem = learning(gaussian_windows(SUBJECTS, shift=1.0))
    others = learning(problem.training.of(["S1", "S3", "S4"]))
    strategy = federation(min_replies=3, normalization=TrainingMoments())

    class Mute(ClientGrid):
        def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
            asked = [
                message
                for message in messages
                if "tell" not in message.metadata.message_type or self.name_of(message.metadata.dst_node_id) != "S2"
            ]
            return super().send_and_receive(asked, timeout=timeout)

    found = strategy.lead(Mute(strategy.clients(problem), one_by_one, 3), problem, ignore)
    assert_equal(found, strategy.fit(others, ignore))


def test_time_of_choosing_a_round_is_charged_to_nobody(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: Any) -> float:
        clock.wall += 100.0
        return 0.0

    monkeypatch.setattr("strategies.federated.federation.validation_score", slow)
    problem = learning(gaussian_windows(SUBJECTS), validation=["S4"])
    shown = [Recorder(problem.training) for _ in range(2)]
    federation(grid=Stacked()).fit_many([problem, problem], shown)
    assert max(each["wall_s"] for one in shown for each in one.measures.values()) < 100.0
