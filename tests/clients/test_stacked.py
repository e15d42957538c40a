"""Clients trained all at once: what each learns is what it learns alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmarks.errors import LearningError
from clients import minibatches, stack_size, stacked
from clients.encoders.mlp import MLP
from clients.lesson import Learned, Lesson
from clients.objectives.cross_entropy import CrossEntropy
from clients.optimizers import OPTIMIZERS
from clients.serial import SerialTrainer
from clients.stack import Stack
from clients.stacked import StackedTrainer
from clients.training import Training

OBJECTIVE = CrossEntropy()
SGD = Training(optimizer="sgd", learning_rate=0.1, batch_size=4)
Trainers = tuple[SerialTrainer, StackedTrainer]


def trainers(network: nn.Module, training: Training = SGD) -> Trainers:
    return SerialTrainer(network, OBJECTIVE, training), StackedTrainer(network, OBJECTIVE, training)


def perceptron(*, seed: int = 0, **values: object) -> nn.Module:
    torch.manual_seed(seed)
    return MLP(hidden=(5,), **values).build((3,), 2).double()


def lessons(
    network: nn.Module, sizes: Sequence[int], *, epochs: int = 2, shape: tuple[int, ...] = (3,), pull: float = 0.0
) -> list[Lesson]:
    """Clients with so many windows; each starts from weights of its own."""
    made = []
    for number, size in enumerate(sizes):
        source = torch.Generator().manual_seed(number)
        weights = {
            name: tensor + 0.1 * torch.randn(tensor.shape, generator=source, dtype=tensor.dtype)
            if name.endswith(("weight", "bias"))
            else tensor.clone()
            for name, tensor in network.state_dict().items()
        }
        x = torch.randn((size, *shape), generator=source, dtype=torch.float64)
        y = torch.randint(0, 2, (size,), generator=source)
        constants = OBJECTIVE.constants(np.array([number + 1, 2]))
        made.append(Lesson(f"S{number}", x, y, constants, weights, epochs, (number, "client"), pull))
    return made


def learned(outcome: Learned | Exception) -> Learned:
    assert isinstance(outcome, Learned), outcome
    return outcome


def assert_alike(mine: Sequence[Learned | Exception], others: Sequence[Learned | Exception]) -> None:
    for one, other in zip(map(learned, mine), map(learned, others), strict=True):
        assert one.steps == other.steps
        assert one.loss == pytest.approx(other.loss, abs=1e-6)
        assert list(one.weights) == list(other.weights)
        for name, tensor in one.weights.items():
            torch.testing.assert_close(tensor, other.weights[name], atol=1e-9, rtol=0, msg=name)


def test_one_step_of_two_clients_by_hand() -> None:
    """A linear model without hidden layer: the gradient of the mean cross-entropy is x^T (softmax - onehot) / n."""
    network = MLP(hidden=()).build((2,), 2).double()
    weight, bias = torch.tensor([[0.5, -1.0], [0.0, 2.0]]).double(), torch.tensor([0.1, -0.1]).double()
    named = dict(zip(network.state_dict(), (weight, bias), strict=True))
    data = [
        (torch.tensor([[1.0, 2.0], [0.0, 1.0]]).double(), torch.tensor([0, 1])),
        (torch.tensor([[3.0, -1.0], [1.0, 1.0]]).double(), torch.tensor([1, 1])),
    ]
    constants = CrossEntropy(class_weights="none").constants(np.array([1, 1]))
    asked = [Lesson(f"S{i}", x, y, constants, named, 1, (i,)) for i, (x, y) in enumerate(data)]
    found = StackedTrainer(network, OBJECTIVE, replace(SGD, learning_rate=0.5))(asked)
    for (x, y), outcome in zip(data, map(learned, found), strict=True):
        scores = (x @ weight.T + bias).exp()
        error = scores / scores.sum(dim=1, keepdim=True) - torch.eye(2).double()[y]
        moved_weight, moved_bias = outcome.weights.values()
        torch.testing.assert_close(moved_weight, weight - 0.5 * error.T @ x / 2)
        torch.testing.assert_close(moved_bias, bias - 0.5 * error.mean(dim=0))
        loss = -(scores / scores.sum(dim=1, keepdim=True)).log()[torch.arange(2), y].mean()
        assert outcome.loss == pytest.approx(float(loss))
        assert outcome.steps == 1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 11), min_size=1, max_size=6), st.integers(1, 3), st.sampled_from(sorted(OPTIMIZERS)))
def test_each_client_learns_what_it_learns_alone(sizes: list[int], epochs: int, optimizer: str) -> None:
    network = perceptron()
    training = Training(optimizer=optimizer, learning_rate=0.05, weight_decay=0.1, batch_size=4)  # type: ignore[arg-type]
    one, other = trainers(network, training)
    asked = lessons(network, sizes, epochs=epochs)
    assert_alike(other(asked), one(asked))


@pytest.mark.parametrize("sizes", [[8, 8, 8], [9, 1, 4, 30]])
@pytest.mark.parametrize("pull", [0.0, 0.7])
@pytest.mark.parametrize("drifts", [False, True])
def test_terms_of_the_method_are_added_to_each_clients_own_gradients(
    sizes: list[int], pull: float, drifts: bool
) -> None:
    network = perceptron()
    one, other = trainers(network, replace(SGD, batch_size=8))
    asked = lessons(network, sizes, pull=pull)
    if drifts:
        own = [{name: torch.full_like(p, 0.1 * i) for name, p in network.named_parameters()} for i in range(len(sizes))]
        asked = [replace(lesson, drift=drift) for lesson, drift in zip(asked, own, strict=True)]
    mine = other(asked)
    assert_alike(mine, one(asked))
    if pull or drifts:
        plain = learned(other(lessons(network, sizes))[-1])
        assert not torch.equal(learned(mine[-1]).weights["1.weight"], plain.weights["1.weight"])


@pytest.mark.parametrize("sizes", [[8, 8], [9, 1, 6, 30]])
def test_dropout_draws_what_each_client_draws_alone(sizes: list[int]) -> None:
    network = MLP(hidden=(5, 4), dropout=0.4).build((3,), 2).double()
    one, other = trainers(network)
    asked = lessons(network, sizes)
    assert_alike(other(asked), one(asked))
    still = MLP(hidden=(5, 4)).build((3,), 2).double()
    without = trainers(still)[1]([replace(a, weights=_renamed(a.weights, still)) for a in asked])
    assert learned(without[0]).loss != pytest.approx(learned(other(asked)[0]).loss, abs=1e-4)


def _renamed(weights: object, network: nn.Module) -> dict[str, Tensor]:
    assert isinstance(weights, dict)
    return dict(zip(network.state_dict(), weights.values(), strict=True))


@pytest.mark.parametrize("sizes", [[8, 8, 8], [9, 1, 6, 30, 6]])
def test_batch_norm_counts_a_clients_own_windows_alone(sizes: list[int]) -> None:
    network = perceptron(batch_norm=True)
    one, other = trainers(network)
    asked = lessons(network, sizes)
    assert_alike(other(asked), one(asked))


def test_windows_of_any_shape_and_convolutions_can_be_stacked() -> None:
    network = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.LayerNorm(12), nn.Linear(12, 2)).double()
    one, other = trainers(network)
    asked = lessons(network, [9, 5, 2], shape=(2, 6))
    assert_alike(other(asked), one(asked))


def in_rows(network: nn.Module, sizes: Sequence[int], across: int, *, epochs: int = 2) -> list[Lesson]:
    """Clients with so many windows, each in several federations at once: with weights and constants of its own."""
    rows = []
    for number, one in enumerate(lessons(network, sizes, epochs=epochs)):
        others = lessons(network, [3] * (across + number))[number:]
        rows += [replace(one, weights=other.weights, constants=other.constants) for other in others]
    return rows


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 11), min_size=1, max_size=4), st.integers(2, 3), st.integers(1, 3))
def test_clients_who_read_the_same_windows_learn_what_each_learns_alone(
    sizes: list[int], across: int, epochs: int
) -> None:
    network = perceptron()
    one, other = trainers(network)
    asked = in_rows(network, sizes, across, epochs=epochs)
    mixed = asked[::2] + asked[1::2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacked, "_SMALLEST_ROWS", 1)
        assert_alike(other(mixed), one(mixed))


def frozen() -> nn.Module:
    network = MLP(hidden=(5,)).build((3,), 2)
    next(network.parameters()).requires_grad_(False)
    return network


class InPlace(nn.Module):
    """Takes an offset of its own off its input, in place, which rows that share their windows cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.offset, self.last = nn.Parameter(torch.ones(3)), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        seen = x.new_zeros(x.shape)
        seen += self.offset
        outputs: Tensor = self.last(x - seen)
        return outputs


