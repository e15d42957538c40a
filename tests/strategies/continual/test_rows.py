"""Rows of a stack: each takes the minibatches, steps, pulls and draws of a network that is trained alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from avalanche.core import SupervisedPlugin
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import strategies.continual.rows
from clients import stack_size
from clients.encoders.mlp import MLP
from clients.objectives.cross_entropy import CrossEntropy
from clients.optimizers import OPTIMIZERS, OptimizerName
from clients.selection import network_score
from clients.training import Training, torch_generator, torch_seeded, train_epoch
from strategies.continual.path import Path
from strategies.continual.rows import Rows, rows_of

OBJECTIVE = CrossEntropy()
FEATURES, CLASSES = 3, 2
SGD = Training(optimizer="sgd", learning_rate=0.1, batch_size=4)
Subject = tuple[Tensor, Tensor]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategies.continual.rows, "FEWEST", 2)


def perceptron(seed: int = 0, *, dropout: float = 0.0) -> nn.Module:
    with torch_seeded(seed, "perceptron"):
        return MLP(hidden=(5,), dropout=dropout).build((FEATURES,), CLASSES)


def subject(windows: int, seed: int = 0) -> Subject:
    source = torch_generator(seed, "windows", windows)
    return torch.randn((windows, FEATURES), generator=source), torch.randint(0, CLASSES, (windows,), generator=source)


def counts(data: Subject) -> np.ndarray:
    return np.bincount(data[1].numpy(), minlength=CLASSES)


def rows(number: int, training: Training = SGD, network: nn.Module | None = None) -> Rows:
    made = rows_of(network or perceptron(), OBJECTIVE, training, (FEATURES,), CLASSES, number, 100)
    assert made is not None
    assert made.number == number
    return made


def begin(stack: Rows, row: int, data: Subject) -> None:
    stack.begin(row, *data, OBJECTIVE.constants(counts(data)), (row, "subject"))
    stack.open_epoch(row)


def vector(network: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(network.parameters()).detach().clone()


def train_alone(network: nn.Module, row: int, data: Subject, training: Training, epochs: int) -> list[float]:
    """What a row does, by the loop of a single network; mean loss of each epoch."""
    shuffling = torch_generator(row, "subject")
    optimizer = training.optimizer_of(network.parameters())
    with torch_seeded(row, "subject", "global"):
        loss = OBJECTIVE.loss(counts(data))
        return [train_epoch(network, data, loss, optimizer, training.batch_size, shuffling) for _ in range(epochs)]


def train(stack: Rows, sizes: Sequence[int], epochs: int) -> dict[int, list[float]]:
    """So many epochs in every row; mean loss over the windows of each of them."""
    told: dict[int, list[float]] = {row: [] for row in range(len(sizes))}
    left = set(told)
    while left:
        stack.step()
        for row, epoch in stack.finished().items():
            size = sizes[row]
            batches = [min(4, size - start) for start in range(0, size, 4)]
            told[row].append(float(np.dot(epoch.losses, batches)) / size)
            if len(told[row]) < epochs:
                stack.open_epoch(row)
            else:
                stack.leave(row)
                left.discard(row)
    return told


# Known answers


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_each_row_learns_what_its_network_learns_alone(optimizer: OptimizerName, decay: float, dropout: float) -> None:
    training = Training(optimizer=optimizer, learning_rate=0.05, weight_decay=decay, batch_size=4)
    sizes = (10, 3, 8)
    stack = rows(3, training, perceptron(dropout=dropout))
    networks = [perceptron(seed, dropout=dropout) for seed in range(3)]
    alone = [perceptron(seed, dropout=dropout) for seed in range(3)]
    for row, size in enumerate(sizes):
        stack.seat(row, networks[row])
        begin(stack, row, subject(size))
    told = train(stack, sizes, epochs=3)
    for row, size in enumerate(sizes):
        losses = train_alone(alone[row], row, subject(size), training, epochs=3)
        torch.testing.assert_close(vector(networks[row]), vector(alone[row]), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(told[row], losses, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 13), min_size=2, max_size=5))
def test_rows_of_any_sizes_learn_as_alone(sizes: list[int]) -> None:
    stack = rows(len(sizes))
    networks = [perceptron(row) for row in range(len(sizes))]
    for row, size in enumerate(sizes):
        stack.seat(row, networks[row])
        begin(stack, row, subject(size))
    train(stack, sizes, epochs=2)
    for row, size in enumerate(sizes):
        alone = perceptron(row)
        train_alone(alone, row, subject(size), SGD, epochs=2)
        torch.testing.assert_close(vector(networks[row]), vector(alone), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_a_row_begins_anew_with_a_subject_while_the_others_go_on(optimizer: OptimizerName) -> None:
    """Row 0 meets a second subject, with a fresh optimiser, in the middle of row 1's only one."""
    training = Training(optimizer=optimizer, learning_rate=0.05, batch_size=4)
    stack, networks, alone = rows(2, training), [perceptron(0), perceptron(1)], [perceptron(0), perceptron(1)]
    first, second, long = subject(4), subject(6, seed=1), subject(12)
    for row, data in enumerate((first, long)):
        stack.seat(row, networks[row])
        begin(stack, row, data)
    stack.step()
    assert list(stack.finished()) == [0]
    begin(stack, 0, second)
    stack.step()
    assert not stack.finished()
    stack.step()
    assert sorted(stack.finished()) == [0, 1]
    train_alone(alone[0], 0, first, training, epochs=1)
    train_alone(alone[0], 0, second, training, epochs=1)
    train_alone(alone[1], 1, long, training, epochs=1)
    for ours, theirs in zip(networks, alone, strict=True):
        torch.testing.assert_close(vector(ours), vector(theirs), rtol=1e-5, atol=1e-6)


