"""Streams side by side: each runs as it would alone, but for its minibatches, which one program takes for all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from greenlet import greenlet

from strategies.continual.rows import Epoch, Rows
from strategies.continual.seat import Seat

T = TypeVar("T")


def side_by_side(streams: Sequence[Callable[[Seat], T]], rows: Rows) -> list[T | Exception]:
    """Run streams in the rows of a stack, each at its own pace; who waits for a row gets the first that is free.

    Each is a plain function that blocks while the stack trains its network for an epoch, so each has a stack of calls
    of its own (a greenlet: no thread, so that nothing runs at once). The global random sources are shared by all of
    them: none may draw from them, or set them, across an epoch.

    Parameters
    ----------
    streams : sequence of callable
        Each is called with the seat that it has to use.
    rows : Rows
        What trains the networks of all.

    Returns
    -------
    list
        What each returned, or what it raised; the others go on.
    """
    runners = [_Runner(stream) for stream in streams]
    waiting, free, seated = deque(runners), deque(range(rows.number)), dict[int, _Runner[T]]()
    try:
        while waiting or seated:
            if waiting and free:
                row, runner = free.popleft(), waiting.popleft()
                seated[row] = runner
                runner.begin(Seat(rows, row))
            for row in [row for row, runner in seated.items() if runner.over]:
                rows.leave(row)
                free.append(row)
                del seated[row]
            if seated and not (waiting and free):
                rows.step()
                for row, epoch in rows.finished().items():
                    seated[row].resume(epoch)
    finally:
        # After Ctrl-C some still wait; left to the garbage collector, they would go on at any time.
        for runner in runners:
            runner.end()
    return [runner.outcome for runner in runners]


class _Runner(Generic[T]):
    """One stream, which runs only between one epoch of its training and the next.

    Attributes
    ----------
    outcome
        What it returned or raised, once it is over.
    """

    outcome: T | Exception

    def __init__(self, stream: Callable[[Seat], T]) -> None:
        self._stream = stream
        self._stack = greenlet(self._run)

    @property
    def over(self) -> bool:
        """Whether it has returned, or raised."""
        return bool(self._stack.dead)

    def begin(self, seat: Seat) -> None:
        """Run it up to its first epoch."""
        self._stack.switch(seat)

    def resume(self, epoch: Epoch) -> None:
        """Run it up to its next epoch."""
        self._stack.switch(epoch)

    def end(self) -> None:
        """End it where it waits; one that is over, or has not begun, is left alone."""
        if self._stack:
            self._stack.throw()

    def _run(self, seat: Seat) -> None:
        try:
            self.outcome = self._stream(seat)
        except Exception as error:  # Whatever a part throws, the others go on.
            self.outcome = error
