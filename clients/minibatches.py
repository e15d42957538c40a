"""The minibatches of clients that are trained side by side."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from clients.lesson import Lesson
from clients.training import torch_generator

_AHEAD = 2 * 2**20
"""Bytes of windows that are read at once: few large copies, and what is read is still in the cache when it is used."""


class Room:
    """Memory that one stack after another reads its windows into; memory fresh from the system costs more than they."""

    def __init__(self) -> None:
        self._held: dict[torch.dtype, Tensor] = {}

    def tensor(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor of any content, which is valid until the next of its type is asked for."""
        size = prod(shape)
        if dtype not in self._held or self._held[dtype].numel() < size:
            self._held[dtype] = torch.empty(size, dtype=dtype)
        return self._held[dtype][:size].view(*shape)


class Minibatches:
    """Windows and labels of each step, each client's in its own order.

    Parameters
    ----------
    lessons : sequence of Lesson
        With as many epochs, the longest first.
    size : int
        Windows in a minibatch; the last of a training epoch may be smaller.
    room : Room
        Where windows and labels are put, until the next stack is read.

    Attributes
    ----------
    an_epoch, steps : list of int
        Minibatches of each client, in a training epoch and altogether.
    widest : int
        Windows of the largest minibatch.
    """

    def __init__(self, lessons: Sequence[Lesson], size: int, room: Room) -> None:
        self._lessons, self._size = lessons, size
        first = lessons[0]
        self.an_epoch = [-(-len(lesson.x) // size) for lesson in lessons]
        self.steps = [steps * first.epochs for steps in self.an_epoch]
        self.widest = min(size, len(first.x))
        self._even = len({len(lesson.x) for lesson in lessons}) == 1
        a_step = len(lessons) * self.widest * first.x[:1].nbytes
        self._ahead = min(max(1, _AHEAD // a_step), self.steps[0])
        rows = self._ahead * self.widest
        self._x = room.tensor((len(lessons), rows, *first.x.shape[1:]), first.x.dtype)
        self._y = room.tensor((len(lessons), rows), first.y.dtype)
        self._shuffling = [torch_generator(*lesson.stream) for lesson in lessons]
        self._orders = [torch.empty(0, dtype=torch.int64)] * len(lessons)

    def sizes(self, step: int, active: int) -> list[int]:
        """Windows of a step, of each of the first clients."""
        if self._even:
            return [self._windows(0, step)] * active
        return [self._windows(client, step) for client in range(active)]

    def read(self, step: int, active: int) -> tuple[Tensor, Tensor]:
        """Windows (active, widest, ...) and labels (active, widest) of a step, which are zero beyond a client's own.

        Steps are read one after another.
        """
        place = step % self._ahead
        if place == 0:
            for client in range(active):
                self._read_ahead(client, step)
        start, widest = place * self.widest, max(self.sizes(step, active))
        return self._x[:active, start : start + widest], self._y[:active, start : start + widest]

    def _windows(self, client: int, step: int) -> int:
        return min(self._size, len(self._lessons[client].x) - step % self.an_epoch[client] * self._size)

    def _read_ahead(self, client: int, step: int) -> None:
        """Read the next steps of a client, one stretch for each training epoch that they belong to."""
        lesson, an_epoch = self._lessons[client], self.an_epoch[client]
        x, y = self._x[client], self._y[client]
        last = min(step + self._ahead, self.steps[client])
        into = 0
        while step < last:
            within = step % an_epoch
            if within == 0:
                self._orders[client] = torch.randperm(len(lesson.x), generator=self._shuffling[client])
            taken = min(an_epoch - within, last - step)
            chosen = self._orders[client][within * self._size : (within + taken) * self._size]
            end = into + len(chosen)
            torch.index_select(lesson.x, 0, chosen, out=x[into:end])
            torch.index_select(lesson.y, 0, chosen, out=y[into:end])
            step, into = step + taken, into + taken * self.widest
            if end < into:
                # What lies there from before may be no number, which would spoil even what weighs nothing.
                x[end:into] = 0
                y[end:into] = 0
