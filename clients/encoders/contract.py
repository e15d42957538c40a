"""What every encoder is: a description that builds a network for the shape of its input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import nn


class Encoder(ABC):
    """Description of a network. It holds no weights, so one description serves all cells of a study.

    Attributes
    ----------
    stacks_well : bool
        Whether many such networks were measured to train faster as one tensor program than one after another, on a
        CPU: what `grid: auto` goes by.
    """

    stacks_well: ClassVar[bool] = False

    @property
    def mixes(self) -> bool:
        """Whether what comes of a window in training depends on the others of its minibatch, as with batch norm."""
        return False

    @abstractmethod
    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """Network with freshly initialised weights, drawn from torch's current random state.

        Parameters
        ----------
        shape : tuple of int
            Shape of one window's representation, without the batch axis.
        outputs : int
            Size of the last layer.

        Returns
        -------
        torch.nn.Module
            From (batch, *shape) float32 to (batch, outputs).

        Raises
        ------
        StudyError
            The encoder cannot take that shape.
        """
