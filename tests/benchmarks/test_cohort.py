from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import balanced_accuracy_score

from benchmarks import cohort as cohort_module
from benchmarks.cache import Cache
from benchmarks.cohort import Cohort, build_cohort
from benchmarks.datasets.contract import Card, Places, RecordingDataset
from benchmarks.datasets.eegmat import Eegmat
from benchmarks.errors import DataError, StudyError
from benchmarks.normalization import Geometry, Normalization, SubjectUnlabelled, Training, fitted
from benchmarks.preprocessing import Preprocessing
from benchmarks.recipe import Recipe, WindowLength
from benchmarks.recording import Recording, Task
from benchmarks.representations.contract import SignalRepresentation
from benchmarks.representations.differential_entropy import DifferentialEntropy
from benchmarks.representations.raw import RawWindows
from benchmarks.windows import FloatArray, IntArray
from tests.benchmarks.recordings import noise, raw_of, recording_of, task_of

BOTH = task_of((0.0, 3.0, 0), (3.0, 5.0, 1))


class Clinic(RecordingDataset):
    """A data set in memory: noise of a few subjects, which counts how often each is read."""

    card: ClassVar[Card] = Card("clinic", "Clinic", "", "", "", "", "", "", simulated=True)
    default_signal: ClassVar[str | None] = "eeg"

    def __init__(self, tasks: Mapping[str, Task] | None = None, channels: Mapping[str, int] | None = None) -> None:
        self.reads: list[str] = []
        self._tasks = tasks or {"both": BOTH, "some": replace(BOTH, excluded={"B": "the amplifier failed"})}
        self._channels = channels or {"C": 2, "A": 2, "B": 2}
        self.version = dict.fromkeys(self._channels, 1)

    @classmethod
    def present(cls, places: Places) -> Path | None:  # noqa: ARG003
        return None

    @property
    def tasks(self) -> Mapping[str, Task]:
        return self._tasks

    def signals_of(self, subjects: Sequence[str]) -> tuple[str, ...]:
        return ("eeg",)

    def subjects(self) -> tuple[str, ...]:
        return tuple(sorted(self._channels))

    def fingerprint(self, subject: str) -> str:
        return f"{subject} {self.version[subject]}"

    def read(self, subject: str) -> Sequence[Recording]:
        self.reads.append(subject)
        data = noise(self._channels[subject], 600, seed=ord(subject) + self.version[subject])
        if subject == "C":
            data[0, 150] = np.nan
        return [recording_of(raw_of(data, 100.0), subject)]


RECIPE = Recipe("eeg", Preprocessing(), WindowLength(1.0), RawWindows())


def same(one: Cohort, other: Cohort) -> bool:
    columns = ("x", "subject", "session", "trial", "onset", "y")
    return (
        all(np.array_equal(getattr(one.windows, name), getattr(other.windows, name)) for name in columns)
        and one.windows.x.dtype == other.windows.x.dtype
        and (one.reports, one.fingerprint, one.geometry) == (other.reports, other.fingerprint, other.geometry)
    )


def test_all_subjects_in_order_with_all_that_is_known_of_them() -> None:
    told: list[str] = []
    found = build_cohort(Clinic(), None, None, RECIPE, None, told.append)
    assert (found.dataset, found.task, found.classes) == ("clinic", "both", ("rest", "work"))
    assert (found.geometry, found.simulated) == ("channels", True)
    assert found.windows.subject.tolist() == ["A"] * 5 + ["B"] * 5 + ["C"] * 4
    assert found.windows.x.shape == (14, 2, 100)
    assert found.windows.y is not None
    assert found.windows.y.tolist() == [0, 0, 0, 1, 1] * 2 + [0, 0, 1, 1]
    assert [(report.subject, report.windows, report.dropped) for report in found.reports] == [
        ("A", 5, 0),
        ("B", 5, 0),
        ("C", 5, 1),
    ]
    assert found.reports[2].unusable == {"nan": 1}
    assert told == ["A", "B", "C"]
    assert found.missing_classes() == {}


def test_the_subjects_that_a_study_names_and_those_that_a_task_leaves_out() -> None:
    assert build_cohort(Clinic(), "both", ["C", "A", "C"], RECIPE, None).windows.subjects == ("A", "C")
    assert build_cohort(Clinic(), "some", None, RECIPE, None).windows.subjects == ("A", "C")


def test_what_is_kept_is_what_was_computed(tmp_path: Path) -> None:
    clinic = Clinic()
    fresh = build_cohort(clinic, None, None, RECIPE, None)
    for _ in range(2):
        assert same(build_cohort(clinic, None, None, RECIPE, Cache(tmp_path)), fresh)
    assert clinic.reads == ["A", "B", "C"] * 2


def test_only_subjects_that_are_not_kept_are_computed(tmp_path: Path) -> None:
    clinic, cache = Clinic(), Cache(tmp_path)
    build_cohort(clinic, None, ["A", "B"], RECIPE, cache)
    build_cohort(clinic, None, None, RECIPE, cache)
    assert clinic.reads == ["A", "B", "C"]
    clinic.version["B"] = 2
    build_cohort(clinic, None, None, RECIPE, cache)
    assert clinic.reads == ["A", "B", "C", "B"]


RECIPES = [
    replace(RECIPE, windows=WindowLength(1.0, 0.5)),
    replace(RECIPE, preprocessing=Preprocessing(band_hz=(1.0, 40.0))),
    replace(RECIPE, representation=DifferentialEntropy({"a": (8.0, 13.0), "b": (13.0, 30.0)})),
    replace(RECIPE, representation=DifferentialEntropy({"b": (13.0, 30.0), "a": (8.0, 13.0)})),
    replace(RECIPE, treatment="keep"),
]


