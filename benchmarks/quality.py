"""What is wrong with a subject's signals, counted, and what a study does about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.windows import FloatArray, IntArray, Windows

BoolArray = NDArray[np.bool_]

Treatment = Literal["drop", "keep", "impute", "fail"]
"""What a study does with unusable windows: leave them out, learn from them all the same, impute the features that could
not be computed, or stop.

An imputed feature takes the mean of the statistics that normalise its window: of the training subjects, of the subjects
met so far, or of the subject's own windows, as the study's normalisation says. Where a representation takes signals as
recorded, a flaw of a signal makes its features missing; windows are then kept and imputed even if all their features
are missing, and so is a subject of whom nothing is known. That person is scored by what a system would say of somebody
without a signal, which is reported, and all configurations keep the same people. Of other representations, windows of
flawed signals are left out.
"""


@dataclass(frozen=True)
class SignalReport:
    """Windows of one subject and task, and the unusable ones by reason.

    Parameters
    ----------
    subject : str
        Whose.
    windows : int
        All windows that the task cuts, unusable ones included.
    unusable : mapping of str to int
        Windows by reason (``"flat"``, ``"clipped"``, ``"nan"``, ...); one window may count under several.
    dropped : int
        Windows left out of the cohort.
    imputed : int
        Windows in the cohort that lack a feature, or all of them; each takes the mean of the statistics that normalise
        the window.
    """

    subject: str
    windows: int
    unusable: Mapping[str, int] = field(default_factory=dict)
    dropped: int = 0
    imputed: int = 0


@dataclass(frozen=True, eq=False)
class SubjectWindows:
    """Labelled windows of one subject with the report on its signals."""

    windows: Windows
    report: SignalReport


def unusable_windows(signal: FloatArray, starts: IntArray, length: int) -> dict[str, BoolArray]:
    """Windows that a flaw of the signal as recorded makes unusable, by reason.

    Parameters
    ----------
    signal : ndarray, shape (C, T)
        Signal before any filter, which would smear flaws out of sight.
    starts : ndarray of int, shape (n,)
        First sample of each window.
    length : int
        Samples in a window.

    Returns
    -------
    dict of str to ndarray of bool, shape (n,)
        ``"flat"``: a channel has one and the same value all through the window (of two samples or more). A shorter
        constant run is no flaw: slow quantised signals (skin temperature, electrodermal activity) have them by nature.
        ``"clipped"``: a channel sticks to the smallest or largest value of its recording for at least three times as
        long as its values last on average (a quickly changing signal: three samples), and jumps there or away by four
        quanta or more (a quantum is the channel's smallest step). The length spares signals that hold each value for
        several samples; the jump spares the smooth peak of a quantised signal, since a parabola that stays within a
        quantum for three samples moves by at most three in the next.
        ``"nan"``: a sample is not finite.
    """
    x = np.where(np.isfinite(signal), signal, np.nan)
    changes = np.ones(x.shape, dtype=bool)
    changes[:, 1:] = x[:, 1:] != x[:, :-1]
    changed = changes.cumsum(axis=1)
    return {
        "flat": (changed[:, starts + length - 1] == changed[:, starts]).any(axis=0) & (length > 1),
        "clipped": _holding(_stuck(x, changes), starts, length),
        "nan": _holding(np.isnan(x), starts, length),
    }


def _holding(flawed: BoolArray, starts: IntArray, length: int) -> BoolArray:
    """Windows (n,) in which a channel of (C, T) has a flawed sample."""
    before = np.concatenate([[0], flawed.any(axis=0).cumsum()])
    return np.asarray(before[starts + length] > before[starts])


def _stuck(x: FloatArray, changes: BoolArray) -> BoolArray:
    """Samples (C, T) in which a channel sticks to its rail; `changes` marks where runs of equal values begin."""
    channels, samples = x.shape
    runs = np.flatnonzero(changes)
    lengths = np.diff(runs, append=x.size)
    values, owner = x.ravel()[runs], runs // samples
    # Step from each run to the next of the same channel; NaN where there is none, or where samples are missing.
    step = np.abs(np.diff(values, append=np.nan))
    step[np.append(owner[1:] != owner[:-1], True)] = np.nan
    quantum = np.full(channels, np.inf)
    np.fmin.at(quantum, owner, step)
    jump = np.fmax(step, np.concatenate([[np.nan], step[:-1]]))
    at_rail = (values == np.fmin.reduce(x, axis=1)[owner]) | (values == np.fmax.reduce(x, axis=1)[owner])
    usual = np.round(samples / changes.sum(axis=1))
    # Half a quantum of tolerance, because scaling to volts rounds.
    stuck = at_rail & (lengths >= 3 * usual[owner]) & (jump > 3.5 * quantum[owner])
    return np.repeat(stuck, lengths).reshape(x.shape)
