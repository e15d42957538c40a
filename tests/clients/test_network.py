"""The network that a cell starts from."""

from __future__ import annotations

import numpy as np
import torch

from clients.encoders.mlp import MLP
from clients.network import initial_network
from clients.objectives.cross_entropy import CrossEntropy
from clients.training import seeded


def weights(seed: int, encoder: MLP | None = None) -> np.ndarray:
    network = initial_network(encoder or MLP(), CrossEntropy(), (5,), 3, seed)
    return torch.cat([p.detach().flatten() for p in network.parameters()]).numpy()


def test_weights_depend_on_the_seed_alone() -> None:
    with seeded("one"):
        first = weights(3)
    with seeded("two"):
        np.testing.assert_array_equal(weights(3), first)
    assert not np.isclose(weights(4), first).any()


def test_the_global_random_state_is_left_as_it_was() -> None:
    before = torch.get_rng_state()
    weights(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_last_layer_has_the_objectives_outputs() -> None:
    network = initial_network(MLP(), CrossEntropy(), (19, 5), 4, 0)
    assert network(torch.zeros(2, 19, 5)).shape == (2, 4)
