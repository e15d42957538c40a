"""Holding out windows of the subject that is learned from: late trials, or the ends of trials where they are few."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from benchmarks.errors import DataError
from benchmarks.quality import BoolArray
from benchmarks.windows import FloatArray, IntArray, Windows

Grouping = Literal["trial", "block"]
"""What is held out as a whole: trials, or blocks of trials."""

_TRIALS = 3
"""From so many trials of each class on, whole trials are held out."""
_ROUNDING_S = 1e-6
"""Times that differ by less are the same."""


class SplitError(DataError):
    """Someone's windows cannot be split.

    Parameters
    ----------
    subject : str
        Whose.
    found : str
        What is wrong with them: a sentence.
    remedy : str
        What is asked for and what to do, in words that may hold of others too.
    """

    def __init__(self, subject: str, found: str, remedy: str) -> None:
        super().__init__(subject, found, remedy)
        self.subject, self.found, self.remedy = subject, found, remedy

    def __str__(self) -> str:
        return f"{self.subject}: {self.found} {self.remedy}"


@dataclass(frozen=True, eq=False)
class Within:
    """Windows of one subject that are learned from, validated on and scored; the ones between are none of these.

    Parameters
    ----------
    learned, scored : ndarray of bool, shape (n,)
        No window is both.
    grouping : {"trial", "block"}
        What was held out as a whole.
    validation : ndarray of bool, shape (n,)
        Windows to choose on, as the best epoch: neither learned from nor scored. None of them, if not given.
    """

    learned: BoolArray
    scored: BoolArray
    grouping: Grouping
    validation: BoolArray = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def __post_init__(self) -> None:
        if not len(self.validation):
            object.__setattr__(self, "validation", np.zeros(len(self.learned), dtype=bool))


def early_and_late(windows: Windows, length_s: float | None) -> Within:
    """Split the windows of one subject into some to learn from and later ones of the same trial or class to score.

    Where every class of the subject has three trials or more, the last third of the trials of each class, rounded down,
    is scored, and the others are learned from. Where a class has fewer, every trial is cut: what lies in its first half
    is learned from, what lies in its last quarter is scored. A trial of less than four windows' time has no quarter
    that holds a window: its last window is scored.

    So what is scored is later than what is learned from within its trial, or, where trials are held out, later among
    the trials of its class. It need not be later than what is learned from in other trials, or in trials of other
    classes, which may lie after it: there, what is asked for is interpolation in time, and not a forecast from the
    first part of a recording to the rest.

    No learned window ends less than a window's time before a scored one of the same recording begins, or begins less
    than that after it ends, be it in another trial: such a window is not learned from.

    Parameters
    ----------
    windows : Windows
        Labelled windows of one subject, with their onsets; sessions in the order in which they were recorded.
    length_s : float or None
        Length of a window, seconds.

    Returns
    -------
    Within
        Two masks of the windows, and whether trials or blocks were held out.

    Raises
    ------
    SplitError
        Onsets or the length are not known, or a class has no window to learn from or to score.
    ValueError
        Windows of no subject or of several, or without labels.

    Notes
    -----
    A data set may call several recordings of a day one session, each with a clock of its own (EEGMAT keeps each
    condition in a file; such a set has not `Dataset.one_clock`). Trials of a session whose windows begin in the same
    stretch of time must be of different recordings, so no distance between them is known, and none is kept. Trials
    that overlap on one clock would look the same: the readers of tables, of features as of phases, refuse them.
    """
    return _within(windows, length_s, _EARLY_AND_LATE)


def in_three(windows: Windows, length_s: float | None) -> Within:
    """Split the windows of one subject into some to learn from, later ones to validate on, and the last ones to score.

    Where every class of the subject has three trials or more, a sixth of the trials of each class, rounded (a half goes
    up), is scored, the last of them; as many before them are validated on, and the others are learned from.

    Where a class has fewer, every trial is cut, from its end: of its time besides two gaps of a window each, the last
    quarter is scored, the quarter that ends a window's time before the first scored window is validated on, and what
    ends a window's time before that is learned from. A quarter that holds no window takes the last that ends with it or
    before. A trial with too little time for all three, which is less than five windows' time, is cut as
    `early_and_late` cuts it: nothing of it is validated on, and other trials of its class must be.

    So in its trial, or, where trials are held out, among the trials of its class, what is scored is later than what is
    validated on, and that later than what is learned from. As in `early_and_late`, that need not be so among trials
    that are cut, or among trials of different classes.

    No two windows of different parts of the same recording are less than a window's time apart, be they of different
    trials: what is validated on yields to what is scored, and what is learned from yields to both.

    Parameters
    ----------
    windows : Windows
        Labelled windows of one subject, with their onsets; sessions in the order in which they were recorded.
    length_s : float or None
        Length of a window, seconds.

    Returns
    -------
    Within
        Three masks of the windows, and whether trials or blocks were held out.

    Raises
    ------
    SplitError
        Onsets or the length are not known, or a class has no window to learn from, to validate on or to score: a
        metric that early stopping watches is not defined where a class is absent.
    ValueError
        Windows of no subject or of several, or without labels.

    Notes
    -----
    Recordings with clocks of their own are told from each other as in `early_and_late`.

    The 15 trials of SEED, five of each class, are parted 9/3/3. The 18 of DREAMER, whose classes are made of ratings,
    are parted 12/3/3 where the smaller class has four to eight trials. Where it has three or nine they are parted
    10/4/4: each class is parted by itself, and classes of the same size are parted alike. Where it has fewer, all
    trials are cut.
    """
    return _within(windows, length_s, _IN_THREE)


@dataclass(frozen=True, eq=False)
class _Trial:
    """Windows of one trial: their places among all, and their starts in the order of time."""

    name: str
    session: str
    label: int
    index: IntArray
    onset_s: FloatArray
    length_s: float

    @property
    def start_s(self) -> float:
        return float(self.onset_s[0])

    @property
    def stop_s(self) -> float:
        return float(self.onset_s[-1]) + self.length_s

    @property
    def duration_s(self) -> float:
        return self.stop_s - self.start_s

    def two_blocks(self) -> BoolArray:
        """Masks of its windows by part, shape (3, n); none is validated on."""
        scored = self._between(self.stop_s - self.duration_s / 4, self.stop_s)
        learned = self._between(self.start_s, self.stop_s - self.duration_s / 2)
        return np.array([learned, np.zeros_like(learned), scored])

    def three_blocks(self) -> BoolArray:
        """Masks of its windows by part, shape (3, n); those of two blocks where three leave nothing to learn from."""
        quarter_s = max(self.duration_s - 2 * self.length_s, 0) / 4
        scored = self._between(self.stop_s - quarter_s, self.stop_s)
        until_s = self._gap_before(scored)
        validation = self._between(until_s - quarter_s, until_s)
        if not validation.any():
            return self.two_blocks()
        learned = self._between(self.start_s, self._gap_before(validation))
        return np.array([learned, validation, scored]) if learned.any() else self.two_blocks()

    def near(self, other: _Trial, held_out: BoolArray) -> BoolArray:
        """Its windows less than a window's time away from some that are held out of it or of another trial."""
        onset_s = other.onset_s[held_out]
        if not (len(onset_s) and self._shares_clock(other)):
            return np.zeros(len(self.index), dtype=bool)
        # From start to start: a window, and the window's time that has to lie between.
        apart_s = 2 * self.length_s - _ROUNDING_S
        near = (self.onset_s > onset_s[0] - apart_s) & (self.onset_s < onset_s[-1] + apart_s)
        return np.asarray(near)

    def _between(self, start_s: float, stop_s: float) -> BoolArray:
        """Its windows in a stretch of time; where none fits, the last that ends by then."""
        ended = np.flatnonzero(self.onset_s + self.length_s <= stop_s + _ROUNDING_S)
        inside = ended[self.onset_s[ended] >= start_s - _ROUNDING_S]
        mask = np.zeros(len(self.index), dtype=bool)
        mask[inside if len(inside) else ended[-1:]] = True
        return mask

    def _gap_before(self, block: BoolArray) -> float:
        """When the window's time begins that lies before a block."""
        return float(self.onset_s[block][0]) - self.length_s

    def _shares_clock(self, other: _Trial) -> bool:
        apart = self.onset_s[-1] < other.onset_s[0] or other.onset_s[-1] < self.onset_s[0]
        return self is other or (self.session == other.session and bool(apart))


