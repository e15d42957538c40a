"""From recordings to the windows of one representation: check, preprocess, cut, represent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from benchmarks.errors import DataError, SignalError
from benchmarks.parts import nearest
from benchmarks.preprocessing import Preprocessing
from benchmarks.quality import BoolArray, SignalReport, SubjectWindows, Treatment, unusable_windows
from benchmarks.recording import Recording, Task, Trial
from benchmarks.representations.contract import Intervals, Representation, Signal, Sources
from benchmarks.windows import FloatArray, IntArray, Windows, concatenate

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
        What happens to windows with flat, clipped or missing samples, or with features that cannot be computed.

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
                f"quality: impute is for vectors of features; {type(self.representation).__name__} is none. Use drop."
            )

    def __call__(self, recordings: Sequence[Recording], task: Task) -> SubjectWindows:
        """Windows of one subject: every window lies wholly inside one trial, to the nearest sample.

        Raises
        ------
        DataError
            The signal is not there, a window is longer than a trial, or the task finds no trial.
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
                f"it. To leave them out, let it say drop."
            )
        usable = [piece.windows for piece in pieces if piece.windows is not None]
        if not any(len(windows) for windows in usable):
            raise SignalError(
                f"{subject}: signal {self._told!r} has no usable window ({told}). Leave the subject out, use other "
                f"channels, or let the study keep such windows (never those with missing samples)."
            )
        windows = concatenate(usable)
        imputed = int(np.isnan(windows.x.reshape(len(windows), -1)).any(axis=1).sum())
        return SubjectWindows(windows, SignalReport(subject, total, counts, total - len(windows), imputed))

    @property
    def _told(self) -> str:
        return ", ".join(self.representation.sources(self.signal))

    def _cut(self, recording: Recording, trials: Sequence[Trial]) -> _Piece:
        sources = self._sources(recording)
        onsets, length_s, owner = self._onsets(trials, recording.subject, sources)
        flaws = self._flaws(recording, onsets, length_s)
        usable = np.flatnonzero(~self._refused(flaws, len(onsets)))
        if not len(usable):
            return _Piece(len(onsets), flaws, None)
        made = self.representation.represent(sources, onsets[usable], length_s)
        for reason, mask in made.missing.items():
            flaws.setdefault(reason, np.zeros(len(onsets), dtype=bool))[usable] |= mask
        # No encoder can learn from what is not finite, so "keep" leaves that out as well; only NaN can be imputed.
        flat = made.x.reshape(len(usable), -1)
        finite = np.isfinite(flat) | ((self.treatment == "impute") & np.isnan(flat))
        taken = finite.all(axis=1)
        usable, x = usable[taken], made.x[taken]
        windows = Windows(
            x=x,
            subject=np.full(len(usable), recording.subject),
            session=np.full(len(usable), recording.session),
            trial=np.array([trial.name for trial in trials])[owner[usable]],
            onset=onsets[usable],
            y=np.array([trial.label for trial in trials], dtype=np.int64)[owner[usable]],
        )
        return _Piece(len(onsets), flaws, windows)

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
                raise DataError(f"{recording.subject}: no signal {name!r} in its recording. {has}")
        if not signals:
            raise DataError(f"{recording.subject}: {', '.join(events)} alone give no time to cut windows by.")
        return Sources(signals, events)

    def _onsets(self, trials: Sequence[Trial], subject: str, sources: Sources) -> tuple[FloatArray, float, IntArray]:
        """Start of each window (n,), length of a window, both in s, and the index of the trial of each window (n,)."""
        # The slowest signal sets the grid, so that a window is as near as can be to the same time in all.
        name, clock = min(sources.signals.items(), key=lambda item: item[1].sfreq)
        sfreq = clock.sfreq
        begin_s = max(signal.begin_s for signal in sources.signals.values())
        end_s = min(signal.begin_s + signal.data.shape[1] / signal.sfreq for signal in sources.signals.values())
        length, step = round(self.windows.length_s * sfreq), round(self.windows.every_s * sfreq)
        if length < 1 or step < 1:
            raise DataError(
                f"{subject}: windows of {self.windows.length_s:g} s every {self.windows.every_s:g} s are under one "
                f"sample of signal {name!r} at {sfreq:g} Hz. Make windows.length_s and windows.step_s longer."
            )
        starts = []
        for trial in trials:
            # Signals may cover only a part of a trial.
            first = max(round((trial.start_s - begin_s) * sfreq), 0)
            stop = min(round((trial.stop_s - begin_s) * sfreq), round((end_s - begin_s) * sfreq))
            cut = np.arange(first, stop - length + 1, step, dtype=np.int64)
            if not len(cut):
                raise DataError(
                    f"{subject}, trial {trial.name!r}: a window of {self.windows.length_s:g} s is longer than the "
                    f"{max(stop - first, 0) / sfreq:.1f} s of signal {name!r} in it. Shorten windows.length_s."
                )
            starts.append(cut)
        owner = np.repeat(np.arange(len(trials)), [len(cut) for cut in starts])
        return np.concatenate(starts) / sfreq + begin_s, length / sfreq, owner

    def _flaws(self, recording: Recording, onsets_s: FloatArray, length_s: float) -> dict[str, BoolArray]:
        """Flaws of the study's signal as recorded, at its own rate; none where the representation finds them."""
        if self.representation.as_recorded:
            return {}
        raw = recording.signals[self.signal]
        signal = raw.get_data(picks=self.preprocessing.picks(raw), verbose="error")
        length = min(round(length_s * raw.info["sfreq"]), signal.shape[1])
        starts = np.round((onsets_s - raw.first_time) * raw.info["sfreq"]).astype(np.int64)
        # The last window may end half a sample of the new rate later than the signal as recorded.
        return unusable_windows(signal, np.minimum(starts, signal.shape[1] - length), length)

    def _refused(self, flaws: Mapping[str, BoolArray], count: int) -> BoolArray:
        """Windows that a flaw of the signal keeps out before they are represented."""
        counted = [mask for reason, mask in flaws.items() if self.treatment != "keep" or reason == "nan"]
        return np.asarray(np.any([np.zeros(count, dtype=bool), *counted], axis=0))


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