class Viewed(nn.Module):
    """Takes for granted that the outputs of a linear layer lie row by row in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.last(self.first(x).view(-1).view(len(x), 4))
        return outputs


ROWS: list[Callable[[], nn.Module]] = [
    frozen,
    InPlace,
    Viewed,
    lambda: nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)),
    lambda: nn.Sequential(nn.Dropout(0.4), nn.Linear(3, 2)),
    lambda: MLP(hidden=(5, 4), dropout=0.4).build((3,), 2),
    lambda: perceptron(batch_norm=True),
    lambda: nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2)),
]


@pytest.mark.parametrize("build", ROWS)
@pytest.mark.parametrize("pull", [0.0, 0.7])
def test_rows_of_any_network_and_method(
    build: Callable[[], nn.Module], pull: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacked, "_SMALLEST_ROWS", 1)
    network = build().double()
    one, other = trainers(network)
    asked = [replace(lesson, pull=pull) for lesson in in_rows(network, [8, 4, 6], 3)]
    drifting = [
        replace(lesson, drift={name: torch.full_like(p, 0.1 * i) for name, p in network.named_parameters()})
        for i, lesson in enumerate(asked)
    ]
    assert_alike(other(asked + drifting), one(asked + drifting))


@pytest.mark.parametrize("largest", [2, 3, 4, 7])
def test_rows_of_any_length_are_cut_to_what_a_stack_holds(monkeypatch: pytest.MonkeyPatch, largest: int) -> None:
    monkeypatch.setattr(stacked, "_SMALLEST_ROWS", 1)
    monkeypatch.setattr(stack_size, "_LARGEST", largest)
    network = perceptron()
    one, other = trainers(network)
    asked = [*in_rows(network, [8, 5], 5), *in_rows(network, [9], 3), *lessons(network, [4])]
    stacks = list(other._stacks(asked))
    assert all(len({len(row) for row in rows}) == 1 for rows in stacks)
    assert max(len(rows) * len(rows[0]) for rows in stacks) <= largest
    assert sorted(position for rows in stacks for row in rows for position in row) == list(range(len(asked)))
    assert_alike(other(asked), one(asked))


def test_rows_of_too_few_are_stacked_with_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked, "_SMALLEST_ROWS", 6)
    network = perceptron()
    one, other = trainers(network)
    asked = [*in_rows(network, [8, 5], 3), *in_rows(network, [9], 5), *lessons(network, [4])]
    assert [[len(row) for row in rows] for rows in other._stacks(asked)] == [[3, 3], [1] * 6]
    assert_alike(other(asked), one(asked))


class Scaled(CrossEntropy):
    """Has a number, or a table, to be told of the counts."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        object.__setattr__(self, "shape", shape)

    def constants(self, counts: Any) -> Tensor:
        return torch.ones(self.shape)

    def losses(self, outputs: Tensor, labels: Tensor, constants: Tensor) -> Tensor:
        return CrossEntropy.losses(self, outputs, labels, torch.ones(2)) * constants.mean()


