"""From recordings to the windows of one representation: preprocess, check, cut, represent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from benchmarks.errors import DataError, SignalError
from benchmarks.preprocessing import Preprocessing
from benchmarks.quality import SignalReport, SubjectWindows, Treatment, unusable_windows
from benchmarks.recording import Recording, Task, Trial
from benchmarks.representations.contract import Representation
from benchmarks.windows import Windows, concatenate


@dataclass(frozen=True)
class WindowLength:
    """Length and step of windows, in seconds; the step defaults to the length (no overlap)."""

    length_s: Annotated[float, Field(gt=0)]
    step_s: Annotated[float, Field(gt=0)] | None = None

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
        """Windows of one subject: every window lies wholly inside one trial.

        Raises
        ------
        DataError
            The signal is not there, a window is longer than a trial, or the task finds no trial.
        SignalError
            Windows are unusable and the treatment is ``"fail"``, or none is left.
        """
        subject = recordings[0].subject
        parts: list[Windows] = []
        bad: list[dict[str, np.ndarray]] = []
        for recording in recordings:
            trials = task.cut(recording)
            if not trials:
                continue
            if self.signal not in recording.signals:
                raise DataError(
                    f"{subject}: no signal {self.signal!r}; this recording has {', '.join(recording.signals)}."
                )
            raw = recording.signals[self.signal]
            flaws_of = raw.get_data(picks=self.preprocessing.picks(raw))
            prepared = self.preprocessing(raw)
            starts, owners = self._starts(trials, subject, prepared.info["sfreq"], prepared.n_times)
            length = round(self.windows.length_s * prepared.info["sfreq"])
            # Flaws are looked for before filtering, which would smear a flat or clipped stretch out of sight.
            ratio = raw.info["sfreq"] / prepared.info["sfreq"]
            bad.append(
                unusable_windows(flaws_of, np.round(starts * ratio).astype(int), round(length * ratio))
            )
            parts.append(
                Windows(
                    x=self.representation(prepared.get_data(), prepared.info["sfreq"], starts, length),
                    subject=np.full(len(starts), subject),
                    session=np.full(len(starts), recording.session),
                    trial=np.array([trial.name for trial in owners]),
                    onset=starts / prepared.info["sfreq"],
                    y=np.array([trial.label for trial in owners], dtype=np.int64),
                )
            )
        if not parts:
            raise DataError(f"{subject}: the task finds no trial in its recordings.")
        return self._treat(concatenate(parts), _joined(bad), subject)

    def _starts(
        self, trials: Sequence[Trial], subject: str, sfreq: float, samples: int
    ) -> tuple[np.ndarray, list[Trial]]:
        length, step = round(self.windows.length_s * sfreq), round(self.windows.every_s * sfreq)
        if length < 1 or step < 1:
            raise DataError(f"A window or step of under one sample at {sfreq:g} Hz: make windows longer.")
        starts, owners = [], []
        for trial in trials:
            # A trial may end between two samples, or with its recording.
            first, last = round(trial.start_s * sfreq), min(round(trial.stop_s * sfreq), samples)
            cut = np.arange(first, last - length + 1, step)
            if not len(cut):
                raise DataError(
                    f"{subject}, trial {trial.name!r}: a window of {self.windows.length_s:g} s is longer than the "
                    f"trial ({(last - first) / sfreq:.1f} s). Shorten windows.length_s."
                )
            starts.append(cut)
            owners += [trial] * len(cut)
        return np.concatenate(starts), owners

    def _treat(self, windows: Windows, bad: dict[str, np.ndarray], subject: str) -> SubjectWindows:
        nan = ~np.isfinite(windows.x.reshape(len(windows), -1)).all(axis=1)
        bad = {**bad, "nan": bad.get("nan", np.zeros(len(windows), dtype=bool)) | nan}
        counts = {reason: int(mask.sum()) for reason, mask in bad.items() if mask.any()}
        told = ", ".join(f"{count} {reason}" for reason, count in counts.items())
        if counts and self.treatment == "fail":
            raise SignalError(
                f"{subject}: unusable windows ({told} of {len(windows)}), and quality says fail."
            )
        # No encoder can learn from NaN, so "keep" keeps only what is finite.
        out = nan if self.treatment == "keep" else np.any(list(bad.values()), axis=0)
        if out.all():
            raise SignalError(f"{subject}: no usable window is left ({told} of {len(windows)}).")
        report = SignalReport(subject, windows=len(windows), unusable=counts, dropped=int(out.sum()))
        return SubjectWindows(windows.select(~out), report)


def _joined(bad: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {reason: np.concatenate([part[reason] for part in bad]) for reason in bad[0]}
