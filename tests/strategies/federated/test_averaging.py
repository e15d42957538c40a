"""Aggregators that average: one round or more by hand, how many clients they need, what they refuse."""

from __future__ import annotations

import gc
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from benchmarks.errors import LearningError, StudyError
from benchmarks.normalization import Unnormalized
from benchmarks.parts import build
from clients.encoders.mlp import MLP
from clients.objectives.cross_entropy import CrossEntropy
from clients.training import Training
from strategies.federated.averaging import FedAvg, FedAvgM, FedProx, QFedAvg, Sampled
from strategies.federated.federation import Federation
from strategies.federated.garbage import sparing_collection
from strategies.federated.robust import Krum
from strategies.grids.in_process import InProcess
from tests.strategies.federated.scripted import Scripted, joined
from tests.strategies.learnings import gaussian_windows, ignore, learning

START = {"w": np.array([1.0, -2.0]), "b": np.array(0.5)}
CLIENTS = [
    Scripted({"w": [1.0, 0.0], "b": 0.5}, windows=10, loss=2.0),
    Scripted({"w": [0.0, -1.0], "b": -0.5}, windows=30, loss=0.5),
    Scripted({"w": [2.0, 4.0], "b": 0.0}, windows=60, loss=1.0),
]
MEAN = {"w": np.array([1.3, 2.1]), "b": np.array(-0.1)}
BATCH_NORM = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


def assert_close(found: dict[str, np.ndarray], expected: dict[str, object]) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, err_msg=name)


# FedAvg and what a share of the clients means


def test_fedavg_weighs_by_windows() -> None:
    (found,) = joined(FedAvg(), START, CLIENTS)
    assert_close(found, {name: START[name] + MEAN[name] for name in START})


@given(st.integers(1, 200), st.floats(0.01, 1))
def test_the_fewest_clients_are_those_of_which_enough_are_sampled(malicious: int, fraction: float) -> None:
    aggregation = Krum(fraction=fraction, malicious=malicious)
    needed = 2 * malicious + 3
    assert aggregation.sampled(aggregation.fewest) >= needed > aggregation.sampled(aggregation.fewest - 1)


def test_one_client_is_enough_to_average_however_small_the_share() -> None:
    assert FedAvg(fraction=0.01).fewest == 1


