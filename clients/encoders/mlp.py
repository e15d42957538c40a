"""Multilayer perceptron on flattened representations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from pydantic import Field
from torch import nn

from clients.encoders.contract import Encoder


@dataclass(frozen=True)
class MLP(Encoder):
    """Linear layers with ReLU between them; no batch norm, whose statistics would blur what a subject teaches.

    Parameters
    ----------
    hidden : tuple of int
        Width of each hidden layer; empty gives a linear model.
    dropout : float
        Probability with which a hidden unit is dropped while training.
    """

    hidden: tuple[Annotated[int, Field(gt=0)], ...] = (64,)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """See `Encoder`."""
        layers: list[nn.Module] = [nn.Flatten()]
        widths = (math.prod(shape), *self.hidden)
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
        return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))
