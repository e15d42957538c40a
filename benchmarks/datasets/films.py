"""Film clips: each is a recording of its own, whose one annotation names the film and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from benchmarks.recording import Recording, Trial
from benchmarks.windows import FloatArray

if TYPE_CHECKING:
    import mne

Told = Mapping[str, str]
"""What an annotation tells of a film, by name: a rating, an emotion."""


_VOLTS = 1e-6


def film_signal(samples: FloatArray, names: Sequence[str], sfreq: float, kind: str) -> mne.io.BaseRaw:
    """Samples (C, n) in microvolts as a signal in volts.

    Parameters
    ----------
    samples : ndarray, shape (C, n)
        In microvolts.
    names : sequence of str
        Of the C channels.
    sfreq : float
        Sampling rate, Hz.
    kind : str
        MNE's type of the channels (``"eeg"``, ``"ecg"``).
    """
    import mne

    return mne.io.RawArray(samples * _VOLTS, mne.create_info(list(names), sfreq, kind), verbose="error")


def annotated_film(number: int, duration_s: float, told: Told) -> mne.Annotations:
    """One annotation from the start of a recording, as in ``film_07/arousal=4/valence=2``.

    MNE parts the tags of a description by slashes too.

    Parameters
    ----------
    number : int
        Of the film, from 1 on.
    duration_s : float
        Length of the recording, seconds.
    told : mapping of str to str
        What is known of the film; neither names nor values hold a slash or an equals sign.
    """
    import mne

    tags = [f"film_{number:02d}", *(f"{name}={value}" for name, value in told.items())]
    return mne.Annotations(onset=0.0, duration=duration_s, description="/".join(tags))


def cut_film(recording: Recording, label: Callable[[Told], int]) -> list[Trial]:
    """The recording's one trial, named after the film, as in ``film_07``.

    Parameters
    ----------
    recording : Recording
        With the annotation of `annotated_film`.
    label : callable
        From what is known of the film to the index of its class.
    """
    (duration_s,) = recording.annotations.duration
    (description,) = recording.annotations.description
    name, *tags = str(description).split("/")
    told = dict(tag.split("=") for tag in tags)
    return [Trial(name, label(told), 0.0, float(duration_s))]
