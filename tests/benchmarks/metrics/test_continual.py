from __future__ import annotations

import inspect
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.metrics import continual as c

# A stream of three subjects by hand; row 0 is before any learning.
R = np.array([[0.50, 0.40, 0.45], [0.80, 0.30, 0.25], [0.85, 0.75, 0.40], [0.55, 0.65, 0.70]])
BASELINE = np.array([0.34, 0.33, 0.32])
# Learners that start anew with each subject, and that had all subjects so far.
ALONE = np.array([[0.50, 0.40, 0.45], [0.80, 0.30, 0.25], [0.35, 0.70, 0.45], [0.20, 0.40, 0.60]])
REFERENCE = np.array([[0.50, 0.40, 0.45], [0.80, 0.40, 0.30], [0.80, 0.85, 0.50], [0.75, 0.80, 0.90]])
CURVE = np.array([[0.5, 0.3], [0.6, 0.4], [0.7, 0.6], [0.5, 0.8]])

OF_ONE = {
    "average_accuracy": c.average_accuracy,
    "backward_transfer": c.backward_transfer,
    "forgetting": c.forgetting,
    "stability": c.stability,
    "average_incremental_accuracy": c.average_incremental_accuracy,
    "learning_accuracy": c.learning_accuracy,
    "adaptation_gain": c.adaptation_gain,
    "next_subject": c.next_subject,
    "forward_transfer_all": c.forward_transfer_all,
    "forward_transfer_over_chance": lambda R: c.forward_transfer_over_chance(R, 0.5),
}
OF_TWO = {
    "intransigence": c.intransigence,
    "plasticity": c.plasticity,
    "forward_transfer_over_previous": c.forward_transfer_over_previous,
}
OF_A_CURVE = {
    "average_held_out": c.average_held_out,
    "final_held_out": c.final_held_out,
    "forgetting_rate": c.forgetting_rate,
}
NEED_TWO_SUBJECTS = [
    "backward_transfer",
    "forgetting",
    "stability",
    "adaptation_gain",
    "next_subject",
    "forward_transfer_all",
    "forward_transfer_over_chance",
]


def test_every_function_is_in_the_tests_of_all():
    public = {name for name, _ in inspect.getmembers(c, inspect.isfunction) if not name.startswith("_")}
    assert public == {*OF_ONE, *OF_TWO, *OF_A_CURVE, "forward_transfer"}


# --- by hand ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("average_accuracy", (0.55 + 0.65 + 0.70) / 3),  # 0.6333
        ("backward_transfer", (-0.25 - 0.10) / 2),  # -0.1750
        ("forgetting", (0.85 - 0.55 + 0.75 - 0.65) / 2),  # 0.2000: the first subject was best after the second
        ("stability", 0.8),
        ("average_incremental_accuracy", (0.80 + (0.85 + 0.75) / 2 + 1.90 / 3) / 3),
        ("learning_accuracy", 0.75),
        ("adaptation_gain", (0.75 - 0.30 + 0.70 - 0.40) / 2),
        ("next_subject", (0.30 + 0.40) / 2),
        ("forward_transfer_all", (0.30 + 0.25 + 0.40) / 3),
        ("forward_transfer_over_chance", 0.35 - 0.5),
    ],
)
def test_three_subjects_by_hand(name, expected):
    assert OF_ONE[name](R) == pytest.approx(expected, abs=1e-12)


def test_forward_transfer_by_hand():
    assert c.forward_transfer(R, BASELINE) == pytest.approx((0.30 - 0.33 + 0.40 - 0.32) / 2, abs=1e-12)  # 0.0250


def test_comparisons_of_two_learners_by_hand():
    assert c.plasticity(R, ALONE) == pytest.approx((0.00 + 0.05 + 0.10) / 3)
    assert c.intransigence(R, REFERENCE) == pytest.approx((0.00 + 0.10 + 0.20) / 3)
    assert c.forward_transfer_over_previous(R, ALONE) == pytest.approx((0.00 - 0.05) / 2)


def test_held_out_subjects_by_hand():
    assert c.average_held_out(CURVE) == pytest.approx((0.50 + 0.65 + 0.65) / 3)
    assert c.final_held_out(CURVE) == pytest.approx(0.65)
    assert c.forgetting_rate(CURVE) == pytest.approx(0.15 / 0.50)
    assert c.forgetting_rate(CURVE[:, :1]) == pytest.approx(0.10 / 0.60)  # a loss counts like a gain


