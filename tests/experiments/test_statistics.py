from __future__ import annotations

import itertools
import math
import warnings
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from experiments.statistics import (
    hodges_lehmann,
    holm,
    minimum_p,
    paired_difference,
    signed_rank,
    spread,
    summary,
    worst_decile,
)

# Eighths are exact in floating point: ties and zeros are what they seem.
eighths = st.integers(-6, 6).map(lambda k: k / 8)
few_differences = st.lists(eighths, min_size=1, max_size=8).map(np.array)


def against_zero(differences):
    differences = np.asarray(differences, dtype=float)
    return paired_difference(differences, np.zeros_like(differences))


def depression():
    """Hamilton scale factor IV of nine patients before and after (Hollander & Wolfe, table 3.1)."""
    before = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
    after = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])
    return before, after


# --- Wilcoxon's p ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "p"), [(1, 1.0), (5, 0.0625), (6, 0.03125), (15, 6.103515625e-5)])
def test_all_positive_reaches_the_minimum_p(n, p):
    assert against_zero(np.arange(1, n + 1) / 32).p == p
    assert minimum_p(n) == p


def test_minimum_p_of_no_pair_is_one():
    assert minimum_p(0) == 1.0


def test_the_textbook_example():
    found = paired_difference(*depression())
    assert found.p == pytest.approx(0.0390625, abs=0)  # rank sum 40 of 45: 10 of the 512 signs, both sides
    assert found.shift == pytest.approx(0.46)
    assert (found.low, found.high) == pytest.approx((0.010, 0.786))
    assert found.rank_biserial == pytest.approx((40 - 5) / 45)
    assert found.n == 9


def test_pratts_zeros_by_hand():
    # Ranks of 0 0 1 2 3 are 1.5 1.5 3 4 5: left are 3, 4 and 5, and all-positive is one of eight signs.
    found = against_zero([0, 0, 1, 2, 3])
    assert found.p == 2 / 8
    assert found.rank_biserial == 1
    # Negative 1: rank sums 3 and 9; sums of 3 or less are 0 and 3.
    found = against_zero([0, 0, -1, 2, 3])
    assert found.p == 4 / 8
    assert found.rank_biserial == (9 - 3) / 12


@given(few_differences)
def test_p_equals_the_enumeration_of_all_signs(differences):
    size = np.abs(differences)
    ranks = np.array([(size < s).sum() + ((size == s).sum() + 1) / 2 for s in size])
    nonzero = differences != 0
    observed = abs((np.sign(differences) * ranks).sum())
    sums = [abs(np.dot(signs, ranks[nonzero])) for signs in itertools.product([-1, 1], repeat=int(nonzero.sum()))]
    assert against_zero(differences).p == np.mean(np.array(sums) >= observed)


@pytest.mark.parametrize("n", [7, 25, 40])
def test_p_equals_scipys_exact_one_without_ties(n):
    differences = np.random.default_rng(n).normal(0.3, 1, n)
    expected = stats.wilcoxon(differences, method="exact").pvalue
    assert against_zero(differences).p == pytest.approx(expected, rel=1e-9)


def test_p_of_many_ties_is_near_the_normal_approximation():
    differences = np.random.default_rng(3).integers(-3, 5, 200) / 8
    expected = stats.wilcoxon(differences, zero_method="pratt", method="asymptotic").pvalue
    assert against_zero(differences).p == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("n", [7, 25, 40])
@pytest.mark.parametrize("side", ["less", "greater"])
def test_one_sided_p_equals_scipys_exact_one_without_ties(n, side):
    differences = np.random.default_rng(n).normal(0.3, 1, n)
    expected = stats.wilcoxon(differences, alternative=side, method="exact").pvalue
    assert getattr(signed_rank(differences), side) == pytest.approx(expected, rel=1e-9)


def test_one_sided_p_by_hand_with_zero_and_tie():
    # Ranks of 0 -1 2 2 are 1 2 3.5 3.5. Positive sum 7: of the eight signs 7 and 9 are as high; all but 9 as low.
    found = signed_rank(np.array([0.0, -1.0, 2.0, 2.0]))
    assert (found.greater, found.less, found.two_sided) == (2 / 8, 7 / 8, 4 / 8)
    nothing = signed_rank(np.zeros(4))
    assert (nothing.greater, nothing.less, nothing.two_sided) == (1, 1, 1)


@given(few_differences)
def test_a_sum_is_as_high_as_its_mirror_image_is_low(differences):
    there, back = signed_rank(differences), signed_rank(-differences)
    assert (there.less, there.greater) == (back.greater, back.less)
    assert there.less + there.greater >= 1  # what was found itself is on both sides


def test_no_difference_at_all_is_p_one():
    scores = np.array([0.5, 0.7, 0.9, 0.6, 0.8, 0.4, 0.3])
    found = paired_difference(scores, scores)
    assert (found.difference, found.p, found.rank_biserial, found.shift) == (0, 1, 0, 0)
    assert (found.low, found.high) == (0, 0)


