"""MAS against its closed form, and training with its penalty written out by hand."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clients.encoders.mlp import MLP
from clients.training import Training
from strategies.continual.importance import mas_importance
from strategies.continual.mas import MAS
from strategies.continual.quadratic import Quadratic, QuadraticPenalty
from strategies.contract import Learning
from tests.strategies.continual.opposed import DESCENT, data, learned, opposed, trained_by_hand, vector
from tests.strategies.continual.streams import made, predictors

SUBJECTS = ("a", "b", "c")
STILL = Training(optimizer="sgd", learning_rate=1e-30, batch_size=16)
"""Leaves every weight where it is."""


def memory_of(strategy: MAS, problem: Learning) -> Quadratic:
    _, (penalty,) = learned(strategy, problem)
    assert isinstance(penalty, QuadraticPenalty)
    assert penalty.memory is not None
    return penalty.memory


# Known answers


def test_importance_of_a_linear_network_in_closed_form() -> None:
    """Outputs W x + b: the mean over windows of 2 abs(F_c x_j), summed over the subjects."""
    problem = opposed(SUBJECTS)
    strategy = made(MAS, strength=1.0, encoder=MLP(hidden=()), training=STILL)
    network = predictors(strategy, problem)[0].network
    expected = [torch.zeros(2, 4), torch.zeros(2)]
    for subject in SUBJECTS:
        x, _ = data(problem.training.of(subject))
        outputs = network(x).detach().abs()
        expected[0] += 2 * outputs.T @ x.abs() / len(x)
        expected[1] += 2 * outputs.mean(0)
    torch.testing.assert_close(memory_of(strategy, problem).importance, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("training", [DESCENT, Training(learning_rate=1e-2, batch_size=16)], ids=["sgd", "adam"])
def test_it_is_training_with_the_papers_penalty_in_the_loss(training: Training) -> None:
    """With lambda sum Omega (theta - theta*)^2, Omega summed over subjects and theta* the last weights."""
    problem, strength = opposed(SUBJECTS), 0.3
    strategy = made(MAS, strength=strength, training=training)
    handed = predictors(strategy, problem)
    network = copy.deepcopy(handed[0].network)
    omega = [torch.zeros_like(weight) for weight in network.parameters()]
    anchor = [weight.detach().clone() for weight in network.parameters()]

    def penalty(weights: list[nn.Parameter]) -> Tensor:
        terms = zip(omega, weights, anchor, strict=True)
        return strength * torch.stack([(o * (w - a).square()).sum() for o, w, a in terms]).sum()

    for subject, reached in zip(SUBJECTS, handed[1:], strict=True):
        windows = problem.training.of(subject)
        trained_by_hand(network, strategy, windows, penalty)
        by_hand = vector(list(network.parameters()))
        torch.testing.assert_close(vector(list(reached.network.parameters())), by_hand, rtol=1e-3, atol=1e-5)
        omega = [old + new for old, new in zip(omega, mas_importance(network, data(windows)[0]), strict=True)]
        anchor = [weight.detach().clone() for weight in network.parameters()]


# Behaviour


def test_labels_play_no_part_in_importance() -> None:
    """Of a network that stays where it is: what it learned from labels is another matter."""
    problem, strategy = opposed(SUBJECTS), made(MAS, strength=1.0, training=STILL)
    shuffled = np.random.default_rng(0).permutation(problem.labels)
    other = replace(problem, training=replace(problem.training, y=shuffled))
    assert not np.array_equal(shuffled, problem.labels)
    ours, theirs = memory_of(strategy, problem), memory_of(strategy, other)
    assert torch.equal(vector(ours.importance), vector(theirs.importance))


def test_importance_only_grows_over_subjects() -> None:
    found = [memory_of(made(MAS, strength=1.0), opposed(SUBJECTS[:met])).importance for met in (1, 2, 3)]
    for fewer, more in pairwise(found):
        assert (vector(more) >= vector(fewer)).all()
        assert (vector(more) > vector(fewer)).any()