@pytest.mark.parametrize("shape", [(), (2,), (2, 2)])
@pytest.mark.parametrize("across", [1, 3])
def test_constants_of_any_shape(shape: tuple[int, ...], across: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked, "_SMALLEST_ROWS", 1)
    network, objective = perceptron(), Scaled(shape)
    asked = [replace(a, constants=objective.constants(None)) for a in in_rows(network, [4, 4, 2, 1], across)]
    one, other = (kind(network, objective, SGD) for kind in (SerialTrainer, StackedTrainer))
    assert_alike(other(asked), one(asked))


class Directions(nn.Sequential):
    """Looks at the direction of a window alone, so that one of zeros has no gradient."""

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = super().forward(x / x.norm(dim=1, keepdim=True))
        return outputs


def test_windows_that_are_not_there_are_none_that_a_network_cannot_take() -> None:
    network = Directions(nn.Linear(3, 2, bias=False)).double()
    one, other = trainers(network)
    asked = lessons(network, [8, 5, 1])
    assert_alike(other(asked), one(asked))


def test_a_network_that_works_in_place_leaves_the_windows_as_they_are() -> None:
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2)).double()
    one, other = trainers(network)
    asked = lessons(network, [8, 5])
    before = [lesson.x.clone() for lesson in asked]
    assert_alike(other(asked), one(asked))
    assert all(torch.equal(lesson.x, x) for lesson, x in zip(asked, before, strict=True))


