"""Gradient reversal: what lies behind it is minimised by the layers after it, and maximised by those before."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """The same values; backwards, the gradient times -strength (Ganin et al. 2016, arXiv:1505.07818, section 4.1).

    Parameters
    ----------
    x : Tensor
        Of any shape.
    strength : float
        Lambda, not below 0; at 0 nothing reaches the layers before.
    """
    reversed_: Tensor = _Reversal.apply(x, strength)  # type: ignore[no-untyped-call]
    return reversed_


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None
