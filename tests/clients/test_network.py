"""The network that a cell starts from."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from benchmarks.archive import Archive
from clients.encoders.contract import Encoder
from clients.encoders.mlp import MLP
from clients.network import Blueprint, initial_network
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


BLUEPRINT = Blueprint(MLP(hidden=(4,)), (5,), 3)


def test_a_network_and_its_copies_carry_their_blueprint() -> None:
    network = initial_network(BLUEPRINT.encoder, CrossEntropy(), (5,), 3, seed=0)
    assert Blueprint.of(copy.deepcopy(network)) == BLUEPRINT
    assert Blueprint.of(nn.Linear(5, 3)) is None
    assert network.state_dict().keys() == {"1.weight", "1.bias", "3.weight", "3.bias"}


def test_only_weights_of_its_own_names_shapes_and_types_fit_a_blueprint() -> None:
    weights = BLUEPRINT.build().state_dict()
    assert BLUEPRINT.fits(weights)
    assert not BLUEPRINT.fits({**weights, "more": torch.zeros(1)})
    assert not BLUEPRINT.fits({name: weight for name, weight in weights.items() if name != "1.bias"})
    assert not BLUEPRINT.fits({**weights, "1.bias": torch.zeros(5)})
    assert not BLUEPRINT.fits({**weights, "1.bias": torch.zeros(4, dtype=torch.float64)})
    assert not Blueprint(MLP(hidden=(10**12,)), (5,), 3).fits(weights), "and it takes no memory to tell"


class Fickle(Encoder):
    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        raise OSError("a file of mine is gone")


def test_an_encoder_that_cannot_build_fits_nothing() -> None:
    assert not Blueprint(Fickle(), (5,), 3).fits({})


def test_a_filled_network_computes_what_the_first_did_and_draws_no_random_number() -> None:
    first = BLUEPRINT.build()
    before = torch.get_rng_state()
    second = BLUEPRINT.filled(first.state_dict())
    assert torch.equal(torch.get_rng_state(), before)
    x = torch.randn(6, 5)
    assert torch.equal(second(x), first(x))
    second[1].weight.data.zero_()
    assert first[1].weight.any(), "they share no memory"


def test_a_blueprint_comes_back_from_its_archive() -> None:
    archive = Archive.from_bytes(BLUEPRINT.archive().to_bytes())
    assert archive.part("encoder").kind == "mlp"
    assert Blueprint.restore(archive, frozenset()) == BLUEPRINT