def test_what_was_learned_is_untouched_by_the_next_stack() -> None:
    network = perceptron()
    trainer = trainers(network)[1]
    found = [learned(outcome) for outcome in trainer(lessons(network, [8, 5]))]
    kept = [{name: tensor.clone() for name, tensor in each.weights.items()} for each in found]
    trainer(lessons(network, [9, 9, 9]))
    for each, before in zip(found, kept, strict=True):
        assert all(torch.equal(tensor, before[name]) for name, tensor in each.weights.items())


def test_a_row_is_of_one_order_of_the_same_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    network = perceptron()
    first, again, other = in_rows(network, [8], 3)
    asked = [first, replace(again, stream=("other",)), other, replace(first, x=first.x.clone())]
    monkeypatch.setattr(stacked, "_SMALLEST_ROWS", 1)
    (stack,) = trainers(network)[1]._stacks([first, other])
    assert stack == [[0, 1]]
    stacks = list(trainers(network)[1]._stacks(asked))
    assert sorted(map(sorted, (row for rows in stacks for row in rows))) == [[0, 2], [1], [3]]
    assert_alike(trainers(network)[1](asked), trainers(network)[0](asked))


def test_a_client_of_a_row_that_diverges_leaves_the_others_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacked, "_SMALLEST_ROWS", 1)
    network = perceptron()
    asked = in_rows(network, [8, 6], 3)
    wild = {name: tensor * float("inf") for name, tensor in asked[1].weights.items()}
    found = trainers(network)[1]([asked[0], replace(asked[1], weights=wild), *asked[2:]])
    assert isinstance(found[1], LearningError)
    assert_alike([found[0], *found[2:]], trainers(network)[0]([asked[0], *asked[2:]]))


def test_what_was_read_before_spoils_nothing() -> None:
    """A stack of many windows that are no numbers, then one with room beyond its clients' own."""
    network = perceptron()
    trainer = trainers(network)[1]
    spoilt = [replace(lesson, x=lesson.x * float("nan")) for lesson in lessons(network, [30, 30, 30])]
    assert all(isinstance(outcome, LearningError) for outcome in trainer(spoilt))
    asked = lessons(network, [30, 5, 1])
    assert_alike(trainer(asked), trainers(network)[0](asked))


