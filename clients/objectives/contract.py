"""What every objective is: the loss that an encoder is trained with, and how its outputs become predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from benchmarks.windows import IntArray

Loss = Callable[[Tensor, Tensor], Tensor]
"""From outputs (n, outputs) and labels (n,) to the mean loss, a scalar."""


class Objective(ABC):
    """Description of a loss."""

    @abstractmethod
    def outputs(self, classes: int) -> int:
        """Number of outputs that an encoder needs for K classes."""

    @abstractmethod
    def loss(self, counts: IntArray) -> Loss:
        """Loss for learning windows with `counts` (K,) windows a class."""

    @abstractmethod
    def probabilities(self, outputs: Tensor) -> Tensor:
        """Class probabilities (n, K) from outputs (n, outputs), in `torch.float64`."""
