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
    """Memory that one stack after another reads its windows into.

    Asking the system for new memory each time was measured to take up to as long as reading the windows.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[str, torch.dtype], Tensor] = {}

    def tensor(self, name: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor of any content, which is valid until the next of its name and type is asked for."""
        size = prod(shape)
        held = self._held.get((name, dtype))
        if held is None or held.numel() < size:
            held = self._held[name, dtype] = torch.empty(size, dtype=dtype)
        return held[:size].view(*shape)


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
        self._x = room.tensor("x", (len(lessons), rows, *first.x.shape[1:]), first.x.dtype)
        self._y = room.tensor("y", (len(lessons), rows), first.y.dtype)
        self._shuffling = [torch_generator(*lesson.stream) for lesson in lessons]
        self._orders = [torch.empty(0, dtype=torch.int64)] * len(lessons)

    def read(self, step: int, active: int) -> tuple[Tensor, Tensor, list[int]]:
        """Windows (active, widest, ...), labels (active, widest) and how many are a client's own, of the first clients.

        Beyond a client's own stands its last again: a window that never was might be one that the network cannot take.
        Steps are read one after another.
        """
        place = step % self._ahead
        if place == 0:
            for client in range(active):
                self._read_ahead(client, step)
        if self._even:
            sizes = [self._windows(0, step)] * active
        else:
            sizes = [self._windows(client, step) for client in range(active)]
        start, stop = place * self.widest, place * self.widest + max(sizes)
        return self._x[:active, start:stop], self._y[:active, start:stop], sizes

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
                x[end:into] = x[end - 1]
                y[end:into] = y[end - 1]
