"""What every protocol says: which subjects are learned from in a fold, and which are scored."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.errors import DataError
from benchmarks.randomness import generator


@dataclass(frozen=True)
class Fold:
    """One split of a cohort by subject.

    Parameters
    ----------
    name : str
        Unique in its protocol.
    scored : tuple of str
        Subjects whose windows are scored and never learned from.
    learners : tuple of str
        Subjects that are learned from or chosen on.
    seen : bool
        Whether the later windows of the learners are held out from everybody's learning, so that those who are learned
        from can be scored too, as seen people.
    tracked : bool
        Whether the learners are scored after every step, on windows held out of them: as unseen people until they are
        met, and as seen ones afterwards. Windows to validate on are held out of them too (see
        `benchmarks.protocols.within_subject.in_three`). `seen` adds nothing to it.

    Raises
    ------
    ValueError
        A subject on both sides.
    """

    name: str
    scored: tuple[str, ...]
    learners: tuple[str, ...]
    seen: bool = False
    tracked: bool = False

    def __post_init__(self) -> None:
        both = set(self.scored) & set(self.learners)
        if both:
            raise ValueError(f"fold {self.name}: {', '.join(sorted(both))} on both sides")

    def validation(self, count: int, seed: int) -> tuple[str, ...]:
        """Validation subjects: drawn from the learners, the same for every strategy of this fold and seed.

        Raises
        ------
        DataError
            Nobody would be left to learn from.
        """
        if count >= len(self.learners):
            raise DataError(
                f"Fold {self.name} has {len(self.learners)} subjects to learn from, and {count} of them are asked "
                f"for validation: none is left. Lower protocol.validation_subjects, or add subjects."
            )
        drawn = generator("validation", self.name, seed).choice(len(self.learners), size=count, replace=False)
        return tuple(self.learners[i] for i in sorted(drawn))

    @property
    def orders(self) -> int:
        """How many orders of its learners there are."""
        return math.factorial(len(self.learners))

    def order(self, subjects: Sequence[str], stream: int) -> tuple[str, ...]:
        """Some of this fold's subjects in order number `stream`.

        An order is a random permutation of the whole cohort, of which a fold, or a seed, leaves some out: so orders
        are paired over folds, seeds and strategies. Those in which the learners would be met as in an order before are
        passed over: tests take orders for independent, and the same twice would count double.

        Raises
        ------
        DataError
            The learners do not have so many orders.
        """
        if stream >= self.orders:
            raise DataError(
                f"Fold {self.name} has {len(self.learners)} subjects to learn from, who can be met in {self.orders} "
                f"orders, and order number {stream + 1} is asked for. Lower orders, or add subjects."
            )
        everyone = sorted({*self.scored, *self.learners})
        met: set[tuple[str, ...]] = set()
        for number in itertools.count():
            order = [everyone[i] for i in generator("order", number).permutation(len(everyone))]
            met.add(tuple(subject for subject in order if subject in self.learners))
            if len(met) > stream:
                break
        return tuple(subject for subject in order if subject in subjects)


class Protocol(ABC):
    """A way to split a cohort.

    Attributes
    ----------
    validation_subjects : int
        How many learners of a fold are set aside to choose on.
    choosing_orders : int
        In how many orders the people of the `choosing` fold are met, where there is such a fold.
    """

    validation_subjects: int
    choosing_orders: int = 1

    @abstractmethod
    def folds(self, subjects: Sequence[str]) -> Iterator[Fold]:
        """Folds of these subjects, lazily.

        Raises
        ------
        DataError
            Too few subjects.
        """

    def choosing(self, subjects: Sequence[str]) -> Fold | None:  # noqa: ARG002 - nobody is set aside here
        """Fold on which values that a study leaves open, as strengths, are chosen; None where nobody is set aside.

        Nobody in it is in one of the `folds` of these subjects.

        Raises
        ------
        DataError
            Too few subjects.
        """
        return None
