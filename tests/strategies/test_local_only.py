"""Each subject alone: against networks trained by hand, and that nothing of one subject reaches another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.errors import LearningError, StudyError
from benchmarks.normalization import Stream, SubjectUnlabelled, Unnormalized
from benchmarks.normalization import Training as TrainingStatistics
from benchmarks.parts import build
from benchmarks.randomness import generator
from benchmarks.windows import Windows, concatenate
from clients.alone import train_alone
from clients.encoders.mlp import MLP
from clients.network import initial_network
from clients.objectives.cross_entropy import CrossEntropy
from clients.predictor import NetworkPredictor
from clients.training import Training
from strategies.ensemble import Ensemble
from strategies.local_only import LocalOnly
from tests.strategies.learnings import Recorder, balanced_accuracy, disturb, gaussian_windows, ignore, learning

COHORT = gaussian_windows(["a", "b", "c", "new"], shift=3.0)
KNOWN, NEW = COHORT.of(["a", "b", "c"]), COHORT.of("new")
MODEL = LocalOnly(
    TrainingStatistics(), MLP(hidden=(8,), dropout=0.3), CrossEntropy(), Training(batch_size=16), epochs=3
)


def said(predictor: Ensemble | NetworkPredictor, windows: Windows, subject: str | None = None) -> np.ndarray:
    return predictor.predict(windows.without(labels=True), subject).probabilities


def fitted(windows: Windows, model: LocalOnly = MODEL, seed: int = 0) -> Ensemble:
    return model.fit(learning(windows, seed=seed), ignore)


def by_hand(windows: Windows, rate: float, epochs: int, seed: int) -> np.ndarray:
    """What a linear network says of NEW, after full-batch descent on one subject's standardised windows."""
    mean, scale = windows.x.mean(axis=0), windows.x.std(axis=0)
    x, y = (windows.x - mean) / scale, windows.labels
    weights = len(y) / (2 * np.bincount(y))[y]
    layer = initial_network(MLP(hidden=()), CrossEntropy(), (4,), 2, seed)[-1]  # type: ignore[index]
    weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()

    def probabilities(x: np.ndarray) -> np.ndarray:
        odds = np.exp(x @ weight.T + bias)
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    for _ in range(epochs):
        residual = weights[:, None] * (probabilities(x) - np.eye(2)[y]) / len(x)
        weight, bias = weight - rate * residual.T @ x, bias - rate * residual.sum(axis=0)
    return probabilities((NEW.x - mean) / scale)


def test_it_is_the_mean_of_networks_that_were_trained_by_hand() -> None:
    # Classes of another frequency in each subject: the weights of the loss are the subject's own too.
    windows = KNOWN.select(generator("uneven").random(len(KNOWN)) < np.where(KNOWN.labels == 1, 0.9, 0.5))
    linear = replace(MODEL, encoder=MLP(hidden=()), training=Training("sgd", 0.5, batch_size=len(windows)), epochs=5)
    hand = [by_hand(mine, 0.5, 5, seed=4) for _, mine in windows.by_subject()]
    assert np.abs(hand[0] - hand[1]).max() > 0.3, "subjects differ, so that a mean of others would be noticed"
    ensemble = fitted(windows, linear, seed=4)
    np.testing.assert_allclose(said(ensemble, NEW), np.mean(hand, axis=0), atol=1e-5)
    np.testing.assert_allclose(said(ensemble, NEW, "b"), hand[1], atol=1e-5)


def test_of_one_subject_it_is_that_subjects_network() -> None:
    alone = train_alone(
        KNOWN.of("b"), normalization=MODEL.normalization, encoder=MODEL.encoder, objective=MODEL.objective,
        training=MODEL.training, epochs=MODEL.epochs, geometry="vector", classes=2, seed=0,
    )  # fmt: skip
    np.testing.assert_array_equal(said(fitted(KNOWN.of("b")), NEW), said(alone, NEW))


def test_what_a_subject_learns_does_not_depend_on_who_else_is_there() -> None:
    together, few = fitted(KNOWN), fitted(KNOWN.of(["c", "a"]))
    for subject in ("a", "c"):
        np.testing.assert_array_equal(said(together, NEW, subject), said(few, NEW, subject))
    np.testing.assert_allclose(said(few, NEW), (said(few, NEW, "a") + said(few, NEW, "c")) / 2, rtol=1e-12)


@pytest.mark.parametrize(("dropout", "batch_size", "differ"), [(0.0, 8, True), (0.3, 40, True), (0.0, 40, False)])
def test_minibatches_and_dropout_are_each_subjects_own(dropout: float, batch_size: int, differ: bool) -> None:
    twins = concatenate([replace(KNOWN.of("a"), subject=np.full(40, name)) for name in ("a", "twin")])
    training = Training(learning_rate=0.02, batch_size=batch_size)
    ensemble = fitted(twins, replace(MODEL, encoder=MLP(hidden=(8,), dropout=dropout), training=training))
    # A batch of all windows is the same for both but for rounding.
    assert np.allclose(said(ensemble, NEW, "a"), said(ensemble, NEW, "twin"), atol=1e-4) is not differ


def test_each_network_normalises_with_its_own_subjects_statistics() -> None:
    # What moves and stretches one subject as a whole is taken away from that subject, and from nobody else.
    moved = replace(KNOWN, x=np.where((KNOWN.subject == "a")[:, None], 8 * KNOWN.x + 64, KNOWN.x))
    ensemble = fitted(moved)
    own = replace(NEW, x=8 * NEW.x + 64)
    np.testing.assert_allclose(said(ensemble, own, "a"), said(fitted(KNOWN), NEW, "a"), atol=1e-6)
    np.testing.assert_array_equal(said(ensemble, NEW, "b"), said(fitted(KNOWN), NEW, "b"))


