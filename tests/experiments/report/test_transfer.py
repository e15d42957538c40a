"""Sentences on differences to fine-tuning, and what so few orders can show."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.equivalence import Equivalence, equivalence
from experiments.report.continual import ALPHA, CHOSEN, COMPARED, GIVEN, OTHER, Comparison
from experiments.report.transfer import disagreeing, transfer_answer
from experiments.statistics import Paired, holm, paired_difference
from tests.experiments.report.measured import diagnosed_of

NAN = math.nan


def transfer_of(compared, measured=()):
    return transfer_answer(compared, 0.02, "3 learners and 2 held-out subjects", measured)


def comparison_of(configuration: str, differences, p: float, *, place: str = "here", family: str = CHOSEN):
    mine, plain = np.asarray(differences, dtype=float), np.zeros(len(differences))
    return [
        Comparison(
            place, configuration, "finetuning", measure, family, paired_difference(mine, plain), p,
            equivalence(mine, plain, 0.02), 0,
        )
        for measure in COMPARED
    ]  # fmt: skip


def test_verdicts_are_counted_by_measure_and_the_margin_is_stated():
    ten = np.linspace(0.05, 0.06, 10)
    compared = [
        *comparison_of("ewc", ten, 0.006),
        *comparison_of("si", -ten, 0.006),
        *comparison_of("mas", ten / 100, 0.2),
        *comparison_of("mas_sum", ten, 0.006, family=GIVEN),
        *comparison_of("replay", ten, 0.006, family=OTHER),
    ]
    answer = transfer_of(compared)
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
        (4, ["over 4 orders nothing is tested, that takes 5."]),
        (5, ["no difference can be shown, since the smallest p that 5 orders and 1 comparison can give is 0.0625."]),
        (6, ["for a difference to be shown, all 6 orders have to agree."]),
    ],
)
def test_what_so_few_orders_cannot_show_is_said(orders, expected):
    compared = comparison_of("ewc", np.linspace(0.05, 0.06, orders), 1.0)
    found = transfer_of(compared).details
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
    few, many = transfer_of(compared).details
    assert few.endswith("no difference over 5 orders can be shown, since the smallest p, before correction, is 0.0625.")
    assert "at most 2 of 10 orders may disagree" in many


def test_orders_that_suffice_only_after_other_verdicts_are_warned_of():
    compared = [
        *comparison_of("ewc", np.linspace(0.05, 0.06, 10), 0.004, place="dreamer"),
        *comparison_of("ewc", np.linspace(0.05, 0.06, 6), 0.06, place="seed"),
    ]
    few, _ = transfer_of(compared).details
    assert "over 6 orders a difference can be shown only after others of the 2 comparisons" in few


def test_people_are_counted_and_nothing_is_said_beyond_them():
    limits = transfer_of(comparison_of("ewc", np.linspace(0.05, 0.06, 10), 0.01)).limits
    assert "the same few people (3 learners and 2 held-out subjects)" in limits
    assert "is not shown of any others" in limits


def test_a_penalty_that_pulls_next_to_nothing_is_said_to_have_done_nothing():
    ten = np.linspace(0.001, 0.002, 10)
    compared = [*comparison_of("ewc", ten, 0.5), *comparison_of("si", ten, 0.5)]
    lengths = {
        (label, name): {2: [length] * 10, 3: [length] * 10}
        for label, penalty in (("ewc", 0.02), ("si", 0.2), ("mas", 0.0))
        for name, length in (("f2_task_norm", 2.0), ("f2_penalty_norm", penalty))
    }
    verdict = transfer_of(compared, [diagnosed_of(lengths)]).verdict
    # MAS is not compared.
    assert "The penalty hardly pulled in ewc (1.0 %): in brackets" in verdict
    assert "Equivalent says there only that the penalty did next to nothing" in verdict
    assert "hardly pulled" not in transfer_of(compared[3:], [diagnosed_of(lengths)]).verdict


def test_nothing_to_compare_is_said():
    other = comparison_of("replay", np.linspace(0.05, 0.06, 10), 0.004, family=OTHER)
    for compared in ([], other):
        assert transfer_of(compared).verdict.startswith("Nothing to compare")


def test_undefined_comparisons_are_inconclusive():
    nothing = Paired(NAN, NAN, NAN, NAN, NAN, NAN, 0)
    equal = Equivalence(0.02, NAN, NAN, NAN, NAN, 0)
    one = Comparison("here", "ewc", "finetuning", "acc", CHOSEN, nothing, NAN, equal, 0)
    answer = transfer_of([one])
    assert "ACC: 1 inconclusive." in answer.verdict
    (nothing_tested,) = answer.details
    assert "over 0 orders nothing is tested" in nothing_tested


def test_comparisons_over_too_few_orders_are_not_among_those_that_others_are_corrected_for():
    compared = [
        *comparison_of("ewc", np.linspace(0.05, 0.06, 6), 0.03, place="dreamer"),
        *comparison_of("ewc", np.linspace(0.05, 0.06, 4), NAN, place="seed"),
    ]
    few, many = transfer_of(compared).details
    assert few.endswith("over 4 orders nothing is tested, that takes 5.")
    assert many.endswith("for a difference to be shown, all 6 orders have to agree.")
