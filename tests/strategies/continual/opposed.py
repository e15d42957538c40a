"""A stream whose second subject asks for the opposite of the first, and plugins that stay at hand after learning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor, nn

from benchmarks.windows import Windows
from clients.predictor import NetworkPredictor
from clients.training import Training, class_counts, tensors, torch_generator
from strategies.continual.contract import Continual, Tell
from strategies.continual.stopping import EarlyStopping
from strategies.continual.stream import learn_stream
from strategies.contract import Learning
from tests.strategies.continual.streams import stream
from tests.strategies.learnings import ignore

DESCENT = Training(optimizer="sgd", learning_rate=0.05, batch_size=16)
"""Plain gradient descent: a step is the gradient times the learning rate."""


def opposed(subjects: Sequence[str] = ("a", "b"), seed: int = 0) -> Learning:
    """Every other subject has the classes swapped, so that what is remembered resists."""
    problem = stream(subjects, seed=seed)
    swapped = np.isin(problem.training.subject, subjects[1::2])
    y = np.where(swapped, 1 - problem.labels, problem.labels)
    return replace(problem, training=replace(problem.training, y=y))


def data(windows: Windows) -> tuple[Tensor, Tensor]:
    """Windows as a network meets them where nothing is normalised."""
    return tensors(windows.x, windows.labels)


def learned(
    strategy: Continual, problem: Learning, *more: SupervisedPlugin, tell: Tell = lambda step, values: None
) -> tuple[NetworkPredictor, Sequence[SupervisedPlugin]]:
    """What a strategy makes of a stream, and its plugins, which can be asked afterwards; `more` follow them."""
    plugins = strategy.plugins(problem, tell)
    parts = {name: getattr(strategy, name) for name in ("normalization", "encoder", "objective", "training")}
    predictor = learn_stream(
        problem,
        ignore,
        epochs=strategy.epochs,
        patience=strategy.patience,
        plugins=[*plugins, *more],
        **parts,
    )
    return predictor, plugins


class Best(SupervisedPlugin):  # type: ignore[misc]  # Avalanche is untyped
    """Asks early stopping which epoch it keeps, and of how many."""

    epoch = met = 0

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        (stopping,) = (plugin for plugin in strategy.plugins if isinstance(plugin, EarlyStopping))
        self.epoch, self.met = stopping.best, strategy.clock.train_exp_epochs


Penalty = Callable[[list[nn.Parameter]], Tensor]


def trained_by_hand(
    network: nn.Module,
    strategy: Continual,
    windows: Windows,
    penalty: Penalty,
    seed: int = 0,
    after_step: Callable[[list[Tensor], list[Tensor], list[Tensor]], Any] = lambda gradients, before, after: None,
) -> None:
    """Train on one subject with the penalty as a part of the loss, with nothing of Avalanche.

    After each step, the gradients of the loss without the penalty are shown, and the weights before and after it.
    """
    parameters = list(network.parameters())
    (subject,) = windows.subjects
    x, y = data(windows)
    loss = strategy.objective.loss(class_counts(windows.labels, 2))
    optimizer = strategy.training.optimizer_of(parameters)
    shuffling = torch_generator(seed, "subject", subject)
    network.train()
    for _ in range(strategy.epochs):
        for batch in torch.split(torch.randperm(len(x), generator=shuffling), strategy.training.batch_size):
            gradients = list(torch.autograd.grad(loss(network(x[batch]), y[batch]), parameters))
            before = [parameter.detach().clone() for parameter in parameters]
            optimizer.zero_grad()
            (loss(network(x[batch]), y[batch]) + penalty(parameters)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            after_step(gradients, before, [parameter.detach().clone() for parameter in parameters])


def vector(tensors: Sequence[Tensor]) -> Tensor:
    """All entries one after another, in float64."""
    return torch.cat([tensor.detach().double().flatten() for tensor in tensors])


def weights(predictor: NetworkPredictor) -> Tensor:
    """All parameters of a predictor's network."""
    return vector(list(predictor.network.parameters()))
