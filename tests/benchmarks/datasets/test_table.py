"""Every data set in the table passes the same checks."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from benchmarks.datasets import table
from benchmarks.datasets.contract import Dataset, Places, RecordingDataset
from benchmarks.datasets.table import DATASETS
from benchmarks.errors import DataError, StudyError
from benchmarks.normalization import Geometry
from benchmarks.parts import build, find
from benchmarks.preprocessing import Preprocessing
from benchmarks.recipe import Recipe, WindowLength
from benchmarks.representations.contract import SignalRepresentation
from benchmarks.windows import FloatArray, IntArray
from tests.benchmarks.datasets.dreamer_files import viewer, write_dreamer
from tests.benchmarks.datasets.e4_files import write_e4, write_stress_predict
from tests.benchmarks.datasets.edf_files import write_eegmat_subject
from tests.benchmarks.datasets.seed_files import write_seed, write_seed_features


def _eegmat(places: Places) -> Mapping[str, Any]:
    for subject in ("Subject00", "Subject01"):
        write_eegmat_subject(places.data / "eegmat", subject, rest_s=122, arithmetic_s=4)
    return {}


def _stress_predict(places: Places) -> Mapping[str, Any]:
    write_stress_predict(places.data / "stress_predict", files=["EDA.csv"])
    return {}


def _dreamer(places: Places) -> Mapping[str, Any]:
    write_dreamer(places.data / "dreamer", [viewer(0), viewer(1)])
    return {"last_s": 4}


def _seed(places: Places) -> Mapping[str, Any]:
    write_seed(places.data / "seed")
    return {}


def _seed_features(places: Places) -> Mapping[str, Any]:
    write_seed_features(places.data / "seed")
    return {"sessions": [1, 3]}


def _e4(places: Places) -> Mapping[str, Any]:
    for seed, subject in enumerate(("ann", "bob")):
        write_e4(places.study / "bands" / subject, seed=seed, files=["EDA.csv"])
    rows = [f"{subject},{span}" for subject in ("ann", "bob") for span in ("rest,0,20", "talk,20,50")]
    (places.study / "phases.csv").write_text("\n".join(["subject,phase,start,stop", *rows]))
    return {"path": "bands", "phases": "phases.csv"}


def _table(places: Places) -> Mapping[str, Any]:
    rows = [f"{subject},{label},{label}.5" for subject in ("S1", "S2") for label in (0, 1)]
    (places.study / "my.csv").write_text("\n".join(["id,stress,f", *rows]))
    return {"path": "my.csv", "subject": "id", "label": "stress", "features": ["f"]}


def _simulated(places: Places) -> Mapping[str, Any]:
    return {"subjects": 2, "trials": 2}


EXAMPLES: Mapping[str, Callable[[Places], Mapping[str, Any]]] = {
    "eegmat": _eegmat,
    "stress_predict": _stress_predict,
    "dreamer": _dreamer,
    "seed": _seed,
    "seed_features": _seed_features,
    "e4": _e4,
    "table": _table,
    "simulated": _simulated,
}
"""Writes the data of two subjects, and returns the values of the study file."""


class Mean(SignalRepresentation):
    """Mean of each channel."""

    geometry: ClassVar[Geometry] = "vector"

    def __call__(self, signal: FloatArray, sfreq: float, starts: IntArray, length: int) -> FloatArray:
        return np.array([signal[:, start : start + length].mean(axis=1) for start in starts])


def example(name: str, places: Places) -> tuple[Dataset, Recipe | None]:
    kind = find(name, DATASETS, "data set")
    dataset = build(kind, {"places": places}, EXAMPLES[name](places), "dataset")
    if not isinstance(dataset, RecordingDataset):
        return dataset, None
    return dataset, Recipe(kind.default_signal, Preprocessing(), WindowLength(2.0), Mean(), treatment="keep")


def test_every_data_set_has_an_example() -> None:
    assert set(EXAMPLES) == set(DATASETS)


@pytest.mark.parametrize("name", DATASETS)
def test_card_tells_all(name: str) -> None:
    kind = find(name, DATASETS, "data set")
    assert issubclass(kind, Dataset)
    assert kind.card.name == name
    for field in dataclasses.fields(kind.card):
        assert getattr(kind.card, field.name) != "", field.name
    assert kind.card.simulated == (name == "simulated")


@pytest.mark.parametrize("name", DATASETS)
def test_presence_is_told_without_unpacking(name: str, places: Places) -> None:
    kind = find(name, DATASETS, "data set")
    before = kind.present(places)
    assert before is None or before.name == f"{kind.__module__.rpartition('.')[2]}.py"
    EXAMPLES[name](places)
    found = kind.present(places)
    assert found is not None
    assert found.exists()
    assert not places.cache.exists()


@pytest.mark.parametrize("name", DATASETS)
def test_windows_of_every_task(name: str, places: Places) -> None:
    dataset, recipe = example(name, places)
    assert dataset.task(None) is not None
    assert len(dataset.subjects()) == 2
    assert list(dataset.subjects()) == sorted(dataset.subjects())
    for task in dataset.tasks.values():
        for subject in dataset.subjects():
            found = dataset.load(subject, task, recipe)
            windows = found.windows
            assert found.report.subject == subject
            assert found.report.windows == len(windows) + found.report.dropped
            assert windows.subjects == (subject,)
            assert windows.y is not None
            assert sorted(set(windows.y.tolist())) == list(range(len(task.classes)))
            keys = zip(windows.session.tolist(), windows.trial.tolist(), windows.y.tolist(), strict=True)
            labels = {(session, trial): label for session, trial, label in keys}
            assert len(labels) == len(set(zip(windows.session, windows.trial, windows.y, strict=True)))
            np.testing.assert_array_equal(windows.x, dataset.load(subject, task, recipe).windows.x)


@pytest.mark.parametrize("name", DATASETS)
def test_fingerprints_are_stable_and_differ(name: str, places: Places) -> None:
    dataset, _ = example(name, places)
    again, _ = example(name, places)
    first, second = (dataset.fingerprint(subject) for subject in dataset.subjects())
    assert first != second
    assert len(bytes.fromhex(first)) == 32
    assert first == again.fingerprint(dataset.subjects()[0])


@pytest.mark.parametrize("name", DATASETS)
def test_unknown_subject_and_task(name: str, places: Places) -> None:
    dataset, recipe = example(name, places)
    with pytest.raises(DataError, match="nobody"):
        dataset.load("nobody", dataset.task(None), recipe)
    with pytest.raises(StudyError, match=f"Unknown task 'nothing' of {name}. Legal: "):
        dataset.task("nothing")


@pytest.mark.parametrize("name", DATASETS)
def test_recipe_is_asked_for_or_refused(name: str, places: Places) -> None:
    dataset, recipe = example(name, places)
    wrong = None if recipe is not None else Recipe("eeg", Preprocessing(), WindowLength(2.0), Mean())
    with pytest.raises(StudyError, match=r"holds recordings|are windows"):
        dataset.load(dataset.subjects()[0], dataset.task(None), wrong)


def test_cards_are_read_without_heavy_libraries() -> None:
    modules = ", ".join(sorted({place.partition(":")[0] for place in DATASETS.values()}))
    heavy = ("mne", "pandas", "scipy", "sklearn", "pyriemann", "torch")
    code = f"import sys, {modules}; sys.exit(' '.join(name for name in {heavy} if name in sys.modules) or None)"
    root = Path(table.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