@dataclass(frozen=True)
class _Way:
    """A way to split a subject.

    Parameters
    ----------
    counts : callable
        From a number of trials of a class to how many are learned from, validated on and scored, in the order of time.
    blocks : callable
        From a trial to the masks of its windows by part, shape (3, n).
    goal, needed, instead : str
        What is tried, how long a trial each class needs for it where trials are cut, and how to do without, for
        messages.
    validates : bool
        Whether each class must have windows to validate on.
    """

    counts: Callable[[int], tuple[int, int, int]]
    blocks: Callable[[_Trial], BoolArray]
    goal: str
    needed: str
    instead: str
    validates: bool


def _last_third(trials: int) -> tuple[int, int, int]:
    return trials - trials // 3, 0, trials // 3


def _last_sixths(trials: int) -> tuple[int, int, int]:
    sixth = (trials + 3) // 6  # to the nearest, a half up
    return trials - 2 * sixth, sixth, sixth


_EARLY_AND_LATE = _Way(
    counts=_last_third,
    blocks=_Trial.two_blocks,
    goal="learn from a person's earlier windows and score later ones",
    needed="one of several windows' time",
    instead="do without seen people: leave out the strategies that learn from the scored person, and protocol.seen",
    validates=False,
)
_IN_THREE = _Way(
    counts=_last_sixths,
    blocks=_Trial.three_blocks,
    goal="learn from a person's earlier windows, validate on later ones and score the last",
    needed="one of six windows' time (of five, where no trial ends right before it)",
    instead="take a protocol that does not follow subjects through a stream, as `protocol: {name: loso}`",
    validates=True,
)


