"""Which controls stand in a study, and which cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks.datasets.contract import Places
from benchmarks.errors import StudyError
from experiments.controls import CONTROLS, left_out
from experiments.plan import Plan
from experiments.study import Study
from tests.benchmarks.datasets.e4_files import FILES, write_e4

CLOCKS = {"time_linear", "time_forest"}
BASE: dict[str, Any] = {
    "study": "s",
    "dataset": {"name": "simulated", "subjects": 4},
    "windows": {"length_s": 4},
    "protocol": {"name": "loso", "validation_subjects": 1},
    "configurations": {"lda": {"strategy": "lda"}},
}


def plan(folder: Path, **changes: Any) -> Plan:
    return Plan(Study.model_validate({**BASE, **changes}), Places(folder / "data", folder / "cache", folder))


def table(folder: Path, **columns: Any) -> dict[str, Any]:
    """A study on a table of one's own, with these columns more."""
    rows = [(subject, label, 0.1 * row) for row, subject in enumerate("AABBCC") for label in "xy"]
    frame = pd.DataFrame(rows, columns=["id", "label", "f"])
    if "onset" in columns:
        frame["when"] = range(len(frame))
    frame.to_csv(folder / "t.csv", index=False)
    dataset = {"name": "table", "path": "t.csv", "subject": "id", "label": "label", "features": ["f"], **columns}
    return {"dataset": dataset, "windows": None}


def test_controls_stand_in_every_study_before_its_own_configurations(tmp_path: Path) -> None:
    made = plan(tmp_path)
    assert [c.label for c in made.configurations] == ["majority", "class_prior", "time_linear", "time_forest", "lda"]
    assert [c.label for c in made.configurations if c.control] == [c.label for c in made.configurations[:-1]]
    assert made.reference == "majority"


def test_a_control_that_the_study_has_already_is_not_repeated(tmp_path: Path) -> None:
    entries = {"lda": {"strategy": "lda"}, "nobody": {"strategy": "majority"}}
    made = plan(tmp_path, configurations=entries)
    labels = [c.label for c in made.configurations]
    assert labels == ["class_prior", "time_linear", "time_forest", "lda", "nobody"]
    assert made.reference == "nobody"


def test_a_name_that_the_study_gives_to_something_else_stays_its_own(tmp_path: Path) -> None:
    made = plan(tmp_path, configurations={"time_linear": {"strategy": "lda"}})
    labels = [c.label for c in made.configurations]
    assert labels == ["majority", "class_prior", "time_linear (control)", "time_forest", "time_linear"]


def test_controls_that_look_at_nothing_are_shown_the_windows_of_the_study_itself(tmp_path: Path) -> None:
    made = plan(tmp_path, configurations={"lda": {"strategy": "lda", "representation": "temperature"}})
    assert {c.choices["representation"].name for c in made.configurations} == {"temperature"}


def test_movement_is_asked_where_everybody_who_takes_part_has_an_accelerometer(tmp_path: Path) -> None:
    for subject, files in (("ann", FILES), ("bob", FILES), ("eve", set(FILES) - {"ACC.csv"})):
        write_e4(tmp_path / "bands" / subject, files=files)
    rows = [f"{subject},{phase}" for subject in ("ann", "bob", "eve") for phase in ("calm,0,30", "talk,30,60")]
    (tmp_path / "phases.csv").write_text("\n".join(["subject,phase,start,stop", *rows]))
    study = {"dataset": {"name": "e4", "path": "bands", "phases": "phases.csv"}, "windows": {"length_s": 10}}
    study |= {"configurations": {"lda": {"strategy": "lda", "representation": "electrodermal"}}}
    two = plan(tmp_path, **study, exclude=["eve"])
    movement = [c for c in two.configurations if c.label.startswith("movement/")]
    assert [c.label for c in movement] == ["movement/training", "movement/subject_unlabelled"]
    assert all(c.control for c in movement)
    three = plan(tmp_path, **study)
    assert not [c for c in three.configurations if c.label.startswith("movement")]
    assert "movement" in left_out(three.study, three.dataset, three.subjects)


def test_clocks_are_asked_only_where_onsets_are_known(tmp_path: Path) -> None:
    without = plan(tmp_path, **table(tmp_path))
    assert not CLOCKS & {c.label for c in without.configurations}
    known = plan(tmp_path, **table(tmp_path, onset="when"))
    assert {c.label for c in known.configurations} >= CLOCKS


def test_a_study_may_leave_controls_out(tmp_path: Path) -> None:
    made = plan(tmp_path, controls=["majority"])
    assert [c.label for c in made.configurations] == ["majority", "lda"]
    assert [c.label for c in plan(tmp_path, controls=[], reference="lda").configurations] == ["lda"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"controls": ["majorty"]}, "no control 'majorty'.*Did you mean 'majority'"),
        ({"controls": ["movement"]}, "movement needs an accelerometer .* which simulated does not have"),
        ({"controls": []}, "reference: must be given"),
    ],
)
def test_what_cannot_be_asked_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(StudyError, match=told):
        plan(tmp_path, **changes)


def test_a_reference_must_be_scored_on_the_windows_that_others_are(tmp_path: Path) -> None:
    entries = {"lda": {"strategy": "lda"}, "own": {"strategy": "personal"}}
    with pytest.raises(StudyError, match="own learns from the scored people themselves"):
        plan(tmp_path, configurations=entries, reference="own")


def test_every_control_of_the_list_is_marked_as_one(tmp_path: Path) -> None:
    labels = {c.label for c in plan(tmp_path).configurations if c.control}
    assert labels == set(CONTROLS) - {"movement"}
