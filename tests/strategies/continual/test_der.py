"""Dark experience replay: which outputs are kept, and what is done with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from avalanche.core import SupervisedPlugin
from scipy.stats import chisquare
from torch import Tensor, nn

from benchmarks.errors import LearningError, StudyError
from benchmarks.normalization import Normalization, Stream, SubjectUnlabelled, Unnormalized
from benchmarks.parts import build, find
from clients.encoders.mlp import MLP
from clients.network import initial_network
from clients.objectives.cross_entropy import CrossEntropy
from clients.training import Training, class_counts, seeded, tensors, torch_generator
from strategies.continual.der import DarkExperienceReplay, OutputReplay
from strategies.continual.finetuning import FineTuning
from strategies.continual.memory import BUFFERS, Memory
from strategies.continual.replay import ExperienceReplay
from strategies.continual.stopping import EarlyStopping
from strategies.contract import Learning
from strategies.table import STRATEGIES
from tests.strategies.continual.remembering import Run, accuracy_of_the_first, run
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


class Said(SupervisedPlugin):  # type: ignore[misc]  # Avalanche is untyped
    """Writes down what the network said of each window in each epoch, and the best epoch of each subject."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[bytes, list[Tensor]] = {}
        self.epochs: dict[str, int] = {}
        self.best: dict[str, int] = {}

    def after_forward(self, strategy: Any, **kwargs: Any) -> None:
        for window, output in zip(strategy.mb_x, strategy.mb_output.detach(), strict=True):
            self.outputs.setdefault(window.numpy().tobytes(), []).append(output.clone())

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.epochs[strategy.experience.subject] = strategy.clock.train_exp_epochs
        for plugin in strategy.plugins:
            if isinstance(plugin, EarlyStopping):
                self.best[strategy.experience.subject] = plugin.best


def kept_of(finished: Run) -> Tensor:
    (outputs,) = [plugin.kept for plugin in finished.plugins if isinstance(plugin, OutputReplay)]
    return outputs


def epochs_of(finished: Run, said: Said) -> list[int]:
    """The epoch, from 1, in which the network said what is kept of each window."""
    found = []
    for window, kept in zip(finished.memory.windows.x, kept_of(finished), strict=True):
        matching = [
            epoch for epoch, output in enumerate(said.outputs[window.tobytes()], 1) if torch.equal(output, kept)
        ]
        assert len(matching) == 1
        found.extend(matching)
    return found


# Known answers


@pytest.mark.parametrize("encoder", [MLP(hidden=(8,)), REGULAR], ids=["plain", "regular"])
@pytest.mark.parametrize("buffer", BUFFERS)
def test_what_is_kept_is_what_the_network_said_while_it_learned_from_the_window(buffer: str, encoder: MLP) -> None:
    said = Said()
    strategy = made(DarkExperienceReplay, encoder=encoder, memory=50, buffer=buffer, epochs=5)
    finished = run(strategy, stream(("a", "b", "c", "d")), after=[said])
    assert len(kept_of(finished)) == 50
    assert set(epochs_of(finished, said)) == {1, 2, 3, 4, 5}


def test_each_epoch_of_a_subject_is_as_likely_as_any_other() -> None:
    said = Said()
    problem = learning(gaussian_windows(["a", "b"], per_class=200))
    finished = run(made(DarkExperienceReplay, memory=1000, epochs=4), problem, after=[said])
    assert chisquare(np.bincount(epochs_of(finished, said))[1:]).pvalue > 0.01


def test_where_training_stops_early_outputs_are_of_an_epoch_up_to_the_best() -> None:
    said = Said()
    strategy = made(DarkExperienceReplay, memory=1000, epochs=30, patience=4, training=Training(learning_rate=0.05))
    finished = run(strategy, validated(stream()), after=[said])
    assert any(said.best[subject] < said.epochs[subject] for subject in SUBJECTS)
    epochs = np.array(epochs_of(finished, said))
    for subject in SUBJECTS:
        mine = epochs[finished.memory.windows.subject == subject]
        assert mine.max() <= said.best[subject]
        assert len(set(mine)) == said.best[subject]