@pytest.mark.parametrize("across", [1, 2])
@pytest.mark.parametrize("steps", [1, 2, 5, 100])
def test_how_far_is_read_ahead_changes_nothing(monkeypatch: pytest.MonkeyPatch, steps: int, across: int) -> None:
    network = perceptron()
    one, other = trainers(network)
    asked = in_rows(network, [30, 9, 5, 1], across, epochs=3)
    monkeypatch.setattr(stacked, "_SMALLEST_ROWS", 1)
    monkeypatch.setattr(minibatches, "_AHEAD", steps * 4 * 4 * 3 * 8)  # clients, windows, features, bytes
    assert_alike(other(asked), one(asked))


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3)])
def test_linear_layers_of_any_input_are_stacked(shape: tuple[int, ...]) -> None:
    network = nn.Sequential(nn.Linear(3, 5, bias=False), nn.Tanh(), nn.Flatten(), nn.LazyLinear(2))
    network(torch.zeros(1, *shape))
    network = network.double()
    one, other = trainers(network)
    asked = lessons(network, [9, 5, 2], shape=shape)
    assert_alike(other(asked), one(asked))


def test_large_networks_are_stacked_in_small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    network = perceptron()
    asked = lessons(network, [8] * 6)
    weights = sum(tensor.nbytes for tensor in asked[0].weights.values())
    monkeypatch.setattr(stack_size, "_CACHED", 2 * weights + 1)
    assert [len(rows) for rows in trainers(network)[1]._stacks(asked)] == [2, 2, 2]


@pytest.mark.parametrize("largest", [1, 2, 3])
def test_stacks_are_cut_without_changing_what_is_learned(monkeypatch: pytest.MonkeyPatch, largest: int) -> None:
    network = perceptron()
    one, other = trainers(network)
    asked = lessons(network, [5, 17, 1, 5, 8])
    made: list[int] = []
    before = Stack.__init__

    def count(self: Stack, *args: object) -> None:
        made.append(sum(map(len, args[3])))  # type: ignore[arg-type]
        before(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Stack, "__init__", count)
    monkeypatch.setattr(stack_size, "_LARGEST", largest)
    assert_alike(other(asked), one(asked))
    assert sum(made) == 5
    assert max(made) == largest


def test_memory_bounds_a_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    network = perceptron()
    asked = lessons(network, [8] * 6)
    weights = sum(tensor.nbytes for tensor in asked[0].weights.values())
    monkeypatch.setattr(stack_size, "_BUDGET", 3 * (5 * weights + 4 * 4 * 3 * 8))
    sizes = [len(rows) for rows in trainers(network)[1]._stacks(asked)]
    assert sizes == [3, 3]


