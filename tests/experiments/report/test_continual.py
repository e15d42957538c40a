"""Tables, the spread over orders, and differences to fine-tuning, with verdicts worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.choosing import Chosen
from experiments.equivalence import Equivalence
from experiments.report.continual import (
    CHOSEN,
    COMPARED,
    EQUIVALENT,
    GIVEN,
    INCONCLUSIVE,
    OTHER,
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
    table = np.array([[0.5, 0.625], [0.75, 0.875], [0.5, 1.0], [0.625, 0.75], [0.5, 0.75]])
    cells = [flat("finetuning", order, seed, score) for (order, seed), score in np.ndenumerate(table)]
    (one,) = scored(study_of(tmp_path, cells), "here")
    found = spreads(one)
    assert [(spread.place, spread.configuration, spread.measure) for spread in found] == [
        ("here", "finetuning", "acc"),
        ("here", "finetuning", "held_out"),
    ]
    assert [spread.components for spread in found] == [variance_components(table)] * 2


def test_too_few_orders_have_a_spread_and_no_p(tmp_path: Path):
    table = np.array([[0.5, 0.625], [0.75, 0.875], [0.5, 1.0], [0.625, 0.75]])
    cells = [flat("finetuning", order, seed, score) for (order, seed), score in np.ndenumerate(table)]
    (one,) = scored(study_of(tmp_path, cells), "here")
    found, expected = spreads(one)[0].components, variance_components(table)
    assert (found.shares, found.lowest, found.highest) == (expected.shares, expected.lowest, expected.highest)
    assert math.isnan(found.p)
    assert not math.isnan(expected.p)


def test_bounds_are_told_apart_from_methods(tmp_path: Path):
    one = scored_of(tmp_path, dict.fromkeys(("finetuning", "ewc", "cumulative", "from_scratch"), TEN[:2]))
    assert {spread.configuration for spread in spreads(one) if spread.bound} == {"cumulative", "from_scratch"}


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
    assert all((one.reference, one.family, one.left_out) == ("finetuning", GIVEN, 0) for one in found.values())
    assert {key[2] for key in found} == set(COMPARED)


def test_holm_counts_each_family_over_all_data_sets_and_by_itself(tmp_path: Path):
    scores = dict.fromkeys(("ewc", "si", "mas", "replay"), shifted(0.05)) | {"finetuning": TEN}
    # Of two regularisers the value was chosen, and of another method as well.
    choices = tuple(Chosen(label, "x=1", {"x=1": 0.5}, {}) for label in ("ewc", "si", "replay"))
    one, two = (scored_of(tmp_path, scores, name, choices=choices) for name in ("one", "two"))
    alone, both = compared([one]), compared([one, two])
    least = 2 / 2**10
    assert alone["one", "ewc", "acc"].p == pytest.approx(2 * least)
    assert both["one", "ewc", "acc"].p == both["two", "si", "acc"].p == pytest.approx(4 * least)
    for label in ("mas", "replay"):
        assert alone["one", label, "acc"].p == pytest.approx(least)
        assert both["one", label, "acc"].p == pytest.approx(2 * least)
    families = {key[1]: found.family for key, found in both.items()}
    assert families == {"ewc": CHOSEN, "si": CHOSEN, "mas": GIVEN, "replay": OTHER}


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


def test_four_orders_are_not_tested_and_no_other_is_corrected_for_them(tmp_path: Path):
    few = scored_of(tmp_path, {"finetuning": TEN[:4], "ewc": shifted(0.05)[:4]}, "few")
    many = scored_of(tmp_path, {"finetuning": TEN, "ewc": shifted(0.05)}, "many")
    found = compared([few, many])
    untested, tested = found["few", "ewc", "acc"], found["many", "ewc", "acc"]
    assert math.isnan(untested.p)
    assert math.isnan(untested.equivalence.p)
    assert (untested.paired.n, untested.verdict) == (4, INCONCLUSIVE)
    assert tested.p == pytest.approx(2 / 2**10)


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
    assert (found.paired.n, found.left_out) == (3, 7)
    assert found.paired.shift == pytest.approx(0.05)


def test_only_runs_that_both_have_are_compared(tmp_path: Path):
    """Seeds differ by a quarter and methods by nothing; of either a seed failed that the other has."""
    runs = [(order, seed) for order in range(6) for seed in range(3)]
    missing = {"finetuning": {(0, 0), (5, 1)}, "ewc": {(0, 2), (1, 2), (5, 1), (5, 2), (2, 0), (2, 1), (2, 2)}}
    cells = [
        flat(label, order, seed, TEN[order] + seed / 4)
        for label, gone in missing.items()
        for order, seed in runs
        if (order, seed) not in gone
    ]
    (one,) = scored(study_of(tmp_path, cells), "here")
    found = compared([one])
    for measure in COMPARED:
        paired = found["here", "ewc", measure].paired
        assert (paired.n, paired.difference, paired.shift, paired.p) == (5, 0, 0, 1)
        # Of order 0 two runs are of one alone, of order 1 one, of order 2 three, and of order 5 one.
        assert found["here", "ewc", measure].left_out == 7


def test_held_out_people_who_do_better_and_worse_are_counted_over_shared_runs(tmp_path: Path):
    def cell(label: str, order: int, **final: float):
        curves = {person: [0.5, 0.5, score] for person, score in final.items()}
        return cell_of_stream(label, order), outcome_of_stream(ORDER, np.full((3, 2), 0.5), curves)

    cells = [cell("finetuning", order, W=0.5, X=0.5, Y=0.5, Z=0.5) for order in range(3)]
    # W gains in the mean though not in every run, X gains, Y loses, and Z is a tie.
    cells += [cell("ewc", order, W=w, X=0.6, Y=0.25, Z=0.5) for order, w in enumerate((0.375, 0.75, 0.5))]
    # Fine-tuning has no fourth run, in which all lose.
    cells.append(cell("ewc", 3, W=0.0, X=0.0, Y=0.0, Z=0.0))
    (one,) = scored(study_of(tmp_path, cells), "here")
    found = compared([one])
    assert found["here", "ewc", "held_out"].people == (2, 1)
    assert found["here", "ewc", "acc"].people is None


def test_without_held_out_people_none_are_counted(tmp_path: Path):
    cells = [
        (cell_of_stream(label, order), outcome_of_stream(ORDER, np.full((3, 2), 0.5), {}))
        for label in ("finetuning", "ewc")
        for order in range(2)
    ]
    (one,) = scored(study_of(tmp_path, cells), "here")
    assert compared([one])["here", "ewc", "held_out"].people is None


def test_an_undefined_score_is_no_run_of_its_measure(tmp_path: Path):
    R = np.full((3, 2), 0.5)
    R[1, 1] = NAN  # of the next subject; it is known in the end
    cells = [flat("finetuning", order, seed, 0.5) for order in range(3) for seed in (0, 1)]
    cells += [flat("ewc", order, seed, 0.75) for order, seed in ((0, 1), (1, 0), (1, 1), (2, 0), (2, 1))]
    cells.append((cell_of_stream("ewc", 0, 0), outcome_of_stream(ORDER, R, {"X": [0.5] * 3})))
    (one,) = scored(study_of(tmp_path, cells), "here")
    found = compared([one])
    assert found["here", "ewc", "next_subject"].left_out == 1
    assert (found["here", "ewc", "acc"].left_out, found["here", "ewc", "acc"].paired.n) == (0, 3)
    assert found["here", "ewc", "next_subject"].paired.shift == 0.25


def test_one_order_far_off_turns_the_mean_and_no_verdict(tmp_path: Path):
    gains = np.append(np.linspace(0.010, 0.020, 11), -0.40)
    orders = [0.5 + order / 64 for order in range(12)]
    scores = {"finetuning": orders, "ewc": list(orders + gains), "si": list(orders - gains)}
    # Each is alone in its family, so that nothing is corrected.
    choices = (Chosen("ewc", "strength=1", {"strength=1": 0.5}, {}),)
    group = scored_of(tmp_path, scores, choices=choices)
    found = compared([group], margin=0.005)
    better, worse = found["here", "ewc", "acc"], found["here", "si", "acc"]
    # The far order has the largest rank: 12 of 78, and 2 P(W <= 12) = 2 x 70 / 2^12.
    assert better.p == worse.p == pytest.approx(2 * 70 / 2**12)
    assert (better.paired.rank_biserial, worse.paired.rank_biserial) == (54 / 78, -54 / 78)
    assert better.paired.difference < 0 < better.paired.shift
    assert (better.verdict, worse.verdict) == ("better", "worse")
    # Ranks are within the usual margin too: its test does not see how far off the one is either.
    assert compared([group])["here", "ewc", "acc"].verdict == f"better, {WITHIN}"


def test_undefined_scores_leave_nothing_to_compare(tmp_path: Path):
    found = compared([scored_of(tmp_path, {"finetuning": TEN, "ewc": [NAN] * 10})])["here", "ewc", "acc"]
    assert (found.paired.n, found.verdict) == (0, INCONCLUSIVE)
    assert math.isnan(found.p)


def test_a_margin_that_is_none_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="margin above 0"):
        comparisons([scored_of(tmp_path, {"finetuning": TEN, "ewc": TEN})], margin=0.0)


@pytest.mark.parametrize(
    ("ranks", "p", "equal", "verdict"),
    [
        (0.9, 0.01, 0.9, "better"),
        (-0.9, 0.01, 0.9, "worse"),
        (0.9, 0.01, 0.01, f"better, {WITHIN}"),
        (-0.9, 0.01, 0.01, f"worse, {WITHIN}"),
        (0.5, 0.06, 0.01, EQUIVALENT),
        (0.5, 0.06, 0.06, INCONCLUSIVE),
        (0.6, 0.05, 0.9, INCONCLUSIVE),
        (NAN, NAN, NAN, INCONCLUSIVE),
    ],
)
def test_verdicts_follow_from_the_ranks_and_from_both_p_values(ranks, p, equal, verdict):
    paired = Paired(NAN, NAN, ranks, NAN, NAN, NAN, 10)
    equivalent = Equivalence(0.02, equal, NAN, NAN, NAN, 10)
    one = Comparison("here", "ewc", "finetuning", "acc", CHOSEN, paired, p, equivalent, 0)
    assert one.verdict == verdict
    # The p of the test itself, before correction, decides nothing, nor does the mean.
    for changed in (replace(paired, p=0.001), replace(paired, difference=-ranks)):
        assert replace(one, paired=changed).verdict == verdict