def by_hand(problem: Learning, encoder: MLP, alpha: float, beta: float) -> nn.Module:
    """DER++ with room for all windows, without Avalanche and without a memory."""
    network = initial_network(encoder, CrossEntropy(), problem.training.x.shape[1:], 2, problem.seed)
    far, near, choosing = (torch_generator(problem.seed, "memory", name) for name in ("outputs", "labels", "epochs"))
    x, y = tensors(problem.training.x, problem.labels)
    once = torch.zeros(len(x), 2)
    for subject in problem.training.subjects:
        mine = torch.from_numpy(np.flatnonzero(problem.training.subject == subject))
        earlier = int(mine[0])
        loss = CrossEntropy().loss(class_counts(problem.labels[mine], 2))
        old_loss = CrossEntropy().loss(class_counts(problem.labels[:earlier], 2))
        optimizer = Training(learning_rate=1e-2).optimizer_of(network.parameters())
        shuffling = torch_generator(problem.seed, "subject", subject)
        network.train()
        with seeded(problem.seed, "subject", subject, "global"):
            for epoch in range(1, EPOCHS + 1):
                for batch in torch.split(torch.randperm(len(mine), generator=shuffling), BATCH):
                    optimizer.zero_grad()
                    outputs = network(x[mine[batch]])
                    for window, output in zip(mine[batch], outputs.detach(), strict=True):
                        if torch.rand((), generator=choosing) < 1 / epoch:
                            once[window] = output
                    value = loss(outputs, y[mine[batch]])
                    if earlier:
                        drawn = torch.randperm(earlier, generator=far)[:BATCH]
                        moved = (network(x[drawn]) - once[drawn]).pow(2)
                        value = value + alpha * sum(row.sum() for row in moved) / len(drawn)
                        drawn = torch.randperm(earlier, generator=near)[:BATCH]
                        value = value + beta * old_loss(network(x[drawn]), y[drawn])
                    value.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
    return network


@pytest.mark.parametrize("encoder", [MLP(hidden=(8,)), REGULAR], ids=["plain", "regular"])
def test_with_room_for_all_it_is_a_loop_over_three_minibatches(encoder: MLP) -> None:
    strategy = made(DarkExperienceReplay, encoder=encoder, memory=1000, alpha=0.2, beta=0.7)
    found = strategy.fit(stream(), ignore).network.state_dict()
    for name, tensor in by_hand(stream(), encoder, 0.2, 0.7).state_dict().items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("encoder", [MLP(hidden=(8,)), REGULAR], ids=["plain", "regular"])
def test_without_outputs_it_is_experience_replay_to_the_bit(encoder: MLP) -> None:
    parts = {"encoder": encoder, "normalization": Stream(), "memory": 30}
    dark = made(DarkExperienceReplay, alpha=0.0, beta=0.7, **parts).fit(stream(), ignore)
    assert same(dark, made(ExperienceReplay, strength=0.7, **parts).fit(stream(), ignore))


# Behaviour


@pytest.mark.parametrize("normalization", [Unnormalized(), Stream(), SubjectUnlabelled()])
@pytest.mark.parametrize("problem", [stream(), validated(stream())], ids=["fixed", "validated"])
def test_without_either_weight_it_is_fine_tuning_to_the_bit(normalization: Normalization, problem: Learning) -> None:
    parts = {"normalization": normalization, "encoder": REGULAR, "patience": 1}
    ours, theirs = made(DarkExperienceReplay, alpha=0.0, beta=0.0, **parts), made(FineTuning, **parts)
    for mine, other in zip(predictors(ours, problem), predictors(theirs, problem), strict=True):
        assert same(mine, other)


@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 0.0), (0.0, 0.5), (0.1, 0.5)])
def test_each_weight_matters_from_the_second_subject_on(alpha: float, beta: float) -> None:
    ours = predictors(made(DarkExperienceReplay, alpha=alpha, beta=beta), stream())
    theirs = predictors(made(FineTuning), stream())
    assert [same(*pair) for pair in zip(ours, theirs, strict=True)] == [True, True, False, False]


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.0), (0.1, 0.5)])
def test_the_first_subject_is_forgotten_less(alpha: float, beta: float) -> None:
    forgotten = accuracy_of_the_first(FineTuning)
    assert accuracy_of_the_first(DarkExperienceReplay, memory=20, alpha=alpha, beta=beta) > forgotten + 0.2