def test_a_pull_adds_curvature_times_the_way_from_the_anchor_to_the_gradient() -> None:
    """One step of gradient descent with a pull, less the same step without: - rate * curvature * (weights - anchor)."""
    data = subject(4)
    start = vector(perceptron())
    curvature, anchor = torch.arange(len(start)) / 10, torch.full_like(start, 0.5)
    networks = [perceptron(), perceptron()]
    for pulled, network in enumerate(networks):
        stack = rows(2)
        stack.seat(0, network)
        begin(stack, 0, data)
        if pulled:
            stack.pull(0, [curvature], [anchor])
        stack.step()
    expected = -SGD.learning_rate * curvature * (start - anchor)
    torch.testing.assert_close(vector(networks[1]) - vector(networks[0]), expected, rtol=1e-4, atol=1e-6)


def test_a_pull_is_that_of_a_subject_alone() -> None:
    data, networks = subject(4), [perceptron(), perceptron()]
    for pulled, network in enumerate(networks):
        stack = rows(2)
        stack.seat(0, network)
        if pulled:
            begin(stack, 0, data)
            stack.pull(0, [torch.ones_like(vector(network))], [torch.zeros_like(vector(network))])
        begin(stack, 0, data)
        stack.step()
    assert torch.equal(vector(networks[0]), vector(networks[1]))


def test_a_path_sums_the_steps_against_the_gradient_of_the_loss_alone() -> None:
    """Of gradient descent the step is - rate * (gradient + pull), so what it adds is rate * gradient * both."""
    stack, network, data = rows(2), perceptron(), subject(4)
    start = vector(network)
    loss = OBJECTIVE.loss(counts(data))(network(data[0]), data[1])
    gradient = nn.utils.parameters_to_vector(torch.autograd.grad(loss, list(network.parameters())))
    curvature = torch.full_like(start, 0.7)
    stack.seat(1, network)
    begin(stack, 1, data)
    stack.pull(1, [curvature], [torch.zeros_like(start)])
    omega = stack.path(1)
    assert [each.shape for each in omega] == [each.shape for each in network.parameters()]
    stack.step()
    expected = SGD.learning_rate * gradient * (gradient + curvature * start)
    torch.testing.assert_close(nn.utils.parameters_to_vector(omega), expected, rtol=1e-4, atol=1e-7)


def test_a_path_is_followed_from_when_it_is_asked_for() -> None:
    stack, network = rows(2), perceptron()
    stack.seat(0, network)
    begin(stack, 0, subject(4))
    first = stack.path(0)
    stack.step()
    assert any(each.any() for each in first)
    assert not any(each.any() for each in stack.path(0))


