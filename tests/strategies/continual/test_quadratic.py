"""Quadratic penalties: what they add to gradients, how importance adds up, and the laws of their strength."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor, nn

from benchmarks.errors import LearningError, StudyError
from benchmarks.normalization import Stream
from benchmarks.parts import build, find
from clients.encoders.mlp import MLP
from clients.training import Training
from strategies.continual.ewc import EWC
from strategies.continual.finetuning import FineTuning
from strategies.continual.mas import MAS
from strategies.continual.quadratic import ACCUMULATIONS, Quadratic, QuadraticPenalty, Regularised
from strategies.continual.si import SI
from strategies.contract import Learning
from strategies.table import STRATEGIES
from tests.strategies.continual.opposed import DESCENT, Best, learned, opposed, vector, weights
from tests.strategies.continual.streams import EPOCHS, REGULAR, late, made, of_one_class, predictors, same, validated
from tests.strategies.learnings import balanced_accuracy, disturb, ignore

KINDS: dict[str, tuple[type[Regularised], dict[str, object]]] = {
    "ewc": (EWC, {}),
    "ewc online": (EWC, {"mode": "online"}),
    "si": (SI, {}),
    "mas": (MAS, {}),
}
every_kind = pytest.mark.parametrize("name", KINDS)
SUBJECTS = ("a", "b", "c")


def regularised(name: str, strength: float, **values: object) -> Regularised:
    kind, own = KINDS[name]
    return made(kind, strength=strength, **{**own, **values})


def penalty_of(name: str, problem: Learning, strength: float, **values: object) -> QuadraticPenalty:
    """The penalty as it stands after a stream."""
    _, (penalty,) = learned(regularised(name, strength, **values), problem)
    assert isinstance(penalty, QuadraticPenalty)
    return penalty


class Given(QuadraticPenalty):
    """A penalty whose importance is known beforehand: 1, 2, 3, ... for the subjects in turn."""

    def importance(self, strategy: Any) -> list[Tensor]:
        each = float(strategy.experience.current_experience + 1)
        return [torch.full_like(parameter, each).detach() for parameter in self.parameters]


class Note(SupervisedPlugin):  # type: ignore[misc]  # Avalanche is untyped
    """Writes down gradients, where the weights were, and whose minibatch it was."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, Tensor, Tensor]] = []

    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        parameters = list(strategy.model.parameters())
        gradients = [parameter.grad for parameter in parameters]
        self.seen.append((strategy.experience.current_experience, vector(gradients), vector(parameters)))


# Known answers


def test_the_gradient_is_that_of_half_the_scaled_sum_and_nothing_is_added_for_the_first_subject() -> None:
    penalty, before, after = Given(0.5, lambda old, new: new), Note(), Note()
    kept = [weights(predictor) for predictor in predictors(made(_with(before, penalty, after)), opposed(SUBJECTS))]
    assert len(before.seen) == 3 * 3 * 3
    for (subject, task, at), (_, whole, _) in zip(before.seen, after.seen, strict=True):
        expected = 0.5 * subject * (at - kept[subject]) if subject else torch.zeros_like(at)
        torch.testing.assert_close(whole - task, expected, rtol=1e-4, atol=1e-7)
    assert not torch.allclose(before.seen[-1][1], after.seen[-1][1], atol=1e-3)


def _with(*plugins: SupervisedPlugin) -> type[FineTuning]:
    """Fine-tuning in the company of plugins."""

    class WithPlugins(FineTuning):
        def plugins(self, learning: Learning, tell: object) -> tuple[SupervisedPlugin, ...]:
            return plugins

    return WithPlugins


