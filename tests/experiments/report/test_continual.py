"""Tables, the spread over orders, and differences to fine-tuning, with verdicts worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.equivalence import Equivalence
from experiments.report.continual import (
    COMPARED,
    EQUIVALENT,
    INCONCLUSIVE,
    WITHIN,
    Comparison,
    comparisons,
    lines,
    spreads,
)
from experiments.report.stream_study import Scored, scored
from experiments.statistics import Paired, summary
from experiments.variance import variance_components
from tests.experiments.stream_rows import cell_of_stream, outcome_of_all_together, outcome_of_stream, study_of

NAN = math.nan
ORDER = ("A", "B")


def flat(strategy: str, order: int, seed: int, score: float, **changes):
    """A cell whose every score is the same, so that all its means are."""
    outcome = outcome_of_stream(ORDER, np.full((3, 2), score), {"X": [score] * 3})
    return cell_of_stream(strategy, order, seed, **changes), outcome


def scored_of(folder: Path, scores: dict[str, list[float]], name: str = "here", **changes) -> Scored:
    """A group of configurations with these scores, one an order."""
    cells = [flat(label, order, 0, score) for label, of in scores.items() for order, score in enumerate(of)]
    (one,) = scored(study_of(folder, cells, study=name, **changes), name)
    return one


def compared(of, **changes) -> dict[tuple[str, str, str], Comparison]:
    return {(one.place, one.configuration, one.measure): one for one in comparisons(of, **changes)}


# --- tables ----------------------------------------------------------------------------------------------------------


def test_a_line_is_the_mean_and_interval_over_orders_whose_seeds_are_averaged(tmp_path: Path):
    first = [0.5, 0.625, 0.75, 0.5, 0.625]
    cells = [flat("finetuning", order, seed, score + seed / 8) for order, score in enumerate(first) for seed in (0, 1)]
    (one,) = scored(study_of(tmp_path, cells), "here")
    (line,) = lines(one)
    assert line.values["acc"] == summary(np.array(first) + 1 / 16)
    assert line.values["bwt"] == summary(np.zeros(5))
    assert line.values["fwt"].n == 0


def test_what_meets_nobody_in_sequence_has_one_value_and_stands_last(tmp_path: Path):
    cells = [
        (cell_of_stream("pooled", normalization="training"), outcome_of_all_together({"A": 0.75}, {"X": 0.5})),
        flat("finetuning", 0, 0, 0.5),
    ]
    (one,) = scored(study_of(tmp_path, cells), "here")
    first, last = lines(one)
    assert (first.entrant.label, last.entrant.label) == ("finetuning", "pooled")
    assert {key: (value.mean, value.n) for key, value in last.values.items()} == {
        "acc": (0.75, 1),
        "held_out": (0.5, 1),
    }
    assert math.isnan(last.values["acc"].low)


# --- F4 --------------------------------------------------------------------------------------------------------------


def test_the_spread_is_that_of_the_table_of_orders_and_seeds(tmp_path: Path):
    table = np.array([[0.5, 0.625], [0.75, 0.875], [0.5, 1.0]])
    cells = [flat("finetuning", order, seed, score) for (order, seed), score in np.ndenumerate(table)]
    (one,) = scored(study_of(tmp_path, cells), "here")
    found = spreads(one)
    assert [(spread.place, spread.configuration, spread.measure) for spread in found] == [
        ("here", "finetuning", "acc"),
        ("here", "finetuning", "held_out"),
    ]
    assert [spread.components for spread in found] == [variance_components(table)] * 2


def test_a_missing_run_is_missing_in_the_table(tmp_path: Path):
    cells = [flat("finetuning", order, seed, 0.5) for order in range(3) for seed in range(2) if (order, seed) != (2, 1)]
    (one,) = scored(study_of(tmp_path, cells), "here")
    components = spreads(one)[0].components
    assert (components.orders, components.seeds, components.dropped_orders) == (2, 2, 1)


# --- F5 --------------------------------------------------------------------------------------------------------------

TEN = [0.5 + order / 64 for order in range(10)]


def shifted(by: float) -> list[float]:
    # Differences of different size, so that ranks have no ties.
    return [score + by * (1 + order / 100) for order, score in enumerate(TEN)]


def test_verdicts_of_known_differences(tmp_path: Path):
    scores = {"finetuning": TEN, "ewc": shifted(0.05), "si": shifted(-0.05), "mas": TEN}
    found = compared([scored_of(tmp_path, scores)])
    # All ten differences of one sign: p = 2 / 2^10, the smallest of three.
    assert found["here", "ewc", "acc"].p == pytest.approx(3 * 2 / 2**10)
    assert {key[1]: one.verdict for key, one in found.items() if key[2] == "next_subject"} == {
        "ewc": "better",
        "si": "worse",
        "mas": EQUIVALENT,
    }
    assert found["here", "mas", "acc"].paired.p == 1
    assert found["here", "mas", "acc"].equivalence.p == 1 / 2**10
    assert all(one.reference == "finetuning" and one.regulariser for one in found.values())
    assert {key[2] for key in found} == set(COMPARED)


def test_holm_counts_the_regularisers_of_all_data_sets_and_others_by_themselves(tmp_path: Path):
    scores = {"finetuning": TEN, "ewc": shifted(0.05), "si": shifted(0.05), "replay": shifted(0.05)}
    one, two = (scored_of(tmp_path, scores, name) for name in ("one", "two"))
    alone, both = compared([one]), compared([one, two])
    least = 2 / 2**10
    assert alone["one", "ewc", "acc"].p == pytest.approx(2 * least)
    assert both["one", "ewc", "acc"].p == both["two", "si", "acc"].p == pytest.approx(4 * least)
    assert alone["one", "replay", "acc"].p == pytest.approx(least)
    assert both["one", "replay", "acc"].p == pytest.approx(2 * least)
    assert not both["one", "replay", "acc"].regulariser


def test_a_small_difference_may_be_shown_to_be_there_and_to_be_small(tmp_path: Path):
    found = compared([scored_of(tmp_path, {"finetuning": TEN, "ewc": shifted(0.01)})])
    assert found["here", "ewc", "acc"].verdict == f"better, {WITHIN}"
    narrow = compared([scored_of(tmp_path, {"finetuning": TEN, "ewc": shifted(0.01)}, "again")], margin=0.005)
    assert narrow["again", "ewc", "acc"].verdict == "better"
    assert narrow["again", "ewc", "acc"].equivalence.margin == 0.005


def test_five_orders_show_no_difference_however_large(tmp_path: Path):
    found = compared([scored_of(tmp_path, {"finetuning": TEN[:5], "ewc": shifted(0.3)[:5]})])
    assert found["here", "ewc", "acc"].paired.p == 2 / 2**5
    assert {one.verdict for one in found.values()} == {INCONCLUSIVE}


def test_bounds_and_fine_tuning_itself_are_compared_with_nothing(tmp_path: Path):
    scores = dict.fromkeys(("finetuning", "cumulative", "from_scratch", "lwf"), TEN)
    assert {one.configuration for one in comparisons([scored_of(tmp_path, scores)])} == {"lwf"}


def test_without_fine_tuning_nothing_is_compared(tmp_path: Path):
    assert comparisons([scored_of(tmp_path, {"ewc": TEN, "si": TEN})]) == []


def test_orders_are_paired_by_their_number_and_those_that_failed_are_left_out(tmp_path: Path):
    cells = [flat("finetuning", order, 0, score) for order, score in enumerate(TEN)]
    cells += [flat("ewc", order, 0, TEN[order] + 0.05) for order in (9, 3, 5)]
    (one,) = scored(study_of(tmp_path, cells), "here")
    found = compared([one])["here", "ewc", "acc"]
    assert found.paired.n == 3
    assert found.paired.difference == pytest.approx(0.05)


def test_undefined_scores_leave_nothing_to_compare(tmp_path: Path):
    found = compared([scored_of(tmp_path, {"finetuning": TEN, "ewc": [NAN] * 10})])["here", "ewc", "acc"]
    assert (found.paired.n, found.verdict) == (0, INCONCLUSIVE)
    assert math.isnan(found.p)


def test_a_margin_that_is_none_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="margin above 0"):
        comparisons([scored_of(tmp_path, {"finetuning": TEN, "ewc": TEN})], margin=0.0)


@pytest.mark.parametrize(
    ("difference", "p", "equal", "verdict"),
    [
        (0.1, 0.01, 0.9, "better"),
        (-0.1, 0.01, 0.9, "worse"),
        (0.01, 0.01, 0.01, f"better, {WITHIN}"),
        (-0.01, 0.01, 0.01, f"worse, {WITHIN}"),
        (0.01, 0.06, 0.01, EQUIVALENT),
        (0.01, 0.06, 0.06, INCONCLUSIVE),
        (0.1, 0.05, 0.9, INCONCLUSIVE),
        (NAN, NAN, NAN, INCONCLUSIVE),
    ],
)
def test_verdicts_follow_from_both_p_values(difference, p, equal, verdict):
    paired = Paired(difference, NAN, NAN, NAN, NAN, NAN, 10)
    one = Comparison("here", "ewc", "finetuning", "acc", True, paired, p, Equivalence(0.02, equal, NAN, NAN, NAN, 10))
    assert one.verdict == verdict
    # The p of the test itself, before correction, decides nothing.
    assert replace(one, paired=replace(paired, p=0.001)).verdict == verdict
