"""Streams side by side: each learns, tells and fails as it does alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor

from benchmarks.errors import LearningError
from benchmarks.normalization import Stream
from benchmarks.windows import concatenate
from clients import stack_size
from clients.encoders.mlp import MLP
from clients.predictor import NetworkPredictor
from clients.training import Training, seeded
from strategies.continual.contract import Continual, Tell
from strategies.continual.ewc import EWC
from strategies.continual.finetuning import FineTuning
from strategies.continual.mas import MAS
from strategies.continual.quadratic import MeasuredPenalty
from strategies.continual.rows import Rows
from strategies.continual.seat import AtSubjects, Seat, SeatedTemplate
from strategies.continual.si import SI
from strategies.contract import Learning, Observer, Predictor
from tests.strategies.continual.streams import BATCH, REGULAR, made, state, stream, validated
from tests.strategies.learnings import draws, gaussian_windows, ignore

ORDERS = (("carol", "alice", "bob"), ("bob", "carol", "alice"), ("alice", "bob", "carol"))

CASES: Mapping[str, tuple[type[Continual], Mapping[str, Any]]] = {
    "finetuning": (FineTuning, {}),
    "ewc, separate": (EWC, {"strength": 100.0}),
    "ewc, online": (EWC, {"strength": 100.0, "mode": "online"}),
    "si": (SI, {"strength": 10.0}),
    "mas": (MAS, {"strength": 1.0}),
    "mas, max": (MAS, {"strength": 1.0, "accumulation": "max"}),
}
every_case = pytest.mark.parametrize("case", CASES)


class Kept:
    """Observer that keeps what it is shown and told."""

    def __init__(self) -> None:
        self.states: list[Tensor] = []
        self.told: dict[tuple[int, str], float] = {}

    def __call__(self, step: int, predictor: Predictor) -> None:
        assert isinstance(predictor, NetworkPredictor)
        assert step == len(self.states)
        self.states.append(state(predictor))

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        self.told |= {(step, name): value for name, value in values.items()}


def strategy(case: str, **values: object) -> Continual:
    kind, own = CASES[case]
    return made(kind, **{**own, "encoder": MLP(hidden=(8,), dropout=0.3), **values})


def problems(orders: Sequence[Sequence[str]] = ORDERS, seeds: int = 2) -> list[Learning]:
    return [stream(order, seed=seed) for order in orders for seed in range(seeds)]


def uneven(problem: Learning) -> Learning:
    """The same stream, in which nobody has as many windows as another."""
    sizes = {"alice": 40, "bob": 23, "carol": 9}
    parts = [mine.select(np.arange(len(mine))[:: 40 // sizes[who]]) for who, mine in problem.training.by_subject()]
    return replace(problem, training=concatenate(parts))


def seated(one: Continual, learnings: Sequence[Learning]) -> list[Kept]:
    """What observers were given of streams side by side, of which none failed."""
    kept = [Kept() for _ in learnings]
    found = one.fit_many(learnings, kept)
    for predictor, each in zip(found, kept, strict=True):
        assert isinstance(predictor, NetworkPredictor), predictor
        assert torch.equal(state(predictor), each.states[-1])
    return kept


def alone(one: Continual, learnings: Sequence[Learning]) -> list[Kept]:
    kept = [Kept() for _ in learnings]
    for learning, each in zip(learnings, kept, strict=True):
        one.fit(learning, each)
    return kept


def assert_alike(ours: Sequence[Kept], theirs: Sequence[Kept]) -> None:
    """Up to rounding, which Adam enlarges where gradients are small; other windows or draws move weights by 1e-3."""
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(torch.stack(one.states), torch.stack(other.states), rtol=1e-4, atol=2e-5)
        assert one.told.keys() == other.told.keys()
        for key, value in one.told.items():
            assert value == pytest.approx(other.told[key], rel=1e-3, abs=1e-4, nan_ok=True), key


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> list[Rows]:
    """All stacks that take a step."""
    seen: list[Rows] = []
    step = Rows.step

    def noted(self: Rows) -> None:
        if self.number > 2 and self not in seen:
            seen.append(self)
        step(self)

    monkeypatch.setattr(Rows, "step", noted)
    return seen


# Known answers


@every_case
@pytest.mark.parametrize("stops", [False, True])
def test_every_stream_learns_what_it_learns_alone_whatever_the_others_are(
    case: str, stops: bool, stacks: list[Rows]
) -> None:
    learnings = [uneven(one) if number % 2 else one for number, one in enumerate(problems())]
    learnings = [validated(one) if stops else one for one in learnings]
    one = strategy(case, epochs=12, patience=2)
    assert_alike(seated(one, learnings), alone(one, learnings))
    assert len(stacks) == 1


@every_case
def test_diagnostics_tell_the_same(case: str) -> None:
    one = strategy(case, diagnostics=True, epochs=4)
    learnings = [validated(each) for each in problems()]
    ours, theirs = seated(one, learnings), alone(one, learnings)
    assert (1, "f3_step") in ours[0].told
    assert_alike(ours, theirs)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_every_optimiser_with_its_decay(optimizer: str) -> None:
    training = Training(optimizer=optimizer, learning_rate=1e-2, weight_decay=0.1, batch_size=BATCH)  # type: ignore[arg-type]
    one = strategy("ewc, online", training=training)
    assert_alike(seated(one, problems()), alone(one, problems()))


def test_a_normalisation_that_grows_with_each_stream_is_each_ones_own() -> None:
    one = strategy("mas", normalization=Stream())
    assert_alike(seated(one, problems()), alone(one, problems()))


@pytest.mark.parametrize("case", [name for name in CASES if name != "finetuning"])
def test_a_strength_of_zero_is_fine_tuning_to_the_bit_and_one_above_is_not(case: str) -> None:
    learnings = [validated(one) for one in problems()]
    tuned = seated(strategy("finetuning"), learnings)
    for strength, same in ((0.0, True), (1.0, False)):
        found = seated(strategy(case, strength=strength), learnings)
        for one, other in zip(found, tuned, strict=True):
            assert torch.equal(one.states[-1], other.states[-1]) is same
            assert torch.equal(one.states[1], other.states[1]), "there is nothing to remember at the first subject"


# Behaviour


def test_streams_that_wait_for_a_row_learn_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_size, "_LARGEST", 4)
    one = strategy("si", epochs=12, patience=2)
    learnings = [validated(each) for each in problems()]
    assert_alike(seated(one, learnings), alone(one, learnings))


def test_streams_of_different_lengths() -> None:
    learnings = problems((("carol",), ("bob", "alice"), ("alice", "bob", "carol")))
    assert len(learnings) == 6
    one = strategy("ewc, separate")
    assert_alike(seated(one, learnings), alone(one, learnings))


def test_the_same_streams_are_the_same_to_the_bit_whatever_the_global_sources_are() -> None:
    one, learnings = strategy("mas"), [validated(each) for each in problems()]
    runs = []
    for name in ("here", "there"):
        with seeded(name):
            before = draws()
        with seeded(name):
            runs.append(seated(one, learnings))
            assert draws() == before, "a source was drawn from"
    for first, second in zip(*runs, strict=True):
        assert all(map(torch.equal, first.states, second.states))


def test_observers_cannot_reach_what_is_trained() -> None:
    def meddling(step: int, predictor: Predictor) -> None:
        assert isinstance(predictor, NetworkPredictor)
        torch.nn.init.zeros_(next(predictor.network.parameters()))

    one, learnings = strategy("finetuning"), problems()
    found = one.fit_many(learnings, [meddling] * len(learnings))
    expected = seated(one, learnings)
    for predictor, kept in zip(found, expected, strict=True):
        assert isinstance(predictor, NetworkPredictor)
        assert torch.equal(state(predictor), kept.states[-1])


def test_what_is_returned_shares_no_memory_with_another() -> None:
    first, second, *_ = strategy("finetuning").fit_many(problems(), [ignore] * 6)
    assert isinstance(first, NetworkPredictor)
    assert isinstance(second, NetworkPredictor)
    kept = state(second)
    for parameter in first.network.parameters():
        parameter.data.zero_()
    assert torch.equal(state(second), kept)
    storages = {parameter.untyped_storage().data_ptr() for parameter in first.network.parameters()}
    assert not storages & {parameter.untyped_storage().data_ptr() for parameter in second.network.parameters()}
    assert all(p.untyped_storage().nbytes() == p.nbytes for p in first.network.parameters()), "a row of the stack"


# Bad input


def lost(problem: Learning) -> Learning:
    """The same stream, whose second subject has windows that no training survives."""
    training = problem.training
    x = training.x.copy()
    x[training.subject == training.subjects[1]] *= 1e30
    return replace(problem, training=replace(training, x=x))


def test_a_stream_that_diverges_ends_alone_with_the_message_that_it_has_alone() -> None:
    one = strategy("ewc, online", encoder=MLP(hidden=(8,)))
    learnings = problems()
    learnings[2] = lost(learnings[2])
    with pytest.raises(LearningError, match="subject carol, number 2") as told:
        one.fit(learnings[2], ignore)
    kept = [Kept() for _ in learnings]
    found = one.fit_many(learnings, kept)
    assert [number for number, each in enumerate(found) if isinstance(each, Exception)] == [2]
    assert type(found[2]) is LearningError
    assert str(found[2]) == str(told.value)
    assert len(kept[2].states) == 2
    del learnings[2], kept[2]
    assert_alike(kept, alone(one, learnings))


@every_case
def test_a_loss_that_explodes_under_gradient_descent_fails_every_stream(case: str) -> None:
    one = strategy(case, training=Training(optimizer="sgd", learning_rate=1e12, batch_size=BATCH))
    found = one.fit_many(problems(), [ignore] * 6)
    assert all(isinstance(each, LearningError) and "diverged" in str(each) for each in found)


def test_an_observer_that_raises_ends_its_stream_alone() -> None:
    def broken(step: int, predictor: Predictor) -> None:
        if step == 1:
            raise RuntimeError("full disk")

    one, learnings = strategy("finetuning"), problems()
    kept = [Kept() for _ in learnings]
    found = one.fit_many(learnings, [broken, *kept[1:]])
    assert isinstance(found[0], RuntimeError)
    assert_alike(kept[1:], alone(one, learnings[1:]))


class Breaks(AtSubjects):
    """A watcher that fails at the second minibatch of streams with a seed above 0."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._left = 1 if seed else 10**6

    def take_seat(self, seat: Seat) -> None:
        seat.watch(self)

    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        self._left -= 1
        if self._left < 0:
            raise ZeroDivisionError("a watcher's own fault")


