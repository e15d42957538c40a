"""Experience replay, against a loop written out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.errors import LearningError, StudyError
from benchmarks.normalization import STATISTICS, Normalization, Normalizer, Stream, SubjectUnlabelled, Unnormalized
from benchmarks.parts import build, find
from benchmarks.windows import Windows, concatenate
from clients.encoders.mlp import MLP
from clients.network import initial_network
from clients.objectives.cross_entropy import CrossEntropy
from clients.training import Training, seeded, tensors, torch_generator
from strategies.continual.finetuning import FineTuning
from strategies.continual.memory import BUFFERS
from strategies.continual.replay import ExperienceReplay
from strategies.contract import Learning
from strategies.table import STRATEGIES
from tests.strategies.continual.remembering import Passes, accuracy_of_the_first, run
from tests.strategies.continual.streams import (
    BATCH,
    EPOCHS,
    REGULAR,
    SUBJECTS,
    late,
    made,
    of_one_class,
    predictors,
    same,
    stream,
    validated,
)
from tests.strategies.learnings import balanced_accuracy, disturb, gaussian_windows, ignore, learning

# Known answers


def weighted(outputs: Tensor, y: Tensor, known: Tensor) -> Tensor:
    """Mean cross-entropy, in which each class that is in `known` weighs the same over `known`."""
    counts = torch.bincount(known, minlength=2).float()
    weights = len(known) / (int((counts > 0).sum()) * counts.clamp(min=1))
    return (weights[y] * functional.cross_entropy(outputs, y, reduction="none")).mean()


def by_hand(problem: Learning, normalization: Normalization, encoder: MLP, strength: float) -> nn.Module:
    """Replay of all windows of all subjects so far, without Avalanche and without a memory."""
    network = initial_network(encoder, CrossEntropy(), problem.training.x.shape[1:], 2, problem.seed)
    normalizer: Normalizer = normalization.start(problem.geometry)
    drawing = torch_generator(problem.seed, "memory", "labels")
    earlier: list[Windows] = []
    for subject, windows in problem.training.by_subject():
        if normalization.shares:
            normalizer = normalizer.learn(STATISTICS[problem.geometry](windows.x))
        x, y = tensors(normalizer(windows), windows.labels)
        if earlier:
            old = concatenate(earlier)
            old_x, old_y = tensors(normalizer(old), old.labels)
        optimizer = Training(learning_rate=1e-2).optimizer_of(network.parameters())
        shuffling = torch_generator(problem.seed, "subject", subject)
        network.train()
        with seeded(problem.seed, "subject", subject, "global"):
            for _ in range(EPOCHS):
                for batch in torch.split(torch.randperm(len(x), generator=shuffling), BATCH):
                    optimizer.zero_grad()
                    loss = weighted(network(x[batch]), y[batch], y)
                    if earlier:
                        drawn = torch.randperm(len(old_x), generator=drawing)[:BATCH]
                        loss = loss + strength * weighted(network(old_x[drawn]), old_y[drawn], old_y)
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
        earlier.append(windows)
    return network


def uneven() -> Learning:
    """A stream whose subjects have different shares of the classes."""
    problem = stream()
    index = np.arange(len(problem.training))
    dropped = ((problem.training.subject == "carol") & (problem.labels == 0) & (index % 3 > 0)) | (
        (problem.training.subject == "alice") & (problem.labels == 1) & (index % 4 > 0)
    )
    return replace(problem, training=problem.training.select(~dropped))


@pytest.mark.parametrize("encoder", [MLP(hidden=(8,)), REGULAR], ids=["plain", "regular"])
@pytest.mark.parametrize("normalization", [Unnormalized(), Stream(), SubjectUnlabelled()])
@pytest.mark.parametrize("problem", [stream(), uneven()], ids=["even", "uneven"])
def test_with_room_for_all_it_is_a_loop_over_two_minibatches(
    problem: Learning, normalization: Normalization, encoder: MLP
) -> None:
    strategy = made(ExperienceReplay, encoder=encoder, normalization=normalization, memory=1000, strength=0.5)
    found = strategy.fit(problem, ignore).network.state_dict()
    for name, tensor in by_hand(problem, normalization, encoder, 0.5).state_dict().items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-5)


# Behaviour


@pytest.mark.parametrize("normalization", [Unnormalized(), Stream(), SubjectUnlabelled()])
@pytest.mark.parametrize("problem", [stream(), validated(stream())], ids=["fixed", "validated"])
def test_without_strength_it_is_fine_tuning_to_the_bit(normalization: Normalization, problem: Learning) -> None:
    parts = {"normalization": normalization, "encoder": REGULAR, "patience": 1}
    ours, theirs = made(ExperienceReplay, strength=0.0, **parts), made(FineTuning, **parts)
    for mine, other in zip(predictors(ours, problem), predictors(theirs, problem), strict=True):
        assert same(mine, other)


@pytest.mark.parametrize("buffer", BUFFERS)
def test_it_matters_from_the_second_subject_on(buffer: str) -> None:
    ours, theirs = predictors(made(ExperienceReplay, buffer=buffer), stream()), predictors(made(FineTuning), stream())
    assert [same(*pair) for pair in zip(ours, theirs, strict=True)] == [True, True, False, False]


@pytest.mark.parametrize("buffer", BUFFERS)
def test_the_first_subject_is_forgotten_less(buffer: str) -> None:
    forgotten = accuracy_of_the_first(FineTuning)
    assert accuracy_of_the_first(ExperienceReplay, memory=20, buffer=buffer) > forgotten + 0.3


def test_strength_buffer_and_size_matter() -> None:
    fits = [
        made(ExperienceReplay, **values).fit(stream(), ignore)
        for values in (
            {"memory": 30},
            {"memory": 30, "strength": 2.0},
            {"memory": 30, "buffer": "subject_balanced"},
            {"memory": 31},
        )
    ]
    assert not any(same(one, other) for place, one in enumerate(fits) for other in fits[:place])


def test_subject_and_memory_never_share_a_pass_and_a_step_costs_the_same_along_the_stream() -> None:
    passes = Passes()
    run(made(ExperienceReplay, memory=30), stream(("a", "b", "c", "d")), after=[passes])
    alone = [16, 16, 8] * EPOCHS
    beside = [size for batch in alone for size in (batch, BATCH)]
    assert list(passes.sizes.values()) == [alone, beside, beside, beside]


@pytest.mark.parametrize("buffer", BUFFERS)
@pytest.mark.parametrize("encoder", [MLP(hidden=(8,)), REGULAR], ids=["plain", "regular"])
def test_the_observer_changes_nothing_and_the_seed_decides(encoder: MLP, buffer: str) -> None:
    strategy = made(ExperienceReplay, encoder=encoder, normalization=Stream(), memory=20, buffer=buffer)
    assert same(strategy.fit(stream(), ignore), strategy.fit(stream(), disturb))
    assert not same(strategy.fit(stream(seed=1), ignore), strategy.fit(stream(seed=2), ignore))


def test_what_a_step_hands_over_does_not_depend_on_the_subjects_still_to_come() -> None:
    strategy = made(ExperienceReplay, normalization=Stream(), memory=20)
    *_, short = predictors(strategy, stream(("a", "b")))
    assert same(predictors(strategy, stream(("a", "b", "c", "d")))[2], short)


def test_early_stopping_goes_by_the_subject_in_turn() -> None:
    problem = validated(stream())
    others = replace(problem, validation=gaussian_windows(SUBJECTS, per_class=10, seed=8))
    strategy = made(ExperienceReplay, epochs=20, patience=2)
    assert not same(strategy.fit(problem, ignore), strategy.fit(others, ignore))
    assert not same(strategy.fit(problem, ignore), strategy.fit(replace(problem, validation=None), ignore))


def test_a_study_builds_it_by_its_name() -> None:
    given = {"normalization": Stream(), "encoder": MLP(), "objective": CrossEntropy(), "training": Training()}
    part = find("replay", STRATEGIES, "strategy")
    values = {"memory": 70, "buffer": "subject_balanced", "strength": 2}
    assert build(part, given, values, "strategy") == ExperienceReplay(**given, **values)  # type: ignore[arg-type]
    for wrong, told in (
        ({"memory": 0}, "greater than 0"),
        ({"memory": -5}, "greater than 0"),
        ({"memory": 1.5}, "integer"),
        ({"buffer": "ring"}, "'reservoir' or 'subject_balanced'"),
        ({"strength": -1}, "greater than or equal to 0"),
        ({"strength": float("inf")}, "finite"),
    ):
        with pytest.raises(StudyError, match=rf"strategy\.{next(iter(wrong))}: .*{told}"):
            build(part, given, wrong, "strategy")


# Bad input


def test_a_stream_of_one_subject_is_fine_tuning() -> None:
    assert same(made(ExperienceReplay).fit(stream(("a",)), ignore), made(FineTuning).fit(stream(("a",)), ignore))


@pytest.mark.parametrize("buffer", BUFFERS)
def test_a_memory_without_a_class_and_a_class_that_comes_late_are_learned_with(buffer: str) -> None:
    strategy = made(ExperienceReplay, epochs=30, memory=20, buffer=buffer)
    for problem in (of_one_class(stream(), SUBJECTS[0], 1), late(stream(classes=3), 2)):
        predictor = strategy.fit(problem, ignore)
        assert torch.isfinite(torch.cat([value.flatten() for value in predictor.network.state_dict().values()])).all()
        assert balanced_accuracy(predictor, problem.training.of(SUBJECTS[-1])) > 0.8


@pytest.mark.parametrize("memory", [1, 10_000])
def test_a_memory_of_one_window_and_one_larger_than_all_are_learned_with(memory: int) -> None:
    windows = gaussian_windows([f"s{number}" for number in range(4)], shift=0.3)
    strategy = made(ExperienceReplay, encoder=REGULAR, normalization=Stream(), epochs=20, memory=memory)
    assert balanced_accuracy(strategy.fit(learning(windows), ignore), gaussian_windows(["new"], shift=0.3)) > 0.8


def test_divergence_names_the_subject() -> None:
    plain = Training(optimizer="sgd", learning_rate=0.1, batch_size=BATCH)
    with pytest.raises(LearningError, match=f"diverged at subject {SUBJECTS[1]}, number 2 .*smaller strength"):
        made(ExperienceReplay, strength=1e30, training=plain).fit(stream(), ignore)