def test_the_score_of_an_epoch_is_that_of_the_network_in_eval_mode() -> None:
    stack = rows(3, network=perceptron(dropout=0.4))
    networks = [perceptron(seed, dropout=0.4) for seed in range(3)]
    judges = judged(stack, networks)
    stack.step()
    told = stack.finished()
    for row, network in enumerate(networks):
        expected = network_score(network, OBJECTIVE, *judges[row], weights_of(judges[row]))
        assert told[row].score == pytest.approx(expected, rel=1e-6)


def judged(stack: Rows, networks: Sequence[nn.Module]) -> list[Subject]:
    """Seat three networks, each with another number of validation windows, which are returned."""
    judges = [subject(size, seed=7) for size in (5, 2, 9)]
    for row, network in enumerate(networks):
        stack.seat(row, network)
        begin(stack, row, subject(4))
        stack.judge(row, *judges[row], weights_of(judges[row]))
    return judges


def weights_of(data: Subject) -> Tensor:
    return torch.arange(1, len(data[1]) + 1, dtype=torch.float64) / 10


def test_windows_of_whom_a_row_judged_before_do_not_count() -> None:
    stack, network, few = rows(2), perceptron(), subject(2, seed=7)
    x, y = subject(9, seed=7)
    stack.seat(0, network)
    begin(stack, 0, subject(4))
    stack.judge(0, x * math.nan, y, weights_of((x, y)))
    begin(stack, 0, subject(4))
    stack.judge(0, *few, weights_of(few))
    stack.step()
    expected = network_score(network, OBJECTIVE, *few, weights_of(few))
    assert stack.finished()[0].score == pytest.approx(expected, rel=1e-6)


class Unit(nn.Module):
    """Scales every window to length one, which a window of zeros has no number for."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(x / x.norm(dim=1, keepdim=True))
        return outputs


def test_fewer_validation_windows_than_others_have_are_scored_by_themselves() -> None:
    stack, networks = rows(3, network=Unit()), [Unit() for _ in range(3)]
    judges = judged(stack, networks)
    stack.step()
    for row, epoch in stack.finished().items():
        expected = network_score(networks[row], OBJECTIVE, *judges[row], weights_of(judges[row]))
        assert epoch.score == pytest.approx(expected, rel=1e-5)


def test_a_minibatch_larger_than_any_subject_takes_room_for_its_windows_alone() -> None:
    training = Training(optimizer="sgd", learning_rate=0.1, batch_size=10**9)
    stack = rows_of(perceptron(), OBJECTIVE, training, (FEATURES,), CLASSES, 4, 8)
    assert stack is not None
    network, alone = perceptron(), perceptron()
    stack.seat(0, network)
    begin(stack, 0, subject(8))
    stack.step()
    train_alone(alone, 0, subject(8), training, epochs=1)
    torch.testing.assert_close(vector(network), vector(alone), rtol=1e-5, atol=1e-6)


def test_without_validation_windows_there_is_no_score() -> None:
    stack, judged = rows(2), subject(4)
    for row in range(2):
        stack.seat(row, perceptron(row))
    begin(stack, 0, subject(4))
    stack.judge(0, *judged, weights_of(judged))
    begin(stack, 0, subject(4, seed=1))
    stack.step()
    assert stack.finished()[0].score == 0, "no window counts"
    other = rows(2)
    other.seat(0, perceptron())
    begin(other, 0, subject(4))
    other.step()
    assert math.isnan(other.finished()[0].score)


class Watcher(SupervisedPlugin):  # type: ignore[misc]  # Avalanche is untyped
    """Follows a path by the hooks of a plugin, as it would by itself."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.path = Path(list(network.parameters()))

    def after_backward(self, strategy: object, **kwargs: object) -> None:
        self.path.before_step()

    def after_update(self, strategy: object, **kwargs: object) -> None:
        self.path.after_step()


def test_a_watcher_sees_gradients_and_steps_of_its_row_until_the_next_subject() -> None:
    stack, networks = rows(2), [perceptron(0), perceptron(1)]
    for row, network in enumerate(networks):
        stack.seat(row, network)
        begin(stack, row, subject((12, 5)[row]))
    watcher, omega = Watcher(networks[1]), stack.path(1)
    stack.pull(1, [torch.ones_like(vector(networks[1]))], [torch.zeros_like(vector(networks[1]))])
    stack.watch(1, watcher)
    stack.step()
    stack.step()
    for ours, theirs in zip(watcher.path.omega, omega, strict=True):
        assert ours.any()
        torch.testing.assert_close(ours, theirs)
    before = [each.clone() for each in watcher.path.omega]
    begin(stack, 1, subject(4))
    stack.step()
    assert all(map(torch.equal, before, watcher.path.omega))