class Watched(FineTuning):
    """Fine-tuning that is watched."""

    def plugins(self, learning: Learning, tell: Tell) -> Sequence[SupervisedPlugin]:
        return (Breaks(learning.seed),)


def test_a_watcher_that_raises_ends_its_stream_alone(stacks: list[Rows]) -> None:
    learnings = problems()
    kept = [Kept() for _ in learnings]
    found = made(Watched, encoder=MLP(hidden=(8,), dropout=0.3)).fit_many(learnings, kept)
    assert len(stacks) == 1
    assert [isinstance(each, ZeroDivisionError) for each in found] == [bool(each.seed) for each in learnings]
    assert_alike(kept[::2], alone(strategy("finetuning"), learnings[::2]))


@every_case
def test_a_network_without_a_finite_score_is_told_with_its_place_in_the_stream(case: str) -> None:
    one = strategy(case, epochs=1, training=Training(optimizer="sgd", learning_rate=1e30, batch_size=1000))
    for learning, each in zip(problems(), one.fit_many(list(map(validated, problems())), [ignore] * 6), strict=True):
        assert isinstance(each, LearningError)
        assert f"subject {learning.training.subjects[0]}, number 1 of the stream: no network had a finite" in str(each)


def test_a_class_that_is_nowhere_fails_its_stream_before_it_takes_a_step() -> None:
    learnings = problems()
    training = learnings[0].training
    learnings[0] = replace(learnings[0], training=training.select(learnings[0].labels == 0))
    found = strategy("finetuning").fit_many(learnings, [ignore] * 6)
    assert isinstance(found[0], LearningError)
    assert not any(isinstance(each, Exception) for each in found[1:])


