"""Early stopping inside a subject: on windows of the subject itself that are not learned from."""

from __future__ import annotations

import math
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor

from benchmarks.windows import Windows
from clients.objectives.contract import Objective
from clients.selection import likelihood_weights
from clients.training import tensors
from strategies.continual.divergence import diverged
from strategies.continual.seat import Seat


class EarlyStopping(SupervisedPlugin):
    """Ends a subject when its validation windows have not been told better for some epochs, and keeps the best epoch.

    The score is `clients.selection.validation_score`. The first plugin of a template: the others then look back on a
    subject with the weights that are kept. One that adds up something along the way is told when these are reached, if
    it has a method ``at_best_epoch``. One that trains on windows of others beside the subject's names all of these
    people in an attribute ``learned_from``: an epoch is then judged by the validation windows of all of them.

    Parameters
    ----------
    validation : Windows
        Labelled windows of all subjects of the stream; those of the subject in turn judge an epoch.
    objective : Objective
        What reads the network's outputs.
    patience : int
        Epochs in a row without a better score.

    Attributes
    ----------
    best : int
        The epoch that was kept of the subject met last, from 1.
    """

    def __init__(self, validation: Windows, objective: Objective, patience: int) -> None:
        super().__init__()
        self._validation = validation
        self._objective = objective
        self._patience = patience
        self.best = 0

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Take the validation windows of those who are learned from, normalised as scored windows will be.

        With ``subject_unlabelled`` that is by their own statistics, not by those of the windows learned from.
        """
        del kwargs
        windows = self._validation.of(_learned_from(strategy))
        x, y = tensors(strategy.experience.normalizer(windows), windows.labels)
        self._judges = x, y, torch.tensor(likelihood_weights(windows))
        self._epoch, self.best, self._score, self._kept = 0, 0, -math.inf, list[Tensor]()

    def take_seat(self, seat: Seat) -> None:
        """Have a stack score the networks of all of its rows at once."""
        seat.judge(*self._judges)

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Keep the weights if they are the best so far; stop if they have not been for long."""
        del kwargs
        self._epoch += 1
        score = strategy.score(self._objective, *self._judges)
        if score > self._score:
            self.best, self._score = self._epoch, score
            self._kept = [tensor.detach().clone() for tensor in _state(strategy)]
            for plugin in strategy.plugins:
                if hasattr(plugin, "at_best_epoch"):
                    plugin.at_best_epoch(strategy)
        elif self._epoch - self.best >= self._patience:
            strategy.stop_training()

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Put the best weights back."""
        del kwargs
        if not self._kept:
            raise diverged(strategy.experience, "no network had a finite score of its validation windows")
        with torch.no_grad():
            for tensor, kept in zip(_state(strategy), self._kept, strict=True):
                tensor.copy_(kept)
        self._kept = []


def _learned_from(strategy: Any) -> list[str]:
    """The subject in turn, unless a plugin names others beside it."""
    named = (plugin.learned_from for plugin in strategy.plugins if hasattr(plugin, "learned_from"))
    return next(named, [strategy.experience.subject])


def _state(strategy: Any) -> list[Tensor]:
    """Parameters and buffers, as they live in the network."""
    return list(strategy.model.state_dict(keep_vars=True).values())
