"""Windows of subjects: fixed-length cuts of trials, as arrays side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.int64]
StrArray = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Windows:
    """n windows, of one subject or many.

    Parameters
    ----------
    x : ndarray, shape (n, ...)
        Representation of each window.
    subject, session, trial : ndarray of str, shape (n,)
        Where each window comes from. A trial's name is unique within its subject and session.
    onset : ndarray, shape (n,), or None
        Seconds from the start of the recording to the start of the window. Never a feature: the runner takes it
        away from every strategy that does not declare that it needs it.
    y : ndarray of int, shape (n,), or None
        Class indices; None where labels are withheld.

    Raises
    ------
    ValueError
        Arrays of different lengths.
    """

    x: FloatArray
    subject: StrArray
    session: StrArray
    trial: StrArray
    onset: FloatArray | None = None
    y: IntArray | None = None

    def __post_init__(self) -> None:
        for name in ("subject", "session", "trial", "onset", "y"):
            column = getattr(self, name)
            if column is not None and column.shape != (len(self.x),):
                raise ValueError(f"{name} has shape {column.shape}, expected ({len(self.x)},)")

    def __len__(self) -> int:
        return len(self.x)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subjects in the order in which they first appear."""
        names, first = np.unique(self.subject, return_index=True)
        return tuple(str(name) for name in names[np.argsort(first)])

    @property
    def labels(self) -> IntArray:
        """Class indices, shape (n,).

        Raises
        ------
        ValueError
            Labels are withheld.
        """
        if self.y is None:
            raise ValueError("these windows have no labels: they are withheld")
        return self.y

    def select(self, index: NDArray[np.bool_] | IntArray) -> Windows:
        """Copy of the windows that a mask or an index picks; it shares no memory with this one."""
        return self._at(index)

    def _at(self, index: NDArray[np.bool_] | IntArray | slice) -> Windows:
        return Windows(
            x=self.x[index],
            subject=self.subject[index],
            session=self.session[index],
            trial=self.trial[index],
            onset=None if self.onset is None else self.onset[index],
            y=None if self.y is None else self.y[index],
        )

    def of(self, subjects: str | Sequence[str]) -> Windows:
        """Copy of the windows of one subject, or of several in the order given.

        Raises
        ------
        KeyError
            A subject has no window here.
        """
        wanted = [subjects] if isinstance(subjects, str) else list(subjects)
        index = [np.flatnonzero(self.subject == name) for name in wanted]
        for name, found in zip(wanted, index, strict=True):
            if not len(found):
                raise KeyError(f"no window of subject {name!r}")
        return self.select(np.concatenate(index))

    def by_subject(self) -> Iterable[tuple[str, Windows]]:
        """Pairs of subject and its windows, in order of first appearance.

        Windows that stand together are not copied: of ten thousand subjects, a copy would take as much memory again.
        """
        names, first, number = np.unique(self.subject, return_index=True, return_inverse=True)
        # Sorted once for all: cohorts may have thousands of subjects.
        stretches = np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number))[:-1])
        return ((str(names[i]), self._at(_without_gaps(stretches[i]))) for i in np.argsort(first))

    def without(self, *, labels: bool = False, onset: bool = False) -> Windows:
        """The same windows with the labels or the onsets withheld."""
        return replace(self, y=None if labels else self.y, onset=None if onset else self.onset)


def _without_gaps(rising: IntArray) -> IntArray | slice:
    """The same positions, as a slice where they follow each other."""
    start, stop = int(rising[0]), int(rising[-1]) + 1
    return slice(start, stop) if stop - start == len(rising) else rising


def concatenate(parts: Sequence[Windows]) -> Windows:
    """One `Windows` from several, in order.

    Raises
    ------
    ValueError
        No part, or representations of different shapes.
    """
    if not parts:
        raise ValueError("nothing to concatenate")

    def joined(name: str) -> NDArray[np.generic] | None:
        columns = [getattr(part, name) for part in parts]
        return None if any(column is None for column in columns) else np.concatenate(columns)

    fields = {name: joined(name) for name in ("x", "subject", "session", "trial", "onset", "y")}
    return Windows(**fields)  # type: ignore[arg-type]