def _within(windows: Windows, length_s: float | None, way: _Way) -> Within:
    if len(windows.subjects) != 1:
        raise ValueError(f"earlier and later windows are of one subject, found {list(windows.subjects)}")
    trials = _trials(windows, *_times(windows, length_s, way))
    of_class = {int(label): [trial for trial in trials if trial.label == label] for label in np.unique(windows.labels)}
    by_trial = min(len(mine) for mine in of_class.values()) >= _TRIALS
    masks = _whole_trials(of_class.values(), len(windows), way) if by_trial else _cut(trials, len(windows), way)
    learned, validation, scored = masks
    for yielding, held_out in ((validation, scored), (learned, validation), (learned, scored)):
        _hold_apart(trials, yielding, held_out)
    parts = {"learn from": learned, "score": scored} | ({"validate on": validation} if way.validates else {})
    _check_classes(windows, of_class, parts, way)
    return Within(learned, scored, "trial" if by_trial else "block", validation)


def _whole_trials(classes: Iterable[Sequence[_Trial]], count: int, way: _Way) -> BoolArray:
    masks = np.zeros((3, count), dtype=bool)
    for mine in classes:
        for trial, part in zip(mine, np.repeat(np.arange(3), way.counts(len(mine))), strict=True):
            masks[part, trial.index] = True
    return masks


def _cut(trials: Iterable[_Trial], count: int, way: _Way) -> BoolArray:
    masks = np.zeros((3, count), dtype=bool)
    for trial in trials:
        masks[:, trial.index] = way.blocks(trial)
    return masks


def _hold_apart(trials: Sequence[_Trial], yielding: BoolArray, held_out: BoolArray) -> None:
    """Take from one mask, in place, the windows that are too near to those of another."""
    for other in trials:
        if held_out[other.index].any():
            for trial in trials:
                yielding[trial.index] &= ~trial.near(other, held_out[other.index])


def _times(windows: Windows, length_s: float | None, way: _Way) -> tuple[FloatArray, float]:
    if windows.onset is not None and length_s is not None:
        return windows.onset, length_s
    lacking = {"onset": windows.onset is None, "length_s": length_s is None}
    fields = " and ".join(f"dataset.{name}" for name, unknown in lacking.items() if unknown)
    raise SplitError(
        windows.subjects[0],
        "when its windows start and how long they are must be known, so that earlier and later ones can be held apart.",
        f"A table of features lacks {fields}: name it, or {way.instead}.",
    )


def _trials(windows: Windows, onset_s: FloatArray, length_s: float) -> list[_Trial]:
    """All trials, session after session, and in each in the order of time.

    Trials of a session that overlap have clocks of their own, as films that all start at 0: their onsets say nothing of
    what came first, and they stay as they were recorded.
    """
    sessions = list(dict.fromkeys(windows.session.tolist()))
    trials = []
    for session, name in dict.fromkeys(zip(windows.session.tolist(), windows.trial.tolist(), strict=True)):
        index = np.flatnonzero((windows.session == session) & (windows.trial == name))
        index = index[np.argsort(onset_s[index], kind="stable")]
        trials.append(_Trial(name, session, int(windows.labels[index[0]]), index, onset_s[index], length_s))
    ordered: list[_Trial] = []
    for session in sessions:
        recorded = [trial for trial in trials if trial.session == session]
        in_time = sorted(recorded, key=lambda trial: trial.start_s)
        one_clock = all(later.start_s > earlier.onset_s[-1] for earlier, later in itertools.pairwise(in_time))
        ordered += in_time if one_clock else recorded
    return ordered


def _check_classes(
    windows: Windows, of_class: Mapping[int, Sequence[_Trial]], parts: Mapping[str, BoolArray], way: _Way
) -> None:
    for label, mine in of_class.items():
        for what, mask in parts.items():
            if not (mask & (windows.labels == label)).any():
                told = ", ".join(f"{trial.name!r} of {trial.duration_s:g} s" for trial in mine)
                raise SplitError(
                    windows.subjects[0],
                    f"class {label} (trials: {told}) has no window left to {what}.",
                    f"To {way.goal}, a window's time ({mine[0].length_s:g} s) apart, {_needed(of_class, way)} Make "
                    f"windows.length_s shorter, exclude the person, or {way.instead}.",
                )


def _needed(of_class: Mapping[int, Sequence[_Trial]], way: _Way) -> str:
    """What is asked of each class, and does not hold."""
    fewest = min(of_class, key=lambda label: len(of_class[label]))
    count = len(of_class[fewest])
    if count < _TRIALS:
        return f"each class needs three trials (class {fewest} has {count}), or {way.needed}."
    # Each part had whole trials of each class before they were held apart.
    return (
        "windows near held-out ones are taken away, be those in another trial, and here all are near: however many "
        "trials there are, they follow each other too closely, or are too short, for windows of that length."
    )
