"""Data sets of films, in small folders of their publishers' layouts: from the files through a plan to scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.datasets.contract import Places
from experiments.plan import Plan
from experiments.study import Study
from tests.benchmarks.datasets.dreamer_files import viewer, write_dreamer
from tests.benchmarks.datasets.seed_files import write_seed, write_seed_features
from tests.experiments.test_known_answers import scores

DIFFERENTIAL_ENTROPY = {"windows": {"length_s": 4}, "representation": "differential_entropy"}


def _dreamer(data: Path) -> None:
    write_dreamer(data / "dreamer", [viewer(person, seconds=(9, 13, 9, 12)) for person in range(3)])


def _seed(data: Path) -> None:
    write_seed(data / "seed", seconds=4)


def _seed_features(data: Path) -> None:
    write_seed_features(data / "seed")


STUDIES: Mapping[str, tuple[Callable[[Path], None], dict[str, Any]]] = {
    "arousal": (_dreamer, {"dataset": {"name": "dreamer", "last_s": 12}, "task": "arousal", **DIFFERENTIAL_ENTROPY}),
    "valence": (_dreamer, {"dataset": {"name": "dreamer", "high": 3}, "task": "valence", **DIFFERENTIAL_ENTROPY}),
    "seed": (_seed, {"dataset": "seed", **DIFFERENTIAL_ENTROPY}),
    "seed_features": (_seed_features, {"dataset": {"name": "seed_features", "sessions": [1, 2]}}),
}
"""Writes the data, and the study's own fields; in all of them, what is written tells the classes of all alike."""


def study(**fields: Any) -> Study:
    lda = {"strategy": "lda", "normalization": "subject_unlabelled"}
    content = {"study": "films", "protocol": {"name": "loso", "validation_subjects": 0}, "controls": ["majority"]}
    return Study.model_validate({**content, "configurations": {"lda": lda}, **fields})


@pytest.mark.parametrize("name", STUDIES)
def test_a_small_study_finds_what_was_written(name: str, tmp_path: Path) -> None:
    write, fields = STUDIES[name]
    write(tmp_path / "data")
    found = scores(study(**fields), Places(tmp_path / "data", tmp_path / "cache", tmp_path))
    classes = 2 if "task" in fields else 3
    assert found["majority"] == pytest.approx(1 / classes)
    assert found["lda"] > 0.9


@pytest.mark.parametrize("name", STUDIES)
def test_controls_of_time_are_no_part_of_films(name: str, tmp_path: Path) -> None:
    write, fields = STUDIES[name]
    write(tmp_path / "data")
    plan = Plan(study(**fields).model_copy(update={"controls": None}), Places(tmp_path / "data", tmp_path, tmp_path))
    assert [one.label for one in plan.configurations] == ["majority", "class_prior", "lda"]


def test_values_of_the_data_set_are_part_of_every_cell(tmp_path: Path) -> None:
    _dreamer(tmp_path / "data")
    places = Places(tmp_path / "data", tmp_path / "cache", tmp_path)

    def digests(**values: Any) -> set[str]:
        made = study(dataset={"name": "dreamer", **values}, task="valence", **DIFFERENTIAL_ENTROPY)
        return {cell.digest for cell in Plan(made, places).cells()}

    before = digests()
    assert before == digests(high=3)
    assert not before & digests(high=4)
    assert not before & digests(last_s=12)