def test_what_was_known_of_a_subject_before_learning_from_it_cannot_be_forgotten():
    known_before = R.copy()
    known_before[1, 1] = 0.99
    assert c.forgetting(known_before) == c.forgetting(R)
    known_before[2, 0] = 0.99
    assert c.forgetting(known_before) > c.forgetting(R)


def test_forgetting_is_below_zero_where_the_last_score_is_the_best():
    assert c.forgetting(np.array([[0.5, 0.5], [0.6, 0.5], [0.7, 0.8]])) == pytest.approx(-0.1)
    assert c.stability(np.array([[0.5, 0.5], [0.6, 0.5], [0.7, 0.8]])) == pytest.approx(1.1)


def test_whole_numbers_are_scores_too():
    assert c.average_accuracy([[0, 0], [1, 0], [0, 1]]) == 0.5
    assert c.backward_transfer([[0, 0], [1, 0], [0, 1]]) == -1


# --- from the formulas, written out ----------------------------------------------------------------------------------


def defined_mean(terms):
    terms = [term for term in terms if not math.isnan(term)]
    return sum(terms) / len(terms) if terms else math.nan


def best(scores):
    return max((score for score in scores if not math.isnan(score)), default=math.nan)


def written_out(R, other, baseline):
    """Every formula with subjects counted from 1, as in the papers."""
    T = len(R) - 1
    r, o, subjects = (lambda i, j: R[i][j - 1]), (lambda i, j: other[i][j - 1]), range(1, T + 1)
    lost = defined_mean(best(r(i, j) for i in range(j, T)) - r(T, j) for j in range(1, T))
    following = defined_mean(r(j - 1, j) for j in range(2, T + 1))
    return {
        "average_accuracy": defined_mean(r(T, j) for j in subjects),
        "backward_transfer": defined_mean(r(T, j) - r(j, j) for j in range(1, T)),
        "forgetting": lost,
        "stability": 1 - lost,
        "average_incremental_accuracy": defined_mean(defined_mean(r(i, j) for j in range(1, i + 1)) for i in subjects),
        "learning_accuracy": defined_mean(r(j, j) for j in subjects),
        "adaptation_gain": defined_mean(r(j, j) - r(j - 1, j) for j in range(2, T + 1)),
        "next_subject": following,
        "forward_transfer": defined_mean(r(j - 1, j) - baseline[j - 1] for j in range(2, T + 1)),
        "forward_transfer_all": defined_mean(r(i, j) for i in subjects for j in range(i + 1, T + 1)),
        "forward_transfer_over_chance": following - 0.5,
        "intransigence": defined_mean(o(k, k) - r(k, k) for k in subjects),
        "plasticity": defined_mean(r(j, j) - o(j, j) for j in subjects),
        "forward_transfer_over_previous": defined_mean(r(j - 1, j) - o(j - 1, j) for j in range(2, T + 1)),
    }


# Sixteenths are exact in floating point.
sixteenths = st.integers(0, 16).map(lambda k: k / 16)
sizes = st.integers(1, 5)


def matrices(elements=sixteenths, least=1):
    return st.integers(least, 5).flatmap(lambda T: arrays(np.float64, (T + 1, T), elements=elements))


def curves(elements=sixteenths):
    return st.tuples(st.integers(2, 6), st.integers(1, 4)).flatmap(lambda s: arrays(np.float64, s, elements=elements))


@st.composite
def streams(draw):
    """Two matrices and a baseline of one stream, with undefined scores."""
    T = draw(sizes)
    scores = st.one_of(sixteenths, sixteenths, st.just(math.nan))
    shapes = ((T + 1, T), (T + 1, T), T)
    return tuple(draw(arrays(np.float64, shape, elements=scores)) for shape in shapes)


@given(streams())
def test_every_metric_follows_its_formula_over_what_is_defined(stream):
    R, other, baseline = stream
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = {name: metric(R) for name, metric in OF_ONE.items()}
        found |= {name: metric(R, other) for name, metric in OF_TWO.items()}
        found["forward_transfer"] = c.forward_transfer(R, baseline)
    assert found == pytest.approx(written_out(R.tolist(), other.tolist(), baseline.tolist()), abs=1e-12, nan_ok=True)
    assert all(type(value) is float for value in found.values())


# --- laws ------------------------------------------------------------------------------------------------------------


