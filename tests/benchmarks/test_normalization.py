from __future__ import annotations

from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyriemann.geometry.mean import mean_riemann
from sklearn.preprocessing import StandardScaler

from benchmarks.errors import LearningError
from benchmarks.normalization import (
    NORMALIZATIONS,
    STATISTICS,
    Covariances,
    Geometry,
    Moments,
    Normalization,
    Normalizer,
    Own,
    Shared,
    Stream,
    SubjectUnlabelled,
    Training,
    Unnormalized,
    fitted,
)
from benchmarks.parts import build, find
from benchmarks.windows import Windows

RANDOM = np.random.default_rng(0)


def windows_of(x: np.ndarray, subjects: str) -> Windows:
    """Windows whose subjects are the letters, repeated in turn."""
    names = np.resize(np.array(list(subjects)), len(x))
    return Windows(x, names, np.full(len(x), "1"), np.full(len(x), "t"))


def vectors(n: int = 60) -> np.ndarray:
    return RANDOM.standard_normal((n, 3)) * [1e-6, 1.0, 1e4] + [3e-6, -2.0, 1e5]


def covariances(n: int = 30, unit: float = 1e-10) -> np.ndarray:
    roots = RANDOM.standard_normal((n, 4, 12)) * [[[1.0], [2.0], [0.5], [3.0]]]
    return unit * roots @ roots.transpose(0, 2, 1) / 12


SAMPLES: dict[Geometry, np.ndarray] = {
    "vector": vectors(),
    "channels": RANDOM.standard_normal((20, 2, 50)) * [[1e-5], [4e-5]] + 1e-3,
    "spd": covariances(),
}


def identity_mean(x: np.ndarray) -> None:
    np.testing.assert_allclose(mean_riemann(x), np.eye(x.shape[1]), atol=1e-7)


def test_vectors_become_standard_scores() -> None:
    x = vectors()
    expected = StandardScaler().fit_transform(x)
    np.testing.assert_allclose(Moments.over(x, (0,)).transform()(x), expected, rtol=1e-9, atol=1e-9)


