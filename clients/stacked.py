"""Clients trained many at once: their weights stacked on a leading axis, one tensor program for each stack."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import nn

from benchmarks.errors import LearningError
from clients.lesson import Learned, Lesson
from clients.minibatches import Room
from clients.objectives.contract import Objective
from clients.stack import Stack
from clients.stack_size import stack_size
from clients.stackable import Stackable
from clients.training import Training

T = TypeVar("T")

_SMALLEST_ROWS = 32
"""Clients in rows of one length that get a stack of their own; fewer are stacked with all others, one a row.

Where the line lies was chosen, not measured: stacks of 15 were slow for their clients, those of 100 fast.
"""


@dataclass(frozen=True, eq=False)
class StackedTrainer:
    """Trains many small networks of one shape in the time of few large operations.

    It computes what `SerialTrainer` does, up to rounding: each client has its own order of windows, its own optimiser
    state and the same dropout. Clients whose minibatches differ in size share a program, in which windows beyond a
    client's own weigh nothing; those of networks in which the windows of a minibatch meet, as in batch norm, share one
    only with clients that have as many windows. Clients whose lessons read the very same tensors in the same order
    stand in a row of a stack, where their windows are read once.

    Parameters
    ----------
    network : torch.nn.Module
        Shape of all networks; its own weights are neither read nor changed.
    objective : Objective
        What the networks are trained with.
    training : Training
        How weights are updated. An update of one weight may depend on that weight's history alone, which is so for all
        optimisers here.
    """

    network: nn.Module
    objective: Objective
    training: Training
    _programs: dict[torch.Size, Stackable] = field(init=False, default_factory=dict, repr=False)
    _room: Room = field(init=False, default_factory=Room, repr=False)

    @cached_property
    def _bytes(self) -> int:
        """Of one network's weights."""
        return sum(tensor.nbytes for tensor in self.network.state_dict().values())

    def __call__(self, lessons: Sequence[Lesson]) -> list[Learned | Exception]:
        """See `Trainer`; a network that cannot be stacked fails all of its clients, and the error says why."""
        outcomes: dict[int, Learned | Exception] = {}
        for rows in self._stacks(lessons):
            found = self._attempt([[lessons[i] for i in row] for row in rows])
            outcomes.update(zip([i for row in rows for i in row], found, strict=True))
        return [outcomes[i] for i in range(len(lessons))]

    def _attempt(self, rows: Sequence[Sequence[Lesson]]) -> Sequence[Learned | Exception]:
        clients = len(rows) * len(rows[0])
        try:
            return Stack(self._program(rows[0][0]), self.objective, self.training, rows, self._room).learn()
        except LearningError as error:
            return [error] * clients
        except Exception as error:
            if len(rows[0]) > 1:
                # An operation in place may mix windows that a row has in common with weights that each has its own.
                return self._attempt([[lesson] for row in rows for lesson in row])
            cause = " ".join([type(error).__name__, *str(error).split("\n", 1)[:1]]).strip()
            told = LearningError(f"This network cannot be trained stacked ({cause}). Choose grid: in_process.")
            told.__cause__ = error
            return [told] * clients

    def _stacks(self, lessons: Sequence[Lesson]) -> Iterator[list[list[int]]]:
        """Positions of the lessons in the rows of each stack, the longest first; a function of the lessons alone."""
        alike: defaultdict[tuple[Any, ...], list[list[int]]] = defaultdict(list)
        for row in self._rows(lessons):
            lesson = lessons[row[0]]
            size = len(lesson.x) if self._mixing(lesson) else None
            alike[(*_terms(lesson), lesson.x.shape[1:], size, len(row))].append(row)
        for (*terms, across), rows in list(alike.items()):
            if across > 1 and across * len(rows) < _SMALLEST_ROWS:
                alike[(*terms, 1)] += [[position] for row in rows for position in row]
                del alike[(*terms, across)]
        for rows in alike.values():
            ordered = sorted(rows, key=lambda row: -len(lessons[row[0]].x))
            yield from _cut(ordered, self._at_once(lessons[ordered[0][0]]) // len(ordered[0]))

    def _rows(self, lessons: Sequence[Lesson]) -> Iterator[list[int]]:
        """Positions of lessons that read the same windows in the same order, no more than a stack may hold."""
        same: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
        for position, lesson in enumerate(lessons):
            same[(*_terms(lesson), id(lesson.x), id(lesson.y), lesson.stream)].append(position)
        for row in same.values():
            yield from _cut(row, self._at_once(lessons[row[0]]))

    def _program(self, lesson: Lesson) -> Stackable:
        shape = lesson.x.shape[1:]
        if shape not in self._programs:
            self._programs[shape] = Stackable.of(self.network, lesson.x)
        return self._programs[shape]

    def _mixing(self, lesson: Lesson) -> bool:
        try:
            return self._program(lesson).mixing
        except Exception:  # Told to each client when its turn comes.
            return True

    def _at_once(self, lesson: Lesson) -> int:
        return stack_size(self._bytes, lesson.x[:1].nbytes * min(self.training.batch_size, len(lesson.x)))


def _terms(lesson: Lesson) -> tuple[Any, ...]:
    """What has to be one and the same for all clients of a stack."""
    return lesson.epochs, lesson.pull, lesson.drift is None


def _cut(whole: Sequence[T], most: int) -> Iterator[list[T]]:
    """Pieces of at most so many, in order and about equally long."""
    pieces = -(-len(whole) // most)
    for number in range(pieces):
        yield list(whole[number * len(whole) // pieces : (number + 1) * len(whole) // pieces])