# Behaviour


def test_a_network_that_was_lost_is_alone_in_that() -> None:
    stack, networks, alone = rows(2), [perceptron(0), perceptron(1)], perceptron(1)
    x, y = subject(8)
    for row, network in enumerate(networks):
        stack.seat(row, network)
    begin(stack, 0, (x * float("inf"), y))
    begin(stack, 1, (x, y))
    stack.step(), stack.step()
    told = stack.finished()
    assert not any(map(math.isfinite, told[0].losses))
    train_alone(alone, 1, (x, y), SGD, epochs=1)
    torch.testing.assert_close(vector(networks[1]), vector(alone), rtol=1e-5, atol=1e-6)


def test_the_row_of_one_who_left_serves_another() -> None:
    stack, alone = rows(2), perceptron(1)
    stack.seat(0, perceptron(0))
    begin(stack, 0, subject(4))
    stack.pull(0, [torch.ones_like(vector(alone))], [torch.zeros_like(vector(alone))])
    stack.step()
    stack.leave(0)
    network = perceptron(1)
    stack.seat(0, network)
    begin(stack, 0, subject(7))
    stack.step(), stack.step()
    train_alone(alone, 0, subject(7), SGD, epochs=1)
    torch.testing.assert_close(vector(network), vector(alone), rtol=1e-5, atol=1e-6)


def test_no_global_source_is_drawn_from() -> None:
    stack = rows(2, network=perceptron(dropout=0.5))
    stack.seat(0, perceptron(dropout=0.5))
    before = torch.get_rng_state()
    begin(stack, 0, subject(4))
    stack.step()
    assert torch.equal(torch.get_rng_state(), before)


# What cannot be stacked


class Normed(nn.Module):
    """Divides by a number that training does not change."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, CLASSES)
        self.register_buffer("scale", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(x) / self.scale
        return outputs


class Decides(nn.Module):
    """Reads a value back into Python."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(x)
        return outputs if outputs.sum() > 0 else -outputs


class Mixes(Decides):
    """Tells windows by their distance from the mean of the minibatch."""

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(x - x.mean(dim=0))
        return outputs


class Idle(Decides):
    """Has a layer that the outputs do not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(x)
        return outputs


def frozen() -> nn.Module:
    network = perceptron()
    next(network.parameters()).requires_grad_(False)
    return network


@pytest.mark.parametrize("network", [Normed, Decides, Mixes, Idle, frozen])
def test_networks_that_cannot_be_stacked_get_no_rows(network: Callable[[], nn.Module]) -> None:
    assert rows_of(network(), OBJECTIVE, SGD, (FEATURES,), CLASSES, 4, 100) is None


@pytest.mark.parametrize(("networks", "expected"), [(1, None), (3, None), (4, 4), (9, 9)])
def test_few_networks_get_no_rows(networks: int, expected: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    found = rows_of(perceptron(), OBJECTIVE, SGD, (FEATURES,), CLASSES, networks, 100)
    assert (found and found.number) == expected


@pytest.mark.parametrize(("cached", "expected"), [(3, None), (4, 4), (5, 5)])
def test_networks_of_which_few_fit_the_cache_get_as_many_rows_as_do_or_none(
    cached: int, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    size = sum(parameter.nbytes for parameter in perceptron().parameters())
    monkeypatch.setattr(stack_size, "_CACHED", cached * size)
    found = rows_of(perceptron(), OBJECTIVE, SGD, (FEATURES,), CLASSES, 9, 100)
    assert (found and found.number) == expected


def test_a_network_whose_rows_are_asked_for_is_left_as_it_was() -> None:
    network = perceptron()
    before, modes = vector(network), [module.training for module in network.modules()]
    assert rows_of(network, OBJECTIVE, SGD, (FEATURES,), CLASSES, 3, 100) is not None
    assert torch.equal(vector(network), before)
    assert [module.training for module in network.modules()] == modes
    assert all(parameter.grad is None for parameter in network.parameters())
