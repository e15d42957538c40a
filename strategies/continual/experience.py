"""One subject of a stream as Avalanche sees it, and its minibatches as tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from avalanche.benchmarks import DatasetExperience
from avalanche.benchmarks.utils import (
    ConstantSequence,
    DataAttribute,
    TaskAwareSupervisedClassificationDataset,
    TaskLabels,
)
from torch import Tensor
from torch.utils.data import TensorDataset


class SubjectExperience(DatasetExperience):
    """Windows of one subject, twice over the same memory: as Avalanche's data set and as tensors.

    Plugins that keep or replay windows read the data set. Its task label is 0 for every subject: some of Avalanche's
    plugins need one, but one head serves all subjects, and nobody tells it who is in front of it.

    Parameters
    ----------
    subject : str
        Name of the subject.
    position : int
        Its place in the stream, from 0.
    x : Tensor, shape (n, ...)
        Normalised windows.
    y : Tensor of int64, shape (n,)
        Labels.

    Attributes
    ----------
    tensors : tuple of Tensor
        Inputs, labels and task labels.
    """

    def __init__(self, subject: str, position: int, x: Tensor, y: Tensor) -> None:
        dataset = TaskAwareSupervisedClassificationDataset(
            [TensorDataset(x, y)],
            data_attributes=[DataAttribute(y, "targets"), TaskLabels(ConstantSequence(0, len(y)))],
        )
        super().__init__(dataset=dataset, current_experience=position)
        self.subject = subject
        self.tensors = (x, y, torch.zeros_like(y))


@dataclass(frozen=True, eq=False)
class Minibatches:
    """Shuffled minibatches, in a new order each time that they are gone through.

    Parameters
    ----------
    tensors : tuple of Tensor
        Their first axis is that of the windows.
    size : int
        Windows in a minibatch; the last may be smaller.
    shuffling : torch.Generator
        Source of the order alone.
    """

    tensors: tuple[Tensor, ...]
    size: int
    shuffling: torch.Generator

    def __len__(self) -> int:
        return -(-len(self.tensors[0]) // self.size)

    def __iter__(self) -> Iterator[list[Tensor]]:
        order = torch.randperm(len(self.tensors[0]), generator=self.shuffling)
        for index in torch.split(order, self.size):
            yield [tensor[index] for tensor in self.tensors]
