"""LDA and the tangent space: against scikit-learn, closed forms, and a cohort without anything to learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pyriemann.geometry.mean import mean_riemann
from pyriemann.tangentspace import TangentSpace as ReferenceTangentSpace
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmarks.errors import LearningError, StudyError
from benchmarks.normalization import Normalization, Stream, SubjectUnlabelled, Training, Unnormalized
from benchmarks.parts import build
from benchmarks.randomness import generator
from benchmarks.windows import Windows
from strategies.classical import LDA, TangentSpace
from strategies.contract import Strategy
from tests.strategies.learnings import (
    balanced_accuracy,
    covariance_windows,
    gaussian_windows,
    ignore,
    labelled,
    learning,
)

SUBJECTS = ["a", "b", "c", "d"]


def unbalanced(windows: Windows) -> Windows:
    """Every third window of the first class alone."""
    assert windows.y is not None
    return windows.select((windows.y > 0) | (np.arange(len(windows)) % 3 == 0))


VECTORS = unbalanced(gaussian_windows(SUBJECTS, shift=1.0, classes=3))
NEW = gaussian_windows(["new"], shift=1.0, classes=3)
MATRICES = unbalanced(covariance_windows(SUBJECTS, shift=0.3))
NEW_MATRICES = covariance_windows(["new"], shift=0.3)


def said(strategy: Strategy, known: Windows, new: Windows) -> np.ndarray:
    problem = learning(known, geometry=strategy.geometries[0])
    return strategy.fit(problem, ignore).predict(new.without(labels=True)).probabilities


@pytest.mark.parametrize(("priors", "sklearn_priors"), [("equal", [1 / 3] * 3), ("empirical", None)])
@pytest.mark.parametrize("shrinkage", ["auto", 0.3])
def test_lda_is_scikit_learns(priors: str, sklearn_priors: list[float] | None, shrinkage: str | float) -> None:
    mine = said(LDA(Training(), shrinkage=shrinkage, priors=priors), VECTORS, NEW)  # type: ignore[arg-type]
    scaler = StandardScaler().fit(VECTORS.x)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=sklearn_priors)
    theirs.fit(scaler.transform(VECTORS.x), VECTORS.y)
    np.testing.assert_allclose(mine, theirs.predict_proba(scaler.transform(NEW.x)), rtol=1e-9)


def test_lda_of_two_known_gaussians_is_a_logistic_function() -> None:
    # Equal unit covariances, means 0 and d on the first axis: log odds d x - d^2 / 2.
    windows = gaussian_windows(["a"], per_class=20_000, features=2, distance=0.0)
    assert windows.y is not None
    d = 2.0
    windows.x[windows.y == 1, 0] += d
    at = labelled(np.array([[0.0, 0.0], [1.0, 3.0], [2.0, -1.0]]), np.array([0, 0, 1]), "new")
    expected = 1 / (1 + np.exp(-(d * at.x[:, 0] - d**2 / 2)))
    np.testing.assert_allclose(said(LDA(Unnormalized()), windows, at)[:, 1], expected, atol=0.02)


def test_features_of_any_shape_are_flattened() -> None:
    folded = replace(VECTORS, x=VECTORS.x.reshape(-1, 2, 2))
    new = replace(NEW, x=NEW.x.reshape(-1, 2, 2))
    np.testing.assert_array_equal(said(LDA(Unnormalized()), folded, new), said(LDA(Unnormalized()), VECTORS, NEW))


def test_own_statistics_take_a_subjects_shift_away() -> None:
    moved = replace(NEW, x=NEW.x * 7 + 100)
    strategy = LDA(SubjectUnlabelled())
    np.testing.assert_allclose(said(strategy, VECTORS, moved), said(strategy, VECTORS, NEW), rtol=1e-6)


@pytest.mark.parametrize("class_weights", ["balanced", "none"])
def test_tangent_space_is_pyriemanns_with_logistic_regression(class_weights: str) -> None:
    mine = said(TangentSpace(Unnormalized(), C=0.5, class_weights=class_weights), MATRICES, NEW_MATRICES)  # type: ignore[arg-type]
    space = ReferenceTangentSpace(metric="riemann").fit(MATRICES.x)
    weights = None if class_weights == "none" else "balanced"
    theirs = LogisticRegression(C=0.5, class_weight=weights, max_iter=10_000)
    theirs.fit(space.transform(MATRICES.x), MATRICES.y)
    np.testing.assert_allclose(mine, theirs.predict_proba(space.transform(NEW_MATRICES.x)), atol=1e-5)


@pytest.mark.parametrize("mode", [Training(), SubjectUnlabelled()])
def test_normalised_matrices_have_the_identity_for_their_mean(mode: Normalization) -> None:
    # This is why the search for the reference starts, and ends, there.
    predictor = TangentSpace(mode).fit(learning(MATRICES, geometry="spd"), ignore)
    mean = mean_riemann(predictor.normalizer(MATRICES))
    np.testing.assert_allclose(mean, np.eye(3), atol=1e-7)
    np.testing.assert_allclose(predictor.features.keywords["reference"], np.eye(3), atol=1e-7)  # type: ignore[attr-defined]


@pytest.mark.parametrize("mode", [Training(), SubjectUnlabelled(), Unnormalized()])
def test_the_unit_of_the_signal_does_not_matter(mode: Normalization) -> None:
    volts = said(
        TangentSpace(mode), replace(MATRICES, x=MATRICES.x * 1e-12), replace(NEW_MATRICES, x=NEW_MATRICES.x * 1e-12)
    )
    np.testing.assert_allclose(volts, said(TangentSpace(mode), MATRICES, NEW_MATRICES), atol=1e-5)


def test_recentring_takes_a_subjects_mixing_away() -> None:
    # For commuting matrices congruence by the inverse root of the mean undoes any mixing exactly.
    def scaled(windows: Windows, gains: list[float]) -> Windows:
        mixing = np.diag(gains)
        return replace(windows, x=mixing @ windows.x @ mixing)

    diagonal = replace(MATRICES, x=MATRICES.x * np.eye(3))
    new = replace(NEW_MATRICES, x=NEW_MATRICES.x * np.eye(3))
    plain = said(TangentSpace(SubjectUnlabelled()), diagonal, new)
    mixed = said(TangentSpace(SubjectUnlabelled()), diagonal, scaled(new, [5.0, 0.1, 2.0]))
    np.testing.assert_allclose(mixed, plain, atol=1e-6)


@pytest.mark.parametrize(
    ("strategy", "cohort"),
    [(LDA(SubjectUnlabelled()), gaussian_windows), (TangentSpace(SubjectUnlabelled()), covariance_windows)],
)
def test_shuffled_labels_give_chance(strategy: Strategy, cohort: type) -> None:
    scores = []
    for seed in range(12):
        windows = cohort([*SUBJECTS, "new"], shift=0.2, seed=seed)
        windows = replace(windows, y=generator(seed, "labels").permutation(windows.y))
        predictor = strategy.fit(learning(windows.of(SUBJECTS), geometry=strategy.geometries[0]), ignore)
        scores.append(balanced_accuracy(predictor, windows.of("new")))
    # Forty windows scored twelve times: the mean's standard deviation is .023.
    assert np.mean(scores) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("strategy", [LDA, TangentSpace])
def test_a_mode_for_subjects_in_sequence_is_refused(strategy: type[LDA] | type[TangentSpace]) -> None:
    with pytest.raises(StudyError, match=f"Stream grows subject by subject, but {strategy.__name__} meets all"):
        strategy(Stream())


def test_the_wrong_representation_is_refused_with_the_right_one_named() -> None:
    with pytest.raises(LearningError, match=r"TangentSpace learns from covariance .*representation: covariance"):
        TangentSpace(Training()).fit(learning(VECTORS), ignore)
    with pytest.raises(LearningError, match=r"LDA learns from feature vectors .*found covariance matrices"):
        LDA(Training()).fit(learning(MATRICES, geometry="spd"), ignore)


def indefinite(windows: Windows) -> Windows:
    """The first matrix has a negative variance."""
    x = windows.x.copy()
    x[0, 0, 0] *= -1
    return replace(windows, x=x)


@pytest.mark.parametrize("mode", [Training(), SubjectUnlabelled(), Unnormalized()])
def test_an_indefinite_matrix_is_refused_when_learning(mode: Normalization) -> None:
    with pytest.raises(LearningError, match="not positive definite"):
        said(TangentSpace(mode), indefinite(MATRICES), NEW_MATRICES)


@pytest.mark.parametrize("mode", [Training(), SubjectUnlabelled(), Unnormalized()])
def test_an_indefinite_matrix_is_refused_when_predicting(mode: Normalization) -> None:
    with pytest.raises(LearningError, match="not positive definite"):
        said(TangentSpace(mode), MATRICES, indefinite(NEW_MATRICES))


@pytest.mark.parametrize(
    ("part", "values"),
    [
        (LDA, {"shrinkage": 1.1}),
        (LDA, {"shrinkage": "ledoit"}),
        (LDA, {"priors": "balanced"}),
        (TangentSpace, {"C": 0}),
        (TangentSpace, {"C": float("inf")}),
        (TangentSpace, {"class_weights": "equal"}),
        (TangentSpace, {"metric": "logeuclid"}),
    ],
)
def test_values_out_of_range_are_refused(part: type[Strategy], values: dict[str, object]) -> None:
    with pytest.raises(StudyError, match=rf"strategy\.{next(iter(values))}"):
        build(part, {"normalization": Training()}, values, "strategy")
