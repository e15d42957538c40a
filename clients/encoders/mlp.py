"""Multilayer perceptron on flattened representations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from clients.encoders.contract import Encoder


class BatchNorm(nn.BatchNorm1d):
    """Torch's batch norm, which also takes a minibatch of one window.

    A lone window has no spread, and torch refuses it. Here it is normalised by the running statistics, which it leaves
    as they were: the last minibatch of a training epoch, or all windows of a subject, may be one.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalised windows (n, features)."""
        if self.training and len(x) == 1:
            return functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        return super().forward(x)


@dataclass(frozen=True)
class MLP(Encoder):
    """Linear layers with ReLU between them.

    Parameters
    ----------
    hidden : tuple of int
        Width of each hidden layer; empty gives a linear model.
    dropout : float
        Probability with which a hidden unit is dropped while training.
    batch_norm : bool
        Whether each hidden layer is normalised over the minibatch before its ReLU (Ioffe and Szegedy 2015,
        arXiv:1502.03167). It is there for aggregators that leave batch norm with each client (`fedbn`); everywhere else
        its statistics, which mix the subjects of a minibatch or average those of clients, blur what a subject teaches.
    """

    stacks_well: ClassVar[bool] = True

    hidden: tuple[Annotated[int, Field(gt=0)], ...] = (64,)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    batch_norm: bool = False

    @property
    def mixes(self) -> bool:
        """See `Encoder`."""
        return self.batch_norm

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """See `Encoder`."""
        layers: list[nn.Module] = [nn.Flatten()]
        widths = (math.prod(shape), *self.hidden)
        for fan_in, fan_out in pairwise(widths):
            # Batch norm takes a layer's mean away, so a bias before it would do nothing.
            layers.append(nn.Linear(fan_in, fan_out, bias=not self.batch_norm))
            if self.batch_norm:
                layers.append(BatchNorm(fan_out))
            layers.append(nn.ReLU())
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
        return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))