def test_rounding_of_averages_makes_neither_differences_nor_ranks():
    a, b = (0.1 + 0.2 + 0.3) / 3, (0.3 + 0.2 + 0.1) / 3
    assert a != b
    assert paired_difference(np.full(6, a), np.full(6, b)).p == 1
    tied = paired_difference(np.array([0.8, 0.9, 0.3]), np.array([0.7, 0.8, 0.4]))
    assert tied.rank_biserial == pytest.approx(1 / 3)  # three tied ranks, two of them positive


# --- effect, shift and interval --------------------------------------------------------------------------------------


@given(few_differences)
def test_shift_is_the_median_of_walsh_averages(differences):
    walsh = [(x + y) / 2 for x, y in itertools.combinations_with_replacement(differences, 2)]
    found = against_zero(differences)
    assert found.shift == median(walsh)
    assert found.difference == pytest.approx(differences.mean())


@pytest.mark.parametrize("n", [6, 10, 21])
def test_the_interval_holds_the_shifts_that_the_test_does_not_reject(n):
    differences = np.random.default_rng(n).normal(0.2, 1, n)
    found = against_zero(differences)
    step = 1e-9
    for outside, inside in ((found.low - step, found.low + step), (found.high + step, found.high - step)):
        assert against_zero(differences - outside).p <= 0.05
        assert against_zero(differences - inside).p > 0.05


@pytest.mark.parametrize(("n", "confidence", "dropped"), [(4, 0.9, None), (5, 0.9, 0), (6, 0.95, 0), (9, 0.9, 8)])
def test_ends_of_the_interval_are_counted_from_the_walsh_averages(n, confidence, dropped):
    # Rank sums that are rejected on each side: none, 0 (1/32), 0 (1/64), and 0 to 8 (25/512, while 9 would be 33/512).
    differences = 2.0 ** np.arange(n)
    walsh = sorted((x + y) / 2 for x, y in itertools.combinations_with_replacement(differences, 2))
    _, low, high = hodges_lehmann(differences, confidence)
    if dropped is None:
        assert math.isnan(low)
        assert math.isnan(high)
    else:
        assert (low, high) == (walsh[dropped], walsh[-1 - dropped])


def test_an_interval_leaves_out_what_is_rejected_at_just_its_level():
    _, low, high = hodges_lehmann(np.array([1.0, 2.0, 4.0]), confidence=0.75)  # all-positive has p = 2 / 8
    assert (low, high) == (1, 4)


def test_below_six_pairs_no_interval():
    found = against_zero([1, 2, 3, 4, 5])
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.shift == 3


@given(few_differences, eighths)
def test_laws_of_the_comparison(differences, offset):
    there, back = against_zero(differences), against_zero(-differences)
    assert back.p == there.p
    assert back.rank_biserial == -there.rank_biserial
    assert (back.shift, back.low, back.high) == pytest.approx((-there.shift, -there.high, -there.low), nan_ok=True)
    assert -1 <= there.rank_biserial <= 1
    assert against_zero(differences + offset).shift == there.shift + offset


def test_pairs_that_lack_a_score_are_left_out():
    a, b = np.array([0.9, np.nan, 0.8, 0.7]), np.array([0.5, 0.5, np.nan, 0.6])
    found = paired_difference(a, b)
    assert found.n == 2
    assert found.difference == pytest.approx(0.25)
    assert found.p == 0.5


def test_no_shared_pair_is_nan():
    found = paired_difference(np.array([np.nan, 1.0]), np.array([1.0, np.nan]))
    assert found.n == 0
    values = (found.difference, found.p, found.rank_biserial, found.shift, found.low, found.high)
    assert all(math.isnan(value) for value in values)


def test_scores_of_other_subjects_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\)"):
        paired_difference(np.zeros(3), np.zeros(2))


# --- Holm ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.9, 0.4], [1.0, 1.0, 1.0]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([0.03], [0.03]),
        ([], []),
    ],
)
def test_holm_by_hand(p, adjusted):
    assert holm(p) == pytest.approx(adjusted)


def test_holm_passes_nan_through_and_does_not_count_it():
    assert holm([0.01, math.nan, 0.04]) == pytest.approx([0.02, math.nan, 0.04], nan_ok=True)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_follows_its_formula(p):
    ordered = sorted(p)
    m = len(p)
    for value, adjusted in zip(p, holm(p), strict=True):
        i = max(k for k in range(m) if ordered[k] == value)  # equal p's share the largest of their terms
        assert adjusted == pytest.approx(max(min(1.0, (m - j) * ordered[j]) for j in range(i + 1)))


# --- summary ---------------------------------------------------------------------------------------------------------