def test_whatever_determines_the_windows_is_in_the_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clinic, cache = Clinic(), Cache(tmp_path)

    def fingerprint(task: str | None = None, subjects: list[str] | None = None, recipe: Recipe = RECIPE) -> str:
        return build_cohort(clinic, task, subjects, recipe, cache).fingerprint

    first = fingerprint()
    assert fingerprint() == first
    found = [first, fingerprint("some"), fingerprint(None, ["A", "B"]), *(fingerprint(recipe=r) for r in RECIPES)]
    clinic.version["C"] = 2
    found.append(fingerprint())
    monkeypatch.setattr(cohort_module, "installed", lambda libraries: dict.fromkeys(libraries, "0"))
    found.append(fingerprint())
    monkeypatch.setattr(cohort_module, "source_digest", lambda modules: "edited")
    found.append(fingerprint())
    assert len(set(found)) == len(found)


def test_a_damaged_cache_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fresh = build_cohort(Clinic(), None, None, RECIPE, Cache(tmp_path))
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:-50])
    with caplog.at_level(logging.WARNING):
        assert same(build_cohort(Clinic(), None, None, RECIPE, Cache(tmp_path)), fresh)
    assert caplog.text.count("is damaged") == 3


def test_a_subject_without_one_of_the_classes_stays_and_is_named() -> None:
    def cut(recording: Recording) -> list:
        trials = list(BOTH.cut(recording))
        return trials[:1] if recording.subject == "B" else trials

    found = build_cohort(Clinic({"uneven": Task(BOTH.classes, cut)}), None, None, RECIPE, None)
    assert found.windows.subjects == ("A", "B", "C")
    assert found.missing_classes() == {"B": ("work",)}


def test_a_class_that_nobody_has() -> None:
    clinic = Clinic({"rest_only": task_of((0.0, 3.0, 0))})
    with pytest.raises(DataError, match="clinic, task 'rest_only': none of the 3 subjects has a window of work"):
        build_cohort(clinic, None, None, RECIPE, None)


def test_a_cohort_of_one_subject() -> None:
    with pytest.raises(DataError, match=r"a cohort of 1 \(A\) leaves nobody to learn from"):
        build_cohort(Clinic(), None, ["A"], RECIPE, None)


def test_subjects_that_cannot_be() -> None:
    with pytest.raises(StudyError, match=r"Unknown subject 'D' of clinic\. Legal: A, B, C\."):
        build_cohort(Clinic(), None, ["A", "D"], RECIPE, None)
    with pytest.raises(StudyError, match="B cannot take part in this task of clinic: the amplifier failed"):
        build_cohort(Clinic(), "some", ["A", "B"], RECIPE, None)


def test_an_unknown_task() -> None:
    with pytest.raises(StudyError, match="Unknown task 'boht' of clinic.*Did you mean 'both'"):
        build_cohort(Clinic(), "boht", None, RECIPE, None)


def test_subjects_that_differ_in_channels() -> None:
    with pytest.raises(DataError, match=r"Windows of B have shape \(3, 100\), those of A \(2, 100\)"):
        build_cohort(Clinic(channels={"A": 2, "B": 3}), None, None, RECIPE, None)


class Own(SignalRepresentation):
    """A user's representation that does not say what it depends on."""

    geometry: ClassVar[Geometry] = "vector"

    def __call__(self, signal: FloatArray, sfreq: float, starts: IntArray, length: int) -> FloatArray:
        return signal[:, starts].T


@dataclass(frozen=True)
class Told(Own):
    """The same, that does."""


def test_a_representation_of_the_users_own() -> None:
    assert build_cohort(Clinic(), None, None, replace(RECIPE, representation=Told()), None).windows.x.shape == (14, 2)
    with pytest.raises(StudyError, match="of class Own.*Make it a frozen dataclass"):
        build_cohort(Clinic(), None, None, replace(RECIPE, representation=Own()), None)


@pytest.fixture(scope="module")
def eegmat(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """All subjects, in the recipe of the published reference numbers."""
    places = Places(real_data, tmp_path_factory.mktemp("cache"), real_data)
    recipe = Recipe("eeg", Preprocessing(), WindowLength(4.0), DifferentialEntropy())
    return build_cohort(Eegmat(places), "rest_vs_arithmetic", None, recipe, None)


@pytest.mark.slow
@pytest.mark.real_data
def test_real_recordings_give_the_windows_of_the_reference(eegmat: Cohort) -> None:
    assert eegmat.windows.y is not None
    assert np.bincount(eegmat.windows.y).tolist() == [1594, 540]
    assert eegmat.windows.x.shape == (2134, 19, 5)
    assert len(eegmat.windows.subjects) == 36
    assert all(not report.unusable for report in eegmat.reports)
    assert eegmat.missing_classes() == {}


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize(("mode", "reference"), [(Training(), 0.702), (SubjectUnlabelled(), 0.785)])
def test_a_linear_discriminant_reaches_the_reference_on_unseen_subjects(
    eegmat: Cohort, mode: Normalization, reference: float
) -> None:
    windows = eegmat.windows
    assert windows.y is not None
    scores = []
    for subject in windows.subjects:
        unseen = windows.subject == subject
        learned, scored = windows.select(~unseen), windows.select(unseen)
        normalizer = fitted(mode, learned, eegmat.geometry)
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5])
        model.fit(normalizer(learned).reshape(len(learned), -1), learned.y)
        scores.append(balanced_accuracy_score(scored.y, model.predict(normalizer(scored).reshape(len(scored), -1))))
    assert np.mean(scores) == pytest.approx(reference, abs=0.01)
