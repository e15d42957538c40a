"""From recordings to the windows of one representation: check, preprocess, cut, represent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from benchmarks.errors import DataError, SignalError
from benchmarks.parts import nearest
from benchmarks.preprocessing import Preprocessing
from benchmarks.quality import BoolArray, SignalReport, SubjectWindows, Treatment, unusable_windows
from benchmarks.recording import Recording, Task, Trial
from benchmarks.representations.contract import Representation
from benchmarks.windows import IntArray, Windows, concatenate

if TYPE_CHECKING:
    import mne

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
        Which signal of a recording is used.
    preprocessing : Preprocessing
        What is done to the whole signal first.
    windows : WindowLength
        How trials are cut.
    representation : Representation
        What is computed of each window.
    treatment : {"drop", "keep", "fail"}
        What happens to windows with flat, clipped or missing samples.
    """

    signal: str
    preprocessing: Preprocessing
    windows: WindowLength
    representation: Representation
    treatment: Treatment = "drop"

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
        counts = _summed([piece.counts for piece in pieces])
        told = f"{', '.join(f'{count} {reason}' for reason, count in counts.items())} of {total}"
        if counts and self.treatment == "fail":
            raise SignalError(
                f"{subject}: signal {self.signal!r} has unusable windows ({told}), and the study says that this stops "
                f"it. To leave them out, let it say drop."
            )
        usable = [piece.windows for piece in pieces if piece.windows is not None]
        if not any(len(windows) for windows in usable):
            raise SignalError(
                f"{subject}: signal {self.signal!r} has no usable window ({told}). Leave the subject out, use other "
                f"channels, or let the study keep such windows (never those with missing samples)."
            )
        windows = concatenate(usable)
        return SubjectWindows(windows, SignalReport(subject, total, counts, dropped=total - len(windows)))

    def _cut(self, recording: Recording, trials: Sequence[Trial]) -> _Piece:
        if self.signal not in recording.signals:
            has = nearest(self.signal, recording.signals)
            raise DataError(f"{recording.subject}: no signal {self.signal!r} in its recording. {has}")
        raw = recording.signals[self.signal]
        prepared = self.preprocessing(raw)
        sfreq = prepared.info["sfreq"]
        # A signal may start later than its recording; resampling would round that time, so it is the original's.
        begin_s = raw.first_time
        starts, length, owner = self._starts(trials, recording.subject, prepared, begin_s)
        flaws = self._flaws(raw, starts / sfreq, length / sfreq)
        out = flaws["nan"] if self.treatment == "keep" else np.any(list(flaws.values()), axis=0)
        usable = np.flatnonzero(~out)
        if not len(usable):
            return _Piece(len(starts), _counts(flaws), None)
        x = self.representation(prepared.get_data(), sfreq, starts[usable], length)
        # No encoder can learn from what is not finite, so "keep" leaves that out as well.
        finite = np.isfinite(x.reshape(len(x), -1)).all(axis=1)
        flaws["nan"][usable[~finite]] = True
        usable, x = usable[finite], x[finite]
        windows = Windows(
            x=x,
            subject=np.full(len(usable), recording.subject),
            session=np.full(len(usable), recording.session),
            trial=np.array([trial.name for trial in trials])[owner[usable]],
            onset=starts[usable] / sfreq + begin_s,
            y=np.array([trial.label for trial in trials], dtype=np.int64)[owner[usable]],
        )
        return _Piece(len(starts), _counts(flaws), windows)

    def _starts(
        self, trials: Sequence[Trial], subject: str, signal: mne.io.BaseRaw, begin_s: float
    ) -> tuple[IntArray, int, IntArray]:
        """First sample of each window (n,), samples in a window, and the index of the trial of each window (n,)."""
        sfreq = signal.info["sfreq"]
        length, step = round(self.windows.length_s * sfreq), round(self.windows.every_s * sfreq)
        if length < 1 or step < 1:
            raise DataError(
                f"{subject}: windows of {self.windows.length_s:g} s every {self.windows.every_s:g} s are under one "
                f"sample of signal {self.signal!r} at {sfreq:g} Hz. Make windows.length_s and windows.step_s longer."
            )
        starts = []
        for trial in trials:
            # A signal may cover only a part of a trial.
            first = max(round((trial.start_s - begin_s) * sfreq), 0)
            stop = min(round((trial.stop_s - begin_s) * sfreq), signal.n_times)
            cut = np.arange(first, stop - length + 1, step, dtype=np.int64)
            if not len(cut):
                raise DataError(
                    f"{subject}, trial {trial.name!r}: a window of {self.windows.length_s:g} s is longer than the "
                    f"{max(stop - first, 0) / sfreq:.1f} s of signal {self.signal!r} in it. Shorten windows.length_s."
                )
            starts.append(cut)
        owner = np.repeat(np.arange(len(trials)), [len(cut) for cut in starts])
        return np.concatenate(starts), length, owner

    def _flaws(self, raw: mne.io.BaseRaw, starts_s: np.ndarray, length_s: float) -> dict[str, BoolArray]:
        """Flaws of the signal as recorded, at its own sampling rate; times are from the signal's start."""
        signal = raw.get_data(picks=self.preprocessing.picks(raw), verbose="error")
        length = min(round(length_s * raw.info["sfreq"]), signal.shape[1])
        starts = np.round(starts_s * raw.info["sfreq"]).astype(np.int64)
        # The last window may end half a sample of the new rate later than the signal as recorded.
        return unusable_windows(signal, np.minimum(starts, signal.shape[1] - length), length)


@dataclass(frozen=True, eq=False)
class _Piece:
    """Windows of one recording: how many were cut, how many are flawed, and the usable ones (None: not one)."""

    total: int
    counts: Mapping[str, int]
    windows: Windows | None


def _counts(flaws: Mapping[str, BoolArray]) -> dict[str, int]:
    return {reason: int(mask.sum()) for reason, mask in flaws.items()}


def _summed(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total = {reason: sum(count[reason] for count in counts) for reason in counts[0]}
    return {reason: count for reason, count in total.items() if count}
