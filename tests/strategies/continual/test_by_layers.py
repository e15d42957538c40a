"""Sums of sizes of gradients by layers: against gradients taken window by window, and where they cannot be had so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from clients.encoders.mlp import MLP
from strategies.continual.by_layers import summed_by_layers

SIZES: dict[str, Callable[[Tensor], Tensor]] = {"square": torch.square, "abs": torch.abs}


def windows(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def scored(outputs: Tensor) -> Tensor:
    """Two numbers of each window that are not linear in what is said."""
    return torch.stack([outputs.square().sum(dim=1), outputs.softmax(dim=1)[:, 0].log()], dim=1)


def one_by_one(network: nn.Module, size: Callable[[Tensor], Tensor], x: Tensor) -> dict[str, Tensor]:
    weights = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    totals = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for window in x:
        for score in scored(network(window[None]))[0]:
            gradients = torch.autograd.grad(score, list(weights.values()), retain_graph=True)
            for name, gradient in zip(weights, gradients, strict=True):
                totals[name] += size(gradient)
    return totals


def frozen(network: nn.Module, *names: str) -> nn.Module:
    for name, weight in network.named_parameters():
        weight.requires_grad_(name not in names)
    return network


def without_bias() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 7, bias=False), nn.Tanh(), nn.Linear(7, 3))


class Branches(nn.Module):
    """Two layers that both see the windows, and a third that sees what both say."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.out = nn.Linear(5, 4), nn.Linear(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.left(x)) * self.right(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "network",
    [
        MLP(hidden=(8, 6), dropout=0.3).build((5,), 3),
        without_bias(),
        Branches(),
        nn.Linear(5, 3),
        frozen(without_bias(), "0.weight"),
        frozen(without_bias(), "2.weight"),
        frozen(Branches(), "left.bias", "out.weight"),
    ],
)
def test_it_is_the_sum_of_gradients_taken_window_by_window(network: nn.Module, size: str) -> None:
    network.eval()
    x = windows(9, 5)
    found = summed_by_layers(network, scored, SIZES[size], x)
    assert found is not None
    torch.testing.assert_close(found, one_by_one(network, SIZES[size], x), rtol=1e-4, atol=1e-6)
    assert all(weight.grad is None for weight in network.parameters())
    assert not any(layer._forward_hooks for layer in network.modules())


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(torch.tanh(self.layer(x))))  # type: ignore[no-any-return]


class Elsewhere(Twice):
    """A weight that is also used outside of its layer."""

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(x) + functional.linear(x, self.layer.weight).square())  # type: ignore[no-any-return]


class Unused(Twice):
    def forward(self, x: Tensor) -> Tensor:
        return self.out(x)  # type: ignore[no-any-return]


def tied() -> nn.Module:
    network = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5))
    network[2].weight = network[0].weight
    return network


@pytest.mark.parametrize(
    ("network", "x"),
    [
        (Twice(), windows(9, 5)),
        (Elsewhere(), windows(9, 5)),
        (Unused(), windows(9, 5)),
        (tied(), windows(9, 5)),
        (nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3, affine=False)), windows(9, 5)),
        (nn.Sequential(nn.Linear(5, 3), nn.LayerNorm(3)), windows(9, 5)),
        (nn.Sequential(nn.Linear(5, 3), nn.Flatten()), windows(9, 2, 5)),
        (nn.Sequential(nn.Conv1d(2, 3, 5), nn.Flatten()), windows(9, 2, 5)),
        (nn.Identity(), windows(9, 5)),
    ],
)
def test_what_is_no_sum_by_layers_is_left_to_others(network: nn.Module, x: Tensor) -> None:
    network.eval()
    assert summed_by_layers(network, scored, torch.square, x) is None
    assert not any(layer._forward_hooks for layer in network.modules())
