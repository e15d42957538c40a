"""The way of weights through training, and what each contributed to the fall of the loss on it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Path:
    """The way of the weights through one subject, and what each contributed to the fall of the loss.

    Parameters
    ----------
    parameters : sequence of Tensor
        What is trained, with its gradient in the attribute ``grad``; it may be that of many networks.

    Attributes
    ----------
    omega : list of Tensor
        Sum of -gradient times displacement over the steps so far.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._parameters = parameters
        self._weights = [parameter.detach() for parameter in parameters]
        self._start = [weight.clone() for weight in self._weights]
        self._before = [torch.empty_like(weight) for weight in self._weights]
        self._gradients = [torch.empty_like(weight) for weight in self._weights]
        self.omega = [torch.zeros_like(weight) for weight in self._weights]
        self._marked: list[Tensor] = []

    def before_step(self) -> None:
        """Note weights and gradients; a parameter without gradient contributes nothing."""
        torch._foreach_copy_(self._before, self._weights)
        for kept, parameter in zip(self._gradients, self._parameters, strict=True):
            if parameter.grad is None:
                kept.zero_()
            else:
                kept.copy_(parameter.grad)

    def after_step(self) -> None:
        """Add what the step contributed."""
        torch._foreach_sub_(self._before, self._weights)
        torch._foreach_addcmul_(self.omega, self._gradients, self._before)

    def mark(self) -> None:
        """The way may turn out to end here."""
        self._marked = [omega.clone() for omega in self.omega]

    def importance(self, xi: float) -> list[Tensor]:
        """Importance where the way ended: at the last mark, if there is one, where the weights then have to be."""
        omegas = self._marked or self.omega
        squares = [(end - start).square() for end, start in zip(self._weights, self._start, strict=True)]
        return [omega.clamp(min=0) / (square + xi) for omega, square in zip(omegas, squares, strict=True)]