def test_the_rules_of_accumulation_by_numbers() -> None:
    old, new = torch.tensor([1.0, 4.0]), torch.tensor([3.0, 2.0])
    found = {name: rule(old, new, 0.5).tolist() for name, rule in ACCUMULATIONS.items()}
    assert found == {"sum": [4.0, 6.0], "decay": [3.5, 4.0], "max": [3.0, 4.0], "reset": [3.0, 2.0]}
    assert (old.tolist(), new.tolist()) == ([1.0, 4.0], [3.0, 2.0])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, [4.0]),
        ({"accumulation": "sum"}, [4.0]),
        ({"accumulation": "decay"}, [0.9 * 1 + 3]),
        ({"accumulation": "decay", "decay": 0.0}, [3.0]),
        ({"accumulation": "decay", "decay": 0.25}, [3.25]),
        ({"accumulation": "max"}, [3.0]),
        ({"accumulation": "reset"}, [3.0]),
    ],
)
def test_values_of_a_study_choose_the_rule_and_the_anchor_is_the_last(
    values: dict[str, object], expected: list[float]
) -> None:
    old, new = (
        Quadratic([torch.tensor([1.0])], [torch.tensor([5.0])]),
        Quadratic([torch.tensor([3.0])], [torch.ones(1)]),
    )
    joined = made(MAS, strength=1.0, **values).join(old, new)
    assert joined.importance[0].tolist() == pytest.approx(expected)
    assert joined.anchor[0].tolist() == [1.0]


def test_importance_and_anchor_by_each_rule_over_a_stream() -> None:
    """Subjects of importance 1, 2 and 3."""
    expected = {"sum": 6.0, "decay": 0.5 * (0.5 * 1 + 2) + 3, "max": 3.0, "reset": 3.0}
    for name, value in expected.items():
        rule = ACCUMULATIONS[name]  # type: ignore[index]

        def join(old: Quadratic, new: Quadratic, rule: Any = rule) -> Quadratic:
            pairs = zip(old.importance, new.importance, strict=True)
            return Quadratic([rule(*both, 0.5) for both in pairs], new.anchor)

        penalty = Given(0.1, join)
        predictor = made(_with(penalty)).fit(opposed(SUBJECTS), ignore)
        assert penalty.memory is not None
        assert all((each == value).all() for each in penalty.memory.importance)
        assert torch.equal(vector(penalty.memory.anchor), weights(predictor))
        assert all((each == 3.0).all() for each in penalty.latest)


class Spare(MLP):
    """A network with a parameter that nothing reaches."""

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        network = super().build(shape, outputs)
        network.register_parameter("spare", nn.Parameter(torch.ones(3)))
        return network


class Nudge(SupervisedPlugin):  # type: ignore[misc]  # Avalanche is untyped
    """Moves the parameter that nothing reaches when the second subject begins."""

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.clock.train_exp_counter == 1:
            strategy.model.spare.data += 1


@pytest.mark.parametrize("training", [DESCENT, Training(weight_decay=0.1, batch_size=16)])
def test_a_parameter_without_a_gradient_is_left_alone(training: Training) -> None:
    penalty = Given(1.0, lambda old, new: new)
    strategy = made(_with(penalty), encoder=Spare(hidden=(8,)), training=training)
    predictor, _ = learned(strategy, opposed(), Nudge())
    spare = predictor.network.get_parameter("spare")
    assert spare.tolist() == [1.0 + strategy.epochs] * 3
    assert spare.grad is None


class Frozen(MLP):
    """A network whose first layer stays as it is drawn."""

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        network = super().build(shape, outputs)
        for parameter in list(network.parameters())[:2]:
            parameter.requires_grad_(False)
        return network


@every_kind
def test_a_parameter_that_is_not_trained_stays_and_has_no_importance(name: str) -> None:
    first, *_, last = predictors(regularised(name, 1.0, encoder=Frozen(hidden=(8,))), opposed(SUBJECTS))
    pairs = zip(first.network.parameters(), last.network.parameters(), strict=True)
    assert [torch.equal(one, other) for one, other in pairs] == [True, True, False, False]
    memory = penalty_of(name, opposed(), 1.0, encoder=Frozen(hidden=(8,))).memory
    assert memory is not None
    assert len(memory.importance) == len(memory.anchor) == 2