@given(matrices())
def test_final_accuracy_is_what_was_learned_and_what_came_of_it(R):
    T = R.shape[1]
    lost = 0 if T == 1 else c.backward_transfer(R) * (T - 1) / T
    assert c.average_accuracy(R) == pytest.approx(c.learning_accuracy(R) + lost, abs=1e-12)


@given(matrices(least=2))
def test_no_less_is_forgotten_than_backward_transfer_lost(R):
    assert c.forgetting(R) >= -c.backward_transfer(R) - 1e-12


@given(matrices(least=2))
def test_a_learner_that_never_gets_worse_forgets_nothing(R):
    better = np.maximum.accumulate(R, axis=0)
    assert c.forgetting(better) <= 0 <= c.backward_transfer(better)
    assert c.adaptation_gain(better) >= 0


@given(matrices(least=2), sixteenths)
def test_a_constant_moves_scores_and_no_differences(R, constant):
    for name in ("backward_transfer", "forgetting", "stability", "adaptation_gain"):
        assert OF_ONE[name](R + constant) == pytest.approx(OF_ONE[name](R), abs=1e-12)
    scores = ("average_accuracy", "average_incremental_accuracy", "learning_accuracy", "next_subject")
    for name in (*scores, "forward_transfer_all"):
        assert OF_ONE[name](R + constant) == pytest.approx(OF_ONE[name](R) + constant)
    for metric in OF_TWO.values():
        assert metric(R + constant, R[::-1] + constant) == pytest.approx(metric(R, R[::-1]), abs=1e-12)


@given(st.integers(2, 5), sixteenths)
def test_equal_scores_throughout_leave_no_transfer(T, score):
    R = np.full((T + 1, T), score)
    assert c.backward_transfer(R) == c.forgetting(R) == c.adaptation_gain(R) == 0
    assert c.forward_transfer(R, R[0]) == 0
    scores = ("average_accuracy", "average_incremental_accuracy", "learning_accuracy", "next_subject")
    assert {OF_ONE[name](R) for name in scores} == {score}


@given(matrices(least=2))
def test_a_learner_is_not_ahead_of_itself_and_what_one_gains_the_other_lacks(R):
    for metric in OF_TWO.values():
        assert metric(R, R) == 0
        assert metric(R, R[::-1]) == -metric(R[::-1], R)
    assert c.intransigence(R, R[::-1]) == -c.plasticity(R, R[::-1])


@given(matrices(least=2))
def test_forward_transfers_differ_by_their_baselines(R):
    baseline = R[0]
    assert c.forward_transfer(R, baseline) == pytest.approx(c.next_subject(R) - baseline[1:].mean(), abs=1e-12)
    other = R[::-1]
    over_other = c.forward_transfer(R, baseline) - c.forward_transfer(other, baseline)
    assert c.next_subject(R) - c.next_subject(other) == pytest.approx(over_other, abs=1e-12)
    chance = np.full(R.shape[1], 0.5)
    assert c.forward_transfer(R, chance) == pytest.approx(c.forward_transfer_over_chance(R, 0.5), abs=1e-12)


@given(matrices(least=2))
def test_what_comes_before_any_learning_counts_nowhere_but_in_a_baseline(R):
    blind = R.copy()
    blind[0] = np.nan
    assert all(metric(blind) == metric(R) for metric in OF_ONE.values())
    assert all(metric(blind, blind[::-1]) == metric(R, blind[::-1]) for metric in OF_TWO.values())


@given(matrices(), st.randoms())
def test_final_accuracy_does_not_know_the_order_of_the_subjects(R, source):
    permuted = R[:, source.sample(range(R.shape[1]), R.shape[1])]
    assert c.average_accuracy(permuted) == pytest.approx(c.average_accuracy(R), abs=1e-12)


@given(curves(), st.randoms())
def test_held_out_subjects_have_no_order(curve, source):
    people = source.sample(range(curve.shape[1]), curve.shape[1])
    for metric in OF_A_CURVE.values():
        assert metric(curve[:, people]) == pytest.approx(metric(curve), abs=1e-12, nan_ok=True)
    assert curve[1:].min() <= c.average_held_out(curve) <= curve[1:].max()


@given(curves(st.sampled_from([0.25, 0.5, 1.0])))
def test_the_forgetting_rate_knows_neither_unit_nor_sign(curve):
    assert c.forgetting_rate(100 * curve) == pytest.approx(c.forgetting_rate(curve), abs=1e-12, nan_ok=True)
    assert c.forgetting_rate(curve) >= 0 or len(curve) == 2


