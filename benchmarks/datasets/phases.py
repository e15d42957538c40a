"""Phases of a recording: named stretches of it, several of which may make one class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from benchmarks.recording import Recording, Trial

if TYPE_CHECKING:
    import mne


@dataclass(frozen=True)
class Phase:
    """A named stretch of a recording, in seconds from its start."""

    name: str
    start_s: float
    stop_s: float


def annotated(phases: Iterable[Phase]) -> mne.Annotations:
    """Phases as annotations, in the order of time."""
    import mne

    kept = list(phases)
    return mne.Annotations(
        onset=[phase.start_s for phase in kept],
        duration=[phase.stop_s - phase.start_s for phase in kept],
        description=[phase.name for phase in kept],
    )


def cut_phases(
    recording: Recording, classes: Mapping[str, Sequence[str]], names: Sequence[str] | None = None
) -> list[Trial]:
    """One trial for each annotated phase of one of the classes; other phases are passed over.

    Parameters
    ----------
    recording : Recording
        Its annotations must not overlap.
    classes : mapping of str to sequence of str
        Phases of each class, in the order of the labels; a phase is of one class at most.
    names : sequence of str or None
        Names of the trials, one for each annotation; None names them by the position among the annotations and by the
        phase.

    Returns
    -------
    list of Trial
        In the order of time.
    """
    labels = {phase: label for label, phases in enumerate(classes.values()) for phase in phases}
    annotations = recording.annotations
    phases = [str(phase) for phase in annotations.description]
    names = names or [f"{position:02d}_{phase}" for position, phase in enumerate(phases)]
    stretches = zip(names, phases, annotations.onset, annotations.duration, strict=True)
    return [
        Trial(name, labels[phase], float(onset), float(onset + duration))
        for name, phase, onset, duration in stretches
        if phase in labels
    ]


def overlapping(stretches: Sequence[tuple[float, float]]) -> tuple[int, int] | None:
    """Positions of the first two stretches (start, stop) in time that overlap; None where they touch at most."""
    order = sorted(range(len(stretches)), key=stretches.__getitem__)
    return next(((one, other) for one, other in pairwise(order) if stretches[other][0] < stretches[one][1]), None)
