from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from experiments.variance import variance_components

# Three orders, two seeds. Means 2, 4, 9 of orders and 4, 6 of seeds, 5 of all; residuals 0 0, 1 -1, -1 1.
# So MS_order = 2 (9 + 1 + 16) / 2 = 26, MS_seed = 3 (1 + 1) / 1 = 6, MS_rest = 4 / 2 = 2.
BY_HAND = np.array([[1.0, 3.0], [4.0, 4.0], [7.0, 11.0]])

shapes = st.tuples(st.integers(2, 6), st.integers(2, 5))
tables = shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=st.integers(0, 64).map(lambda k: k / 64)))


def random_table(orders, seeds, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(orders, 1)) + 0.5 * rng.normal(size=(1, seeds)) + 0.3 * rng.normal(size=(orders, seeds))


# --- known answers ---------------------------------------------------------------------------------------------------


def test_three_orders_and_two_seeds_by_hand():
    found = variance_components(BY_HAND)
    assert (found.order, found.seed, found.rest) == pytest.approx((12, 4 / 3, 2))
    assert found.shares == pytest.approx({"order": 36 / 46, "seed": 4 / 46, "rest": 6 / 46})
    assert found.negative == ()
    assert found.f == pytest.approx(13)
    assert found.p == pytest.approx(1 / 14)  # with 2 and 2 degrees of freedom the tail is 1 / (1 + F)
    assert (found.lowest, found.highest, found.order_range) == (2, 9, 7)
    assert (found.orders, found.seeds, found.dropped_orders, found.dropped_seeds) == (3, 2, 0, 0)


def test_negative_estimates_become_zero_and_are_told():
    found = variance_components(np.array([[0.0, 1.0], [1.0, 0.0]]))  # MS_order = MS_seed = 0, MS_rest = 1
    assert (found.order, found.seed, found.rest) == (0, 0, 1)
    assert found.negative == ("order", "seed")
    assert found.shares == {"order": 0, "seed": 0, "rest": 1}
    assert (found.f, found.p, found.order_range) == (0, 1, 0)


@given(
    arrays(np.float64, st.integers(2, 6), elements=st.integers(0, 10), unique=True),
    arrays(np.float64, st.integers(2, 5), elements=st.integers(0, 10)),
)
def test_an_additive_table_has_the_variances_of_its_effects_and_no_rest(order, seed):
    found = variance_components((0.1 * order)[:, None] + (0.1 * seed)[None, :])
    assert found.order == pytest.approx((0.1 * order).var(ddof=1))
    assert found.seed == pytest.approx((0.1 * seed).var(ddof=1), abs=1e-15)
    assert (found.rest, found.negative, found.f, found.p) == (0, (), math.inf, 0)
    assert found.order_range == pytest.approx(0.1 * np.ptp(order))


@pytest.mark.parametrize("score", [0.0, 0.1, (0.1 + 0.2 + 0.3) / 3])
def test_a_constant_table_has_no_variance_to_share(score):
    table = np.full((7, 3), score)
    table[2, 1] += 1e-16  # the last digit of an average is no difference
    found = variance_components(table)
    assert (found.order, found.seed, found.rest, found.negative) == (0, 0, 0, ())
    assert all(math.isnan(share) for share in found.shares.values())
    assert (found.f, found.p) == (0, 1)
    assert found.order_range == pytest.approx(0, abs=1e-15)


def test_orders_that_do_not_differ_are_not_tested_against_rounding():
    table = np.tile([0.1, 0.7, 0.3], (4, 1))
    found = variance_components(table)
    assert found.seed == pytest.approx(np.var([0.1, 0.7, 0.3], ddof=1))
    assert (found.order, found.rest, found.f, found.p) == (0, 0, 0, 1)


# --- a second way to the same numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [2, 3, 8])
def test_of_two_orders_f_is_the_paired_t_test_over_seeds(seeds):
    table = random_table(2, seeds)
    expected = stats.ttest_rel(table[0], table[1])
    found = variance_components(table)
    assert found.f == pytest.approx(expected.statistic**2)
    assert found.p == pytest.approx(expected.pvalue)


def residual_squares(table, *factors):
    """Squares that least squares leave of a table, given its mean and the levels of some factors."""
    columns = [np.ones(table.size), *(column for level in factors for column in np.eye(level.max() + 1)[level].T)]
    design, y = np.column_stack(columns), table.ravel()
    return float(((y - design @ np.linalg.lstsq(design, y)[0]) ** 2).sum())