def test_an_interruption_ends_all_streams_where_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, step = [], Rows.step
    cleanup = SeatedTemplate._learn

    def watched(self: SeatedTemplate, *args: Any) -> None:
        try:
            cleanup(self, *args)
        except BaseException as error:
            ended.append(type(error).__name__)
            raise

    def interrupted(self: Rows) -> None:
        if self.number > 2:
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(SeatedTemplate, "_learn", watched)
    monkeypatch.setattr(Rows, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        strategy("finetuning").fit_many(problems(), [ignore] * 6)
    assert ended == ["GreenletExit"] * 6


# What is not stacked


class Noisy(SupervisedPlugin):  # type: ignore[misc]  # Avalanche is untyped
    """Changes every gradient: a stack knows nothing of it."""

    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        for parameter in strategy.model.parameters():
            parameter.grad.mul_(0.5)


class Halved(FineTuning):
    """Fine-tuning with a plugin of one's own."""

    def plugins(self, learning: Learning, tell: Tell) -> Sequence[SupervisedPlugin]:
        return (Noisy(),)


class Clamped(MeasuredPenalty):
    """A penalty whose pull has a bound: a stack would do what is done for the penalty that it inherits from."""

    def pull(self) -> list[Tensor]:
        return [each.clamp(-0.01, 0.01) for each in super().pull()]


class ClampedEWC(EWC):
    """EWC with a penalty of one's own."""

    def plugins(self, learning: Learning, tell: Tell) -> Sequence[SupervisedPlugin]:
        return (Clamped(self.strength, self.join, self._measure),)


class Counting(AtSubjects):
    """Says that it does nothing at minibatches, and does."""

    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        for parameter in strategy.model.parameters():
            parameter.grad.mul_(0.5)


class Counted(FineTuning):
    """Fine-tuning with such a plugin."""

    def plugins(self, learning: Learning, tell: Tell) -> Sequence[SupervisedPlugin]:
        return (Counting(),)


class Twice(FineTuning):
    """Learns in a way of its own: the stream, and then with another seed."""

    def fit(self, learning: Learning, observer: Observer) -> NetworkPredictor:
        super().fit(learning, ignore)
        return super().fit(replace(learning, seed=learning.seed + 100), observer)


ALONE: Mapping[str, Continual] = {
    "a plugin of one's own": made(Halved),
    "a hook of one's own": made(Counted),
    "a pull of one's own": made(ClampedEWC, strength=100.0, mode="online"),
    "a way of learning of one's own": made(Twice),
    "batch norm": made(FineTuning, encoder=REGULAR),
    "batch norm with a penalty": made(SI, strength=1.0, encoder=REGULAR),
}


@pytest.mark.parametrize("one", ALONE.values(), ids=ALONE)
def test_what_cannot_be_stacked_is_learned_one_by_one_to_the_bit(one: Continual, stacks: list[Rows]) -> None:
    learnings = problems()
    for ours, theirs in zip(seated(one, learnings), alone(one, learnings), strict=True):
        assert all(map(torch.equal, ours.states, theirs.states))
    assert not stacks


def test_one_stream_has_nobody_beside_it() -> None:
    one, (learning, *_) = strategy("si"), problems()
    (ours,), (theirs,) = seated(one, [learning]), alone(one, [learning])
    assert all(map(torch.equal, ours.states, theirs.states))
    assert one.fit_many([], []) == []


def test_validation_windows_of_some_alone_are_refused_as_alone() -> None:
    learnings = problems()
    learnings[1] = validated(learnings[1], gaussian_windows(["alice"], shift=1.0))
    found = strategy("finetuning").fit_many(learnings, [ignore] * 6)
    assert isinstance(found[1], LearningError)
    assert "no validation windows of their own" in str(found[1])
    assert not any(isinstance(each, Exception) for number, each in enumerate(found) if number != 1)


def test_streams_with_and_without_validation_windows_are_side_by_side() -> None:
    learnings = [validated(one) if number % 2 else one for number, one in enumerate(problems())]
    one = strategy("si", epochs=6, patience=1)
    ours = seated(one, learnings)
    assert_alike(ours, alone(one, learnings))
    assert all(math.isfinite(float(each.states[-1].sum())) for each in ours)