def test_summary_by_hand():
    found = summary(np.array([0.9, 0.5, np.nan, 0.7, 0.6]))
    assert (found.mean, found.median, found.worst) == pytest.approx((0.675, 0.65, 0.5))
    assert found.sd == pytest.approx(math.sqrt((0.225**2 + 0.175**2 + 0.025**2 + 0.075**2) / 3))
    assert (found.n, found.undefined) == (4, 1)


def test_the_worst_subject_of_an_error_is_the_highest():
    assert summary(np.array([0.1, 0.4, 0.2]), lower_is_better=True).worst == 0.4


def test_interval_follows_efrons_formula():
    # Written out from the formula, with resamples of its own; skewed, so that bias and acceleration both matter.
    values = np.exp(np.linspace(-2, 2, 12))
    resampled = np.random.default_rng(6).choice(values, (200_000, 12)).mean(axis=1)
    z0 = stats.norm.ppf((resampled < values.mean()).mean())
    jackknife = np.array([np.delete(values, i).mean() for i in range(12)])
    gap = jackknife.mean() - jackknife
    a = (gap**3).sum() / (6 * (gap**2).sum() ** 1.5)
    z = z0 + stats.norm.ppf([0.025, 0.975])
    expected = np.quantile(resampled, stats.norm.cdf(z0 + z / (1 - a * z)))
    found = summary(values)
    assert (found.low, found.high) == pytest.approx(expected, abs=0.03 * values.std())  # its Monte-Carlo error
    percentile = np.quantile(resampled, [0.025, 0.975])
    assert found.high > percentile[1] + 0.05 * values.std()  # what a percentile interval would have missed


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(7)
    found = [summary(rng.beta(4, 2, size=20)) for _ in range(200)]
    covered = np.mean([s.low <= 4 / 6 <= s.high for s in found])
    assert 0.89 <= covered <= 0.98


def test_the_same_values_in_any_order_give_the_same_summary():
    values = np.random.default_rng(8).random(36)
    assert summary(values) == summary(values) == summary(values[::-1])


@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, st.integers(5, 9), elements=st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0])))
def test_few_and_tied_subjects_have_an_interval_without_warning(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = summary(values)
    assert values.min() - 1e-12 <= found.low <= found.high <= values.max() + 1e-12


@pytest.mark.parametrize("values", [[0.7] * 5, [0.7, 0.7 + 2e-16, 0.7, 0.7, 0.7]])
def test_equal_subjects_have_the_point_as_interval(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = summary(np.array(values))
    assert (found.low, found.high) == pytest.approx((0.7, 0.7), abs=1e-15)


@pytest.mark.parametrize("n", [2, 4])
def test_too_few_subjects_have_a_mean_and_no_interval(n):
    found = summary(np.linspace(0.5, 0.7, n))
    assert found.mean == pytest.approx(0.6)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_one_subject_has_no_spread_and_none_has_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, none = summary(np.array([0.7])), summary(np.array([np.nan, np.nan]))
    assert (one.mean, one.median, one.worst, one.n) == (0.7, 0.7, 0.7, 1)
    assert all(math.isnan(value) for value in (one.sd, one.low, one.high))
    assert (none.n, none.undefined) == (0, 2)
    assert all(math.isnan(v) for v in (none.mean, none.sd, none.median, none.worst, none.low, none.high))


# --- how unevenly people are served ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.5], 0.5),
        ([0.75, 0.25, 0.5], 0.25),  # of fewer than twenty, the worst one
        (np.arange(19) / 32, 0.0),
        (np.arange(20) / 32, 0.5 / 32),
        (np.arange(29) / 32, 0.5 / 32),
        (np.arange(30)[::-1] / 32, 1 / 32),
        ([*np.arange(20) / 32, *[math.nan] * 20], 0.5 / 32),
    ],
)
def test_the_worst_tenth_by_hand(values, expected):
    assert worst_decile(np.array(values)) == expected


def test_the_worst_tenth_of_errors_is_the_highest():
    assert worst_decile(np.arange(20) / 32, lower_is_better=True) == 18.5 / 32


def test_spread_by_hand():
    assert spread(np.array([0.25, 0.5, 0.75])) == 0.25
    assert spread(np.array([0.25, math.nan, 0.75])) == pytest.approx(0.5 / math.sqrt(2))
    assert spread(np.full(4, 0.625)) == 0


def test_nobody_has_no_worst_tenth_and_one_no_spread():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(worst_decile(np.array([])))
        assert math.isnan(worst_decile(np.array([math.nan])))
        assert math.isnan(spread(np.array([0.5, math.nan])))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.randoms())
def test_the_worst_tenth_lies_between_the_worst_and_the_mean_in_any_order(values, source):
    found = summary(np.array(values))
    shuffled = source.sample(values, len(values))
    worst = worst_decile(np.array(shuffled))
    assert worst == worst_decile(np.array(values))
    assert found.worst - 1e-12 <= worst <= found.mean + 1e-12
    assert worst_decile(-np.array(values), lower_is_better=True) == -worst
    if len(values) > 1:
        assert spread(np.array(shuffled)) == found.sd
