"""Control configurations: what can be told without the physiology in question. They stand in every study's table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.datasets.contract import Dataset
from benchmarks.errors import StudyError
from benchmarks.parts import nearest
from experiments.study import Choice, ConfigurationChoice, Study

Fits = Callable[[Dataset, Sequence[str]], bool]
"""Whether a control can be asked of these subjects of a data set."""


def _always(dataset: Dataset, subjects: Sequence[str]) -> bool:
    del dataset, subjects
    return True


def _has_one_clock(dataset: Dataset, subjects: Sequence[str]) -> bool:
    del subjects
    return dataset.one_clock


def _has_accelerometer(dataset: Dataset, subjects: Sequence[str]) -> bool:
    return "acc" in dataset.signals_of(subjects)


@dataclass(frozen=True)
class Control:
    """A control as a study file would say it, what it needs, and whom it can be asked of."""

    entry: Mapping[str, Any]
    needs: str = "nothing"
    fits: Fits = field(default=_always)


_A_CLOCK = "onsets of one clock for all windows of a session"

CONTROLS: Mapping[str, Control] = {
    "majority": Control({"strategy": "majority"}),
    "class_prior": Control({"strategy": "class_prior"}),
    "time_linear": Control({"strategy": "time_linear"}, _A_CLOCK, _has_one_clock),
    "time_forest": Control({"strategy": "time_forest"}, _A_CLOCK, _has_one_clock),
    "movement": Control(
        {"strategy": "lda", "representation": "movement", "normalization": ["training", "subject_unlabelled"]},
        "an accelerometer (acc) of every subject",
        _has_accelerometer,
    ),
}
"""Controls by the name of their configuration."""


def control_study(study: Study, dataset: Dataset, subjects: Sequence[str], representation: Choice | None) -> Study:
    """The study with its controls for configurations: all that fit the data set, or those of them that it names.

    Parameters
    ----------
    study : Study
        Checked study file.
    dataset : Dataset
        Its data set.
    subjects : sequence of str
        Those of it that take part.
    representation : Choice or None
        Whose windows are shown to controls that look at nothing in them; None where windows come ready-made.

    Raises
    ------
    StudyError
        The study names a control that there is not, or that its data set cannot give.
    """
    for name in study.controls or ():
        if name not in CONTROLS:
            raise StudyError(f"controls: no control {name!r}. {nearest(name, CONTROLS)}")
        if not CONTROLS[name].fits(dataset, subjects):
            raise StudyError(
                f"controls: {name} needs {CONTROLS[name].needs}, which {dataset.card.name} does not have; remove it."
            )
    fitting = [name for name, control in CONTROLS.items() if control.fits(dataset, subjects)]
    wanted = fitting if study.controls is None else [name for name in fitting if name in study.controls]
    entries = {name: ConfigurationChoice.model_validate(CONTROLS[name].entry) for name in wanted}
    shown = None if representation is None else (representation,)
    return study.model_copy(update={"configurations": entries, "representation": shown})


def left_out(study: Study, dataset: Dataset, subjects: Sequence[str]) -> dict[str, str]:
    """Controls that do not stand in the study, each with its reason."""
    reasons = {}
    for name, control in CONTROLS.items():
        if not control.fits(dataset, subjects):
            reasons[name] = f"needs {control.needs}"
        elif study.controls is not None and name not in study.controls:
            reasons[name] = "left out by the study"
    return reasons
