"""The convolution over time and channels in one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from clients.encoders.merged_convolution import MergedConvolution
from clients.training import torch_seeded


def layers(
    channels: int, maps: int, filters: int, length: int, *, bias_time: bool = True, bias_spat: bool = True
) -> tuple[nn.Conv2d, nn.Conv2d]:
    with torch_seeded("layers"):
        return nn.Conv2d(1, maps, (length, 1), bias=bias_time), nn.Conv2d(maps, filters, (1, channels), bias=bias_spat)


def windows(n: int, channels: int, samples: int) -> Tensor:
    return torch.randn((n, 1, samples, channels), generator=torch.Generator().manual_seed(1))


def test_one_filter_by_hand() -> None:
    in_time, over_channels = layers(channels=2, maps=1, filters=1, length=2)
    for parameter, values in (
        (in_time.weight, [1.0, -2.0]), (in_time.bias, [0.5]), (over_channels.weight, [3.0, 1.0]),
        (over_channels.bias, [0.25]),
    ):  # fmt: skip
        assert parameter is not None
        parameter.data = torch.tensor(values).reshape(parameter.shape)
    x = torch.tensor([[1.0, 2.0], [4.0, 0.0], [1.0, 1.0]])[None, None]  # 3 samples of 2 channels
    # In time: 1 - 8 + 0.5, 2 - 0 + 0.5; 4 - 2 + 0.5, 0 - 2 + 0.5. Then over channels: 3 (-6.5) + 2.5 + 0.25, ...
    expected = torch.tensor([-16.75, 6.25]).reshape(1, 1, 2, 1)
    torch.testing.assert_close(MergedConvolution(in_time, over_channels)(x), expected)


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 5)] * 4), n=st.integers(1, 3), more=st.integers(0, 4),
    biases=st.tuples(st.booleans(), st.booleans()),
)  # fmt: skip
def test_it_is_one_convolution_after_the_other(
    sizes: tuple[int, int, int, int], n: int, more: int, biases: tuple[bool, bool]
) -> None:
    channels, maps, filters, length = sizes
    pair = layers(channels, maps, filters, length, bias_time=biases[0], bias_spat=biases[1])
    merged, apart = MergedConvolution(*pair).double(), nn.Sequential(*pair).double()
    x = windows(n, channels, length + more).double()
    torch.testing.assert_close(merged(x), apart(x))


@pytest.mark.parametrize("channels", [1, 6, 14, 15, 16, 17, 18, 19, 20, 32])
def test_gradients_in_single_precision_are_those_in_double(channels: int) -> None:
    """With 14 to 19 channels those of the convolution in two dimensions are wrong on some CPUs."""
    merged = MergedConvolution(*layers(channels, maps=16, filters=16, length=25))
    x, weighting = windows(4, channels, 128), torch.randn((4, 16, 104, 1), generator=torch.Generator().manual_seed(2))
    single = torch.autograd.grad((merged(x) * weighting).sum(), list(merged.parameters()))
    apart = nn.Sequential(merged.conv_time, merged.conv_spat).double()
    double = torch.autograd.grad((apart(x.double()) * weighting).sum(), list(apart.parameters()))
    for found, expected in zip(single, double, strict=True):
        assert (found.double() - expected).abs().max() < 1e-4 * expected.abs().max()


def test_gradients_of_single_windows_add_up() -> None:
    merged, x = MergedConvolution(*layers(19, maps=4, filters=3, length=5)), windows(6, 19, 32)
    weights = {name: parameter.detach() for name, parameter in merged.named_parameters()}

    def total(weights: dict[str, Tensor], window: Tensor) -> Tensor:
        return functional_call(merged, weights, (window[None],)).square().sum()

    of_each = vmap(grad(total), in_dims=(None, 0))(weights, x)
    of_all = torch.autograd.grad(merged(x).square().sum(), list(merged.parameters()))
    for each, together in zip(of_each.values(), of_all, strict=True):
        torch.testing.assert_close(each.sum(dim=0), together, rtol=1e-4, atol=1e-3)
