"""Reading a study of streams, and the scores of its groups."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.errors import ResultsError
from experiments.records import Outcome, ScoreRecord
from experiments.report.stream_study import read_stream_study, scored
from experiments.results import Results
from tests.experiments.stream_rows import (
    cell_of_stream,
    header_of_streams,
    outcome_of_all_together,
    outcome_of_stream,
    study_of,
)
from tests.experiments.studies import SmallStudy, failure_of

ORDER, HELD_OUT = ("A", "B"), {"X": [0.5, 0.6, 0.7]}
R = np.array([[0.5, 0.5], [0.75, 0.625], [0.5, 1.0]])


def streamed(strategy: str, **changes):
    return cell_of_stream(strategy, **changes), outcome_of_stream(ORDER, R, HELD_OUT, trial=R / 2)


# --- known answers ---------------------------------------------------------------------------------------------------


def test_all_that_a_page_needs_is_read(tmp_path: Path):
    failed = (cell_of_stream("ewc"), failure_of("LearningError: diverged"))
    study = study_of(tmp_path, [streamed("finetuning"), failed])
    assert (study.planned, len(study.cells), study.levels) == (2, 2, ("window", "trial"))
    assert [one.configuration for one in study.streams["trial"]] == ["finetuning"]
    # Three steps of two learners and one who is held out, at both levels.
    assert (study.scores, study.undefined, study.kept) == (18, {}, {"trial": 2})
    assert set(study.finals) == {"window", "trial"}
    assert study.finals["trial"]["value"].max() == 0.7


def test_the_level_of_the_study_comes_first_where_learners_have_it(tmp_path: Path):
    assert study_of(tmp_path, [streamed("finetuning")], level="trial").levels == ("trial", "window")
    blocks = (cell_of_stream("finetuning"), outcome_of_stream(ORDER, R, HELD_OUT))
    assert study_of(tmp_path, [blocks], level="trial", study="blocks").levels == ("window",)


def test_scores_of_groups_at_all_levels(tmp_path: Path):
    windows, trials = scored(study_of(tmp_path, [streamed("finetuning"), streamed("ewc")]), "dreamer")
    assert (windows.level, trials.level, windows.group.place) == ("window", "trial", "dreamer")
    assert windows.cells.loc[("ewc", 0, 0), "acc"] == 0.75
    assert trials.cells.loc[("ewc", 0, 0), "acc"] == 0.375
    assert {one.configuration for one in windows.streams} == {"ewc", "finetuning"}


def test_joint_training_is_averaged_over_people_and_then_over_seeds(tmp_path: Path):
    pooled = {"normalization": "training"}
    cells = [
        streamed("finetuning"),
        (cell_of_stream("pooled", 0, 0, **pooled), outcome_of_all_together({"A": 0.5, "B": 1.0}, {"X": 0.5})),
        (cell_of_stream("pooled", 0, 1, **pooled), outcome_of_all_together({"A": 1.0, "B": math.nan}, {"X": 0.75})),
    ]
    first, *_ = scored(study_of(tmp_path, cells), "dreamer")
    assert first.beside.loc["pooled"].to_dict() == {"acc": 0.875, "held_out": 0.625}


def test_networks_that_learned_nothing_are_scored_over_all_of_them_and_not_by_their_last(tmp_path: Path):
    networks = outcome_of_stream(ORDER, [[0.25, 0.5], [0.5, 0.75]], {"X": [0.25, 0.75]}, unmet=True)
    study = study_of(tmp_path, [streamed("finetuning"), (cell_of_stream("untrained"), networks)])
    first, *_ = scored(study, "dreamer")
    assert first.beside.loc["untrained"].to_dict() == {"acc": 0.5, "held_out": 0.5}
    # The next subject is B: .625, and .625 by networks that learned nothing.
    assert first.cells.loc[("finetuning", 0, 0), "fwt"] == 0


def test_a_failed_configuration_has_no_scores(tmp_path: Path):
    study = study_of(tmp_path, [streamed("finetuning"), (cell_of_stream("ewc"), failure_of("diverged"))])
    first, *_ = scored(study, "dreamer")
    assert first.beside.loc["ewc"].isna().all()
    assert list(first.cells.index) == [("finetuning", 0, 0)]


def test_undefined_scores_are_counted_with_their_reasons_in_the_metric_of_the_study(tmp_path: Path):
    holed = R.copy()
    holed[1:, 0] = math.nan
    cells = [(cell_of_stream("ewc", order), outcome_of_stream(ORDER, holed, HELD_OUT)) for order in (0, 1)]
    first, outcome = cells[0]
    others = [replace(one, metric="macro_f1") for one in outcome.scores]
    unexplained = replace(outcome.scores[0], subject="Z", value=math.nan, reason=None)
    cells[0] = (first, replace(outcome, scores=[*outcome.scores, *others, unexplained]))
    study = study_of(tmp_path, [*cells, streamed("finetuning")])
    assert study.undefined == {("ewc", "a class is absent"): 4, ("ewc", "no reason given"): 1}


def test_networks_that_learn_nothing_and_who_learns_from_the_scored_person_alone_are_no_streams(tmp_path: Path):
    alone = [
        ScoreRecord(step, False, person, "seen", "trial", "window", "balanced_accuracy", 0.5, model="personal")
        for step in (0, 1)
        for person in ORDER
    ]
    cells = [
        streamed("finetuning"),
        (cell_of_stream("local_only"), Outcome(alone, (), 0.5)),
        # As a protocol may have it that counts its learners as met.
        (cell_of_stream("untrained"), outcome_of_stream(ORDER, R, HELD_OUT)),
    ]
    study = study_of(tmp_path, cells, seen=("local_only",))
    assert {one.configuration for of in study.streams.values() for one in of} == {"finetuning"}
    assert set(study.untrained["window"]) == {"untrained"}


# --- bad input -------------------------------------------------------------------------------------------------------


def test_a_study_without_streams_is_refused_with_what_to_do(tmp_path: Path):
    cells = [
        (cell_of_stream("pooled"), outcome_of_all_together({"A": 0.5}, {"X": 0.5})),
        (cell_of_stream("ewc"), failure_of("diverged")),
    ]
    with pytest.raises(ResultsError, match=r"2 of 2 cells computed, 1 of them failed.*protocol: .*unseen show small"):
        study_of(tmp_path, cells)


def test_a_metric_that_is_better_when_lower_is_refused(tmp_path: Path):
    with pytest.raises(ResultsError, match=r"brier, which is better when it is lower.*another metric"):
        study_of(tmp_path, [streamed("finetuning")], metric="brier")


def test_rows_that_tell_no_order_are_refused_when_they_are_read(tmp_path: Path):
    cell, outcome = streamed("mine")
    skipped = replace(outcome, scores=[one for one in outcome.scores if one.step != 1])
    with pytest.raises(ResultsError, match="small: rows of mine"):
        study_of(tmp_path, [(cell, skipped)])


def test_a_study_that_was_never_run_is_refused(tmp_path: Path):
    study = SmallStudy(tmp_path / "small.sqlite", header_of_streams("ewc"))
    with Results(study.path) as results, pytest.raises(ResultsError, match="run it first"):
        read_stream_study(results)