def test_channels_are_standard_over_windows_and_time() -> None:
    x = SAMPLES["channels"]
    out = STATISTICS["channels"](x).transform()(x)
    flat = x.transpose(0, 2, 1).reshape(-1, 2)
    expected = StandardScaler().fit_transform(flat).reshape(20, 50, 2).transpose(0, 2, 1)
    np.testing.assert_allclose(out, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("unit", [1.0, 1e-12])
def test_congruence_by_the_mean_makes_the_mean_the_identity(unit: float) -> None:
    x = covariances(unit=unit)
    out = Covariances(x).transform()(x)
    identity_mean(out)
    np.testing.assert_allclose(out, out.transpose(0, 2, 1), atol=1e-12)


@settings(max_examples=100)
@given(
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    offset=st.sampled_from([0.0, 1.0, -100.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_merged_moments_equal_those_of_all(sizes: list[int], scale: float, offset: float, seed: int) -> None:
    x = scale * (np.random.default_rng(seed).standard_normal((sum(sizes), 3)) + offset)
    parts = [Moments.over(part, (0,)) for part in np.split(x, np.cumsum(sizes)[:-1])]
    merged = reduce(Moments.merge, parts)
    whole = Moments.over(x, (0,))
    assert merged.count.tolist() == whole.count.tolist() == [sum(sizes)] * 3
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12, atol=1e-12 * scale)
    np.testing.assert_allclose(merged.squares, whole.squares, rtol=1e-12 * (1 + abs(offset)))


def gappy(x: np.ndarray, seed: int, part: float = 0.3) -> np.ndarray:
    """Copy of x in which values are missing here and there."""
    holes = np.random.default_rng(seed).random(x.shape) < part
    return np.where(holes, np.nan, x)


def test_moments_of_known_values_where_some_are_missing() -> None:
    nan = np.nan
    moments = Moments.over(np.array([[1.0, nan, nan], [nan, 5.0, nan], [3.0, 7.0, nan], [8.0, nan, nan]]), (0,))
    assert moments.count.tolist() == [3, 2, 0]
    assert moments.mean.tolist() == [4, 6, 0]
    assert moments.squares.tolist() == [26, 2, 0]


@settings(max_examples=200)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    part=st.sampled_from([0.1, 0.5, 0.9, 1.0]),
    shape=st.sampled_from([("vector", (3,)), ("channels", (2, 5))]),
    seed=st.integers(0, 2**32 - 1),
)
def test_moments_of_parts_with_missing_values_merge_to_those_of_all(
    sizes: list[int], part: float, shape: tuple[Geometry, tuple[int, ...]], seed: int
) -> None:
    geometry, window = shape
    x = gappy(np.random.default_rng(seed).standard_normal((sum(sizes), *window)) + 7, seed, part)
    told = [STATISTICS[geometry](one) for one in np.split(x, np.cumsum(sizes)[:-1])]
    merged, whole = reduce(lambda one, other: one.merge(other), told), STATISTICS[geometry](x)
    assert isinstance(merged, Moments)
    assert isinstance(whole, Moments)
    rows = np.moveaxis(x, 1, -1).reshape(-1, window[0])
    np.testing.assert_array_equal(merged.count.ravel(), np.isfinite(rows).sum(axis=0))
    for column, values in enumerate(rows.T):
        known = values[np.isfinite(values)]
        for moments in (merged, whole):
            assert moments.mean.ravel()[column] == pytest.approx(known.mean() if len(known) else 0, rel=1e-12)
            spread = ((known - known.mean()) ** 2).sum() if len(known) else 0
            assert moments.squares.ravel()[column] == pytest.approx(spread, rel=1e-9, abs=1e-20)


@settings(max_examples=200)
@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 6), st.integers(1, 300)),
    dtype=st.sampled_from([np.float32, np.float64]),
    geometry=st.sampled_from(["vector", "channels"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_where_nothing_is_missing_moments_are_the_plain_ones_to_the_bit(
    shape: tuple[int, int, int], dtype: type, geometry: Geometry, seed: int
) -> None:
    random = np.random.default_rng(seed)
    x = (random.standard_normal(shape) * 10.0 ** random.integers(-7, 7)).astype(dtype)
    axes = (0,) if geometry == "vector" else (0, 2)
    moments = STATISTICS[geometry](x)
    assert isinstance(moments, Moments)
    mean = x.mean(axis=axes, keepdims=True, dtype=np.float64)
    squares = ((x.astype(np.float64) - mean) ** 2).sum(axis=axes, keepdims=True)
    np.testing.assert_array_equal(moments.mean, mean[0])
    np.testing.assert_array_equal(moments.squares, squares[0])
    assert (moments.count == np.prod([shape[axis] for axis in axes])).all()


def test_a_missing_feature_is_imputed_by_the_mean_of_those_learned_from() -> None:
    learned, unseen = windows_of(gappy(vectors(), 1), "ab"), windows_of(gappy(3 * vectors(), 2), "z")
    means = np.nanmean(learned.x, axis=0)
    shared = fitted(Training(), learned, "vector")
    for windows in (learned, unseen):
        filled = replace(windows, x=np.where(np.isnan(windows.x), means, windows.x))
        out = shared(windows)
        assert (out[np.isnan(windows.x)] == 0).all()
        np.testing.assert_allclose(out, shared(filled), atol=1e-9)


@pytest.mark.parametrize("mode", [Training(), Stream(), SubjectUnlabelled()])
@pytest.mark.parametrize("geometry", ["vector", "channels"])
def test_missing_values_become_zero_and_known_ones_standard_scores_in_every_mode(
    mode: Normalization, geometry: Geometry
) -> None:
    windows = windows_of(gappy(SAMPLES[geometry], 4), "abc")
    out = fitted(mode, windows, geometry)(windows)
    missing = np.isnan(windows.x)
    assert (out[missing] == 0).all()
    axes = (0,) if geometry == "vector" else (0, 2)
    groups = windows.by_subject() if mode.transductive else [("all", windows)]
    for name, group in groups:
        shown = out if name == "all" else out[windows.subject == name]
        mean, sd = (part(group.x, axis=axes, keepdims=True) for part in (np.nanmean, np.nanstd))
        expected = np.where(np.isnan(group.x), 0, (group.x - mean) / sd)
        np.testing.assert_allclose(shown, expected, rtol=1e-7, atol=1e-9)


def test_a_feature_that_nobody_learned_from_has_is_zero_for_everyone() -> None:
    learned = windows_of(np.column_stack([np.full(20, np.nan), np.arange(20.0)]), "ab")
    unseen = windows_of(np.array([[1e9, 9.5], [np.nan, 9.5]]), "z")
    np.testing.assert_array_equal(fitted(Training(), learned, "vector")(unseen), np.zeros((2, 2)))
    np.testing.assert_array_equal(fitted(SubjectUnlabelled(), learned, "vector")(learned)[:, 0], 0)


def test_a_feature_that_the_first_subjects_lack_is_learned_from_later_ones() -> None:
    first, second = np.full((4, 1), np.nan), np.array([[2.0], [6.0]])
    normalizer = Stream().start("vector").learn(STATISTICS["vector"](first))
    assert normalizer(windows_of(second, "b")).tolist() == [[0], [0]]
    assert normalizer.learn(STATISTICS["vector"](second))(windows_of(second, "b")).tolist() == [[-1], [1]]


def test_without_normalisation_missing_features_cannot_be_imputed() -> None:
    with pytest.raises(LearningError, match="nothing to impute them from: choose normalization: training"):
        fitted(Unnormalized(), windows_of(gappy(vectors(), 1), "ab"), "vector")(windows_of(gappy(vectors(), 1), "ab"))


def test_moments_in_single_precision_are_summed_in_double() -> None:
    x = (1e4 + RANDOM.standard_normal((5000, 1))).astype(np.float32)
    exact = Moments.over(x.astype(np.float64), (0,))
    np.testing.assert_array_equal(Moments.over(x, (0,)).squares, exact.squares)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7e-9, 1e7])
