"""Learning without forgetting, against its formula and a loop written out by hand."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.core import SupervisedPlugin
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from benchmarks.errors import LearningError, StudyError
from benchmarks.normalization import Normalization, Stream, SubjectUnlabelled, Unnormalized
from benchmarks.parts import build, find
from benchmarks.windows import concatenate
from clients.encoders.mlp import MLP
from clients.network import initial_network
from clients.objectives.cross_entropy import CrossEntropy
from clients.training import Training, class_counts, seeded, tensors, torch_generator
from strategies.continual.contract import Tell
from strategies.continual.finetuning import FineTuning
from strategies.continual.lwf import LwF, distillation
from strategies.contract import Learning
from strategies.table import STRATEGIES
from tests.strategies.continual.streams import (
    BATCH,
    EPOCHS,
    REGULAR,
    SUBJECTS,
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

# Known answers


def test_the_divergence_of_two_classes_by_hand() -> None:
    """Teacher 3:1, student 1:1 at T = 1; at T = 2, logits twice as large give the same, times four."""
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    taught, outputs = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)
    assert distillation(outputs, taught, 1.0).item() == pytest.approx(expected, rel=1e-6)
    assert distillation(2 * outputs, 2 * taught, 2.0).item() == pytest.approx(4 * expected, rel=1e-6)
    two = distillation(torch.zeros(2, 2), torch.cat([taught, torch.zeros(1, 2)]), 1.0)
    assert two.item() == pytest.approx(expected / 2, rel=1e-6)


logits = st.lists(st.floats(-5, 5), min_size=3, max_size=3)


@given(z=logits, teacher=logits, temperature=st.floats(0.5, 10), offset=st.floats(-3, 3))
def test_it_is_zero_for_the_teacher_itself_and_nowhere_less(
    z: list[float], teacher: list[float], temperature: float, offset: float
) -> None:
    outputs = torch.tensor([z], dtype=torch.float64)
    taught = torch.tensor([teacher], dtype=torch.float64)
    assert distillation(taught + offset, taught, temperature).item() == pytest.approx(0, abs=1e-9)
    assert distillation(outputs, taught, temperature).item() >= -1e-9


def test_its_gradient_is_the_difference_of_the_softened_probabilities_times_the_temperature() -> None:
    generator = torch_generator("logits")
    outputs = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    taught = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    distillation(outputs, taught, 4.0).backward()  # type: ignore[no-untyped-call]
    assert outputs.grad is not None
    expected = 4.0 * (torch.softmax(outputs / 4, 1) - torch.softmax(taught / 4, 1)) / 5
    torch.testing.assert_close(outputs.grad, expected.detach())


def by_hand(problem: Learning, encoder: MLP, strength: float, temperature: float) -> torch.nn.Module:
    """The strategy without Avalanche: a teacher that is a copy, and asked minibatch by minibatch."""
    network = initial_network(encoder, CrossEntropy(), problem.training.x.shape[1:], 2, problem.seed)
    teacher = None
    for subject, windows in problem.training.by_subject():
        x, y = tensors(windows.x, windows.labels)
        loss = CrossEntropy().loss(class_counts(windows.labels, 2))
        optimizer = Training(learning_rate=1e-2).optimizer_of(network.parameters())
        shuffling = torch_generator(problem.seed, "subject", subject)
        network.train()
        with seeded(problem.seed, "subject", subject, "global"):
            for _ in range(EPOCHS):
                for batch in torch.split(torch.randperm(len(x), generator=shuffling), BATCH):
                    optimizer.zero_grad()
                    outputs = network(x[batch])
                    value = loss(outputs, y[batch])
                    if teacher is not None:
                        with torch.no_grad():
                            kept = torch.softmax(teacher(x[batch]) / temperature, 1)
                        log = torch.log_softmax(outputs / temperature, 1)
                        each = functional.kl_div(log, kept, reduction="none").sum(1)
                        value = value + strength * temperature**2 * each.mean()
                    value.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
        teacher = copy.deepcopy(network).eval()
    return network


@pytest.mark.parametrize("encoder", [MLP(hidden=(8,)), REGULAR], ids=["plain", "regular"])
def test_it_is_a_loop_with_a_frozen_copy_of_the_network_for_a_teacher(encoder: MLP) -> None:
    problem = stream()
    found = made(LwF, encoder=encoder, strength=2.0, temperature=3.0).fit(problem, ignore).network.state_dict()
    for name, tensor in by_hand(problem, encoder, 2.0, 3.0).state_dict().items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-5)


# Behaviour


@pytest.mark.parametrize("normalization", [Unnormalized(), Stream(), SubjectUnlabelled()])
@pytest.mark.parametrize("problem", [stream(), validated(stream())], ids=["fixed", "validated"])
def test_without_strength_it_is_fine_tuning_to_the_bit(normalization: Normalization, problem: Learning) -> None:
    parts = {"normalization": normalization, "encoder": REGULAR, "patience": 1}
    ours, theirs = made(LwF, strength=0.0, **parts), made(FineTuning, **parts)
    for mine, other in zip(predictors(ours, problem), predictors(theirs, problem), strict=True):
        assert same(mine, other)


def test_it_matters_from_the_second_subject_on() -> None:
    ours, theirs = predictors(made(LwF), stream()), predictors(made(FineTuning), stream())
    assert [same(*pair) for pair in zip(ours, theirs, strict=True)] == [True, True, False, False]


def swapped() -> Learning:
    """Two subjects whose classes are the other way round."""
    first, second = gaussian_windows(["first"]), gaussian_windows(["second"])
    return learning(concatenate([first, replace(second, y=1 - second.labels)]))


def test_the_stronger_it_is_the_less_is_forgotten() -> None:
    problem = swapped()
    first = problem.training.of("first")
    kept = []
    for strength in (0.0, 1.0, 100.0):
        _, before, after = predictors(made(LwF, strength=strength, epochs=30), problem)
        kept.append(np.abs(said(after, first) - said(before, first)).mean())
    assert kept[0] > kept[1] > kept[2]
    assert kept[0] > 0.8
    assert kept[2] < 0.1
    strong = made(LwF, strength=100.0, epochs=30).fit(problem, ignore)
    assert balanced_accuracy(strong, first) > 0.9


def test_the_temperature_matters() -> None:
    assert not same(made(LwF, temperature=1.0).fit(stream(), ignore), made(LwF, temperature=4.0).fit(stream(), ignore))


class Probe(SupervisedPlugin):  # type: ignore[misc]  # Avalanche is untyped
    """Keeps what minibatches of each subject are cut from."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: list[tuple[Tensor, ...]] = []

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.tensors.append(strategy.tensors)


