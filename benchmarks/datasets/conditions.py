"""Trials of the simplest task: every annotated stretch of a recording is one trial of the condition it names."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.recording import Recording, Trial


def cut_conditions(recording: Recording, classes: Sequence[str]) -> list[Trial]:
    """One trial for each annotation whose description is one of `classes`; other annotations are passed over.

    Parameters
    ----------
    recording : Recording
        Its annotations must not overlap.
    classes : sequence of str
        Conditions, in the order of their labels.

    Returns
    -------
    list of Trial
        In the order of time, named by the position among the recording's annotations and by the condition.
    """
    return [
        Trial(
            name=f"{position:02d}_{condition}",
            label=classes.index(condition),
            start_s=float(onset),
            stop_s=float(onset + duration),
        )
        for position, (onset, duration, condition) in enumerate(
            zip(
                recording.annotations.onset,
                recording.annotations.duration,
                map(str, recording.annotations.description),
                strict=True,
            )
        )
        if condition in classes
    ]
