"""Control configurations: what can be told without the physiology in question. They stand in every study's table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.datasets.contract import Dataset
from benchmarks.errors import StudyError
from benchmarks.parts import nearest
from experiments.study import ConfigurationChoice, Study


def _always(dataset: Dataset) -> bool:
    del dataset
    return True


def _knows_onsets(dataset: Dataset) -> bool:
    return dataset.knows_onsets


def _has_accelerometer(dataset: Dataset) -> bool:
    return "acc" in dataset.signals


@dataclass(frozen=True)
class Control:
    """A control as a study file would say it, and the data sets that it can be asked of."""

    entry: Mapping[str, Any]
    fits: Callable[[Dataset], bool] = field(default=_always)


CONTROLS: Mapping[str, Control] = {
    "majority": Control({"strategy": "majority"}),
    "class_prior": Control({"strategy": "class_prior"}),
    "time_linear": Control({"strategy": "time_linear"}, _knows_onsets),
    "time_forest": Control({"strategy": "time_forest"}, _knows_onsets),
    "movement": Control(
        {"strategy": "lda", "representation": "movement", "normalization": ["training", "subject_unlabelled"]},
        _has_accelerometer,
    ),
}
"""Controls by the name of their configuration."""


def control_study(study: Study, dataset: Dataset) -> Study:
    """The study with its controls for configurations: all that fit the data set, or those of them that it names.

    Raises
    ------
    StudyError
        The study names a control that there is not, or that its data set cannot give.
    """
    for name in study.controls or ():
        if name not in CONTROLS:
            raise StudyError(f"controls: no control {name!r}. {nearest(name, CONTROLS)}")
        if not CONTROLS[name].fits(dataset):
            raise StudyError(f"controls: {name} needs what {dataset.card.name} does not have; remove it.")
    fitting = [name for name, control in CONTROLS.items() if control.fits(dataset)]
    wanted = fitting if study.controls is None else [name for name in fitting if name in study.controls]
    entries = {name: ConfigurationChoice.model_validate(CONTROLS[name].entry) for name in wanted}
    return study.model_copy(update={"configurations": entries})


def left_out(study: Study, dataset: Dataset) -> tuple[str, ...]:
    """Controls that fit the data set and that the study leaves out."""
    if study.controls is None:
        return ()
    return tuple(name for name, control in CONTROLS.items() if control.fits(dataset) and name not in study.controls)
