"""Clients trained one after another, in one network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from clients.exchange import dtypes_of
from clients.lesson import Learned, Lesson
from clients.objectives.contract import Objective
from clients.training import Training, torch_generator, torch_seeded, train_epoch


@dataclass(frozen=True, eq=False)
class SerialTrainer:
    """The plain way of training, which every other trainer has to agree with.

    Parameters
    ----------
    network : torch.nn.Module
        Where it trains: all its weights are overwritten before each lesson.
    objective : Objective
        What the network is trained with.
    training : Training
        How weights are updated; the optimiser is a new one for each lesson.
    """

    network: nn.Module
    objective: Objective
    training: Training

    @cached_property
    def dtypes(self) -> dict[str, torch.dtype]:
        """Types of the network's parameters and buffers."""
        return dtypes_of(self.network)

    def __call__(self, lessons: Sequence[Lesson]) -> list[Learned | Exception]:
        """See `Trainer`."""
        return [self._attempt(lesson) for lesson in lessons]

    def learn(self, lesson: Lesson) -> Learned:
        """What comes of one lesson.

        Raises
        ------
        LearningError
            The loss is no longer finite.
        """
        network = self.network
        network.load_state_dict(lesson.weights)
        optimizer = self.training.optimizer_of(network.parameters())
        shuffling = torch_generator(*lesson.stream)

        def loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return self.objective.losses(outputs, labels, lesson.constants).mean()

        correct = _correction(network, lesson)
        with torch_seeded(*lesson.stream, "dropout"):
            for _ in range(lesson.epochs):
                mean = train_epoch(
                    network, (lesson.x, lesson.y), loss, optimizer, self.training.batch_size, shuffling, correct
                )
        weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        return Learned(weights, mean, steps=lesson.epochs * -(-len(lesson.x) // self.training.batch_size))

    def _attempt(self, lesson: Lesson) -> Learned | Exception:
        try:
            return self.learn(lesson)
        except Exception as error:  # A client may fail in any way; the others go on.
            return error


def _correction(network: nn.Module, lesson: Lesson) -> Callable[[], None] | None:
    """What is added to the gradients of a minibatch; None where that is nothing."""
    if not lesson.pull and lesson.drift is None:
        return None

    def correct() -> None:
        for name, parameter in network.named_parameters():
            if parameter.grad is None:
                continue
            if lesson.pull:
                parameter.grad.add_(parameter.detach() - lesson.weights[name], alpha=lesson.pull)
            if lesson.drift is not None:
                parameter.grad.add_(lesson.drift[name])

    return correct
