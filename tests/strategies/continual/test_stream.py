"""Plugins of Avalanche, its own and ours to come, on the template for streams."""

from __future__ import annotations

import copy
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import (
    AGEMPlugin,
    EWCPlugin,
    GDumbPlugin,
    GEMPlugin,
    LwFPlugin,
    MASPlugin,
    ReplayPlugin,
)
from torch import Tensor, nn

from benchmarks.errors import LearningError
from benchmarks.normalization import Identity, Stream, Unnormalized
from benchmarks.windows import Windows
from clients.encoders.mlp import MLP
from clients.objectives.cross_entropy import CrossEntropy
from clients.predictor import NetworkPredictor
from clients.training import Training, torch_generator
from strategies.continual.experience import Minibatches, SubjectExperience
from strategies.continual.stream import learn_stream
from strategies.contract import Learning, Observer
from tests.strategies.learnings import disturb, gaussian_windows, ignore, learning

EPOCHS, BATCH = 3, 16
HOOKS = [name for name in dir(SupervisedPlugin) if name.startswith(("before_", "after_"))]


def stream(subjects: tuple[str, ...] = ("a", "b", "c")) -> Learning:
    return learning(gaussian_windows(subjects, shift=1.0))


def run(
    problem: Learning, *plugins: SupervisedPlugin, observer: Observer = ignore, training: Training | None = None
) -> NetworkPredictor:
    return learn_stream(
        problem,
        observer,
        normalization=Unnormalized(),
        encoder=MLP(hidden=(8,)),
        objective=CrossEntropy(),
        training=training or Training(learning_rate=1e-2, batch_size=BATCH),
        epochs=EPOCHS,
        plugins=plugins,
    )


def weights(predictor: NetworkPredictor) -> Tensor:
    return nn.utils.parameters_to_vector(predictor.network.parameters()).detach()


class Plugin(SupervisedPlugin):  # type: ignore[misc]  # Avalanche is untyped
    """A plugin for Avalanche's template, as anyone would write it."""


# Known answers


class Probe(Plugin):
    """Writes down every hook that is called."""

    def __init__(self) -> None:
        super().__init__()
        self.called: list[str] = []