def test_the_untrained_network_is_shown_and_then_that_of_everyone() -> None:
    record = Recorder(NEW)
    final = MODEL.fit(learning(KNOWN), record)
    assert record.steps == [0, 1]
    untrained = NetworkPredictor(
        initial_network(MODEL.encoder, MODEL.objective, (4,), 2, seed=0),
        Unnormalized().start("vector"),
        MODEL.objective,
    )
    np.testing.assert_array_equal(record.probabilities[0], said(untrained, NEW))
    np.testing.assert_array_equal(record.probabilities[1], said(final, NEW))
    shown = record.predictors[1]
    assert isinstance(shown, Ensemble)
    assert list(shown.members) == ["a", "b", "c"]


def test_the_observer_changes_no_weight() -> None:
    alone, watched = fitted(KNOWN), MODEL.fit(learning(KNOWN), disturb)
    np.testing.assert_array_equal(said(alone, NEW), said(watched, NEW))
    assert np.isfinite(said(watched, NEW)).all()


def test_a_subject_without_a_class_counts_and_all_but_rules_that_class_out() -> None:
    lacking = KNOWN.select((KNOWN.subject != "b") | (KNOWN.labels == 0))
    ensemble = fitted(lacking, replace(MODEL, epochs=60, training=Training(learning_rate=0.05, batch_size=16)))
    assert set(ensemble.members) == {"a", "b", "c"}
    assert said(ensemble, NEW, "b")[:, 1].max() < 0.2
    two = (said(ensemble, NEW, "a") + said(ensemble, NEW, "c")) / 3
    assert (said(ensemble, NEW)[:, 1] >= two[:, 1]).all()
    assert said(ensemble, NEW)[:, 1].max() < two[:, 1].max() + 0.2 / 3


def test_it_learns_what_every_subject_shows() -> None:
    near = gaussian_windows(["a", "b", "c", "new"], shift=0.3)
    model = replace(MODEL, epochs=30, training=Training(learning_rate=0.02, batch_size=16))
    assert balanced_accuracy(fitted(near.of(["a", "b", "c"]), model), near.of("new")) > 0.9


def test_initial_weights_and_dropout_depend_on_the_seed() -> None:
    assert not np.array_equal(said(fitted(KNOWN, seed=1), NEW), said(fitted(KNOWN, seed=2), NEW))
    plain = replace(MODEL, encoder=MLP(hidden=(8,)))
    assert not np.allclose(said(fitted(KNOWN), NEW), said(fitted(KNOWN, plain), NEW))


def test_more_epochs_train_on() -> None:
    losses = []
    for epochs in (1, 10, 100):
        p = said(fitted(KNOWN, replace(MODEL, epochs=epochs)), KNOWN.of("a"), "a")
        losses.append(-np.log(p[np.arange(40), KNOWN.of("a").labels]).mean())
    assert losses[0] > losses[1] > losses[2]


def test_divergence_names_the_subject() -> None:
    huge = replace(KNOWN, x=np.where((KNOWN.subject == "b")[:, None], 1e30 * KNOWN.x, KNOWN.x))
    wild = replace(MODEL, normalization=Unnormalized(), training=Training("sgd", learning_rate=1e-3))
    with pytest.raises(LearningError, match=r"b, who learns alone: .*diverge"):
        fitted(huge, wild)


def test_a_subject_whose_missing_features_cannot_be_imputed_is_named() -> None:
    x = KNOWN.x.copy()
    x[45, 1] = np.nan
    with pytest.raises(LearningError, match=r"b, who learns alone: Features are missing"):
        fitted(replace(KNOWN, x=x), replace(MODEL, normalization=Unnormalized()))
    for mode in (TrainingStatistics(), SubjectUnlabelled()):
        assert np.isfinite(said(fitted(replace(KNOWN, x=x), replace(MODEL, normalization=mode)), NEW)).all()


def test_a_mode_for_subjects_in_sequence_is_refused() -> None:
    with pytest.raises(StudyError, match="Stream grows subject by subject, but LocalOnly meets all"):
        replace(MODEL, normalization=Stream())


@pytest.mark.parametrize("values", [{"epochs": 0}, {"epochs": 2.5}, {"patience": 3}])
def test_values_out_of_range_are_refused(values: dict[str, object]) -> None:
    given = {name: getattr(MODEL, name) for name in ("normalization", "encoder", "objective", "training")}
    with pytest.raises(StudyError, match=rf"strategy\.{next(iter(values))}"):
        build(LocalOnly, given, values, "strategy")


def test_alone_is_one_subject() -> None:
    with pytest.raises(ValueError, match=r"one subject, found \['a', 'b', 'c'\]"):
        train_alone(
            KNOWN, normalization=MODEL.normalization, encoder=MODEL.encoder, objective=MODEL.objective,
            training=MODEL.training, epochs=1, geometry="vector", classes=2, seed=0,
        )  # fmt: skip


def test_members_share_no_weight() -> None:
    ensemble = fitted(KNOWN)
    pointers = [
        parameter.data_ptr()
        for member in ensemble.members.values()
        if isinstance(member, NetworkPredictor) and isinstance(member.network, torch.nn.Module)
        for parameter in member.network.parameters()
    ]
    assert len(set(pointers)) == len(pointers) == 3 * 4
