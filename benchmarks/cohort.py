"""Cohorts: the subjects of a data set in one task and representation, computed once and cached by subject."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.cache import Arrays, Cache
from benchmarks.datasets.contract import Dataset
from benchmarks.digest import digest
from benchmarks.errors import DataError, StudyError
from benchmarks.normalization import Geometry
from benchmarks.parts import nearest
from benchmarks.quality import SignalReport, SubjectWindows
from benchmarks.recipe import Recipe
from benchmarks.recording import Task
from benchmarks.source import source_digest
from benchmarks.versions import installed
from benchmarks.windows import Windows, concatenate

LIBRARIES = ("cvxopt", "mne", "neurokit2", "numpy", "pandas", "pyarrow", "pyriemann", "scikit-learn", "scipy")
"""Those whose version may change a representation."""


@dataclass(frozen=True, eq=False)
class Cohort:
    """Subjects of a data set in one task and representation.

    Parameters
    ----------
    dataset, task : str
        Names.
    classes : tuple of str
        Names of the classes; labels are indices into it.
    geometry : {"vector", "channels", "spd"}
        What normalisation means for the representation.
    windows : Windows
        Of all subjects, in the data set's order of subjects, and as recorded within each.
    reports : tuple of SignalReport
        What is wrong with each subject's signals, in the order of the subjects.
    fingerprint : str
        SHA-256, in hex, of all that determines the windows: data, task, recipe, source files, versions of libraries.
    simulated : bool
        Whether no person ever was in it.
    length_s : float or None
        Length of a window, seconds; None where a data set of ready-made windows does not say.
    sources : tuple of str
        Signals and events that the windows were made of; none where they come ready-made.
    """

    dataset: str
    task: str
    classes: tuple[str, ...]
    geometry: Geometry
    windows: Windows
    reports: tuple[SignalReport, ...]
    fingerprint: str
    simulated: bool
    length_s: float | None = None
    sources: tuple[str, ...] = ()

    def missing_classes(self) -> dict[str, tuple[str, ...]]:
        """Classes of which a subject has no window, by subject; subjects that have all are not listed."""
        absent = {subject: _absent(windows, self.classes) for subject, windows in self.windows.by_subject()}
        return {subject: classes for subject, classes in absent.items() if classes}


def build_cohort(
    dataset: Dataset,
    task_name: str | None,
    subjects: Sequence[str] | None,
    recipe: Recipe | None,
    cache: Cache | None,
    progress: Callable[[str], None] | None = None,
) -> Cohort:
    """Cohort of a data set, subject by subject, from the cache where it is there.

    Parameters
    ----------
    dataset : Dataset
        Where the subjects come from.
    task_name : str or None
        One of its tasks; None is its default.
    subjects : sequence of str or None
        Who is in; None is everyone whom the task does not exclude.
    recipe : Recipe or None
        From recordings to windows; None for a data set whose windows come ready-made.
    cache : Cache or None
        Keeps the windows of each subject.
    progress : callable or None
        Told each subject when its windows are there.

    Raises
    ------
    StudyError
        Unknown task or subject, a subject that the task excludes, or a recipe that does not fit the data set.
    DataError
        Data are missing or damaged, fewer than two subjects are left, their windows differ in shape, or a class has no
        window at all.
    """
    task = dataset.task(task_name)
    name = next(known for known in dataset.tasks if task_name in (None, known))
    chosen = choose_subjects(dataset, task_name, subjects)
    keys = {subject: _key(dataset, task, name, subject, recipe) for subject in chosen}
    parts = []
    for subject, key in keys.items():
        parts.append(_load(dataset, task, subject, recipe, key, cache))
        if progress is not None:
            progress(subject)
    _check_shapes([part.windows for part in parts])
    windows = concatenate([part.windows for part in parts])
    if absent := _absent(windows, task.classes):
        raise DataError(
            f"{dataset.card.name}, task {name!r}: none of the {len(chosen)} subjects has a window of "
            f"{', '.join(absent)}, so that it cannot be learned. Choose other subjects or another task."
        )
    return Cohort(
        dataset=dataset.card.name,
        task=name,
        classes=task.classes,
        geometry="vector" if recipe is None else recipe.representation.geometry,
        windows=windows,
        reports=tuple(part.report for part in parts),
        fingerprint=digest(list(keys.values())),
        simulated=dataset.card.simulated,
        length_s=dataset.window_s if recipe is None else recipe.windows.length_s,
        sources=() if recipe is None else recipe.representation.sources(recipe.signal),
    )


def choose_subjects(
    dataset: Dataset, task_name: str | None, subjects: Sequence[str] | None, exclude: Sequence[str] = ()
) -> tuple[str, ...]:
    """Subjects of a cohort, sorted.

    Parameters
    ----------
    dataset : Dataset
        Where they come from.
    task_name : str or None
        One of its tasks; None is its default.
    subjects : sequence of str or None
        Who is in; None is everyone whom the task does not exclude.
    exclude : sequence of str
        Who of them is left out.

    Raises
    ------
    StudyError
        Unknown task or subject, or a subject that is named and the task excludes.
    DataError
        Fewer than two subjects are left.
    """
    task, known = dataset.task(task_name), dataset.subjects()
    for subject in (*(subjects or ()), *exclude):
        if subject not in known:
            raise StudyError(f"Unknown subject {subject!r} of {dataset.card.name}. {nearest(subject, known)}")
    for subject in subjects or ():
        if subject in task.excluded:
            raise StudyError(
                f"{subject} cannot take part in this task of {dataset.card.name}: {task.excluded[subject]}. "
                f"Leave it out of the subjects."
            )
    wanted = set(known) - set(task.excluded) if subjects is None else set(subjects)
    chosen = tuple(sorted(wanted - set(exclude)))
    if len(chosen) < 2:
        raise DataError(
            f"{dataset.card.name}: a cohort of {len(chosen)} ({', '.join(chosen) or 'nobody'}) leaves nobody to learn "
            f"from. At least two subjects are needed."
        )
    return chosen


def _key(dataset: Dataset, task: Task, task_name: str, subject: str, recipe: Recipe | None) -> dict[str, Any]:
    """All that determines the windows of a subject."""
    modules = () if recipe is None else recipe.representation.modules
    return {
        "dataset": dataset.card.name,
        "subject": subject,
        "data": dataset.fingerprint(subject),
        "task": task_name,
        "classes": task.classes,
        "recipe": recipe,
        "source": source_digest([__name__, type(dataset).__module__, *modules]),
        "versions": installed(LIBRARIES),
    }


def _load(
    dataset: Dataset, task: Task, subject: str, recipe: Recipe | None, key: Mapping[str, Any], cache: Cache | None
) -> SubjectWindows:
    if cache is None:
        return dataset.load(subject, task, recipe)
    return _unpacked(cache.get_or_compute(key, lambda: _packed(dataset.load(subject, task, recipe))))


def _packed(part: SubjectWindows) -> Arrays:
    columns = {name: getattr(part.windows, name) for name in Windows.__dataclass_fields__}
    arrays = {name: column for name, column in columns.items() if column is not None}
    return {**arrays, "report": np.array(json.dumps(asdict(part.report)))}


def _unpacked(arrays: Arrays) -> SubjectWindows:
    columns = {name: column for name, column in arrays.items() if name != "report"}
    return SubjectWindows(Windows(**columns), SignalReport(**json.loads(str(arrays["report"]))))


def _absent(windows: Windows, classes: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for label, name in enumerate(classes) if not np.any(windows.y == label))


def _check_shapes(parts: Sequence[Windows]) -> None:
    first = parts[0]
    for part in parts:
        if part.x.shape[1:] != first.x.shape[1:]:
            raise DataError(
                f"Windows of {part.subject[0]} have shape {part.x.shape[1:]}, those of {first.subject[0]} "
                f"{first.x.shape[1:]}: their channels or sampling rates differ. Name channels and a rate that all have "
                f"(preprocessing.channels, preprocessing.resample_hz)."
            )
