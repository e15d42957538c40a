"""Seen and unseen people side by side: averages by hand, and when there is such a table at all."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from experiments.records import Outcome, ScoreRecord
from experiments.report.clients import People, clients, read_clients, render_clients
from experiments.results import Results
from tests.experiments.studies import SmallStudy, cell_of, header_of, outcome_of


def outcome(unseen: tuple[str, float], seen: Mapping[tuple[str, str], float]) -> Outcome:
    """Scores of a held-out person, and of seen ones by person and model."""

    def scores(subject: str, target: str, model: str, value: float) -> list[ScoreRecord]:
        return [
            ScoreRecord(1, True, subject, target, "block", level, metric, value + odd, None, model)
            for level, metric, odd in (
                ("window", "balanced_accuracy", 0.0),
                ("trial", "balanced_accuracy", 0.125),
                ("window", "macro_f1", 0.0625),
            )
        ]

    told = scores(unseen[0], "unseen", "shared", unseen[1])
    for (subject, model), value in seen.items():
        told += scores(subject, "seen", model, value)
    return Outcome(told, (), 0.1)


@pytest.fixture
def study(tmp_path: Path) -> SmallStudy:
    """Three folds and two seeds of a federation with personal models, and a bound that learns from those it scores."""
    header = header_of("majority", "fedper", "personal", seen=("personal",))
    study = SmallStudy(tmp_path / "small.sqlite", header)
    study.fill({"majority": [0.5, 0.5, 0.5]})
    shared, personal = "shared", "personal"
    for seed, more in ((0, 0.0), (1, 0.25)):
        study.add(
            cell_of("fedper", "S00", seed),
            outcome(("S00", 0.25), {("S01", shared): 0.5, ("S02", shared): 0.25, ("S02", personal): 0.5 + more}),
        )
        study.add(
            cell_of("fedper", "S01", seed),
            outcome(("S01", 0.5), {("S00", shared): 0.75, ("S02", shared): 0.5, ("S02", personal): 0.5}),
        )
        study.add(cell_of("fedper", "S02", seed), outcome(("S02", 0.375 + more), {("S00", shared): 0.5}))
    for name, value in (("S00", 0.75), ("S01", 0.5)):
        study.add(cell_of("personal", name), outcome_of(name, value, target="seen"))
    return study


def people_of(study: SmallStudy, **changes) -> list[People]:
    with Results(study.path, writable=False) as results:
        return read_clients(results, replace(study.header, **changes), study.digests)


def text_of(study: SmallStudy, width: int = 120, **changes) -> str:
    file = io.StringIO()
    header = replace(study.header, **changes)
    Console(file=file, width=width).print(render_clients(header, people_of(study, **changes)))
    return file.getvalue()


# --- known answers --------------------------------------------------------------------------------------------------


def test_people_of_a_hand_computed_study(study):
    # Seen by the shared model: S00 .75 .5, S01 .5, S02 .25 .5, seeds alike. Own models of S02: .5 .75 and .5 .5.
    unseen, shared, own, bound = people_of(study)
    assert unseen == People("fedper", "unseen", "shared", 3, pytest.approx(1.25 / 3), 0.25, pytest.approx(0.1443376))
    assert shared == People("fedper", "seen", "shared", 3, 0.5, 0.375, 0.125)
    assert own == People("fedper", "seen", "personal", 1, 0.5625, 0.5625, pytest.approx(math.nan, nan_ok=True))
    assert bound == People("personal", "seen", "shared", 2, 0.625, 0.5, pytest.approx(0.25 / math.sqrt(2)))


def test_they_are_of_the_studys_metric_at_its_level(study):
    assert people_of(study, level="trial")[1].mean == 0.625
    assert people_of(study, metric="macro_f1")[1].mean == 0.5625


def test_of_errors_the_worst_tenth_is_the_highest(study):
    _, rows = study.frames(final=True)
    rows["metric"] = rows["metric"].replace("balanced_accuracy", "brier")
    shared = clients(replace(study.header, metric="brier"), rows)[1]
    assert shared.worst_decile == 0.625


def test_a_person_without_a_value_is_not_counted(study):
    study.add(cell_of("fedper", "S03"), outcome(("S03", math.nan), {("S04", "shared"): math.nan}))
    unseen, shared, *_ = people_of(study)
    assert (unseen.n, shared.n, shared.mean) == (3, 3, 0.5)


def test_a_model_that_scored_nobody_is_told_without_a_number(study):
    study.header = replace(study.header, configurations=("none", *study.header.configurations))
    study.add(cell_of("none", "S00"), outcome(("S00", 0.5), {("S01", "shared"): math.nan}))
    _, shared, *_ = people_of(study)
    assert (shared.configuration, shared.n) == ("none", 0)
    assert "seen    shared    0                  -       -       -" in text_of(study)


# --- when there is a table ------------------------------------------------------------------------------------------


def test_a_study_that_scores_no_seen_people_has_no_such_table(tmp_path):
    study = SmallStudy(tmp_path / "small.sqlite", header_of("lda", "personal", seen=("personal",)))
    study.fill({"lda": [0.5, 0.75]})
    assert people_of(study) == []
    study.add(cell_of("personal", "S00"), outcome_of("S00", 0.75, target="seen"))
    assert people_of(study) == [], "a bound alone is in the study's table already"


def test_configurations_without_seen_people_are_not_in_it(study):
    assert {one.configuration for one in people_of(study)} == {"fedper", "personal"}


# --- how it looks ---------------------------------------------------------------------------------------------------


def test_the_label_stands_once_and_every_line_says_who_and_by_whom(study):
    lines = [line.split() for line in text_of(study).splitlines()]
    start = lines.index(["fedper", "unseen", "shared", "3", ".417", ".250", ".144"])
    assert lines[start + 1 : start + 4] == [
        ["seen", "shared", "3", ".500", ".375", ".125"],
        ["seen", "personal", "1", ".562", ".562", "-"],
        ["personal", "seen", "shared", "2", ".625", ".500", ".177"],
    ]


def test_personal_models_are_explained_where_there_are_such(study, tmp_path):
    assert "the model for anybody (shared) and by their own (personal);" in " ".join(text_of(study).split())
    plain = SmallStudy(tmp_path / "plain.sqlite", header_of("stream"))
    plain.add(cell_of("stream", "S00"), outcome(("S00", 0.25), {("S01", "shared"): 0.5}))
    text = " ".join(text_of(plain).split())
    assert "by the model for anybody (shared);" in text
    assert "personal" not in text


@pytest.mark.parametrize("width", [80, 100, 160])
def test_nothing_is_cut_at_usual_widths(tmp_path, width):
    label = "federation/fedper(local_epochs=5)/subject_unlabelled/cross_entropy"
    study = SmallStudy(tmp_path / "small.sqlite", header_of(label))
    study.add(cell_of(label, "S00"), outcome(("S00", 0.25), {("S01", "shared"): 0.5, ("S01", "personal"): 0.5}))
    text = text_of(study, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for part in label.split("/"):
        assert part in text
