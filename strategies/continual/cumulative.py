"""Cumulative training: nobody who was met is let go of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from avalanche.core import SupervisedPlugin

from benchmarks.windows import Windows, concatenate
from clients.objectives.contract import Objective
from clients.training import class_counts, tensors
from strategies.continual.contract import Continual, Tell
from strategies.contract import Learning


@dataclass(frozen=True, kw_only=True)
class Cumulative(Continual):
    """At each subject the same network goes on training, on the windows of all subjects met so far.

    It is an upper bound for what keeps less of earlier people, not a method for a stream: it stores everyone, and an
    epoch is one over all windows so far, so the updates with each subject grow along the stream. (`pooled` is joint
    training: all subjects at once, from the initial network.)

    With the normalisation ``stream`` all windows are normalised anew by the statistics known now; where each subject is
    normalised by itself they are as they were. The loss counts the classes of all windows, and where a protocol holds
    windows out for validation, those of all subjects met so far judge an epoch, each subject weighing the same.
    """

    def plugins(self, learning: Learning, tell: Tell) -> Sequence[SupervisedPlugin]:
        """See `Continual`."""
        del tell
        return (_Everyone(self.objective, len(learning.classes)),)


class _Everyone(SupervisedPlugin):
    """Puts the windows of all subjects so far in the place of the subject's."""

    def __init__(self, objective: Objective, classes: int) -> None:
        super().__init__()
        self._objective = objective
        self._classes = classes
        self._met: list[Windows] = []

    @property
    def learned_from(self) -> list[str]:
        """Whose windows are trained on now; early stopping judges by theirs."""
        return [subject for windows in self._met for subject in windows.subjects]

    def after_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        """Change the windows, and the loss to one that counts their classes."""
        del kwargs
        experience = strategy.experience
        self._met.append(experience.windows)
        everyone = concatenate(self._met)
        x, y = tensors(experience.normalizer(everyone), everyone.labels)
        strategy.tensors = (x, y, torch.zeros_like(y))
        strategy._criterion = self._objective.loss(class_counts(everyone.labels, self._classes))
