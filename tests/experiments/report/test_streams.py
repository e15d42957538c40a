"""From rows to matrices, and from matrices to the measures of each cell."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.errors import ResultsError
from experiments.report.families import Entrant, Family, Group
from experiments.report.streams import (
    MEASURES,
    Stream,
    by_order,
    cell_scores,
    learner_levels,
    mean_matrix,
    streams,
    untrained_scores,
)
from experiments.results import Results
from tests.experiments.stream_rows import (
    METRIC,
    cell_of_stream,
    header_of_streams,
    outcome_of_all_together,
    outcome_of_stream,
    rows_of,
)
from tests.experiments.studies import SmallStudy

NAN = math.nan
ORDER = ("C", "A", "B")
R = [[0.5, 0.4, 0.3], [0.80, 0.30, 0.25], [0.85, 0.75, 0.40], [0.55, 0.65, 0.70]]
HELD_OUT = {"X": [0.5, 0.6, 0.7, 0.8], "Y": [0.5, 0.4, 0.5, 0.6]}
BASELINE = {"C": 0.34, "A": 0.33, "B": 0.32}
FAMILY = Family("differential_entropy", "stream", "mlp(hidden=[64])", "cross_entropy")


def group_of(*strategies: str) -> Group:
    entrants = tuple(Entrant(name, FAMILY, name, name, False, ()) for name in strategies)
    return Group("here", FAMILY, entrants, (), "finetuning")


def found_in(rows: pd.DataFrame, level: str = "window") -> list[Stream]:
    return streams(rows, level, "small")


def measures_of(*cells, untrained: pd.Series | None = None, chance: float = NAN) -> pd.DataFrame:
    strategies = dict.fromkeys(cell.strategy for cell, _ in cells)
    scores = pd.Series(dtype=float) if untrained is None else untrained
    return cell_scores(group_of(*strategies), found_in(rows_of(cells)), scores, chance)


# --- rows to matrices ------------------------------------------------------------------------------------------------


def test_the_order_is_the_one_in_which_targets_turn_from_unseen_to_seen():
    (found,) = found_in(rows_of([(cell_of_stream("ewc", 2, 1), outcome_of_stream(ORDER, R, HELD_OUT))]))
    assert (found.configuration, found.order, found.seed, found.subjects) == ("ewc", 2, 1, ORDER)
    np.testing.assert_array_equal(found.R, R)
    np.testing.assert_array_equal(found.curve, np.transpose([HELD_OUT["X"], HELD_OUT["Y"]]))


@given(st.permutations("ABCDE"), st.randoms())
def test_any_order_and_matrix_come_back_from_their_rows(order, source):
    table = [[source.choice([NAN, 0.25, 0.5]) for _ in order] for _ in range(len(order) + 1)]
    curve = [source.random() for _ in range(len(order) + 1)]
    rows = rows_of([(cell_of_stream("ewc"), outcome_of_stream(order, table, {"X": curve}))])
    (found,) = found_in(rows.sample(frac=1, random_state=0))
    assert found.subjects == tuple(order)
    np.testing.assert_array_equal(found.R, table)
    np.testing.assert_array_equal(found.curve[:, 0], curve)


def test_rows_made_here_are_those_of_a_results_file(tmp_path: Path):
    cells = [
        (cell_of_stream("ewc", order, seed), outcome_of_stream(ORDER, R, HELD_OUT, trial=R))
        for order in (0, 1)
        for seed in (0, 1)
    ]
    study = SmallStudy(tmp_path / "small.sqlite", header_of_streams("ewc"))
    study.add_all(cells)
    with Results(study.path, writable=False) as results:
        expected = results.tracked(study.digests, METRIC)
    pd.testing.assert_frame_equal(rows_of(cells), expected, check_dtype=False)


def test_levels_are_those_of_learners_and_each_has_its_own_scores():
    shifted = np.array(R) / 2
    with_trials = rows_of([(cell_of_stream("ewc"), outcome_of_stream(ORDER, R, HELD_OUT, trial=shifted))])
    assert learner_levels(with_trials) == ["window", "trial"]
    (found,) = found_in(with_trials, "trial")
    np.testing.assert_array_equal(found.R, shifted)
    # Held-out people always have trials: they tell nothing of the learners.
    assert learner_levels(rows_of([(cell_of_stream("ewc"), outcome_of_stream(ORDER, R, HELD_OUT))])) == ["window"]


def test_a_learner_without_trials_keeps_its_place_in_the_order():
    rows = rows_of([(cell_of_stream("ewc"), outcome_of_stream(ORDER, R, HELD_OUT, trial=R))])
    (found,) = found_in(rows[(rows["level"] == "window") | (rows["subject"] != "A")], "trial")
    assert found.subjects == ORDER
    np.testing.assert_array_equal(np.isnan(found.R), [[False, True, False]] * 4)


def test_who_meets_nobody_in_sequence_is_no_stream():
    cells = [
        (cell_of_stream("majority"), outcome_of_all_together({"A": 0.5}, {"X": 0.5})),
        (cell_of_stream("dann"), outcome_of_stream(ORDER, R, HELD_OUT, unmet=True)),
    ]
    assert found_in(rows_of(cells)) == []
    assert learner_levels(rows_of(cells)) == []


def test_a_cell_is_told_by_its_own_rows_whatever_names_others_have():
    other = cell_of_stream("si"), outcome_of_stream(("P", "Q"), np.full((3, 2), 0.5), {"Z": [0.5] * 3})
    cells = [(cell_of_stream("ewc"), outcome_of_stream(ORDER, R, HELD_OUT)), other]
    first, second = found_in(rows_of(cells))
    np.testing.assert_array_equal(first.curve, np.transpose([HELD_OUT["X"], HELD_OUT["Y"]]))
    assert (second.subjects, second.curve.shape) == (("P", "Q"), (3, 1))


def test_rows_that_tell_no_order_are_refused_with_the_cell():
    rows = rows_of([(cell_of_stream("mine", 4, 1), outcome_of_stream(ORDER, R, HELD_OUT))])
    skipped = rows[rows["step"] != 1]
    with pytest.raises(ResultsError, match=r"small: rows of mine, seed 1, order 4, .* steps 2, 2, 3, .* observer"):
        found_in(skipped)


# --- measures --------------------------------------------------------------------------------------------------------


def test_the_golden_vector_of_the_field():
    found = measures_of(
        (cell_of_stream("ewc"), outcome_of_stream(ORDER, R, HELD_OUT)), untrained=pd.Series(BASELINE)
    ).loc["ewc", 0, 0]
    expected = {
        "next_subject": 0.35,
        "held_out": 0.7,
        "aaa": (0.5 + 0.6 + 0.7) / 3,
        "acc": 0.6333333333,
        "aia": (0.8 + 0.8 + 0.6333333333) / 3,
        "learning": 0.75,
        "fwt": 0.025,
        "bwt": -0.175,
        "forgetting": 0.2,
        "stability": 0.8,
        "fwt_all": (0.30 + 0.25 + 0.40) / 3,
        "gain": (0.75 - 0.30 + 0.70 - 0.40) / 2,
        "rate": (0.7 - 0.5) / 0.5,
    }
    assert found[list(expected)].to_dict() == pytest.approx(expected)
    # Nobody stands for joint training so far, nor for subjects alone, and there is no chance level.
    assert found.drop(list(expected)).isna().all()
    assert list(found.index) == [measure.key for measure in MEASURES]


def test_the_next_subject_is_held_against_chance_where_there_is_such():
    found = measures_of((cell_of_stream("ewc"), outcome_of_stream(ORDER, R, HELD_OUT)), chance=0.5)
    assert found.loc["ewc", 0, 0]["over_chance"] == pytest.approx(0.35 - 0.5)


def test_references_are_of_the_same_order_and_their_seeds_averaged():
    plain, zeros = outcome_of_stream(ORDER, R, HELD_OUT), np.zeros((4, 3))
    cells = [
        (cell_of_stream("ewc", 0), plain),
        (cell_of_stream("ewc", 1), plain),
        (cell_of_stream("cumulative", 0, 0), outcome_of_stream(ORDER, zeros + 0.8, HELD_OUT)),
        (cell_of_stream("cumulative", 0, 1), outcome_of_stream(ORDER, zeros + 1.0, HELD_OUT)),
        (cell_of_stream("from_scratch", 0, 0), outcome_of_stream(ORDER, zeros + 0.25, HELD_OUT)),
    ]
    found = measures_of(*cells)
    first = found.loc["ewc", 0, 0]
    assert first["intransigence"] == pytest.approx(0.9 - 0.75)
    assert first["plasticity"] == pytest.approx(0.75 - 0.25)
    assert first["over_previous"] == pytest.approx(0.35 - 0.25)
    # Of the other order there is no reference.
    assert found.loc["ewc", 1, 0][["intransigence", "plasticity", "over_previous"]].isna().all()


def test_a_reference_that_met_others_is_none():
    other = ("A", "C", "B")
    cells = [
        (cell_of_stream("ewc"), outcome_of_stream(ORDER, R, HELD_OUT)),
        (cell_of_stream("cumulative"), outcome_of_stream(other, np.ones((4, 3)), HELD_OUT)),
    ]
    assert math.isnan(measures_of(*cells).loc["ewc", 0, 0]["intransigence"])


def test_untrained_scores_are_the_mean_over_networks_and_seeds_whatever_their_targets():
    def networks(shift):
        return [[BASELINE[name] + shift + step for name in ORDER] for step in (0.0, 0.1)]

    cells = [
        (cell_of_stream("untrained", 0, 0), outcome_of_stream(ORDER, networks(0.0), {"X": [0.4, 0.6]}, unmet=True)),
        (cell_of_stream("untrained", 0, 1), outcome_of_stream(ORDER, networks(0.2), {"X": [0.4, 0.6]})),
    ]
    found = untrained_scores(rows_of(cells), "window")
    assert list(found) == ["untrained"]
    expected = {**{name: value + 0.15 for name, value in BASELINE.items()}, "X": 0.5}
    assert found["untrained"].to_dict() == pytest.approx(expected)
    assert untrained_scores(rows_of(cells).iloc[:0], "window") == {}


def test_seeds_are_averaged_within_an_order_and_undefined_ones_left_out():
    cells = [
        (cell_of_stream("ewc", 0, seed), outcome_of_stream(ORDER, np.full((4, 3), value), {"X": [value] * 4}))
        for seed, value in enumerate((0.5, 1.0, NAN))
    ]
    assert by_order(measures_of(*cells)).loc["ewc", 0]["acc"] == 0.75


def test_nobody_held_out_leaves_the_scores_of_learners():
    found = measures_of((cell_of_stream("ewc"), outcome_of_stream(ORDER, R, {}))).loc["ewc", 0, 0]
    assert found["acc"] == pytest.approx(0.6333333333)
    assert found[["held_out", "aaa", "rate"]].isna().all()


def test_the_mean_matrix_weighs_orders_and_not_cells():
    def cell(order, seed, value):
        return cell_of_stream("ewc", order, seed), outcome_of_stream(ORDER, np.full((4, 3), value), HELD_OUT)

    found = found_in(rows_of([cell(0, 0, 0.25), cell(0, 1, 0.75), cell(1, 0, 1.0), cell(2, 0, NAN)]))
    np.testing.assert_array_equal(mean_matrix(found), np.full((4, 3), 0.75))
