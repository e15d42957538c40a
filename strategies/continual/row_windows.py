"""Windows of many subjects in memory of one shape, a row for each, as a stack of networks reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class RowWindows:
    """Windows of the subjects in all rows, and an order of each row's.

    Parameters
    ----------
    x, y : Tensor, shapes (rows, room, ...) and (rows, room)
        Windows and labels; beyond a subject's own, whatever stood there.
    order : Tensor, shape (rows, room)
        Places of the windows in the order of this epoch, then the last of them again: a window that never was might be
        one that the network cannot take.
    constants : Tensor, shape (rows, ...)
        See `Objective.constants`.
    batch_size : int
        Windows in a minibatch, of which the room is a multiple.
    """

    x: Tensor
    y: Tensor
    order: Tensor
    constants: Tensor
    batch_size: int

    @classmethod
    def none(cls, rows: int, batch_size: int, x: Tensor, y: Tensor, constants: Tensor) -> RowWindows:
        """No room yet, for windows, labels and constants such as these."""
        return cls(
            x.new_zeros((rows, 0, *x.shape[1:])),
            y.new_zeros((rows, 0)),
            torch.zeros((rows, 0), dtype=torch.int64),
            constants.expand(rows, *constants.shape).clone(),
            batch_size,
        )

    def with_room(self, windows: int) -> RowWindows:
        """The same, with room for so many windows in each row."""
        room = -(-windows // self.batch_size) * self.batch_size
        if room <= self.x.shape[1]:
            return self
        return replace(self, x=_longer(self.x, room), y=_longer(self.y, room), order=_longer(self.order, room))

    def put(self, row: int, x: Tensor, y: Tensor, constants: Tensor) -> None:
        """A subject's windows, in place of what was in a row."""
        self.x[row, : len(x)] = x
        self.y[row, : len(y)] = y
        self.constants[row] = constants

    def shuffle(self, row: int, order: Tensor) -> None:
        """Give the windows of a row an order."""
        self.order[row, : len(order)] = order
        self.order[row, len(order) :] = order[-1]

    def minibatch(self, starts: Sequence[int], widest: int) -> tuple[Tensor, Tensor]:
        """As many windows (rows, widest, ...) and labels of each row, from places in its order on."""
        rows, room = self.y.shape
        places = self.order.gather(1, torch.tensor(starts)[:, None] + torch.arange(widest))
        chosen = (places + torch.arange(0, rows * room, room)[:, None]).flatten()
        x = self.x.flatten(0, 1).index_select(0, chosen).view(rows, widest, *self.x.shape[2:])
        return x, self.y.flatten().index_select(0, chosen).view(rows, widest)


@dataclass(frozen=True, eq=False)
class Judges:
    """Validation windows of the subjects in all rows.

    Parameters
    ----------
    x, y, weights : Tensor, shapes (rows, room, ...), (rows, room) and (rows, room)
        Windows, labels, and what a window counts in the score; beyond a subject's own, nothing.
    """

    x: Tensor
    y: Tensor
    weights: Tensor

    @classmethod
    def none(cls, rows: int, x: Tensor, y: Tensor, weights: Tensor) -> Judges:
        """No room yet, for windows, labels and weights such as these."""
        return cls(*(each.new_zeros((rows, 0, *each.shape[1:])) for each in (x, y, weights)))

    def with_room(self, windows: int) -> Judges:
        """The same, with room for so many windows in each row."""
        if windows <= self.x.shape[1]:
            return self
        return Judges(*(_longer(each, windows) for each in (self.x, self.y, self.weights)))

    def put(self, row: int, x: Tensor, y: Tensor, weights: Tensor) -> None:
        """A subject's windows, in place of what was in a row."""
        for kept, given in zip((self.x, self.y, self.weights), (x, y, weights), strict=True):
            # What is not a number would not vanish by a weight of zero.
            kept[row] = 0
            kept[row, : len(given)] = given


def _longer(tensor: Tensor, room: int) -> Tensor:
    """The same rows with more room behind, of zeros."""
    longer = tensor.new_zeros((len(tensor), room, *tensor.shape[2:]))
    longer[:, : tensor.shape[1]] = tensor
    return longer
