"""How long a stream of subjects takes: as a whole, and the training steps with each of them."""

from __future__ import annotations

import time
from statistics import mean

from tests.performance.problem import Problem


def steps_with(subject: int) -> str:
    """Name of the fact that tells a subject's training steps, ms a minibatch; subjects are counted from one."""
    return f"subject_{subject:03d}_ms"


class Pace:
    """Clock of a stream, which begins when it is made. What comes between two subjects belongs to neither.

    Parameters
    ----------
    problem : Problem
        Says how many minibatches a subject has.
    """

    def __init__(self, problem: Problem) -> None:
        self._minibatches = problem.minibatches
        self._steps_s: list[float] = []
        self._started = time.perf_counter()

    def subject_begins(self) -> None:
        """The first training step is next."""
        self._began = time.perf_counter()

    def subject_ends(self) -> None:
        """The last training step is done."""
        self._steps_s.append(time.perf_counter() - self._began)

    def stream_ends(self) -> None:
        """Nothing is left to do."""
        self._whole_s = time.perf_counter() - self._started

    def told(self) -> dict[str, float]:
        """What there is to tell, in milliseconds.

        Returns
        -------
        dict of str to float
            A minibatch's share of the whole stream (``stream_ms``) and of the training steps from the second subject on
            (``later_ms``) and with each (see `steps_with`). And for a subject, all that is no training step
            (``besides_ms``), such as measuring the importance of weights.
        """
        subjects = len(self._steps_s)
        steps = [1e3 * seconds / self._minibatches for seconds in self._steps_s]
        return {
            "stream_ms": 1e3 * self._whole_s / (subjects * self._minibatches),
            "later_ms": mean(steps[1:]),
            "besides_ms": 1e3 * (self._whole_s - sum(self._steps_s)) / subjects,
            **{steps_with(number): each for number, each in enumerate(steps, start=1)},
        }