# The laws of strength


@every_kind
@pytest.mark.parametrize("training", [DESCENT, Training(learning_rate=1e-2, batch_size=16)], ids=["sgd", "adam"])
def test_a_strength_of_zero_is_fine_tuning_to_the_bit_and_any_other_is_not(name: str, training: Training) -> None:
    for problem in (opposed(SUBJECTS), validated(opposed(SUBJECTS))):
        values: dict[str, object] = {"training": training, "encoder": REGULAR}
        plain = predictors(made(FineTuning, **values), problem)
        without = predictors(regularised(name, 0.0, **values), problem)
        assert all(same(*both) for both in zip(plain, without, strict=True))
        with_some = predictors(regularised(name, 1.0, **values), problem)
        assert [same(*both) for both in zip(plain, with_some, strict=True)] == [True, True, False, False]


@every_kind
def test_a_strength_of_zero_computes_all_the_same(name: str) -> None:
    penalty = penalty_of(name, opposed(), 0.0)
    assert penalty.memory is not None
    assert all((each >= 0).all() for each in penalty.memory.importance)
    assert any((each > 0).any() for each in penalty.memory.importance)
    assert [each.shape for each in penalty.curvature] == [each.shape for each in penalty.parameters]


SCALES = {"ewc": 1.0, "ewc online": 1.0, "si": 2.0, "mas": 2.0}
"""Second derivative of the penalty along a weight, by strength and importance."""


def first_importance(name: str, **values: object) -> tuple[Tensor, Tensor]:
    """Importance for the first subject, and the weights that it left, on plain gradient descent if none is named."""
    memory = penalty_of(name, opposed(("a",)), 0.0, **{"training": DESCENT, **values}).memory
    assert memory is not None
    return vector(memory.importance), vector(memory.anchor)


@every_kind
def test_the_stronger_the_penalty_the_less_important_weights_move(name: str) -> None:
    """Up to a step size times second derivative of 1 along the most important weight, where descent is stable."""
    importance, anchor = first_importance(name)
    stiffest = 1 / (DESCENT.learning_rate * SCALES[name] * float(importance.max()))
    held = importance > importance.quantile(0.9)
    free = importance <= importance.quantile(0.1)
    moved = []
    for share in (0.0, 0.01, 0.1, 1.0):
        strategy = regularised(name, share * stiffest, training=DESCENT, epochs=30)
        first = predictors(regularised(name, 0.0, training=DESCENT), opposed(("a",)))[-1]
        assert torch.equal(weights(first), anchor)
        moved.append((_after_the_second(strategy) - anchor).square())
    costs = [float((importance * each).sum()) for each in moved]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.05 * costs[0]
    kept_of_held, kept_of_free = (float(moved[-1][part].sum() / moved[0][part].sum()) for part in (held, free))
    assert kept_of_held < 0.05
    assert kept_of_free > 5 * kept_of_held


def _after_the_second(strategy: Regularised) -> Tensor:
    """Weights after the second subject, of whom one learns for longer than of the first."""
    problem = opposed()

    class LongerSecond(SupervisedPlugin):  # type: ignore[misc]  # Avalanche is untyped
        def after_training_epoch(self, template: Any, **kwargs: Any) -> None:
            if template.clock.train_exp_counter == 0 and template.clock.train_exp_epochs == 2:
                template.stop_training()

    predictor, _ = learned(strategy, problem, LongerSecond())
    return weights(predictor)