def test_the_two_samples_of_a_step_are_drawn_on_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[int]] = []

    def draw(self: Memory, size: int, source: torch.Generator) -> Tensor:
        index = torch.randperm(len(self), generator=source)[:size]
        drawn.append(index.tolist())
        return index

    monkeypatch.setattr(Memory, "draw", draw)
    made(DarkExperienceReplay).fit(stream(("a", "b")), ignore)
    outputs, labels = drawn[::2], drawn[1::2]
    assert len(outputs) == len(labels) == 3 * EPOCHS
    assert all(one != other for one, other in zip(outputs, labels, strict=True))
    assert len({tuple(each) for each in drawn}) == len(drawn)


@pytest.mark.parametrize("buffer", BUFFERS)
@pytest.mark.parametrize("encoder", [MLP(hidden=(8,)), REGULAR], ids=["plain", "regular"])
def test_the_observer_changes_nothing_and_the_seed_decides(encoder: MLP, buffer: str) -> None:
    strategy = made(DarkExperienceReplay, encoder=encoder, normalization=Stream(), memory=20, buffer=buffer)
    assert same(strategy.fit(stream(), ignore), strategy.fit(stream(), disturb))
    assert not same(strategy.fit(stream(seed=1), ignore), strategy.fit(stream(seed=2), ignore))


def test_what_a_step_hands_over_does_not_depend_on_the_subjects_still_to_come() -> None:
    strategy = made(DarkExperienceReplay, normalization=Stream(), memory=20)
    *_, short = predictors(strategy, stream(("a", "b")))
    assert same(predictors(strategy, stream(("a", "b", "c", "d")))[2], short)


def test_it_keeps_no_more_outputs_than_windows() -> None:
    finished = run(made(DarkExperienceReplay, memory=7), stream(("a", "b", "c", "d")))
    assert kept_of(finished).shape == (7, 2)
    assert len(finished.memory) == 7


def test_a_study_builds_it_by_its_name() -> None:
    given = {"normalization": Stream(), "encoder": MLP(), "objective": CrossEntropy(), "training": Training()}
    part = find("der", STRATEGIES, "strategy")
    values = {"memory": 70, "buffer": "subject_balanced", "alpha": 0.3, "beta": 1}
    assert build(part, given, values, "strategy") == DarkExperienceReplay(**given, **values)  # type: ignore[arg-type]
    for wrong, told in (
        ({"memory": 0}, "greater than 0"),
        ({"memory": -5}, "greater than 0"),
        ({"buffer": "ring"}, "'reservoir' or 'subject_balanced'"),
        ({"alpha": -1}, "greater than or equal to 0"),
        ({"beta": float("nan")}, "greater than or equal to 0|finite"),
    ):
        with pytest.raises(StudyError, match=rf"strategy\.{next(iter(wrong))}: .*({told})"):
            build(part, given, wrong, "strategy")


# Bad input


def test_a_stream_of_one_subject_is_fine_tuning() -> None:
    assert same(made(DarkExperienceReplay).fit(stream(("a",)), ignore), made(FineTuning).fit(stream(("a",)), ignore))


@pytest.mark.parametrize("buffer", BUFFERS)
def test_a_memory_without_a_class_and_a_class_that_comes_late_are_learned_with(buffer: str) -> None:
    strategy = made(DarkExperienceReplay, epochs=30, memory=20, buffer=buffer)
    for problem in (of_one_class(stream(), SUBJECTS[0], 1), late(stream(classes=3), 2)):
        predictor = strategy.fit(problem, ignore)
        assert torch.isfinite(torch.cat([value.flatten() for value in predictor.network.state_dict().values()])).all()
        assert balanced_accuracy(predictor, problem.training.of(SUBJECTS[-1])) > 0.8


@pytest.mark.parametrize("memory", [1, 10_000])
def test_a_memory_of_one_window_and_one_larger_than_all_are_learned_with(memory: int) -> None:
    windows = gaussian_windows([f"s{number}" for number in range(4)], shift=0.3)
    strategy = made(DarkExperienceReplay, encoder=REGULAR, normalization=Stream(), epochs=20, memory=memory)
    assert balanced_accuracy(strategy.fit(learning(windows), ignore), gaussian_windows(["new"], shift=0.3)) > 0.8


def test_divergence_names_the_subject() -> None:
    plain = Training(optimizer="sgd", learning_rate=0.1, batch_size=BATCH)
    with pytest.raises(LearningError, match=f"diverged at subject {SUBJECTS[1]}, number 2 .*smaller strength"):
        made(DarkExperienceReplay, alpha=1e30, training=plain).fit(stream(), ignore)
