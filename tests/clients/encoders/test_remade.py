"""Networks that are made again when they are read from a pickle."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from clients.encoders.contract import Encoder
from clients.encoders.remade import Remade
from clients.network import Blueprint


@dataclass(frozen=True)
class Normed(Encoder):
    """Ends in a layer that torch does not pickle."""

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        layers = nn.BatchNorm1d(shape[0]), parametrizations.weight_norm(nn.Linear(shape[0], outputs))
        return Remade(nn.Sequential(*layers), self, shape, outputs)


BLUEPRINT = Blueprint(Normed(), (4,), 2)
X = torch.randn((8, 4), generator=torch.Generator().manual_seed(0))


def used(network: nn.Module) -> nn.Module:
    """The same network after some windows, so that its running statistics are its own."""
    network.train()(X)
    return network


def test_torch_refuses_what_is_inside() -> None:
    inside = BLUEPRINT.build().network
    with pytest.raises(RuntimeError, match="parametrized"):
        pickle.dumps(inside)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("training", [False, True])
def test_a_pickle_gives_the_same_network(dtype: torch.dtype, training: bool) -> None:
    first = used(BLUEPRINT.build()).to(dtype).train(training)
    second = pickle.loads(pickle.dumps(first))
    assert [module.training for module in second.modules()] == [training] * len(list(second.modules()))
    for mine, theirs in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        assert mine[0] == theirs[0]
        assert mine[1].dtype == theirs[1].dtype
        assert torch.equal(mine[1], theirs[1])
    assert [parameter.requires_grad for parameter in second.parameters()] == [True] * 5
    assert torch.equal(first(X.to(dtype)), second(X.to(dtype)))


def test_a_pickle_keeps_the_blueprint_and_moves_no_random_state() -> None:
    content = pickle.dumps(BLUEPRINT.build())
    before = torch.get_rng_state()
    again = pickle.loads(content)
    assert torch.equal(torch.get_rng_state(), before)
    assert Blueprint.of(again) == BLUEPRINT
    assert pickle.loads(pickle.dumps(again)).state_dict().keys() == again.state_dict().keys()


def test_a_copy_is_a_real_one_and_shares_no_memory() -> None:
    first = used(BLUEPRINT.build())
    first.network[0] = nn.Identity()
    second = copy.deepcopy(first)
    assert isinstance(second.network[0], nn.Identity), "it was not made again"
    assert Blueprint.of(second) == BLUEPRINT
    expected = second(X)
    for parameter in first.parameters():
        parameter.data.zero_()
    assert torch.equal(second(X), expected)