# --- undefined scores and short streams ------------------------------------------------------------------------------


def test_an_undefined_score_leaves_its_subject_out_of_a_difference():
    holed = R.copy()
    holed[1, 0] = np.nan  # what was learned of the first subject
    assert c.learning_accuracy(holed) == pytest.approx((0.75 + 0.70) / 2)
    assert c.backward_transfer(holed) == pytest.approx(-0.10)
    assert c.forgetting(holed) == c.forgetting(R)  # its best score came later
    holed[2, 0] = np.nan
    assert c.forgetting(holed) == pytest.approx(0.10)


def test_steps_without_a_score_are_left_out_of_averages_over_steps():
    holed, curve = R.copy(), CURVE.copy()
    holed[1, 0] = curve[2, 0] = np.nan
    curve[3] = np.nan
    assert c.average_incremental_accuracy(holed) == pytest.approx((0.80 + 1.90 / 3) / 2)
    assert c.average_held_out(curve) == pytest.approx((0.50 + 0.60) / 2)
    assert math.isnan(c.final_held_out(curve))


@pytest.mark.parametrize("step", [1, -1])
def test_the_forgetting_rate_compares_the_same_subjects(step):
    curve = CURVE.copy()
    curve[step, 1] = np.nan
    assert c.forgetting_rate(curve) == pytest.approx(c.forgetting_rate(CURVE[:, :1]))


def test_there_is_no_rate_of_what_began_at_zero():
    assert math.isnan(c.forgetting_rate(np.array([[0.5], [0.0], [0.5]])))


@pytest.mark.parametrize("shape", [(2, 1), (4, 3)])
def test_nothing_defined_is_nan_without_a_warning(shape):
    nothing = np.full(shape, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [metric(nothing) for metric in (*OF_ONE.values(), *OF_A_CURVE.values())]
        found += [metric(nothing, nothing) for metric in OF_TWO.values()]
        found.append(c.forward_transfer(nothing, np.zeros(shape[1])))
    assert all(math.isnan(value) for value in found)


@pytest.mark.parametrize("name", OF_ONE)
def test_a_stream_of_one_subject_has_nobody_to_compare_with(name):
    found = OF_ONE[name](np.array([[0.5], [0.75]]))
    if name in NEED_TWO_SUBJECTS:
        assert math.isnan(found)
    else:
        assert found == 0.75


def test_two_learners_of_one_subject_differ_on_it_and_on_no_next_one():
    one, other = np.array([[0.5], [0.75]]), np.array([[0.5], [0.5]])
    assert (c.plasticity(one, other), c.intransigence(one, other)) == (0.25, -0.25)
    assert math.isnan(c.forward_transfer_over_previous(one, other))
    assert math.isnan(c.forward_transfer(one, [0.5]))
    assert (c.average_held_out(one), c.final_held_out(one)) == (0.75, 0.75)
    assert math.isnan(c.forgetting_rate(one))


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 3), (3,), (1, 0), (5, 3), (4, 3, 1)])
@pytest.mark.parametrize("metric", [*OF_ONE.values(), lambda R: c.forward_transfer(R, np.zeros(3))])
def test_other_shapes_than_steps_by_subjects_are_refused(metric, shape):
    with pytest.raises(ValueError, match=r"T \+ 1 steps.*found \("):
        metric(np.zeros(shape))


@pytest.mark.parametrize("metric", OF_TWO.values())
def test_matrices_of_other_streams_are_refused(metric):
    with pytest.raises(ValueError, match=r"same stream expected, found \((4, 3|3, 2)\) and"):
        metric(R, np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"T \+ 1 steps.*found \(3, 3\)"):
        metric(R, np.zeros((3, 3)))


def test_a_baseline_of_other_subjects_is_refused():
    with pytest.raises(ValueError, match=r"3 subjects expected, found shape \(2,\)"):
        c.forward_transfer(R, np.zeros(2))


@pytest.mark.parametrize("shape", [(4,), (1, 3), (4, 0)])
@pytest.mark.parametrize("metric", OF_A_CURVE.values())
def test_other_shapes_than_steps_by_held_out_subjects_are_refused(metric, shape):
    with pytest.raises(ValueError, match=r"a curve of T \+ 1 steps.*found \("):
        metric(np.zeros(shape))
