"""Lessons learned one after another: the gradient of a lesson by hand, and what a lesson leaves alone."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmarks.errors import LearningError
from benchmarks.randomness import generator
from clients.lesson import Learned, Lesson
from clients.objectives.cross_entropy import CrossEntropy
from clients.optimizers import OPTIMIZERS
from clients.serial import SerialTrainer
from clients.training import Training, seeded, torch_generator, torch_seeded, train_epoch

DOUBLE = torch.float64
CLASSES, FEATURES = 3, 4
CONSTANTS = torch.tensor([0.5, 2.0, 1.5], dtype=DOUBLE)
RATE, DECAY, BATCH = 0.1, 0.2, 4
SGD = Training("sgd", RATE, batch_size=BATCH)


def linear() -> nn.Module:
    return nn.Linear(FEATURES, CLASSES, dtype=DOUBLE)


def deep(dtype: torch.dtype = DOUBLE, dropout: float = 0.0) -> nn.Module:
    """Layers with buffers and, if asked for, noise."""
    layers = nn.Linear(FEATURES, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Dropout(dropout), nn.Linear(5, CLASSES)
    return nn.Sequential(*layers).to(dtype)


def trainer(network: nn.Module, training: Training = SGD) -> SerialTrainer:
    return SerialTrainer(network, CrossEntropy(), training)


def weights(network: nn.Module, *names: str | int) -> dict[str, Tensor]:
    """Numbers for all parameters and buffers of a network that depend on the names alone."""
    rng = generator("serial", *names)
    return {
        # Positive, as a running variance has to be, and an integer may be a count.
        name: torch.tensor(rng.uniform(0.1, 1, value.shape) * (1 if value.is_floating_point() else 9)).to(value.dtype)
        for name, value in network.state_dict().items()
    }


def lesson(network: nn.Module, subject: str = "S1", windows: int = 10, **changes: Any) -> Lesson:
    rng = generator("lesson", subject)
    dtype = next(network.parameters()).dtype
    given = {
        "subject": subject,
        "x": torch.tensor(rng.standard_normal((windows, FEATURES))).to(dtype),
        "y": torch.tensor(rng.integers(0, CLASSES, windows)),
        "constants": CONSTANTS.to(dtype),
        "weights": weights(network, "start", subject),
        "epochs": 1,
        "stream": (7, "client", subject, 1),
    }
    return Lesson(**{**given, **changes})


def drift_of(network: nn.Module) -> dict[str, Tensor]:
    numbers = weights(network, "drift")
    return {name: numbers[name] for name, _ in network.named_parameters()}


def learned(outcome: Learned | Exception) -> Learned:
    assert isinstance(outcome, Learned), outcome
    return outcome


def assert_equal(ours: Learned, theirs: Learned) -> None:
    assert (ours.loss, ours.steps) == (theirs.loss, theirs.steps)
    assert ours.weights.keys() == theirs.weights.keys()
    for name, value in ours.weights.items():
        assert torch.equal(value, theirs.weights[name]), name


# Known answers


def by_hand(mine: Lesson, decay: float) -> tuple[np.ndarray, np.ndarray, float, int]:
    """Weight, bias, mean loss of the last epoch and steps of weighted logistic regression, written out in NumPy."""
    weight, bias = (mine.weights[name].numpy().copy() for name in ("weight", "bias"))
    start = weight.copy(), bias.copy()
    drift = (0.0, 0.0) if mine.drift is None else tuple(mine.drift[name].numpy() for name in ("weight", "bias"))
    x, y, steps = mine.x.numpy(), mine.y.numpy(), 0
    shuffling = torch_generator(*mine.stream)
    for _ in range(mine.epochs):
        order, total = torch.randperm(len(x), generator=shuffling).numpy(), 0.0
        for batch in (order[first : first + BATCH] for first in range(0, len(x), BATCH)):
            odds = np.exp(x[batch] @ weight.T + bias)
            p = odds / odds.sum(axis=1, keepdims=True)
            each = mine.constants.numpy()[y[batch]]
            total -= (each * np.log(p[np.arange(len(batch)), y[batch]])).sum()
            residual = each[:, None] * (p - np.eye(CLASSES)[y[batch]]) / len(batch)
            gradients = residual.T @ x[batch], residual.sum(axis=0)
            for value, gradient, origin, along in zip((weight, bias), gradients, start, drift, strict=True):
                value -= RATE * (gradient + mine.pull * (value - origin) + along + decay * value)
            steps += 1
    return weight, bias, total / len(x), steps


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("decay", [0.0, DECAY])
@pytest.mark.parametrize("drifts", [False, True])
@pytest.mark.parametrize("pull", [0.0, 0.7])
def test_a_lesson_is_a_hand_written_loop(pull: float, drifts: bool, decay: float, epochs: int) -> None:
    network = linear()
    mine = lesson(network, pull=pull, drift=drift_of(network) if drifts else None, epochs=epochs)
    (outcome,) = trainer(network, replace(SGD, weight_decay=decay))([mine])
    weight, bias, loss, steps = by_hand(mine, decay)
    np.testing.assert_allclose(learned(outcome).weights["weight"].numpy(), weight, rtol=0, atol=1e-13)
    np.testing.assert_allclose(learned(outcome).weights["bias"].numpy(), bias, rtol=0, atol=1e-13)
    assert learned(outcome).loss == pytest.approx(loss, rel=1e-6)  # the sum over minibatches is in float32
    assert learned(outcome).steps == steps == 3 * epochs


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_pull_and_drift_are_the_gradient_of_a_penalty_whatever_the_optimiser(optimizer: Any) -> None:
    """The loss plus pull / 2 |w - w_start|^2 plus the product of drift and w, in plain torch."""
    network, by_torch = deep(), deep()
    training = Training(optimizer, RATE, DECAY, BATCH)
    mine = lesson(network, pull=0.7, drift=drift_of(network), epochs=2)
    (outcome,) = trainer(network, training)([mine])

    by_torch.load_state_dict(mine.weights)
    stepping = training.optimizer_of(by_torch.parameters())
    shuffling = torch_generator(*mine.stream)
    assert mine.drift is not None
    for batch in (b for _ in range(2) for b in torch.randperm(10, generator=shuffling).split(BATCH)):
        stepping.zero_grad()
        loss = CrossEntropy().losses(by_torch(mine.x[batch]), mine.y[batch], mine.constants).mean()
        for name, parameter in by_torch.named_parameters():
            loss = loss + 0.35 * ((parameter - mine.weights[name]) ** 2).sum() + (mine.drift[name] * parameter).sum()
        loss.backward()
        stepping.step()
    for name, value in by_torch.state_dict().items():
        torch.testing.assert_close(learned(outcome).weights[name], value, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("nothing", ["none", "zeros"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_without_pull_and_drift_it_is_plain_training_to_the_bit(optimizer: Any, nothing: str) -> None:
    network, plain = deep(torch.float32, dropout=0.3), deep(torch.float32, dropout=0.3)
    training = Training(optimizer, 0.01, DECAY, BATCH)
    zeros = {name: torch.zeros_like(value) for name, value in drift_of(network).items()}
    mine = lesson(network, epochs=3, drift={"none": None, "zeros": zeros}[nothing])
    (outcome,) = trainer(network, training)([mine])

    plain.load_state_dict(mine.weights)
    stepping, shuffling = training.optimizer_of(plain.parameters()), torch_generator(*mine.stream)
    with torch_seeded(*mine.stream, "dropout"):
        for _ in range(3):
            total = torch.zeros(())
            for batch in torch.randperm(10, generator=shuffling).split(BATCH):
                each = nn.functional.cross_entropy(plain(mine.x[batch]), mine.y[batch], reduction="none")
                loss = (mine.constants[mine.y[batch]] * each).mean()
                gradients = torch.autograd.grad(loss, list(plain.parameters()))
                for parameter, gradient in zip(plain.parameters(), gradients, strict=True):
                    parameter.grad = gradient
                stepping.step()
                total += loss.detach() * len(batch)
    assert_equal(learned(outcome), Learned(plain.state_dict(), float(total) / 10, 9))


def test_buffers_start_where_the_lesson_says_and_go_on_from_there() -> None:
    network = nn.Sequential(nn.BatchNorm1d(FEATURES), nn.Linear(FEATURES, CLASSES)).double()
    mine = lesson(network, windows=BATCH, epochs=2)
    (outcome,) = trainer(network)([mine])
    start, mean = mine.weights["0.running_mean"], mine.x.mean(dim=0)
    expected = 0.81 * start + 0.19 * mean  # momentum 0.1, twice over the same windows
    torch.testing.assert_close(learned(outcome).weights["0.running_mean"], expected)
    assert learned(outcome).weights["0.num_batches_tracked"] == mine.weights["0.num_batches_tracked"] + 2


@settings(max_examples=25, deadline=None)
@given(windows=st.integers(1, 20), batch=st.integers(1, 25), epochs=st.integers(1, 3))
def test_steps_are_counted_as_they_are_made(windows: int, batch: int, epochs: int) -> None:
    made = []
    network = linear()
    network.register_forward_hook(lambda *_: made.append(1))
    mine = lesson(network, windows=windows, epochs=epochs)
    (outcome,) = trainer(network, replace(SGD, batch_size=batch))([mine])
    assert learned(outcome).steps == len(made)


# What a lesson leaves alone


def everything(mine: Lesson) -> list[Tensor]:
    return [mine.x, mine.y, mine.constants, *mine.weights.values(), *(mine.drift or {}).values()]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_lesson_is_as_it_was_after_training(optimizer: Any) -> None:
    network = deep(dropout=0.3)
    mine = lesson(network, epochs=2, pull=0.5, drift=drift_of(network))
    before = [tensor.clone() for tensor in everything(mine)]
    learned(*trainer(network, Training(optimizer, batch_size=BATCH))([mine]))
    for tensor, then in zip(everything(mine), before, strict=True):
        assert torch.equal(tensor, then)
        assert tensor.grad is None
        assert not tensor.requires_grad


def test_what_was_learned_is_nobody_elses() -> None:
    network = deep()
    mine = lesson(network)
    first, second = trainer(network)([mine, lesson(network, "S2")])
    kept = {name: value.clone() for name, value in learned(first).weights.items()}
    with torch.no_grad():
        for value in (*network.state_dict().values(), *learned(second).weights.values(), *mine.weights.values()):
            value.zero_()
    for name, value in learned(first).weights.items():
        assert torch.equal(value, kept[name])
        assert not value.requires_grad


def test_a_lesson_does_not_depend_on_the_others_nor_on_what_the_network_was() -> None:
    network = deep(torch.float32, dropout=0.3)
    lessons = [lesson(network, name, windows) for name, windows in (("S1", 10), ("S2", 2), ("S3", 23), ("S1", 10))]
    training = Training("adam", 0.01, batch_size=BATCH)
    alone = [learned(*trainer(deep(torch.float32, dropout=0.3), training)([one])) for one in lessons]
    forth, back = trainer(network, training)(lessons), trainer(network, training)(lessons[::-1])[::-1]
    for one, other, third in zip(alone, forth, back, strict=True):
        assert_equal(one, learned(other))
        assert_equal(one, learned(third))
    assert_equal(alone[0], alone[-1])
    assert not torch.equal(alone[0].weights["0.weight"], alone[1].weights["0.weight"])


def test_order_and_dropout_are_drawn_from_the_stream_alone_and_the_global_sources_stay() -> None:
    network = deep(torch.float32, dropout=0.5)
    mine = lesson(network)
    with seeded("one"):
        before = draws()
        first = learned(*trainer(network)([mine]))
    with seeded("one"):
        assert draws() == before
        trainer(network)([mine])
        after = draws()
    with seeded("one"):
        draws()
        assert draws() == after
    with seeded("two"):
        assert_equal(first, learned(*trainer(network)([mine])))
    other = learned(*trainer(network)([replace(mine, stream=(7, "client", "S1", 2))]))
    assert not torch.equal(first.weights["0.weight"], other.weights["0.weight"])


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), float(torch.rand(()))


def test_epochs_go_on_with_one_optimiser_and_one_stream() -> None:
    """Two epochs are one training and no repetition: they differ from two lessons of one epoch each."""
    network, training = linear(), Training("adam", 0.01, batch_size=BATCH)
    once = lesson(network)
    twice = learned(*trainer(network, training)([replace(once, epochs=2)]))
    first = learned(*trainer(network, training)([once]))
    again = learned(*trainer(network, training)([replace(once, weights=first.weights)]))
    assert not torch.equal(twice.weights["weight"], again.weights["weight"])

    plain = linear()
    plain.load_state_dict(once.weights)
    stepping, shuffling = training.optimizer_of(plain.parameters()), torch_generator(*once.stream)

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        return CrossEntropy().losses(outputs, labels, CONSTANTS)

    for _ in range(2):
        last = train_epoch(plain, (once.x, once.y), lambda o, y: loss(o, y).mean(), stepping, BATCH, shuffling)
    assert_equal(twice, Learned(plain.state_dict(), last, 6))


def test_a_frozen_weight_stays_where_the_lesson_starts_even_if_there_is_drift() -> None:
    network = deep()
    network[0].weight.requires_grad_(False)
    mine = lesson(network, pull=0.5, drift=drift_of(network))
    outcome = learned(*trainer(network, Training("adam", 0.01, DECAY, BATCH))([mine]))
    assert torch.equal(outcome.weights["0.weight"], mine.weights["0.weight"])
    assert not torch.equal(outcome.weights["0.bias"], mine.weights["0.bias"])


# Failures


def test_nothing_to_learn_is_nothing_learned() -> None:
    assert trainer(linear())([]) == []


def spoilt(network: nn.Module) -> dict[str, tuple[Lesson, type[Exception], str]]:
    good = lesson(network, "S2")
    without = {name: value for name, value in good.weights.items() if name != "0.bias"}
    return {
        "nan": (replace(good, x=good.x * float("nan")), LearningError, "diverged"),
        "infinite start": (
            replace(good, weights={**good.weights, "4.bias": torch.full((CLASSES,), torch.inf, dtype=DOUBLE)}),
            LearningError,
            "diverged",
        ),
        "lacking weight": (replace(good, weights=without), RuntimeError, "0.bias"),
        "other shape": (replace(good, x=good.x[:, :2]), RuntimeError, "shape"),
        "label of no class": (replace(good, y=good.y + CLASSES), Exception, "out of bounds"),
    }


@pytest.mark.parametrize("fault", spoilt(deep()))
def test_a_lesson_that_fails_is_an_exception_in_its_place_and_the_others_go_on(fault: str) -> None:
    network = deep()
    bad, kind, said = spoilt(network)[fault]
    first, last = lesson(network, "S1"), lesson(network, "S3")
    outcomes = trainer(network)([first, bad, last])
    assert isinstance(outcomes[1], kind)
    assert said in str(outcomes[1])
    for outcome, one in ((outcomes[0], first), (outcomes[2], last)):
        assert_equal(learned(outcome), learned(*trainer(deep())([one])))


def test_learning_one_lesson_raises_what_goes_wrong() -> None:
    network = linear()
    with pytest.raises(LearningError, match=r"smaller training\.learning_rate"):
        trainer(network).learn(lesson(network, constants=CONSTANTS * torch.inf))


def test_an_interruption_is_no_failure_of_a_client() -> None:
    network = linear()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    network.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer(network)([lesson(network)])