@pytest.mark.parametrize(
    ("clients", "fraction", "sampled"), [(10, 0.7, 7), (10, 0.29, 2), (3, 0.1, 1), (100, 0.29, 28)]
)
def test_as_many_clients_are_sampled_as_it_says(clients: int, fraction: float, sampled: int) -> None:
    asked: list[int] = []

    def note(sent: dict[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
        asked.append(step)
        return sent

    aggregation = FedAvg(fraction=fraction)
    joined(aggregation, START, [Scripted(note)] * clients, rounds=2)
    assert aggregation.sampled(clients) == sampled
    assert asked == [1] * sampled + [2] * sampled


# FedAvgM


def test_the_momentum_of_three_rounds_by_hand() -> None:
    found = joined(FedAvgM(server_momentum=0.9, server_learning_rate=0.5), START, CLIENTS, rounds=3)
    # Clients move by the same in each round: u = 1, 1.9, 2.71 times the mean update.
    for after, times in zip(found, (1.0, 2.9, 5.61), strict=True):
        assert_close(after, {name: START[name] + 0.5 * times * MEAN[name] for name in START})


def test_a_momentum_carries_a_variance_below_zero_so_it_is_refused() -> None:
    def towards(sent: dict[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
        return {"running_var": sent["running_var"] * 0.1}

    found = joined(FedAvgM(), {"running_var": np.array([1.0])}, [Scripted(towards)] * 2, rounds=2)
    assert found[-1]["running_var"] < 0
    for aggregation in (FedAvgM(), FedAvgM(server_momentum=0.0, server_learning_rate=1.5)):
        with pytest.raises(LearningError, match=r"FedAvgM cannot join the running statistics of 1: .* below zero"):
            aggregation.check(BATCH_NORM, Training())
    FedAvgM(server_momentum=0.0, server_learning_rate=0.5).check(BATCH_NORM, Training())
    FedAvgM().check(nn.Linear(2, 2), Training())


# FedProx


def federation(aggregator: Sampled, **training: object) -> Federation:
    values = {"optimizer": "sgd", "learning_rate": 0.1, "batch_size": 100, **training}
    return Federation(
        normalization=Unnormalized(),
        encoder=MLP((3,)),
        objective=CrossEntropy(),
        training=Training(**values),
        aggregator=aggregator,
        grid=InProcess(),
        rounds=1,
        local_epochs=2,
    )


def test_the_pull_on_the_second_step_is_mu_times_the_way_of_the_first() -> None:
    # With one minibatch an epoch: w2 = w1 - rate (g(w1) + mu (w1 - w0)), and the first step knows no pull.
    problem = learning(gaussian_windows(["S"], shift=1.0))
    start: list[dict[str, np.ndarray]] = []

    def weights(mu: float, epochs: int) -> dict[str, np.ndarray]:
        made = replace(federation(FedProx(mu=mu)), local_epochs=epochs)
        seen: list[dict[str, np.ndarray]] = []
        made.fit(problem, lambda step, p: seen.append({k: v.numpy() for k, v in p.network.state_dict().items()}))
        start[:] = [seen[0]]
        return seen[-1]

    first, plain, pulled = weights(0.0, 1), weights(0.0, 2), weights(0.7, 2)
    for name, w0 in start[0].items():
        expected = plain[name] - 0.1 * 0.7 * (first[name] - w0)
        np.testing.assert_allclose(pulled[name], expected, atol=1e-6)
        assert not np.allclose(pulled[name], plain[name], atol=1e-5)


def test_a_strength_has_to_be_given() -> None:
    with pytest.raises(StudyError, match=r"aggregator: mu must be given"):
        build(FedProx, {}, {}, "aggregator")
    with pytest.raises(StudyError, match=r"aggregator.mu: input should be greater than or equal to 0"):
        build(FedProx, {}, {"mu": -1}, "aggregator")


# q-FedAvg


@pytest.mark.parametrize("q", [0.0, 0.1, 2.0])
def test_qfedavg_by_the_formula_of_the_paper(q: float) -> None:
    (found,) = joined(QFedAvg(client_learning_rate=0.2, q=q), START, CLIENTS)
    lipschitz = 1 / 0.2
    asked = [{name: -lipschitz * np.asarray(client.update[name]) for name in START} for client in CLIENTS]
    squares = [sum(float(np.sum(part**2)) for part in step.values()) for step in asked]
    losses = [client.loss for client in CLIENTS]
    below = sum(
        q * loss ** (q - 1) * square + lipschitz * loss**q for loss, square in zip(losses, squares, strict=True)
    )
    for name, before in START.items():
        above = sum(loss**q * step[name] for loss, step in zip(losses, asked, strict=True))
        np.testing.assert_allclose(found[name], before - above / below, rtol=1e-8)


def test_without_q_each_client_counts_the_same() -> None:
    (found,) = joined(QFedAvg(client_learning_rate=0.2, q=0.0), START, CLIENTS)
    assert_close(found, {"w": START["w"] + [1.0, 1.0], "b": START["b"] + 0.0})


def test_its_learning_rate_has_to_be_the_clients() -> None:
    with pytest.raises(LearningError, match=r"client_learning_rate is 0.2, but the clients train with 0.1"):
        federation(QFedAvg(client_learning_rate=0.2)).fit(learning(gaussian_windows(["S", "T"])), ignore)


def test_it_takes_no_whole_numbers() -> None:
    with pytest.raises(LearningError, match=r"cannot join 1.num_batches_tracked"):
        QFedAvg(client_learning_rate=1e-3).check(BATCH_NORM, Training(learning_rate=1e-3))


# Garbage


def test_the_collector_is_afterwards_as_it_was() -> None:
    assert gc.get_freeze_count() == 0
    with suppress(RuntimeError), sparing_collection():
        assert gc.get_freeze_count() > 0
        raise RuntimeError
    assert gc.get_freeze_count() == 0


def test_what_somebody_else_has_frozen_stays_frozen() -> None:
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with sparing_collection():
            pass
        # Some of what is frozen may be given back in the meantime, as when a thread ends.
        assert 0 < gc.get_freeze_count() <= frozen
    finally:
        gc.unfreeze()