def test_the_teacher_is_the_network_that_was_handed_over_with_the_best_epoch_of_the_last_subject() -> None:
    probe = Probe()

    @dataclass(frozen=True, kw_only=True)
    class Probed(LwF):
        def plugins(self, learning: Learning, tell: Tell) -> Sequence[SupervisedPlugin]:
            return (*super().plugins(learning, tell), probe)

    problem = validated(stream())
    strategy = made(Probed, encoder=REGULAR, epochs=20, patience=2, training=Training(learning_rate=0.05))
    _, *teachers, _ = predictors(strategy, problem)
    first, *others = probe.tensors
    assert len(first) == 3
    for teacher, (x, y, taught, task) in zip(teachers, others, strict=True):
        assert task.tolist() == [0] * len(y)
        teacher.network.eval()
        with torch.no_grad():
            assert torch.equal(taught, teacher.network(x))


@pytest.mark.parametrize("encoder", [MLP(hidden=(8,)), REGULAR], ids=["plain", "regular"])
def test_the_observer_changes_nothing_and_the_seed_decides(encoder: MLP) -> None:
    strategy = made(LwF, encoder=encoder, normalization=Stream())
    assert same(strategy.fit(stream(), ignore), strategy.fit(stream(), disturb))
    assert not same(strategy.fit(stream(seed=1), ignore), strategy.fit(stream(seed=2), ignore))


def test_a_study_builds_it_by_its_name() -> None:
    given = {"normalization": Stream(), "encoder": MLP(), "objective": CrossEntropy(), "training": Training()}
    part = find("lwf", STRATEGIES, "strategy")
    assert build(part, given, {"strength": 3}, "strategy") == LwF(**given, strength=3.0)  # type: ignore[arg-type]
    for values, told in (
        ({"strength": -1}, "greater than or equal to 0"),
        ({"strength": float("inf")}, "finite"),
        ({"temperature": 0}, "greater than 0"),
    ):
        with pytest.raises(StudyError, match=rf"strategy\.{next(iter(values))}: .*{told}"):
            build(part, given, values, "strategy")


# Bad input


def test_a_stream_of_one_subject_is_fine_tuning() -> None:
    assert same(made(LwF).fit(stream(("a",)), ignore), made(FineTuning).fit(stream(("a",)), ignore))


def test_a_subject_of_one_class_and_a_class_that_comes_late_are_learned() -> None:
    strategy = made(LwF, epochs=30)
    for problem in (of_one_class(stream(), "alice", 1), late(stream(classes=3), 2)):
        predictor = strategy.fit(problem, ignore)
        last = problem.training.of(problem.training.subjects[-1])
        assert balanced_accuracy(predictor, last) > 0.8


@dataclass(frozen=True)
class Ordinal(CrossEntropy):
    """An objective with a threshold between neighbouring classes."""

    def outputs(self, classes: int) -> int:
        return classes - 1


def test_outputs_that_are_no_logits_of_the_classes_are_refused() -> None:
    with pytest.raises(LearningError, match=r"one output a class: Ordinal has 1 for 2 classes. Use cross_entropy"):
        made(LwF, objective=Ordinal()).fit(stream(), ignore)


def test_divergence_names_the_subject() -> None:
    plain = Training(optimizer="sgd", learning_rate=0.1, batch_size=BATCH)
    with pytest.raises(LearningError, match=f"diverged at subject {SUBJECTS[1]}, number 2 .*smaller strength"):
        made(LwF, strength=1e30, training=plain).fit(stream(), ignore)
