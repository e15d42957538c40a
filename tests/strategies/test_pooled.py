"""The pooled network: against a hand-written loop, its choice of epoch, and its sources of randomness."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.errors import LearningError, StudyError
from benchmarks.normalization import Stream, SubjectUnlabelled, Unnormalized
from benchmarks.normalization import Training as TrainingStatistics
from benchmarks.parts import build
from benchmarks.randomness import generator
from benchmarks.windows import Windows
from clients.encoders.contract import Encoder
from clients.encoders.mlp import MLP
from clients.network import initial_network
from clients.objectives.cross_entropy import CrossEntropy
from clients.predictor import NetworkPredictor
from clients.selection import validation_score
from clients.training import Training
from strategies.contract import Learning
from strategies.pooled import Pooled
from tests.strategies.learnings import Recorder, balanced_accuracy, disturb, gaussian_windows, ignore, learning

COHORT = gaussian_windows(["a", "b", "c", "d", "e", "new"], shift=1.0)
KNOWN, NEW = COHORT.of(["a", "b", "c", "d", "e"]), COHORT.of("new")
MODEL = Pooled(
    TrainingStatistics(), MLP(hidden=(8,), dropout=0.3), CrossEntropy(), Training(batch_size=16), epochs=6, patience=3
)


def problem(*, validation: bool = True, seed: int = 0) -> Learning:
    return learning(KNOWN, validation=["d", "e"] if validation else [], seed=seed)


def weights(predictor: NetworkPredictor) -> np.ndarray:
    return torch.cat([p.detach().flatten() for p in predictor.network.parameters()]).numpy()


def test_full_batch_descent_of_a_linear_network_is_a_hand_written_loop() -> None:
    known = learning(KNOWN)
    rate, epochs = 0.5, 5
    linear = replace(
        MODEL, encoder=MLP(hidden=()), training=Training("sgd", rate, batch_size=len(KNOWN)), epochs=epochs
    )
    fitted = linear.fit(known, ignore)

    x = (KNOWN.x - KNOWN.x.mean(axis=0)) / KNOWN.x.std(axis=0)
    layer = initial_network(MLP(hidden=()), CrossEntropy(), (4,), 2, known.seed)[-1]  # type: ignore[index]
    weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    for _ in range(epochs):
        odds = np.exp(x @ weight.T + bias)
        residual = (odds / odds.sum(axis=1, keepdims=True) - np.eye(2)[KNOWN.y]) / len(x)
        weight, bias = weight - rate * residual.T @ x, bias - rate * residual.sum(axis=0)
    np.testing.assert_allclose(weights(fitted), np.concatenate([weight.ravel(), bias]), atol=1e-5)


def test_it_starts_from_the_shared_initial_network() -> None:
    record = Recorder(NEW)
    MODEL.fit(problem(seed=3), record)
    start = initial_network(MODEL.encoder, MODEL.objective, (4,), 2, seed=3)
    np.testing.assert_array_equal(weights(record.predictors[0]), weights(replace(record.predictors[0], network=start)))


def test_the_best_epoch_on_the_validation_subjects_is_returned() -> None:
    record = Recorder(NEW)
    # Steps so large that later epochs are worse on new subjects.
    wild = replace(MODEL, training=Training(learning_rate=0.3, batch_size=16), patience=6)
    known = problem()
    fitted = wild.fit(known, record)
    assert known.validation is not None
    scores = [validation_score(predictor, known.validation) for predictor in record.predictors[1:]]
    best = 1 + int(np.argmax(scores))
    assert best < 6
    np.testing.assert_array_equal(weights(fitted), weights(record.predictors[best]))


def test_it_stops_when_patience_is_over() -> None:
    for patience in (1, 2, 3):
        record = Recorder(NEW)
        wild = replace(MODEL, training=Training(learning_rate=0.3, batch_size=16), patience=patience, epochs=60)
        known = problem()
        wild.fit(known, record)
        assert known.validation is not None
        scores = [validation_score(predictor, known.validation) for predictor in record.predictors[1:]]
        last = len(scores)
        assert last < 60
        assert last - (1 + int(np.argmax(scores))) == patience


def test_a_longer_run_begins_like_a_short_one() -> None:
    short, long = Recorder(NEW), Recorder(NEW)
    MODEL.fit(problem(), short)
    replace(MODEL, epochs=9, patience=9).fit(problem(), long)
    for one, other in zip(short.probabilities, long.probabilities, strict=False):
        np.testing.assert_array_equal(one, other)


def test_without_validation_subjects_all_epochs_are_trained_and_the_last_returned() -> None:
    record = Recorder(NEW)
    fitted = MODEL.fit(problem(validation=False), record)
    assert record.steps == list(range(7))
    np.testing.assert_array_equal(weights(fitted), weights(record.predictors[-1]))


@pytest.mark.parametrize("validation", [True, False])
def test_the_observer_changes_no_weight(validation: bool) -> None:
    known = problem(validation=validation)
    alone = weights(MODEL.fit(known, ignore))
    np.testing.assert_array_equal(weights(MODEL.fit(known, Recorder(NEW))), alone)
    np.testing.assert_array_equal(weights(MODEL.fit(known, disturb)), alone)


class Diary(nn.Module):
    """A linear layer that notes, at each training step, a number from torch's global source and the windows met."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(4, outputs)
        self.draws: list[float] = []
        self.batches: list[list[float]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.draws.append(torch.rand(()).item())
            self.batches.append(x[:, 0].tolist())
        out: torch.Tensor = self.layer(x)
        return out


@dataclass(frozen=True)
class DiaryKeeper(Encoder):
    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        return Diary(outputs)


def test_initial_weights_shuffling_and_dropout_depend_on_the_seed_and_change_from_epoch_to_epoch() -> None:
    def diary(seed: int) -> Diary:
        fitted = replace(MODEL, encoder=DiaryKeeper()).fit(problem(validation=False, seed=seed), ignore)
        assert isinstance(fitted.network, Diary)
        return fitted.network

    first, again, other = diary(1), diary(1), diary(2)
    assert first.draws == again.draws
    assert first.batches == again.batches
    assert len(set(first.draws + other.draws)) == len(first.draws + other.draws)
    steps = -(-len(KNOWN) // 16)
    orders = [tuple(chain(*epoch)) for keeper in (first, other) for epoch in chunks(keeper.batches, steps)]
    assert len(orders) == len(set(orders)) == 2 * MODEL.epochs
    assert len({tuple(sorted(order)) for order in orders}) == 1
    assert not torch.isclose(first.layer.weight, other.layer.weight).any()


def chunks(items: list[list[float]], n: int) -> list[list[list[float]]]:
    return [items[i : i + n] for i in range(0, len(items), n)]


def test_dropout_is_at_work() -> None:
    plain = replace(MODEL, encoder=MLP(hidden=(8,)))
    assert not np.allclose(weights(MODEL.fit(problem(), ignore)), weights(plain.fit(problem(), ignore)))


def test_validation_subjects_are_normalised_like_new_ones() -> None:
    # Moved and stretched as a whole: their own statistics take that away, so the same epoch must be chosen.
    own = replace(MODEL, normalization=SubjectUnlabelled(), training=Training(learning_rate=0.3, batch_size=16))
    known = problem()
    assert known.validation is not None
    moved = replace(known, validation=replace(known.validation, x=known.validation.x * 8 + 64))
    np.testing.assert_array_equal(weights(own.fit(moved, ignore)), weights(own.fit(known, ignore)))


def test_balanced_weights_find_the_rare_class() -> None:
    def rare(windows: Windows) -> Windows:
        assert windows.y is not None
        return windows.select((windows.y == 0) | (np.arange(len(windows)) % 10 == 0))

    near = gaussian_windows(["a", "b", "c", "new"], per_class=100, distance=1.5)
    known, new = learning(rare(near.of(["a", "b", "c"]))), near.of("new")
    scores = {
        weighting: balanced_accuracy(
            replace(
                MODEL, objective=CrossEntropy(class_weights=weighting), training=Training(learning_rate=0.02), epochs=15
            ).fit(known, ignore),
            new,
        )
        for weighting in ("balanced", "none")
    }
    assert scores["balanced"] > scores["none"] + 0.1


def test_shuffled_labels_give_chance() -> None:
    scores = []
    for seed in range(12):
        windows = gaussian_windows(["a", "b", "c", "new"], seed=seed)
        windows = replace(windows, y=generator(seed, "labels").permutation(windows.y))
        fitted = MODEL.fit(learning(windows.of(["a", "b", "c"]), validation=["c"], seed=seed), ignore)
        scores.append(balanced_accuracy(fitted, windows.of("new")))
    # Forty windows scored twelve times: the mean's standard deviation is .023.
    assert np.mean(scores) == pytest.approx(0.5, abs=0.06)


def test_divergence_is_an_error() -> None:
    wild = replace(MODEL, normalization=Unnormalized(), training=Training("sgd", learning_rate=1e30))
    with pytest.raises(LearningError, match="diverge"):
        wild.fit(problem(), ignore)


def test_a_mode_for_subjects_in_sequence_is_refused() -> None:
    with pytest.raises(StudyError, match="Stream grows subject by subject, but Pooled meets all"):
        replace(MODEL, normalization=Stream())


@pytest.mark.parametrize("values", [{"epochs": 0}, {"patience": 0}, {"epochs": 2.5}, {"rounds": 3}])
def test_values_out_of_range_are_refused(values: dict[str, object]) -> None:
    given = {name: getattr(MODEL, name) for name in ("normalization", "encoder", "objective", "training")}
    with pytest.raises(StudyError, match=rf"strategy\.{next(iter(values))}"):
        build(Pooled, given, values, "strategy")


def test_a_snapshot_shares_no_weight_with_the_network_that_trains() -> None:
    record = Recorder(NEW)
    MODEL.fit(problem(), record)
    networks: list[nn.Module] = [predictor.network for predictor in record.predictors]  # type: ignore[attr-defined]
    pointers = {p.data_ptr() for network in networks for p in network.parameters()}
    assert len(pointers) == len(networks) * 4
