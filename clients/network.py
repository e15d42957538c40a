"""The network that a cell starts from: the same weights for every strategy that is given the same seed."""

from __future__ import annotations

from torch import nn

from clients.encoders.contract import Encoder
from clients.objectives.contract import Objective
from clients.training import seeded


def initial_network(
    encoder: Encoder, objective: Objective, shape: tuple[int, ...], classes: int, seed: int
) -> nn.Module:
    """Network before any learning, so that strategies of one cell are compared from the same start.

    Parameters
    ----------
    encoder : Encoder
        Description of the network.
    objective : Objective
        Says how many outputs the network needs.
    shape : tuple of int
        Shape of one window's representation, without the batch axis.
    classes : int
        Number of classes, K.
    seed : int
        Root seed of the cell; the weights are drawn from ``(seed, "init")``.

    Raises
    ------
    StudyError
        The encoder cannot take that shape.
    """
    with seeded(seed, "init"):
        return encoder.build(shape, objective.outputs(classes))
