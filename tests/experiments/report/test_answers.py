"""Sentences of the findings: numbers that they state, and words that follow from thresholds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.equivalence import Equivalence, equivalence
from experiments.report.answers import (
    disagreeing,
    interference_answer,
    order_answer,
    reliability_answer,
    standing,
    stiffness_answer,
    transfer_answer,
)
from experiments.report.continual import ALPHA, CHOSEN, COMPARED, GIVEN, OTHER, Comparison, Spread
from experiments.report.continual_words import chance_of, interval, percent, told
from experiments.statistics import Paired, holm, paired_difference, summary
from experiments.variance import variance_components
from tests.experiments.report.measured import diagnosed_of

NAN = math.nan
FLAT = (0.0, 0.0, 0.0, 0.0, 0.0)


def around(middle: float) -> list[float]:
    """Five orders whose mean is known and whose interval is a hundredth wide, about."""
    return [middle + shift / 100 for shift in (-1, -0.5, 0, 0.5, 1)]


def spread_of(table, configuration: str = "ewc", measure: str = "acc") -> Spread:
    return Spread("here", configuration, measure, variance_components(np.array(table, dtype=float)))


def comparison_of(configuration: str, differences, p: float, *, place: str = "here", family: str = CHOSEN):
    mine, plain = np.asarray(differences, dtype=float), np.zeros(len(differences))
    return [
        Comparison(
            place, configuration, "finetuning", measure, family, paired_difference(mine, plain), p,
            equivalence(mine, plain, 0.02), 0,
        )
        for measure in COMPARED
    ]  # fmt: skip


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "line", "expected"),
    [
        (around(0.8), 0.7, "above"),
        (around(0.6), 0.7, "below"),
        (around(0.7), 0.7, "open"),
        ([0.7] * 5, 0.7, "open"),
        ([0.9] * 4, 0.7, "unknown"),
        ([NAN] * 5, 0.7, "unknown"),
    ],
)
def test_an_interval_lies_on_one_side_of_a_line_or_holds_it(values, line, expected):
    assert standing(summary(np.array(values)), line) == expected


def test_numbers_are_written_with_their_intervals_where_there_are_such():
    assert told(summary(np.full(5, 0.5))) == ".500 [.500, .500]"
    assert told(summary(np.array([0.25, 0.75])), signed=True) == "+.500"
    assert told(summary(np.array([NAN]))) == "-"
    assert interval(-0.1, 0.2, signed=True) == "[-.100, +.200]"
    assert interval(NAN, NAN) == "-"
    assert (percent(0.456), percent(NAN)) == ("46 %", "-")
    assert (chance_of(0.0123), chance_of(1e-9), chance_of(NAN)) == ("0.0123", "below 0.0001", "-")


# --- F1 --------------------------------------------------------------------------------------------------------------


def test_reliability_is_counted_and_told_with_its_numbers():
    one = diagnosed_of(
        {
            ("ewc", "f1_spearman"): {1: around(0.8)},
            ("ewc", "f1_spearman_0db"): {1: around(0.3)},
            ("ewc", "f1_overlap"): {1: [0.5] * 5},
            ("ewc", "f1_previous_spearman"): {2: [0.25] * 5},
            ("mas", "f1_spearman"): {1: around(0.4)},
            ("mas", "f1_spearman_0db"): {1: around(0.4)},
        }
    )
    answer = reliability_answer([one])
    assert "Of 2 cases: reliable in 1, not reliable in 1." in answer.verdict
    assert "above .700" in answer.verdict
    assert "share their windows, the squared way that both are divided by, and the momentum of Adam" in answer.limits
    assert answer.verdict.endswith(": noise makes it less reliable in 1, no effect of noise is shown in 1.")
    ewc, mas = answer.details
    assert ewc.startswith("ewc: the halves agree with a rank correlation of .800 [")
    assert ".500 [.500, .500] less (noise makes it less reliable)" in ewc
    assert "overlap by .500 [.500, .500], where random ones do by .053" in ewc
    assert "the subject before is .250 [.250, .250]." in ewc
    assert "(not reliable)" in mas
    assert mas.endswith("the subject before is -.")


def test_importance_that_knows_no_noise_is_told_without_it():
    path, windows = ({("si", "f1_spearman"): {1: around(0.8)}}, {("ewc", "f1_spearman"): {1: around(0.8)}})
    noisy = {("ewc", "f1_spearman_0db"): {1: around(0.3)}}
    answer = reliability_answer([diagnosed_of({**path, **windows, **noisy})])
    assert "Of 2 cases: reliable in 2." in answer.verdict
    assert answer.verdict.endswith(": noise makes it less reliable in 1.")
    si, ewc = answer.details
    assert "noise" not in si
    assert "(reliable). Their top tenths" in si
    assert "with noise of 0 dB it is .300" in ewc


def test_several_groups_are_told_apart_and_few_orders_decide_nothing():
    many, few = (
        diagnosed_of({("ewc", "f1_spearman"): {1: around(0.8)[:count]}}, place=place)
        for place, count in (("dreamer", 5), ("seed", 4))
    )
    answer = reliability_answer([many, few])
    assert "reliable in 1, without an interval in 1" in answer.verdict
    assert [detail.partition(":")[0] for detail in answer.details] == ["ewc (dreamer)", "ewc (seed)"]


# --- F2 --------------------------------------------------------------------------------------------------------------


def test_interference_is_of_the_sign_of_the_cosine_and_of_the_share_of_steps():
    one = diagnosed_of(
        {
            ("ewc", "f2_cosine"): {2: around(-0.2), 3: around(-0.2)},
            ("ewc", "f2_opposing"): {2: around(0.75)},
            ("ewc", "f2_cosine_all"): {2: around(-0.1)},
            ("ewc", "f2_task_norm"): {2: [2.0] * 5},
            ("ewc", "f2_penalty_norm"): {2: [0.5] * 5},
            ("si", "f2_cosine"): {2: around(0.2)},
            ("si", "f2_opposing"): {2: around(0.25)},
            ("mas", "f2_cosine"): {2: around(0.0)},
            ("mas", "f2_opposing"): {2: around(0.5)},
        }
    )
    answer = interference_answer([one])
    assert "against the new subject in 1, with the new subject in 1, neither shown in 1." in answer.verdict
    assert "more than half in 1, less than half in 1, neither shown in 1." in answer.verdict
    assert "is -.200 [" in answer.details[0]
    assert "in a share of .750 [" in answer.details[0]
    assert "Lengths: loss 2.00, penalty 0.500." in answer.details[0]


# --- F3 --------------------------------------------------------------------------------------------------------------


def test_stiffness_is_told_from_the_second_subject_to_the_last_beside_fine_tuning():
    one = diagnosed_of(
        {
            ("finetuning", "f3_step"): {1: [9.0] * 5, 2: [2.0] * 5, 3: [1.8] * 5},
            ("ewc", "f3_importance"): {2: [1.0] * 5, 3: [4.0] * 5},
            ("ewc", "f3_rigidity"): {2: [0.25] * 5, 3: [0.5] * 5},
            ("ewc", "f3_step"): {2: [2.0] * 5, 3: [1.0] * 5},
        },
        reference="finetuning",
    )
    answer = stiffness_answer([one])
    assert "of 1 case: grows in 1. How far a subject moves the weights: shorter in 1." in answer.verdict
    ewc, plain = answer.details
    assert "importance changes by a factor of 4.00 [4.00, 4.00]" in ewc
    assert "rigidity changes by +.250 [+.250, +.250] (grows)" in ewc
    assert "weights move 0.500 [0.500, 0.500] times as far (shorter)" in ewc
    assert plain == "finetuning, which nothing holds: weights move 0.900 [0.900, 0.900] times as far."


def test_two_subjects_show_no_change():
    one = diagnosed_of({("ewc", "f3_rigidity"): {2: [0.5] * 5}})
    assert "without an interval in 1" in stiffness_answer([one]).verdict


# --- F4 --------------------------------------------------------------------------------------------------------------


def test_orders_that_differ_are_counted_with_their_share():
    differ = spread_of([[0.0, 0.1], [0.5, 0.6], [1.0, 1.1]])  # No rest: F is infinite.
    alike = spread_of([[0.0, 1.0], [1.0, 0.0]], "si")
    answer = order_answer([differ, alike])
    assert "in 1 of 2 cases" in answer.verdict
    assert "ACC (0 % to 98 %)" in answer.verdict
    assert "held-out, final (not known)." in answer.verdict
    assert answer.details == (
        "2 of 6 estimates were negative and are shown as 0: differences so small come of the rest alone.",
    )


def test_one_order_or_one_seed_tells_no_spread():
    answer = order_answer([spread_of([[0.5, 0.6]]), spread_of([[0.5], [0.6]])])
    assert answer.verdict.startswith("Not to be told:")
    assert answer.details == ()


# --- F5 --------------------------------------------------------------------------------------------------------------


def test_verdicts_are_counted_by_measure_and_the_margin_is_stated():
    ten = np.linspace(0.05, 0.06, 10)
    compared = [
        *comparison_of("ewc", ten, 0.006),
        *comparison_of("si", -ten, 0.006),
        *comparison_of("mas", ten / 100, 0.2),
        *comparison_of("mas_sum", ten, 0.006, family=GIVEN),
        *comparison_of("replay", ten, 0.006, family=OTHER),
    ]
    answer = transfer_answer(compared, 0.02)
    assert "the difference is below .020 either way" in answer.verdict
    counts = "1 better, 1 equivalent within the margin, 1 worse."
    assert answer.verdict.endswith(
        f"Regularisers whose value was chosen beforehand, 3 comparisons a score: Next subject: {counts} Held-out, "
        f"final: {counts} ACC: {counts} Regularisers with a value given by the study, 1 comparison a score: Next "
        f"subject: 1 better. Held-out, final: 1 better. ACC: 1 better."
    )
    chosen, given = answer.details
    assert chosen == (
        "Regularisers whose value was chosen beforehand: for a difference to be shown before any other of the 3 "
        "comparisons, at most 2 of 10 orders may disagree, and only with the smallest differences; after others, there "
        "is less to correct."
    )
    assert given.startswith("Regularisers with a value given by the study: ")


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        (
            4,
            [
                "no difference can be shown, since the smallest p that 4 orders and 1 comparison can give is 0.125.",
                "with 4 orders no equivalence can be shown, that takes 5.",
            ],
        ),
        (5, ["no difference can be shown, since the smallest p that 5 orders and 1 comparison can give is 0.0625."]),
        (6, ["for a difference to be shown, all 6 orders have to agree."]),
    ],
)
def test_what_so_few_orders_cannot_show_is_said(orders, expected):
    compared = comparison_of("ewc", np.linspace(0.05, 0.06, orders), 1.0)
    found = transfer_answer(compared, 0.02).details
    assert list(found) == [f"Regularisers whose value was chosen beforehand: {line}" for line in expected]


@pytest.mark.parametrize(
    ("orders", "made", "expected"),
    [
        (5, 1, None),  # 2 / 2^5 is above .05.
        (6, 1, 0),  # 2 / 2^6 is below, and 4 / 2^6 is not.
        (10, 1, 3),  # Ranks 1, 2 and 3: 2 x 14 / 2^10; with 4 as well, 2 x 43 / 2^10.
        (10, 3, 2),  # 3 x 2 x 5 / 2^10, and 3 x 2 x 14 / 2^10.
        (10, 18, 0),
        (10, 26, None),  # 52 / 2^10
        (30, 1, 16),  # More than half: W <= 137, Wilcoxon's table for 30 pairs.
    ],
)
def test_so_many_orders_may_disagree(orders, made, expected):
    assert disagreeing(orders, made) == expected


@given(st.integers(6, 20), st.integers(1, 30))
@settings(deadline=None)
def test_a_verdict_is_reached_with_so_many_that_disagree_and_with_no_more(orders, made):
    most = disagreeing(orders, made)
    zeros, sizes = np.zeros(orders), np.arange(1.0, orders + 1) / 100

    def corrected(against: int) -> float:
        signed = np.where(np.arange(orders) < against, -sizes, sizes)
        return holm([paired_difference(signed, zeros).p, *[1.0] * (made - 1)])[0]

    reached = -1 if most is None else most
    assert all(corrected(against) < ALPHA for against in range(reached + 1))
    assert corrected(reached + 1) >= ALPHA


def test_a_data_set_with_fewer_orders_than_another_is_warned_of():
    compared = [
        *comparison_of("ewc", np.linspace(0.05, 0.06, 10), 0.004, place="dreamer"),
        *comparison_of("ewc", np.linspace(0.05, 0.06, 5), 0.06, place="seed"),
    ]
    few, many = transfer_answer(compared, 0.02).details
    assert few.endswith("no difference over 5 orders can be shown, since the smallest p, before correction, is 0.0625.")
    assert "at most 2 of 10 orders may disagree" in many


def test_orders_that_suffice_only_after_other_verdicts_are_warned_of():
    compared = [
        *comparison_of("ewc", np.linspace(0.05, 0.06, 10), 0.004, place="dreamer"),
        *comparison_of("ewc", np.linspace(0.05, 0.06, 6), 0.06, place="seed"),
    ]
    few, _ = transfer_answer(compared, 0.02).details
    assert "over 6 orders a difference can be shown only after others of the 2 comparisons" in few


def test_nothing_to_compare_is_said():
    other = comparison_of("replay", np.linspace(0.05, 0.06, 10), 0.004, family=OTHER)
    for compared in ([], other):
        assert transfer_answer(compared, 0.02).verdict.startswith("Nothing to compare")


def test_undefined_comparisons_are_inconclusive():
    nothing = Paired(NAN, NAN, NAN, NAN, NAN, NAN, 0)
    equal = Equivalence(0.02, NAN, NAN, NAN, NAN, 0)
    one = Comparison("here", "ewc", "finetuning", "acc", CHOSEN, nothing, NAN, equal, 0)
    answer = transfer_answer([one], 0.02)
    assert "ACC: 1 inconclusive." in answer.verdict
    difference, equivalence_of = answer.details
    assert "no difference over 0 orders can be shown" in difference
    assert "with 0 orders no equivalence" in equivalence_of
