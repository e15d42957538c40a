"""The bound of a person's own windows: a network that knows the scored person, and nobody else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from strategies.contract import Target
from strategies.local_only import LocalOnly


@dataclass(frozen=True)
class Personal(LocalOnly):
    """A network trained on other windows of the scored person alone, as each subject of `LocalOnly` is on its own.

    It is a bound and no method for new people: nobody has labelled windows of a person who was never met. It bounds
    what so many windows of the person can teach; many other people's may teach more. Its scores are of a seen person,
    so they are not compared with scores of unseen people.

    The scored windows are later than those learned from within their trial, or, where trials are held out, later among
    the trials of their class (`benchmarks.protocols.within_subject`). Windows of other trials that are learned from may
    lie after them: there it is interpolation in time, not a forecast.
    """

    target: ClassVar[Target] = "seen"