def test_the_same_again_to_the_bit_and_nothing_is_moved() -> None:
    network = perceptron(dropout=0.3)
    asked = lessons(network, [9, 4, 4])
    kept = [{name: tensor.clone() for name, tensor in (*a.weights.items(), ("x", a.x), ("y", a.y))} for a in asked]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    first, second = (trainers(network)[1](asked) for _ in range(2))
    for one, other in zip(map(learned, first), map(learned, second), strict=True):
        assert one.loss == other.loss
        assert all(torch.equal(tensor, other.weights[name]) for name, tensor in one.weights.items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    for lesson, copies in zip(asked, kept, strict=True):
        now = {**lesson.weights, "x": lesson.x, "y": lesson.y}
        assert all(torch.equal(now[name], copy) for name, copy in copies.items())


def test_what_is_learned_shares_no_memory_between_clients() -> None:
    network = perceptron()
    one, other = map(learned, trainers(network)[1](lessons(network, [4, 4])))
    kept = other.weights["1.weight"].clone()
    one.weights["1.weight"].fill_(0)
    assert torch.equal(other.weights["1.weight"], kept)
    assert not other.weights["1.weight"].requires_grad


def test_a_client_that_diverges_leaves_the_others_as_they_are() -> None:
    network = perceptron()
    asked = lessons(network, [8, 8, 8])
    alone = trainers(network)[1]
    spoilt = replace(asked[1], x=asked[1].x * float("inf"))
    found = alone([asked[0], spoilt, asked[2]])
    assert isinstance(found[1], LearningError)
    assert "loss is not finite" in str(found[1])
    assert_alike([found[0], found[2]], trainers(network)[0]([asked[0], asked[2]]))


class Reads(nn.Module):
    """Layer that reads a value back into Python."""

    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


class Noisy(nn.Module):
    """Layer that draws in a way that nobody can see from outside."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


class Silent(nn.Module):
    """Layer that fails without a word."""

    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError


class TimeFirst(nn.Module):
    """Dropout on an input that begins with time, which is as long as the minibatch."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout, self.last = nn.Dropout(0.3), nn.Linear(3 * 8, 2)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.last(self.dropout(x.transpose(0, 1)).transpose(0, 1).flatten(1))
        return outputs


class Centred(nn.Sequential):
    """A perceptron that looks at the whole minibatch."""

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = super().forward(x - x.mean(dim=0))
        return outputs


@pytest.mark.parametrize("sizes", [[8, 8], [8, 5, 5, 3]])
def test_windows_that_meet_in_a_layer_of_ones_own_meet_no_others(sizes: list[int]) -> None:
    network = Centred(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    one, other = trainers(network, replace(SGD, batch_size=8))
    asked = lessons(network, sizes)
    assert_alike(other(asked), one(asked))


def test_dropout_that_does_not_begin_with_the_windows_is_refused() -> None:
    network = TimeFirst().double()
    one, other = trainers(network, replace(SGD, batch_size=8))
    for outcome in other(lessons(network, [8, 8], shape=(8, 3))):
        with pytest.raises(LearningError, match="not one row a window .* use in_process"):
            raise outcome if isinstance(outcome, Exception) else AssertionError(outcome)
    assert all(isinstance(outcome, Learned) for outcome in one(lessons(network, [8, 8], shape=(8, 3))))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.last(self.second(self.first(x)))
        return outputs


UNSTACKABLE: list[tuple[Callable[[], nn.Module], str]] = [
    (lambda: nn.Sequential(Reads(), nn.Linear(3, 2)), r"item\(\)"),
    (lambda: nn.Sequential(Noisy(), nn.Linear(3, 2)), "random"),
    (lambda: nn.Sequential(nn.Linear(3, 4), nn.AlphaDropout(0.2), nn.Linear(4, 2)), "random"),
    (Tied, "second.weight belongs to several layers"),
]


@pytest.mark.parametrize(("build", "reason"), UNSTACKABLE)
def test_what_cannot_be_stacked_is_refused_with_the_reason_and_what_to_do(
    build: Callable[[], nn.Module], reason: str
) -> None:
    network = build().double()
    for outcome in trainers(network)[1](lessons(network, [8, 5])):
        assert isinstance(outcome, LearningError)
        assert "in_process" in str(outcome)
        with pytest.raises(LearningError, match=reason):
            raise outcome
    assert all(isinstance(outcome, Learned) for outcome in trainers(network)[0](lessons(network, [8, 5])))


def test_stacks_import_neither_the_compiler_nor_symbolic_shapes() -> None:
    """In a process of its own: they take seconds of every worker's start."""
    script = """
import sys
import numpy as np
import torch
from clients.encoders.mlp import MLP
from clients.lesson import Learned, Lesson
from clients.objectives.cross_entropy import CrossEntropy
from clients.stacked import StackedTrainer
from clients.training import Training

network, objective = MLP(hidden=(4,), dropout=0.2).build((3,), 2), CrossEntropy()
weights, constants = network.state_dict(), objective.constants(np.array([1, 1]))
asked = [
    Lesson(str(size), torch.randn(size, 3), torch.arange(size) % 2, constants, weights, 2, (size,)) for size in (9, 4)
]
assert all(isinstance(one, Learned) for one in StackedTrainer(network, objective, Training())(asked * 20))
print(sorted(set(sys.modules) & {"torch._dynamo", "torch._inductor", "sympy", "torch.fx.experimental.symbolic_shapes"}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "[]\n", done.stderr or done.stdout


def test_no_lesson_is_nothing_learned() -> None:
    assert trainers(perceptron())[1]([]) == []


def test_an_error_without_a_word_is_told_by_its_name() -> None:
    network = nn.Sequential(Silent(), nn.Linear(3, 2)).double()
    (outcome,) = trainers(network)[1](lessons(network, [8]))
    assert isinstance(outcome, LearningError)
    assert "AssertionError" in str(outcome)