@pytest.mark.parametrize(("orders", "seeds"), [(3, 4), (10, 3), (5, 5)])
def test_mean_squares_are_those_of_nested_regressions(orders, seeds):
    table = random_table(orders, seeds)
    order, seed = (index.ravel() for index in np.indices(table.shape))
    full, df = residual_squares(table, order, seed), (orders - 1) * (seeds - 1)
    ms_rest = full / df
    ms_order = (residual_squares(table, seed) - full) / (orders - 1)
    ms_seed = (residual_squares(table, order) - full) / (seeds - 1)
    found = variance_components(table)
    expected = ((ms_order - ms_rest) / seeds, (ms_seed - ms_rest) / orders, ms_rest)
    assert (found.order, found.seed, found.rest) == pytest.approx(tuple(max(value, 0) for value in expected))
    assert found.f == pytest.approx(ms_order / ms_rest)
    assert found.p == pytest.approx(stats.f.sf(ms_order / ms_rest, orders - 1, df))


# --- laws ------------------------------------------------------------------------------------------------------------


@given(tables)
def test_components_that_are_all_found_add_up_to_the_squares_of_the_table(table):
    found = variance_components(table)
    a, b = table.shape
    of_order, of_seed = (a - 1) * (found.rest + b * found.order), (b - 1) * (found.rest + a * found.seed)
    total = of_order + of_seed + (a - 1) * (b - 1) * found.rest
    squares = ((table - table.mean()) ** 2).sum()
    # A component that was raised to 0 adds to the sum what was lacking.
    assert total >= squares - 1e-9
    assert (total == pytest.approx(squares, abs=1e-9)) or found.negative


@given(tables, st.randoms())
def test_neither_names_nor_level_of_the_scores_matter_and_their_unit_squares(table, source):
    a, b = table.shape
    found = variance_components(table)
    shuffled = table[source.sample(range(a), a)][:, source.sample(range(b), b)]
    other = variance_components(4 * shuffled + 1)
    assert (other.order, other.seed, other.rest) == pytest.approx(
        (16 * found.order, 16 * found.seed, 16 * found.rest), abs=1e-9
    )
    assert other.p == pytest.approx(found.p, abs=1e-9)
    assert other.order_range == pytest.approx(4 * found.order_range)


@given(tables)
def test_seeds_are_to_orders_what_orders_are_to_seeds(table):
    found, turned = variance_components(table), variance_components(table.T)
    assert (turned.order, turned.seed) == pytest.approx((found.seed, found.order), abs=1e-12)
    assert turned.rest == pytest.approx(found.rest, abs=1e-12)


@given(tables)
def test_shares_are_parts_of_one(table):
    shares = variance_components(table).shares.values()
    if np.ptp(table) > 0:
        assert sum(shares) == pytest.approx(1)
        assert min(shares) >= 0
    else:
        assert all(math.isnan(share) for share in shares)


# --- failed runs -----------------------------------------------------------------------------------------------------


def check_dropped(table, orders, seeds):
    """These orders and seeds, and no others, are left out."""
    found = variance_components(table)
    complete = variance_components(np.delete(np.delete(table, orders, axis=0), seeds, axis=1))
    assert (found.dropped_orders, found.dropped_seeds) == (len(orders), len(seeds))
    assert (found.orders, found.seeds, found.negative) == (complete.orders, complete.seeds, complete.negative)
    for field in ("order", "seed", "rest", "f", "p", "lowest", "highest"):
        assert getattr(found, field) == pytest.approx(getattr(complete, field))


def test_a_failed_run_takes_its_order_out_where_orders_are_many():
    table = random_table(10, 3)
    table[4, 1] = np.nan
    check_dropped(table, [4], [])


def test_a_failed_run_takes_its_seed_out_where_seeds_are_many():
    table = random_table(3, 10)
    table[1, 4] = np.nan
    check_dropped(table, [], [4])


def test_a_seed_that_always_failed_costs_no_order():
    table = random_table(6, 3)
    table[:, 2] = np.nan
    table[3, 0] = np.nan
    check_dropped(table, [3], [2])


@pytest.mark.parametrize(
    "table",
    [
        np.full((4, 3), np.nan),
        np.zeros((0, 3)),
        np.zeros((3, 0)),
    ],
)
def test_no_run_with_a_score_is_nan_without_a_warning(table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = variance_components(table)
    values = (found.order, found.seed, found.rest, found.f, found.p, found.lowest, found.highest, found.order_range)
    assert all(math.isnan(value) for value in values)
    assert found.negative == ()
    assert found.orders + found.dropped_orders == len(table)


def test_one_seed_has_a_range_over_orders_and_nothing_to_compare_it_with():
    found = variance_components(np.array([[0.5], [0.75], [0.625]]))
    assert (found.lowest, found.highest, found.order_range) == (0.5, 0.75, 0.25)
    assert all(math.isnan(value) for value in (found.order, found.seed, found.rest, found.f, found.p))
    assert all(math.isnan(share) for share in found.shares.values())


def test_one_order_has_no_range_and_no_components():
    found = variance_components(np.array([[0.5, 0.75]]))
    assert (found.lowest, found.highest) == (0.625, 0.625)
    assert math.isnan(found.order)
    assert math.isnan(found.p)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), ()])
def test_what_is_no_table_is_refused(shape):
    with pytest.raises(ValueError, match="a table of orders and seeds expected"):
        variance_components(np.zeros(shape))
