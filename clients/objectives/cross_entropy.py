"""Classification by cross-entropy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from benchmarks.windows import IntArray
from clients.objectives.contract import Loss, Objective


def _balanced(counts: Tensor) -> Tensor:
    present = (counts > 0).sum()
    # A class that these windows do not hold never enters the loss; its weight only has to be finite.
    return counts.sum() / (present * counts.clamp(min=1))


ClassWeights = Literal["balanced", "none"]

_WEIGHTS: Mapping[ClassWeights, Callable[[Tensor], Tensor]] = {"balanced": _balanced, "none": torch.ones_like}


@dataclass(frozen=True)
class CrossEntropy(Objective):
    """Mean cross-entropy over windows.

    Parameters
    ----------
    class_weights : {"balanced", "none"}
        ``"balanced"`` weights a window of class k by n / (K n_k), K counting the classes present, so that each of
        them weighs the same and the mean weight is one.
    label_smoothing : float
        Share of the target that is spread evenly over the classes (Szegedy et al. 2016, arXiv:1512.00567).
    """

    class_weights: ClassWeights = "balanced"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def outputs(self, classes: int) -> int:
        """One logit a class."""
        return classes

    def constants(self, counts: IntArray) -> Tensor:
        """Weight of a window of each class, (K,)."""
        return _WEIGHTS[self.class_weights](torch.as_tensor(counts, dtype=torch.float32))

    def losses(self, outputs: Tensor, labels: Tensor, constants: Tensor) -> Tensor:
        """Weight times -log p of each window.

        The weights are not made to sum to one in each batch: that would take the weights away from a batch of one
        class, and a batch's gradient would no longer be the whole loss's in expectation.
        """
        # Written out, because torch's own cross-entropy takes a slow way where clients are stacked.
        logs = torch.log_softmax(outputs, dim=-1)
        each = -logs.gather(-1, labels[:, None])[:, 0]
        if self.label_smoothing:
            each = (1 - self.label_smoothing) * each - self.label_smoothing * logs.mean(dim=-1)
        return constants.gather(0, labels) * each

    def loss(self, counts: IntArray) -> Loss:
        """As for every objective; in torch's own operation, where that means the same: small networks train faster."""
        if self.label_smoothing:
            return super().loss(counts)
        weights = self.constants(counts)
        return lambda outputs, labels: (
            functional.cross_entropy(outputs, labels, weights.to(outputs.dtype), reduction="sum") / len(labels)
        )

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Softmax of the logits, (n, K) in float64."""
        return torch.softmax(outputs.double(), dim=1)
