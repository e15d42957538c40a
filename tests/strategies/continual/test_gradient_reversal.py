"""Gradient reversal against derivatives by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from clients.training import torch_generator
from strategies.continual.gradient_reversal import reverse_gradient

lengths = st.floats(0, 100)


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5), strength=lengths)
def test_forwards_it_is_the_identity_and_backwards_the_gradient_is_turned_round(
    values: list[float], strength: float
) -> None:
    x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    passed = reverse_gradient(x, strength)
    assert passed.tolist() == values
    (passed**2).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    torch.testing.assert_close(x.grad, -strength * 2 * x.detach())


def test_layers_after_it_descend_as_without_it_and_those_before_it_ascend() -> None:
    generator = torch_generator("layers")
    x = torch.randn(6, 3, generator=generator)
    before, after = nn.Linear(3, 4), nn.Linear(4, 1)

    def gradients(turned: float | None) -> list[Tensor]:
        features = torch.tanh(before(x))
        features = features if turned is None else reverse_gradient(features, turned)
        return list(torch.autograd.grad(after(features).square().mean(), [before.weight, after.weight]))

    plain, turned = gradients(None), gradients(0.25)
    torch.testing.assert_close(turned[0], -0.25 * plain[0])
    assert torch.equal(turned[1], plain[1])


def test_at_no_strength_nothing_reaches_the_layers_before() -> None:
    x = torch.ones(2, 3, requires_grad=True)
    reverse_gradient(x, 0.0).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 4)])
def test_any_shape_passes(shape: tuple[int, ...]) -> None:
    x = torch.ones(shape, requires_grad=True)
    assert reverse_gradient(x, 1.0).shape == shape
