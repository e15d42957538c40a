from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from experiments.equivalence import Equivalence, equivalence
from experiments.statistics import paired_difference

# Eighths are exact in floating point: ties and zeros are what they seem.
few_differences = st.lists(st.integers(-6, 6).map(lambda k: k / 8), min_size=1, max_size=8).map(np.array)
margins = st.integers(1, 8).map(lambda k: k / 8)


def around_zero(differences, margin):
    differences = np.asarray(differences, dtype=float)
    return equivalence(differences, np.zeros_like(differences), margin)


# --- p ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        # Shifted up by 2.5 the negative ranks sum to 1, 2 of 16 signs; shifted down the positive ones to 3, 5 of 16.
        ([-3, 1, 2, 5], 5 / 16),
        # All within: every shifted difference has the same sign, one of 2^n.
        ([-2, -1, 1, 2, 0.5], 1 / 32),
        ([0, 0, 0], 1 / 8),
        # Shifted down, 2.5 is a zero whose rank is left out: one of 2^3 signs. Shifted up, one of 2^4.
        ([2.5, 1, 1, 1], 1 / 8),
        # All beyond the margin, on one side: the other side's test gives the smallest p, this one's the largest.
        ([3, 4, 5], 1.0),
        ([-3, -4, -5], 1.0),
    ],
)
def test_small_cases_by_hand(differences, p):
    assert around_zero(differences, 2.5).p == p


@pytest.mark.parametrize("n", [6, 15, 30])
def test_p_is_the_larger_of_scipys_two_without_ties(n):
    differences = np.random.default_rng(n).normal(0.05, 0.3, n)
    above = stats.wilcoxon(differences + 0.2, alternative="greater", method="exact").pvalue
    below = stats.wilcoxon(differences - 0.2, alternative="less", method="exact").pvalue
    assert around_zero(differences, 0.2).p == pytest.approx(max(above, below), rel=1e-9)


def enumerated(shifted):
    """Share of the signs of what is not zero, whose positive ranks sum to at least the sum that was found."""
    size = np.abs(shifted)
    ranks = np.array([(size < s).sum() + ((size == s).sum() + 1) / 2 for s in size])[shifted != 0]
    found = ranks[shifted[shifted != 0] > 0].sum()
    sums = [np.dot(signs, ranks) for signs in itertools.product([0, 1], repeat=len(ranks))]
    return np.mean(np.array(sums) >= found)


@given(few_differences, margins)
def test_p_equals_the_enumeration_of_all_signs(differences, margin):
    expected = max(enumerated(differences + margin), enumerated(margin - differences))
    assert around_zero(differences, margin).p == expected


def test_averages_over_seeds_reach_the_margin_as_their_true_values_do():
    # 0.8 - 0.7 is below 0.1 and 0.9 - 0.8 above: both are the margin, so of three shifted differences one is left.
    found = equivalence(np.array([0.8, 0.9, 0.5]), np.array([0.7, 0.8, 0.5]), 0.1)
    assert 0.8 - 0.7 != 0.1 != 0.9 - 0.8
    assert found.p == 1 / 2


@pytest.mark.parametrize("sign", [1, -1])
def test_differences_as_far_beyond_one_margin_as_within_it_are_tied(sign):
    # Shifted by 0.2 they are 0.3 and -0.3, of equal rank: of four rank sums one is higher and two are as high.
    assert 0.1 + 0.2 != 0.3
    assert around_zero(sign * np.array([0.1, -0.5]), 0.2).p == 3 / 4


# --- interval --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [5, 9, 14, 25])
def test_without_ties_equivalence_at_five_percent_is_a_ninety_percent_interval_within_the_margins(n):
    differences = np.random.default_rng(n).normal(0.1, 1, n)
    found = around_zero(differences, 1.0)
    reach = max(abs(found.low), abs(found.high))
    assert around_zero(differences, reach + 1e-9).equivalent()
    assert not around_zero(differences, reach - 1e-9).equivalent()


def test_the_interval_is_narrower_than_that_of_a_difference():
    differences = np.random.default_rng(1).normal(0, 1, 12)
    found, wider = around_zero(differences, 0.5), paired_difference(differences, np.zeros(12))
    assert wider.low < found.low < found.shift < found.high < wider.high
    assert found.shift == wider.shift


@pytest.mark.parametrize("n", [1, 4])
def test_below_five_pairs_equivalence_cannot_be_shown(n):
    found = around_zero(np.zeros(n), 1.0)
    assert found.p == 1 / 2**n
    assert not found.equivalent()
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_five_equal_pairs_show_equivalence():
    scores = np.array([0.5, 0.7, 0.9, 0.6, 0.8])
    found = equivalence(scores, scores, 0.02)
    assert found == Equivalence(margin=0.02, p=1 / 32, shift=0, low=0, high=0, n=5)
    assert found.equivalent()
    assert not found.equivalent(alpha=0.03)


# --- behaviour -------------------------------------------------------------------------------------------------------


@given(few_differences, margins)
def test_the_two_configurations_can_be_swapped(differences, margin):
    there, back = around_zero(differences, margin), around_zero(-differences, margin)
    assert back.p == there.p
    assert (back.shift, back.low, back.high) == pytest.approx((-there.shift, -there.high, -there.low), nan_ok=True)


@given(few_differences, margins)
def test_p_has_no_unit(differences, margin):
    assert around_zero(4 * differences, 4 * margin).p == around_zero(differences, margin).p


@pytest.mark.parametrize("n", [6, 20])
def test_a_wider_margin_is_never_harder_to_keep(n):
    differences = np.random.default_rng(n).normal(0.3, 1, n)
    p = [around_zero(differences, margin).p for margin in np.linspace(0.05, 3, 30)]
    assert p == sorted(p, reverse=True)
    assert p[0] > 0.5
    assert p[-1] == pytest.approx(0.5**n, rel=1e-9)


def test_few_noisy_pairs_show_neither_difference_nor_equivalence():
    differences = np.array([-0.06, 0.05, 0.01, -0.02, 0.07, -0.04])
    assert paired_difference(differences, np.zeros(6)).p > 0.05
    assert not around_zero(differences, 0.02).equivalent()


def test_a_small_but_sure_difference_can_be_within_the_margin():
    differences = np.linspace(0.004, 0.006, 8)
    assert paired_difference(differences, np.zeros(8)).p < 0.05
    assert around_zero(differences, 0.02).equivalent()


def test_pairs_that_lack_a_score_are_left_out():
    a, b = np.array([0.9, np.nan, 0.8, 0.7]), np.array([0.9, 0.5, np.nan, 0.7])
    found = equivalence(a, b, 0.1)
    assert (found.n, found.p) == (2, 1 / 4)


def test_no_shared_pair_is_nan_and_shows_nothing():
    found = equivalence(np.array([np.nan, 1.0]), np.array([1.0, np.nan]), 0.1)
    assert found.n == 0
    assert all(math.isnan(value) for value in (found.p, found.shift, found.low, found.high))
    assert not found.equivalent()


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [0.0, -0.02, math.nan, math.inf])
def test_a_margin_that_is_no_positive_number_is_refused(margin):
    with pytest.raises(ValueError, match=f"above 0.*found {margin}"):
        equivalence(np.zeros(3), np.zeros(3), margin)


def test_scores_of_other_units_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\)"):
        equivalence(np.zeros(3), np.zeros(2), 0.1)
