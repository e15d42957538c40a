"""Classification by cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from benchmarks.windows import IntArray
from clients.objectives.contract import Loss, Objective


@dataclass(frozen=True)
class CrossEntropy(Objective):
    """Mean cross-entropy over windows.

    Parameters
    ----------
    class_weights : {"balanced", "none"}
        ``"balanced"`` weights a window of class k by n / (K n_k), so that each class present weighs the same.
    label_smoothing : float
        Share of the target that is spread evenly over the classes (Szegedy et al. 2016, arXiv:1512.00567).
    """

    class_weights: Literal["balanced", "none"] = "balanced"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def outputs(self, classes: int) -> int:
        """One logit a class."""
        return classes

    def loss(self, counts: IntArray) -> Loss:
        """Weighted mean of -log p over the windows of a batch, weights summing to one."""
        weight = _WEIGHTS[self.class_weights](torch.as_tensor(counts, dtype=torch.float32))

        def loss(outputs: Tensor, labels: Tensor) -> Tensor:
            return functional.cross_entropy(outputs, labels, weight, label_smoothing=self.label_smoothing)

        return loss

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Softmax of the logits, (n, K) in float64."""
        return torch.softmax(outputs.double(), dim=1)


def _balanced(counts: Tensor) -> Tensor:
    # A class that these windows do not hold never enters the loss; its weight only has to be finite.
    return counts.sum() / (len(counts) * counts.clamp(min=1))


_WEIGHTS = {"balanced": _balanced, "none": torch.ones_like}