@every_kind
def test_a_strong_penalty_remembers_more_of_the_first_subject_than_fine_tuning(name: str) -> None:
    importance, _ = first_importance(name, epochs=20)
    stiffest = 1 / (DESCENT.learning_rate * SCALES[name] * float(importance.max()))
    problem = opposed()
    values: dict[str, object] = {"training": DESCENT, "epochs": 20}
    forgetful = made(FineTuning, **values).fit(problem, ignore)
    faithful = regularised(name, stiffest, **values).fit(problem, ignore)
    remembered_of_it = [balanced_accuracy(each, problem.training.of("a")) for each in (forgetful, faithful)]
    assert remembered_of_it[0] < 0.3
    assert remembered_of_it[1] > remembered_of_it[0] + 0.2


@every_kind
def test_a_strength_beyond_the_stable_diverges_and_is_stopped(name: str) -> None:
    with pytest.raises(LearningError, match=r"subject b, number 2 .*smaller strength"):
        regularised(name, 1e30, training=DESCENT).fit(opposed(), ignore)
    with pytest.raises(LearningError, match=r"subject b.*smaller strength"):
        regularised(name, 1e30, training=DESCENT).fit(validated(opposed()), ignore)


@every_kind
def test_early_stopping_does_not_hide_that_a_strength_diverges(name: str) -> None:
    """Losses that explode, and have not overflowed by the epoch at which patience ends."""
    strength = {"ewc": 1e3, "ewc online": 1e3, "si": 50.0, "mas": 50.0}[name]
    strategy = regularised(name, strength, training=DESCENT, epochs=10)
    with pytest.raises(LearningError, match=r"diverged at subject b, .*: the loss rose from .*smaller strength"):
        strategy.fit(validated(opposed()), ignore)


@every_kind
@pytest.mark.parametrize("strength", [1e6, 1e12])
def test_by_the_bounded_steps_of_adam_a_huge_strength_holds_all_weights_of_any_importance(
    name: str, strength: float
) -> None:
    adam = Training(optimizer="adam", learning_rate=1e-3, batch_size=16)
    importance, anchor = first_importance(name, training=adam)
    matters = importance > 0
    assert matters.double().mean() > 0.5
    free, held = (
        (weights(regularised(name, each, training=adam, epochs=EPOCHS).fit(opposed(), ignore)) - anchor)[matters].abs()
        for each in (0.0, strength)
    )
    assert float(held.mean()) < 0.1 * float(free.mean())
    assert float(held.max()) < 2 * adam.learning_rate, "the first step feels no pull, and is taken back or kept"


# Behaviour


@every_kind
@pytest.mark.parametrize("problem", [late(opposed(SUBJECTS), 1), of_one_class(opposed(SUBJECTS), "b", 0)])
def test_a_class_that_comes_late_or_a_subject_of_one_class_is_learned_from(name: str, problem: Learning) -> None:
    free, held = (regularised(name, each).fit(problem, ignore) for each in (0.0, 1.0))
    assert bool(weights(held).isfinite().all())
    assert not same(free, held)


@every_kind
def test_two_runs_agree_to_the_bit_and_the_observer_changes_nothing(name: str) -> None:
    strategy, problem = regularised(name, 1.0, encoder=REGULAR, normalization=Stream()), opposed(SUBJECTS)
    first = strategy.fit(problem, ignore)
    assert same(first, strategy.fit(problem, disturb))


@every_kind
def test_what_a_step_hands_over_does_not_depend_on_the_subjects_still_to_come(name: str) -> None:
    strategy = regularised(name, 1.0)
    long, short = predictors(strategy, opposed(SUBJECTS)), predictors(strategy, opposed(("a", "b")))
    assert all(same(*both) for both in zip(long, short, strict=False))


@every_kind
def test_one_strategy_learns_many_streams_that_know_nothing_of_each_other(name: str) -> None:
    strategy = regularised(name, 1.0)
    alone = strategy.fit(opposed(("c", "d")), ignore)
    strategy.fit(opposed(("a", "b")), ignore)
    assert same(strategy.fit(opposed(("c", "d")), ignore), alone)