def _noting(hook: str) -> Callable[..., None]:
    def note(self: Probe, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.called.append(hook)

    return note


for _hook in HOOKS:
    setattr(Probe, _hook, _noting(_hook))


def uneven() -> tuple[Learning, int]:
    """Subjects of 40, 8 and 17 windows, and how many minibatches an epoch with each of them has, summed."""
    windows = gaussian_windows(("a", "b", "c"))
    kept = np.concatenate([np.arange(0, 40), np.arange(56, 64), np.arange(90, 107)])
    return learning(windows.select(kept)), 3 + 1 + 2


def test_every_hook_of_training_is_called_as_often_as_its_name_says() -> None:
    problem, minibatches = uneven()
    probe = Probe()
    run(problem, probe)
    once_a_subject = ("training", "training_exp", "train_dataset_adaptation")
    once_a_minibatch = ("training_iteration", "forward", "backward", "update")
    expected = (
        {f"{when}_{what}": 3 for when in ("before", "after") for what in once_a_subject}
        | {f"{when}_training_epoch": 3 * EPOCHS for when in ("before", "after")}
        | {f"{when}_{what}": minibatches * EPOCHS for when in ("before", "after") for what in once_a_minibatch}
    )
    assert Counter(probe.called) == expected
    assert set(HOOKS) - set(expected) == {hook for hook in HOOKS if "eval" in hook}
    start = probe.called.index("before_training_iteration")
    assert probe.called[start : start + 8] == [
        "before_training_iteration",
        "before_forward",
        "after_forward",
        "before_backward",
        "after_backward",
        "before_update",
        "after_update",
        "after_training_iteration",
    ]


def test_a_hook_that_does_nothing_changes_nothing() -> None:
    assert torch.equal(weights(run(stream(), Probe())), weights(run(stream())))


class Ridge(Plugin):
    """Adds half the squared length of the weights to the loss."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength

    def before_backward(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        strategy.loss += 0.5 * self.strength * sum(p.square().sum() for p in strategy.model.parameters())


def test_a_penalty_that_a_plugin_adds_is_descended() -> None:
    """With plain gradient descent, half the squared length times s is a weight decay of s."""
    plain = Training(optimizer="sgd", learning_rate=0.1, batch_size=BATCH)
    decaying = Training(optimizer="sgd", learning_rate=0.1, batch_size=BATCH, weight_decay=0.2)
    penalised, decayed = run(stream(), Ridge(0.2), training=plain), run(stream(), training=decaying)
    torch.testing.assert_close(weights(penalised), weights(decayed), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(weights(penalised), weights(run(stream(), training=plain)), atol=1e-2)


class Frozen(Plugin):
    """Throws the gradients of all subjects but the first away."""

    def after_backward(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        if strategy.clock.train_exp_counter > 0:
            strategy.optimizer.zero_grad()


def test_a_plugin_that_withholds_gradients_keeps_the_network_of_the_first_subject() -> None:
    assert torch.equal(weights(run(stream(), Frozen())), weights(run(stream(("a",)))))


class Restart(Plugin):
    """Puts a copy of the first network in the place of the trained one before each subject."""

    first: nn.Module | None = None

    def before_train_dataset_adaptation(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.first = self.first or copy.deepcopy(strategy.model)
        strategy.model = copy.deepcopy(self.first)


def test_a_network_that_a_plugin_puts_in_the_place_of_the_first_is_trained_and_returned() -> None:
    assert torch.equal(weights(run(stream(), Restart())), weights(run(stream(("c",)))))


class Batches(Plugin):
    """Keeps what each minibatch held."""

    def __init__(self) -> None:
        super().__init__()
        self.met: dict[str, list[Tensor]] = {}

    def before_training_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        assert strategy.mb_task_id.tolist() == [0] * len(strategy.mb_y)
        self.met.setdefault(strategy.experience.subject, []).append(strategy.mb_x.clone())


def test_an_epoch_holds_every_window_once_in_an_order_that_no_other_subject_changes() -> None:
    alone, last = Batches(), Batches()
    run(stream(("b",)), alone)
    run(stream(("c", "a", "b")), last, observer=disturb)
    assert list(last.met) == ["c", "a", "b"]
    assert all(torch.equal(x, y) for x, y in zip(alone.met["b"], last.met["b"], strict=True))
    epochs = torch.cat(alone.met["b"]).reshape(EPOCHS, 40, 4)
    windows = torch.tensor(stream(("b",)).training.x, dtype=torch.float32)
    for epoch in epochs:
        torch.testing.assert_close(epoch.sort(dim=0).values, windows.sort(dim=0).values)
    assert not torch.equal(epochs[0], epochs[1])


def test_minibatches_are_counted_before_they_are_made() -> None:
    for windows, size in ((40, 16), (32, 16), (5, 16), (1, 1)):
        batches = Minibatches((torch.arange(windows),), size, torch_generator(0))
        made = list(batches)
        assert len(batches) == len(made)
        assert torch.cat([batch for (batch,) in made]).sort().values.tolist() == list(range(windows))


def test_avalanches_data_set_holds_the_same_windows_in_the_same_memory() -> None:
    windows = gaussian_windows(("a",), per_class=3)
    experience = SubjectExperience(4, windows, Identity())
    x, y, _ = experience.tensors
    assert (experience.current_experience, experience.subject) == (4, "a")
    assert x.tolist() == torch.tensor(windows.x, dtype=torch.float32).tolist()
    assert list(experience.dataset.targets) == y.tolist() == windows.labels.tolist()
    for index, (window, label, task) in enumerate(experience.dataset):
        assert window.data_ptr() == x[index].data_ptr()
        assert (label, task) == (y[index], 0)


# Behaviour

STOCK: dict[str, Callable[[], SupervisedPlugin]] = {
    "replay": lambda: ReplayPlugin(mem_size=20),
    "ewc": lambda: EWCPlugin(ewc_lambda=10.0),
    "mas": lambda: MASPlugin(lambda_reg=10.0),
    "lwf": lambda: LwFPlugin(alpha=1.0, temperature=2.0),
    "gem": lambda: GEMPlugin(patterns_per_experience=10, memory_strength=0.5),
    "agem": lambda: AGEMPlugin(patterns_per_experience=10, sample_size=10),
    "gdumb": lambda: GDumbPlugin(mem_size=20),
}


def at_odds() -> Learning:
    """A stream whose second subject has the classes swapped, so that what is remembered resists."""
    problem = stream()
    y = np.where(problem.training.subject == "b", 1 - problem.labels, problem.labels)
    return replace(problem, training=replace(problem.training, y=y))


@pytest.mark.usefixtures("recwarn")  # some of them call what Avalanche deprecates, and it warns past every filter
@pytest.mark.parametrize("plugin", STOCK.values(), ids=STOCK.keys())
def test_avalanches_own_plugins_run_and_matter_from_the_second_subject_on(
    plugin: Callable[[], SupervisedPlugin],
) -> None:
    steps: list[Tensor] = []

    def observer(step: int, predictor: Any) -> None:
        steps.append(weights(predictor))
        disturb(step, predictor)

    problem = at_odds()
    final, again, bare = run(problem, plugin(), observer=observer), run(problem, plugin()), run(problem)
    assert torch.equal(weights(final), weights(again))
    assert torch.equal(weights(final), steps[-1])
    assert not torch.equal(weights(final), weights(bare))
    assert torch.isfinite(weights(final)).all()


@pytest.mark.parametrize("plugin", [lambda: EWCPlugin(ewc_lambda=0.0), lambda: LwFPlugin(alpha=0.0)])
def test_a_strength_of_zero_is_fine_tuning_to_the_bit(plugin: Callable[[], SupervisedPlugin]) -> None:
    assert torch.equal(weights(run(stream(), plugin())), weights(run(stream())))


class OtherData(Plugin):
    """Puts the first ten windows of a subject in the place of all."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def after_train_dataset_adaptation(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        strategy.adapted_dataset = strategy.adapted_dataset.subset(range(10))

    def after_forward(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.sizes.append(len(strategy.mb_output))


def test_data_that_a_plugin_puts_in_the_subjects_place_is_what_is_trained_on() -> None:
    other = OtherData()
    run(stream(), other)
    assert other.sizes == [10] * 3 * EPOCHS


class Early(Plugin):
    """Stops each subject after its second minibatch."""

    def after_training_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        if strategy.clock.train_exp_iterations == 1:
            strategy.stop_training()


def test_a_plugin_can_stop_the_training_of_a_subject() -> None:
    probe = Probe()
    run(stream(), probe, Early())
    assert probe.called.count("before_forward") == 3 * 2


class Watch(Plugin):
    """Counts how many subjects are in memory when one is met."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[weakref.ref[Any]] = []
        self.alive: list[int] = []

    def before_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.seen.append(weakref.ref(strategy.experience.dataset))
        self.alive.append(sum(reference() is not None for reference in self.seen))


def test_no_subject_stays_in_memory() -> None:
    watch = Watch()
    run(stream(tuple("abcdef")), watch)
    assert watch.alive == [1] * 6
    assert not any(reference() for reference in watch.seen)


# Bad input


def test_a_penalty_that_diverges_is_found() -> None:
    with pytest.raises(LearningError, match="diverged at subject a"):
        run(stream(), Ridge(1e30), training=Training(optimizer="sgd", learning_rate=0.1, batch_size=BATCH))


class Overflow(Plugin):
    """Makes one loss infinite, the last of a subject's first epoch, without touching a gradient."""

    def before_backward(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        if strategy.clock.train_exp_iterations == 1:
            strategy.loss += float("inf")


def test_one_loss_that_is_not_finite_is_enough() -> None:
    with pytest.raises(LearningError, match="the loss is not finite"):
        run(stream(), Overflow())


def test_windows_without_labels_are_refused() -> None:
    problem = stream()
    unlabelled: Windows = problem.training.without(labels=True)
    with pytest.raises(ValueError, match="withheld"):
        learn_stream(
            Learning(unlabelled, None, problem.classes, "vector", 0),
            ignore,
            normalization=Stream(),
            encoder=MLP(),
            objective=CrossEntropy(),
            training=Training(),
            epochs=1,
        )
