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

from benchmarks.normalization import Normalizer
from benchmarks.windows import Windows
from clients.training import tensors


class SubjectExperience(DatasetExperience):
    """Windows of one subject, twice over the same memory: as Avalanche's data set and as tensors.

    Plugins of Avalanche that keep or replay windows read the data set. Its task label is 0 for every subject: some of
    them need one, but one head serves all subjects, and nobody tells it who is in front of it.

    Parameters
    ----------
    position : int
        The subject's place in the stream, from 0.
    windows : Windows
        Labelled windows of one subject, not normalised.
    normalizer : Normalizer
        What makes them comparable, as it is when this subject is met.

    Attributes
    ----------
    subject : str
        Name of the subject.
    tensors : tuple of Tensor
        Normalised inputs (n, ...), labels (n,) and task labels (n,).
    """

    def __init__(self, position: int, windows: Windows, normalizer: Normalizer) -> None:
        x, y = tensors(normalizer(windows), windows.labels)
        dataset = TaskAwareSupervisedClassificationDataset(
            [TensorDataset(x, y)],
            data_attributes=[DataAttribute(y, "targets"), TaskLabels(ConstantSequence(0, len(y)))],
        )
        super().__init__(dataset=dataset, current_experience=position)
        (self.subject,) = windows.subjects
        self.windows = windows
        self.normalizer = normalizer
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
        # A subject's windows are few: put in order once, every minibatch is a view.
        for batch in zip(*(torch.split(tensor[order], self.size) for tensor in self.tensors), strict=True):
            yield list(batch)