@every_kind
def test_importance_is_that_of_the_epoch_that_is_kept(name: str) -> None:
    """Where training stops early, all is as if it had been meant to end there."""
    problem, best = opposed(("a",)), Best()
    predictor, (stopped,) = learned(regularised(name, 1.0, epochs=40, patience=3), validated(problem), best)
    assert 1 < best.epoch < best.met < 40
    ended_there = penalty_of(name, problem, 1.0, epochs=best.epoch)
    later = penalty_of(name, problem, 1.0, epochs=best.met)
    assert isinstance(stopped, QuadraticPenalty)
    assert torch.equal(remembered(stopped), remembered(ended_there))
    assert not torch.equal(remembered(stopped), remembered(later))
    assert stopped.memory is not None
    assert torch.equal(vector(stopped.memory.anchor), weights(predictor))


def remembered(penalty: QuadraticPenalty) -> Tensor:
    assert penalty.memory is not None
    return vector(penalty.memory.importance)


@every_kind
def test_memory_does_not_grow_with_the_subjects(name: str) -> None:
    sizes = []
    for subjects in (("a",), tuple("abcdef")):
        memory = penalty_of(name, opposed(subjects), 1.0).memory
        assert memory is not None
        sizes.append([each.shape for each in (*memory.importance, *memory.anchor)])
    assert sizes[0] == sizes[1]


GIVEN: Mapping[str, object] = {name: getattr(made(FineTuning), name) for name in ("encoder", "objective", "training")}


@every_kind
def test_a_study_builds_it_by_its_name(name: str) -> None:
    kind, own = KINDS[name]
    part = find(name.partition(" ")[0], STRATEGIES, "strategy")
    given = {**GIVEN, "normalization": Stream()}
    built = build(part, given, {"strength": 2, "epochs": 4, "diagnostics": True, **own}, "strategy")
    assert built == kind(**given, strength=2.0, epochs=4, diagnostics=True, **own)  # type: ignore[arg-type]


# Bad input


@every_kind
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "strategy: strength must be given"),
        ({"strength": -1.0}, r"strategy\.strength: .*greater than or equal to 0"),
        ({"strength": float("inf")}, r"strategy\.strength: .*finite"),
        ({"strength": 1.0, "accumulation": "mean"}, r"strategy\.accumulation: .*'sum', 'decay', 'max' or 'reset'"),
        ({"strength": 1.0, "accumulation": "decay", "decay": 1.5}, r"strategy\.decay: .*less than or equal to 1"),
        ({"strength": 1.0, "lambda": 1.0}, r"strategy\.lambda: no such key"),
    ],
)
def test_values_out_of_range_are_refused(name: str, values: dict[str, object], said: str) -> None:
    part = find(name.partition(" ")[0], STRATEGIES, "strategy")
    with pytest.raises(StudyError, match=said):
        build(part, {**GIVEN, "normalization": Stream()}, {**KINDS[name][1], **values}, "strategy")


@pytest.mark.parametrize("name", ["ewc online", "si", "mas"])
@pytest.mark.parametrize("rule", ["sum", "max", "reset"])
def test_a_decay_that_would_change_nothing_is_refused(name: str, rule: str) -> None:
    with pytest.raises(StudyError, match=rf"decay is 0\.5, and importance is accumulated by {rule}"):
        regularised(name, 1.0, accumulation=rule, decay=0.5)


class Broken(Given):
    """A penalty whose importance is no number for the second subject."""

    def importance(self, strategy: Any) -> list[Tensor]:
        found = super().importance(strategy)
        if strategy.experience.subject == "b":
            found[-1][0] = torch.nan
        return found


def test_importance_that_is_not_finite_names_the_subject() -> None:
    broken = Broken(1.0, lambda old, new: new)
    told = "subject b, number 2 of the stream: the importance of .* not finite.*learning_rate"
    with pytest.raises(LearningError, match=told):
        made(_with(broken)).fit(opposed(SUBJECTS), ignore)
