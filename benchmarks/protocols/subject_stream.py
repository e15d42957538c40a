"""A stream of subjects: they are learned from one after another, and others are never learned from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from benchmarks.errors import DataError
from benchmarks.protocols.contract import Fold, Protocol
from benchmarks.randomness import generator

_LEAST = 2
"""A stream of fewer subjects has no next one."""


@dataclass(frozen=True)
class SubjectStream(Protocol):
    """One fold, whose learners are met in sequence and scored after every step, as are subjects that are never met.

    Values of a strategy, as its strength, are chosen on subjects who are in neither part: nobody on whom something was
    chosen is scored. They are met in orders of their own: of different people, so that no order of the study repeats
    one that was chosen on.

    Parameters
    ----------
    held_out : int
        Subjects who are never learned from and scored after every step: drawn at random, the same whenever the cohort
        and both numbers are the same.
    choosing_subjects : int
        Subjects who are set aside to choose values on: the first of the cohort. None, or two or more.
    choosing_orders : int
        In how many orders they are met; in all that there are, where few subjects are set aside.

    Attributes
    ----------
    validation_subjects : int
        Always 0: what is chosen during a stream, as the best epoch, is chosen on windows of the subject in turn.
    """

    held_out: Annotated[int, Field(ge=1)]
    choosing_subjects: Annotated[int, Field(ge=0)] = 0
    choosing_orders: Annotated[int, Field(ge=1)] = 5
    validation_subjects: int = field(default=0, init=False)

    def folds(self, subjects: Sequence[str]) -> Iterator[Fold]:
        """See `Protocol`; the one fold is called ``stream``."""
        _, rest = self._parted(subjects)
        drawn = generator("stream", "held out").choice(len(rest), size=self.held_out, replace=False)
        held_out = tuple(rest[i] for i in sorted(drawn))
        yield Fold("stream", held_out, tuple(name for name in rest if name not in held_out), tracked=True)

    def choosing(self, subjects: Sequence[str]) -> Fold | None:
        """See `Protocol`; the fold is called ``choosing``, and scores its learners alone."""
        aside, _ = self._parted(subjects)
        return Fold("choosing", (), aside, tracked=True) if aside else None

    def _parted(self, subjects: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The subjects who are set aside, and the others."""
        if 0 < self.choosing_subjects < _LEAST:
            raise DataError(
                f"protocol.choosing_subjects is {self.choosing_subjects}: what is chosen on a stream of one subject "
                f"says nothing of the next. Set aside {_LEAST} or more, or 0 to choose nothing."
            )
        met = len(subjects) - self.choosing_subjects - self.held_out
        if met < _LEAST:
            raise DataError(
                f"A stream needs at least {_LEAST} subjects to meet. Of {len(subjects)} subjects "
                f"({', '.join(subjects) or 'none'}), protocol.choosing_subjects sets {self.choosing_subjects} aside, "
                f"protocol.held_out {self.held_out}, and {max(met, 0)} are left. Lower one of the two, or add subjects."
            )
        return tuple(subjects[: self.choosing_subjects]), tuple(subjects[self.choosing_subjects :])