def test_a_feature_that_never_varies_is_centred(constant: float) -> None:
    x = np.column_stack([np.full(50, constant), np.arange(50.0)])
    merged = reduce(Moments.merge, [Moments.over(part, (0,)) for part in np.split(x, [7, 20])])
    out = merged.transform()(x)
    np.testing.assert_allclose(out[:, 0], 0, atol=1e-12 * max(abs(constant), 1e-300))
    assert out[:, 1].std() == pytest.approx(1)


@pytest.mark.parametrize("scale", [1e-14, 1e-6, 1e9])
def test_a_small_unit_is_not_taken_for_a_constant(scale: float) -> None:
    x = scale * vectors()
    np.testing.assert_allclose(Moments.over(x, (0,)).transform()(x).std(axis=0), 1, rtol=1e-9)


@pytest.mark.parametrize("geometry", list(STATISTICS))
def test_subject_after_subject_equals_all_at_once(geometry: Geometry) -> None:
    windows = windows_of(SAMPLES[geometry], "abc")
    normalizer: Normalizer = Stream().start(geometry)
    for _, part in windows.by_subject():
        normalizer = normalizer.learn(STATISTICS[geometry](part.x))
    together = fitted(Training(), windows, geometry)
    np.testing.assert_allclose(normalizer(windows), together(windows), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("geometry", list(STATISTICS))
def test_learning_leaves_the_normaliser_before_it_as_it_was(geometry: Geometry) -> None:
    first, second = np.split(SAMPLES[geometry], 2)
    windows = windows_of(SAMPLES[geometry], "a")
    before = Shared().learn(STATISTICS[geometry](first))
    kept = before(windows).copy()
    after = before.learn(STATISTICS[geometry](second))
    assert after is not before
    np.testing.assert_array_equal(before(windows), kept)
    assert not np.allclose(after(windows), kept)


@pytest.mark.parametrize("mode", [Training(), Stream(), Unnormalized()])
def test_before_the_first_subject_windows_are_left_as_they_are(mode: Normalization) -> None:
    windows = windows_of(vectors(), "ab")
    np.testing.assert_array_equal(mode.start("vector")(windows), windows.x)


def test_each_subject_by_its_own_statistics() -> None:
    windows = windows_of(vectors(), "aab")
    out = Own("vector")(windows)
    for subject in "ab":
        mine = windows.subject == subject
        expected = StandardScaler().fit_transform(windows.x[mine])
        np.testing.assert_allclose(out[mine], expected, rtol=1e-9, atol=1e-9)


def test_each_subject_is_recentred_to_the_identity() -> None:
    windows = windows_of(covariances() * np.resize([1.0, 9.0], (30, 1, 1)), "ab")
    out = Own("spd")(windows)
    for subject in "ab":
        identity_mean(out[windows.subject == subject])


def test_what_others_have_does_not_change_ones_own() -> None:
    windows = windows_of(vectors(), "ab")
    alone = windows.of("a")
    normalizer = fitted(SubjectUnlabelled(), windows, "vector")
    np.testing.assert_array_equal(normalizer(windows)[windows.subject == "a"], normalizer(alone))
    assert normalizer.learn(STATISTICS["vector"](1e3 * windows.x))(alone) is not None
    np.testing.assert_array_equal(normalizer.learn(STATISTICS["vector"](1e3 * windows.x))(alone), normalizer(alone))


def test_training_statistics_are_applied_to_others() -> None:
    learned, unseen = windows_of(vectors(), "ab"), windows_of(vectors() * 3, "z")
    expected = StandardScaler().fit(learned.x).transform(unseen.x)
    np.testing.assert_allclose(fitted(Training(), learned, "vector")(unseen), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", sorted(NORMALIZATIONS))
@pytest.mark.parametrize("geometry", list(STATISTICS))
def test_every_mode_keeps_shape_order_and_input(name: str, geometry: Geometry) -> None:
    mode = build(find(name, NORMALIZATIONS, "normalization"), {}, {}, "normalization")
    windows = windows_of(SAMPLES[geometry], "abc")
    before = windows.x.copy()
    normalizer = fitted(mode, windows, geometry)
    out = normalizer(windows)
    assert out.shape == windows.x.shape
    assert np.isfinite(out).all()
    np.testing.assert_array_equal(windows.x, before)
    turned = windows.select(np.arange(len(windows))[::-1])
    np.testing.assert_allclose(normalizer(turned), out[::-1], rtol=1e-6, atol=1e-8)


def test_which_mode_is_what() -> None:
    modes = {name: find(name, NORMALIZATIONS, "normalization") for name in NORMALIZATIONS}
    assert {name for name, mode in modes.items() if mode.transductive} == {"subject_unlabelled"}
    assert {name for name, mode in modes.items() if mode.shares} == {"training", "stream"}
    assert {name: mode.order for name, mode in modes.items()} == {
        "training": "together",
        "stream": "in_sequence",
        "subject_unlabelled": "any",
        "none": "any",
    }


@pytest.mark.parametrize("spectrum", [[1.0, 0.0], [1.0, 1e-17], [1.0, -1.0]])
def test_a_matrix_that_is_not_positive_definite(spectrum: list[float]) -> None:
    matrices = np.stack([np.eye(2), np.diag(spectrum), np.eye(2)])
    with pytest.raises(LearningError, match="1 of 3 covariance matrices are not positive definite"):
        Covariances(matrices).transform()
