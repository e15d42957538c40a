"""Clients trained one after another, in one network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from benchmarks.errors import LearningError
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
        return {name: tensor.dtype for name, tensor in self._state.items()}

    @cached_property
    def _state(self) -> dict[str, Tensor]:
        # The same tensors for as long as the network lives, so they need not be looked up for each lesson.
        return dict(self.network.state_dict())

    def __getstate__(self) -> dict[str, object]:
        # In another process they would be copies, and no longer the network's own.
        return {name: value for name, value in self.__dict__.items() if name != "_state"}

    def __call__(self, lessons: Sequence[Lesson]) -> list[Learned | Exception]:
        """See `Trainer`."""
        return [self._attempt(lesson) for lesson in lessons]

    def learn(self, lesson: Lesson) -> Learned:
        """What comes of one lesson.

        Raises
        ------
        LearningError
            A weight is lacking, or the loss is no longer finite.
        """
        network = self.network
        lacking = self._state.keys() - lesson.weights.keys()
        if lacking:
            raise LearningError(f"{lesson.subject}: no weights for {', '.join(sorted(lacking))} of the network.")
        for name, tensor in self._state.items():
            tensor.copy_(lesson.weights[name])
        optimizer = self.training.optimizer_of(network.parameters())
        shuffling = torch_generator(*lesson.stream)

        def loss(outputs: Tensor, labels: Tensor) -> Tensor:
            return self.objective.losses(outputs, labels, lesson.constants).mean()

        correct = _correction(network, lesson)
        with torch_seeded(*lesson.stream, "dropout"):
            for _ in range(lesson.epochs):
                mean = train_epoch(
                    network, (lesson.x, lesson.y), loss, optimizer, self.training.batch_size, shuffling, correct
                )
        weights = {name: tensor.clone() for name, tensor in self._state.items()}
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
