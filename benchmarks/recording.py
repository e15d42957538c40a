"""Recordings of a subject, the trials that a task cuts from them, and the tasks themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mne


@dataclass(frozen=True, eq=False)
class Recording:
    """Raw signals of one subject and session.

    Parameters
    ----------
    subject, session : str
        Whose, and which session.
    signals : mapping of str to mne.io.BaseRaw
        By name (``"eeg"``, ``"eda"``, ...), in SI units; each keeps its own sampling rate, and starts
        ``raw.first_time`` seconds after the recording.
    annotations : mne.Annotations
        Conditions in seconds from the start of the recording; the description is the condition's name.
    events : mapping of str to mne.Annotations
        What comes at irregular times, by name, in seconds from the start of the recording: ``"ibi"`` holds one
        annotation for each interval between two heart beats, from the first beat to the second.
    """

    subject: str
    session: str
    signals: Mapping[str, mne.io.BaseRaw]
    annotations: mne.Annotations
    events: Mapping[str, mne.Annotations] = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """An uninterrupted stretch of one condition, with the label that a task gives it.

    Parameters
    ----------
    name : str
        Unique within its subject and session.
    label : int
        Index into the task's classes.
    start_s, stop_s : float
        Seconds from the start of the recording.
    """

    name: str
    label: int
    start_s: float
    stop_s: float


@dataclass(frozen=True)
class Task:
    """Which stretches of a data set are used, and what their labels are.

    Parameters
    ----------
    classes : tuple of str
        Names of the classes; a label is an index into it.
    cut : callable
        From a recording to its trials.
    excluded : mapping of str to str
        Subjects left out, each with the reason that is shown to the user.
    """

    classes: tuple[str, ...]
    cut: Callable[[Recording], Sequence[Trial]]
    excluded: Mapping[str, str] = field(default_factory=dict)
