"""Sentences of the findings: numbers that they state, and words that follow from thresholds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from experiments.report.answers import (
    interference_answer,
    order_answer,
    reliability_answer,
    standing,
    stiffness_answer,
)
from experiments.report.continual import Spread
from experiments.report.continual_words import chance_of, interval, percent, told
from experiments.statistics import summary
from experiments.variance import variance_components
from tests.experiments.report.measured import diagnosed_of

NAN = math.nan
FLAT = (0.0, 0.0, 0.0, 0.0, 0.0)


def around(middle: float) -> list[float]:
    """Five orders whose mean is known and whose interval is a hundredth wide, about."""
    return [middle + shift / 100 for shift in (-1, -0.5, 0, 0.5, 1)]


def spread_of(table, configuration: str = "ewc", measure: str = "acc", *, bound: bool = False) -> Spread:
    return Spread("here", configuration, measure, variance_components(np.array(table, dtype=float)), bound)


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
    assert "which makes a reliability of .889 [" in ewc  # 1.6 / 1.8
    assert "a change of -.500 [-.500, -.500] (noise makes it less reliable)" in ewc
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
    assert "with noise of 0 dB the halves agree with .300" in ewc


def test_what_is_reliable_is_the_whole_and_not_its_half():
    halves = {("si", "f1_spearman"): {1: around(0.6)}, ("ewc", "f1_spearman"): {1: around(0.5)}}
    answer = reliability_answer([diagnosed_of(halves)])
    # 1.2 / 1.6 and 1 / 1.5, while both halves lie below .7.
    assert "Of 2 cases: reliable in 1, not reliable in 1." in answer.verdict
    assert "(Spearman 1910, Brown 1910)" in answer.verdict
    assert "(Nunnally 1978)" in answer.verdict
    si, ewc = answer.details
    assert "a reliability of .750 [" in si
    assert "a reliability of .667 [" in ewc


def test_what_noise_makes_more_alike_is_told_without_a_double_negative():
    told_of = {("ewc", "f1_spearman"): {1: around(0.5)}, ("ewc", "f1_spearman_0db"): {1: around(0.515)}}
    answer = reliability_answer([diagnosed_of(told_of)])
    assert "a change of +.015 [+.015, +.015] (noise makes the halves more alike)" in answer.details[0]
    assert " less (" not in answer.details[0]


def test_several_groups_are_told_apart_and_few_orders_decide_nothing():
    many, few = (
        diagnosed_of({("ewc", "f1_spearman"): {1: around(0.8)[:count]}}, place=place)
        for place, count in (("dreamer", 5), ("seed", 4))
    )
    answer = reliability_answer([many, few])
    assert "reliable in 1, no interval (too few orders, or too few values) in 1" in answer.verdict
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
    assert plain == "finetuning, which nothing holds: weights move 0.900 [0.900, 0.900] times as far (shorter)."


def test_half_and_twice_as_far_are_no_change():
    """Their arithmetic mean is 1.25, and that of the last case far above 1."""
    factors = np.exp2([-1.0, 1.0] * 6)
    one = diagnosed_of(
        {
            ("ewc", "f3_rigidity"): {2: [0.5] * 12, 3: [0.5] * 12},
            ("ewc", "f3_importance"): {2: [1.0] * 12, 3: list(factors)},
            ("ewc", "f3_step"): {2: [1.0] * 12, 3: list(factors)},
        }
    )
    answer = stiffness_answer([one])
    assert "How far a subject moves the weights: no change shown in 1." in answer.verdict
    assert "importance changes by a factor of 1.00 [0." in answer.details[0]
    assert "weights move 1.00 [0." in answer.details[0]


def test_chance_alone_moves_weights_longer_as_seldom_as_shorter():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(100):
        first, last = np.exp(0.8 * rng.standard_normal((2, 12)))
        steps = {("ewc", "f3_rigidity"): {2: [0.5] * 12}, ("ewc", "f3_step"): {2: list(first), 3: list(last)}}
        found.append(standing(diagnosed_of(steps).change("ewc", "f3_step"), 0))
    # An interval over twelve covers about 92 %; the mean of ratios would lie above 1 in a third.
    assert found.count("above") <= 12
    assert found.count("below") <= 12


@pytest.mark.parametrize("answer", [reliability_answer, interference_answer, stiffness_answer])
def test_measurements_are_of_these_people_alone(answer):
    assert "all orders are of the same few people" in answer([]).limits


def test_two_subjects_show_no_change():
    one = diagnosed_of({("ewc", "f3_rigidity"): {2: [0.5] * 5}})
    assert "no interval (too few orders, or too few values) in 1" in stiffness_answer([one]).verdict


# --- F4 --------------------------------------------------------------------------------------------------------------


def test_orders_that_differ_are_counted_with_their_share():
    differ = spread_of([[0.0, 0.1], [0.5, 0.6], [1.0, 1.1]])  # No rest: F is infinite.
    alike = spread_of([[0.0, 1.0], [1.0, 0.0]], "si")
    answer = order_answer([differ, alike])
    assert "in 1 of 2 cases" in answer.verdict
    assert "ACC (0 % to 98 %)" in answer.verdict
    assert "held-out, final (not known)." in answer.verdict
    assert answer.details == (
        "2 of 4 estimates of order and seed were negative and shown as 0: differences so small come of the rest alone.",
    )


def test_bounds_do_not_count_among_the_cases_and_chance_is_told():
    differ, alike = [[0.0, 0.1], [0.5, 0.6], [1.0, 1.1]], [[0.0, 1.0], [1.0, 0.0]]
    answer = order_answer([spread_of(differ), spread_of(alike, "si"), spread_of(differ, "from_scratch", bound=True)])
    assert "in 1 of 2 cases, bounds left out, of which chance alone would give 0.1 if" in answer.verdict
    assert answer.details[0].startswith("2 of 6 estimates of order and seed")  # The table shows bounds too.
    nothing = order_answer([spread_of(differ, "from_scratch", bound=True)])
    assert nothing.verdict.startswith("Not to be told:")


def test_one_order_or_one_seed_tells_no_spread():
    answer = order_answer([spread_of([[0.5, 0.6]]), spread_of([[0.5], [0.6]])])
    assert answer.verdict.startswith("Not to be told:")
    assert answer.details == ()
