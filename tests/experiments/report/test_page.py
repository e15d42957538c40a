"""All tables of a study, from its results file alone."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.errors import ResultsError
from experiments.records import MeasurementRecord, ScoreRecord
from experiments.report.page import page
from experiments.results import Results
from tests.experiments.studies import SmallStudy, cell_of, header_of, outcome_of


def text_of(study: SmallStudy, width: int = 120) -> str:
    file = io.StringIO()
    with Results(study.path, writable=False) as results:
        Console(file=file, width=width).print(page(results))
    return file.getvalue()


@pytest.fixture
def study(tmp_path: Path) -> SmallStudy:
    study = SmallStudy(tmp_path / "small.sqlite", header_of("majority", "fedavg"))
    study.fill({"majority": [0.5] * 3, "fedavg": [0.625, 0.75, 0.875]})
    return study


def test_a_study_without_federations_and_seen_people_has_its_table_alone(study):
    text = text_of(study)
    assert "fedavg" in text
    assert "Federation" not in text
    assert "Clients" not in text


def test_cells_still_to_come_are_counted_above_the_table(study):
    assert "Not finished" not in text_of(study)
    study.digests.append("still to come")
    study.add_all([])
    text = text_of(study)
    assert text.index("Not finished: 1 of 7 cells are not computed yet, and scores are of the rest.") == 0


def test_tables_stand_below_each_other_where_there_is_something_to_tell(study):
    outcome = outcome_of("S00", 0.625)
    outcome = replace(outcome, measurements=[MeasurementRecord(1, "bytes_up", 8e6)])
    study.add(cell_of("fedavg", "S00"), outcome)
    text = text_of(study)
    assert "Clients" not in text
    assert text.index("Federation") > text.index("Chance level")
    seen = ScoreRecord(0, True, "S01", "seen", "block", "window", "balanced_accuracy", 0.125, None, "shared")
    study.add(cell_of("fedavg", "S00"), replace(outcome, scores=[*outcome.scores, seen]))
    text = text_of(study)
    assert text.index("Clients") > text.index("Federation")


def test_seen_people_change_nothing_in_the_studys_table(study):
    before = text_of(study)
    for number, value in enumerate((0.625, 0.75, 0.875)):
        outcome = outcome_of(f"S{number:02d}", value)
        seen = [
            ScoreRecord(0, True, f"S{other:02d}", "seen", "block", level, metric, 1.0, None, model)
            for other in range(5)
            for level in ("window", "trial")
            for metric in ("balanced_accuracy", "macro_f1")
            for model in ("shared", "personal")
        ]
        study.add(cell_of("fedavg", f"S{number:02d}"), replace(outcome, scores=[*outcome.scores, *seen]))
    text = text_of(study)
    assert text.startswith(before.rstrip())
    assert "Clients" in text


def test_a_study_that_was_never_run(tmp_path):
    with Results(tmp_path / "small.sqlite") as results, pytest.raises(ResultsError, match="run it first"):
        page(results)
