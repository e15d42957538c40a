"""A convolution over time and one over channels as a single convolution, with gradients that can be trusted."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class MergedConvolution(nn.Module):
    """Filters in time and then over all channels, with nothing between them (Schirrmeister et al. 2017).

    It computes what braindecode's ``CombinedConv`` does, with its very layers, as a convolution of one dimension.
    Theirs has two, and slides a kernel as wide as there are channels over a plane just as wide. For 14 to 19 channels
    the gradient that oneDNN 3.12 (torch 2.13, CPUs with AVX-512, float32) gives of such a kernel is wrong, by more than
    its own size, and nothing tells so: loss and outputs are right.

    Parameters
    ----------
    conv_time : torch.nn.Conv2d
        From 1 to M maps, kernel (k, 1).
    conv_spat : torch.nn.Conv2d
        From M to F maps, kernel (1, C).
    """

    def __init__(self, conv_time: nn.Conv2d, conv_spat: nn.Conv2d) -> None:
        super().__init__()
        self.conv_time = conv_time
        self.conv_spat = conv_spat

    def forward(self, x: Tensor) -> Tensor:
        """Filtered windows (n, F, T - k + 1, 1) of windows (n, 1, T, C)."""
        over_channels = self.conv_spat.weight[:, :, 0]
        weight = torch.einsum("fmc,mk->fck", over_channels, self.conv_time.weight[:, 0, :, 0])
        bias = self.conv_spat.bias
        if self.conv_time.bias is not None:
            passed = over_channels.sum(dim=2) @ self.conv_time.bias
            bias = passed if bias is None else passed + bias
        return functional.conv1d(x[:, 0].mT, weight, bias)[..., None]
