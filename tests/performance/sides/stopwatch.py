"""A plugin for Avalanche's template that takes the time of a stream."""

from __future__ import annotations

from typing import Any

from avalanche.core import SupervisedPlugin

from tests.performance.pace import Pace


class Stopwatch(SupervisedPlugin):  # type: ignore[misc]  # its base is untyped
    """Tells a clock when training steps begin and end; it does nothing at a minibatch.

    It stands before all other plugins: what they prepare is counted as training, and what they do with a subject that
    is over is not.

    Parameters
    ----------
    pace : Pace
        The clock.
    """

    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self._pace = pace

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """A subject is met."""
        self._pace.subject_begins()

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Its training steps are done."""
        self._pace.subject_ends()
