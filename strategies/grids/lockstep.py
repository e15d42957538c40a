"""Federations side by side: one aggregator runs at a time, and what all of them wait for is answered in one go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from greenlet import getcurrent, greenlet

from clients.training import random_state, set_random_state
from strategies.grids.contract import Answer, Engine, Letter

T = TypeVar("T")


def side_by_side(federations: Sequence[Callable[[Engine], T]], engine: Engine) -> list[T | Exception]:
    """Run federations that meet at their engine.

    Each is a plain function that blocks while its letters are answered, as Flower's aggregators do, so each has a stack
    of its own (a greenlet: no thread, so that nothing runs at once). When all wait for letters, those of all are
    answered by one call of `engine`, in the order of the federations. The global random sources are each federation's
    own: what one draws, no other notices, so each draws what it would draw alone.

    Parameters
    ----------
    federations : sequence of callable
        Each is called with the engine that it has to use.
    engine : Engine
        Answers the letters of all.

    Returns
    -------
    list
        What each returned, or what it raised; the others go on.
    """
    runners = [_Runner(federation) for federation in federations]
    try:
        for runner in runners:
            runner.resume([])
        while waiting := [runner for runner in runners if runner.letters is not None]:
            asked = [runner.letters or () for runner in waiting]
            answers = iter(_answered(engine, [letter for letters in asked for letter in letters]))
            for runner, letters in zip(waiting, asked, strict=True):
                runner.resume([next(answers) for _ in letters])
    finally:
        # After Ctrl-C some still wait; left to the garbage collector, they would set random states at any time.
        for runner in runners:
            runner.end()
    return [runner.outcome() for runner in runners]


def _answered(engine: Engine, letters: Sequence[Letter]) -> list[Answer]:
    try:
        return engine(letters)
    except Exception as error:  # Every federation is told, so that none waits for ever.
        return [error] * len(letters)


class _Runner(Generic[T]):
    """One federation, which runs only between `resume` and its next letters.

    Attributes
    ----------
    letters : sequence of Letter, or None
        What it waits for; None once it is done.
    """

    def __init__(self, federation: Callable[[Engine], T]) -> None:
        self.letters: Sequence[Letter] | None = None
        self._federation = federation
        self._result: list[T | Exception] = []
        self._stack = greenlet(self._run)
        self._random: tuple[Any, ...] | None = None

    def resume(self, answers: list[Answer]) -> None:
        """Let it run, with the answers that it waits for, until it has letters again or is done."""
        outside = random_state()
        set_random_state(self._random or outside)
        self._stack.parent = getcurrent()
        self.letters = self._stack.switch(answers)
        self._random = random_state()
        set_random_state(outside)

    def end(self) -> None:
        """End it where it waits; one that is done is left alone."""
        if self._stack:
            outside = random_state()
            self._stack.throw()
            set_random_state(outside)

    def outcome(self) -> T | Exception:
        """What it returned or raised, once it is done."""
        return self._result[0]

    def _run(self, _: list[Answer]) -> None:
        try:
            self._result.append(self._federation(self._wait))
        except Exception as error:
            self._result.append(error)

    def _wait(self, letters: Sequence[Letter]) -> list[Answer]:
        answers: list[Answer] = self._stack.parent.switch(letters)
        return answers
