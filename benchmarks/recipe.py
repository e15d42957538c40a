"""From recordings to the windows of one representation: check, preprocess, cut, represent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import Field

from benchmarks.errors import DataError, SignalError
from benchmarks.parts import nearest
from benchmarks.preprocessing import Preprocessing
from benchmarks.quality import BoolArray, SignalReport, SubjectWindows, Treatment, unusable_windows
from benchmarks.recording import Recording, Task, Trial
from benchmarks.representations.contract import Intervals, Representation, Represented, Signal, Sources
from benchmarks.windows import FloatArray, Windows, concatenate

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class WindowLength:
    """Length and step of windows, in seconds; the step defaults to the length (no overlap)."""

    length_s: Seconds
    step_s: Seconds | None = None

    @property
    def every_s(self) -> float:
        """Seconds between the starts of neighbouring windows."""
        return self.length_s if self.step_s is None else self.step_s


@dataclass(frozen=True)
class Recipe:
    """All that turns recordings into a representation.

    Parameters
    ----------
    signal : str
        The study's own signal; representations of several signals name theirs.
    preprocessing : Preprocessing
        What is done to the whole signal first, unless the representation takes signals as recorded.
    windows : WindowLength
        How trials are cut.
    representation : Representation
        What is computed of each window.
    treatment : {"drop", "keep", "impute", "fail"}
        What happens to windows with flat, clipped or missing samples, or with features that cannot be computed. Kept
        are only those that are wholly finite; imputed are only missing features (NaN), never infinite ones. If the
        representation takes signals as recorded, windows are imputed even where all features are missing, and a
        subject of whom nothing is known with them; else windows of flawed signals are left out before. The cohort holds
        NaN: normalisation gives each the mean of the statistics that it normalises the window by.

    Raises
    ------
    ValueError
        Imputing is asked of a representation that is no vector of features.
    """

    signal: str
    preprocessing: Preprocessing
    windows: WindowLength
    representation: Representation
    treatment: Treatment = "drop"

    def __post_init__(self) -> None:
        if self.treatment == "impute" and self.representation.geometry != "vector":
            raise ValueError(
                f"impute is for vectors of features, and {type(self.representation).__name__} gives none. Use drop."
            )

    def __call__(self, recordings: Sequence[Recording], task: Task) -> SubjectWindows:
        """Windows of one subject: each lies wholly inside one trial and inside all signals, to the nearest sample.

        Where several signals are read, the one of the lowest rate sets the grid: a window starts at one of its samples
        and lasts a whole number of them. The grid of a trial starts with the trial; windows that a signal does not
        cover are left out. So signals that are there all through a trial have the same windows, whichever of them are
        read, if the trial's start, and the windows' length and step, are whole numbers of the slowest one's samples;
        else all three are rounded to them.

        Raises
        ------
        DataError
            A signal is not there, a window is longer than a trial, or the task finds no trial.
        SignalError
            Windows are unusable and the treatment is ``"fail"``, or none is left.
        StudyError
            The preprocessing or the representation asks for what the signal does not have.
        """
        pieces = [self._cut(recording, trials) for recording in recordings if (trials := task.cut(recording))]
        if not pieces:
            raise DataError("The task finds no trial in " + ", ".join(f"{r.subject} {r.session}" for r in recordings))
        subject = recordings[0].subject
        total = sum(piece.total for piece in pieces)
        counts = dict(sum((piece.counts for piece in pieces), Counter()))
        told = f"{', '.join(f'{count} {reason}' for reason, count in counts.items())} of {total}"
        if counts and self.treatment == "fail":
            raise SignalError(
                f"{subject}: signal {self._told!r} has unusable windows ({told}), and the study says that this stops "
                f"it. To leave them out, let it say drop; to keep vectors of features, impute."
            )
        usable = [piece.windows for piece in pieces if piece.windows is not None]
        if not any(len(windows) for windows in usable):
            raise SignalError(
                f"{subject}: signal {self._told!r} has no usable window ({told}). Leave the subject out, use other "
                f"channels, or let the study keep such windows (never those with missing samples) or impute features."
            )
        windows = concatenate(usable)
        imputed = int(np.isnan(_rows(windows.x)).any(axis=1).sum())
        return SubjectWindows(windows, SignalReport(subject, total, counts, total - len(windows), imputed))

    @property
    def _told(self) -> str:
        return ", ".join(self.representation.sources(self.signal))

    def _cut(self, recording: Recording, trials: Sequence[Trial]) -> _Piece:
        sources = self._sources(recording)
        cut, onsets_s, length_s = self._windows(recording, trials, sources)
        flaws = self._flaws(recording, sources, onsets_s, length_s)
        refused = [mask for reason, mask in flaws.items() if self.treatment != "keep" or reason == "nan"]
        clean = np.flatnonzero(~_any(refused, len(cut)))
        if not len(clean):
            return _Piece(len(cut), flaws, None)
        made = self.representation.represent(sources, onsets_s[clean], length_s)
        for reason, mask in _reasons(made).items():
            flaws.setdefault(reason, np.zeros(len(cut), dtype=bool))[clean] |= mask
        taken = self._taken(made.x)
        return _Piece(len(cut), flaws, replace(cut.select(clean[taken]), x=made.x[taken]))

    def _sources(self, recording: Recording) -> Sources:
        """What the representation reads: signals as recorded or preprocessed, in memory, and events."""
        signals, events = {}, {}
        for name in self.representation.sources(self.signal):
            if name in recording.signals:
                raw = recording.signals[name]
                made = raw if self.representation.as_recorded else self.preprocessing(raw)
                # A signal may start later than its recording; resampling would round that time.
                signals[name] = Signal(made.get_data(verbose="error"), made.info["sfreq"], raw.first_time)
            elif name in recording.events:
                told = recording.events[name]
                events[name] = Intervals(np.asarray(told.onset), np.asarray(told.duration))
            else:
                has = nearest(name, [*recording.signals, *recording.events])
                raise DataError(
                    f"{recording.subject}: no signal {name!r} in its recording. {has} Leave the subject "
                    f"out (exclude), or choose a representation that does not read it, as in {{name: joined, parts: "
                    f"[electrodermal]}}."
                )
        if not signals:
            raise DataError(f"{recording.subject}: {', '.join(events)} alone give no time to cut windows by.")
        return Sources(signals, events)

    def _windows(
        self, recording: Recording, trials: Sequence[Trial], sources: Sources
    ) -> tuple[Windows, FloatArray, float]:
        """All windows, not yet represented (n, 0); start of each (n,), and length of one, in s."""
        name, clock = min(sources.signals.items(), key=lambda item: item[1].sfreq)
        length, step = clock.length(self.windows.length_s), clock.length(self.windows.every_s)
        if length < 1 or step < 1:
            raise DataError(
                f"{recording.subject}: windows of {self.windows.length_s:g} s every {self.windows.every_s:g} s are "
                f"under one sample of signal {name!r} at {clock.sfreq:g} Hz. Make windows.length_s and windows.step_s "
                f"longer."
            )
        length_s, step_s = length / clock.sfreq, step / clock.sfreq
        onsets = []
        for trial in trials:
            first, stop = clock.starts(np.array([trial.start_s, trial.stop_s]))
            starts_s = np.arange(first, stop - length + 1, step) / clock.sfreq + clock.begin_s
            inside = np.all([signal.holds(starts_s, length_s) for signal in sources.signals.values()], axis=0)
            if not inside.any():
                raise DataError(
                    f"{recording.subject}, trial {trial.name!r}: a window of {self.windows.length_s:g} s is longer "
                    f"than the {_room_s(trial, step_s, sources):.1f} s of signal {self._told!r} in it. Shorten "
                    f"windows.length_s."
                )
            onsets.append(starts_s[inside])
        owner = np.repeat(np.arange(len(trials)), [len(starts_s) for starts_s in onsets])
        onsets_s = np.concatenate(onsets)
        windows = Windows(
            x=np.empty((len(owner), 0)),
            subject=np.full(len(owner), recording.subject),
            session=np.full(len(owner), recording.session),
            trial=np.array([trial.name for trial in trials])[owner],
            onset=onsets_s,
            y=np.array([trial.label for trial in trials], dtype=np.int64)[owner],
        )
        return windows, onsets_s, length_s

    def _flaws(
        self, recording: Recording, sources: Sources, onsets_s: FloatArray, length_s: float
    ) -> dict[str, BoolArray]:
        """Flaws of the signals as recorded, at their own rates; none where the representation finds them."""
        flaws: dict[str, BoolArray] = {}
        for name in () if self.representation.as_recorded else sources.signals:
            raw = recording.signals[name]
            data = raw.get_data(picks=self.preprocessing.picks(raw), verbose="error")
            signal = Signal(data, raw.info["sfreq"], raw.first_time)
            length = min(signal.length(length_s), data.shape[1])
            # The last window may end half a sample of the new rate later than the signal as recorded.
            starts = np.clip(signal.starts(onsets_s), 0, data.shape[1] - length)
            for reason, mask in unusable_windows(data, starts, length).items():
                flaws[reason] = mask | flaws.get(reason, False)
        return flaws

    def _taken(self, x: FloatArray) -> BoolArray:
        """Represented windows (n,) that stay: no encoder can learn from what is not finite; NaN can be imputed."""
        finite = np.isfinite(_rows(x))
        return np.asarray((finite | np.isnan(_rows(x)) if self.treatment == "impute" else finite).all(axis=1))


@dataclass(frozen=True, eq=False)
class _Piece:
    """Windows of one recording: how many were cut, which are flawed, and the usable ones (None: not one)."""

    total: int
    flaws: Mapping[str, BoolArray]
    windows: Windows | None

    @property
    def counts(self) -> Counter[str]:
        """Flawed windows by reason."""
        return Counter({reason: int(mask.sum()) for reason, mask in self.flaws.items() if mask.any()})


def _rows(x: FloatArray) -> FloatArray:
    """Windows (n, ...) as one row each (n, p)."""
    return x.reshape(len(x), -1)


def _any(masks: Sequence[BoolArray], count: int) -> BoolArray:
    """Windows (n,) that one of the masks names."""
    return np.asarray(np.any([np.zeros(count, dtype=bool), *masks], axis=0))


def _reasons(made: Represented) -> dict[str, BoolArray]:
    """Windows that lack something, by reason; "nan" where the representation tells none."""
    told = dict(made.missing)
    untold = ~np.isfinite(_rows(made.x)).all(axis=1) & ~_any(list(told.values()), len(made.x))
    return {**told, "nan": told.get("nan", untold) | untold}


def _room_s(trial: Trial, step_s: float, sources: Sources) -> float:
    """Seconds of a trial, from the first start of a window that all signals have begun by to the first one's end."""
    begin_s = max(signal.begin_s for signal in sources.signals.values())
    end_s = min(signal.end_s for signal in sources.signals.values())
    late = max(np.ceil((begin_s - trial.start_s) / step_s), 0) * step_s
    return float(max(min(trial.stop_s, end_s) - trial.start_s - late, 0))
