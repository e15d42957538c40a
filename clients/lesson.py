"""What a client learns in one round of a federation, and what comes of it: the terms that all trainers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

Weights = Mapping[str, Tensor]
"""Parameters and buffers of a network by name."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """One client's work in one round. Nothing in it is changed by training.

    The gradient of each minibatch, of the mean loss L over its windows, is

        grad L(w) + pull * (w - w_start) + drift

    Parameters
    ----------
    subject : str
        Whose windows they are.
    x, y : Tensor
        Normalised windows (n, ...) in the network's floating type, and labels (n,). Lessons with the very same tensors
        and stream may be trained together, their windows read once.
    constants : Tensor
        What the objective needs to know, see `Objective.constants`.
    weights : mapping of str to Tensor
        Where all parameters and buffers start.
    epochs : int
        Training epochs.
    stream : tuple of str or int
        Names that seed the order of the windows; with ``"dropout"`` behind them, what the network itself draws.
    pull : float
        Strength of the proximal term that holds the weights near their start (FedProx's mu).
    drift : mapping of str to Tensor, or None
        Added to the gradient of each parameter (SCAFFOLD's difference of control variates).
    """

    subject: str
    x: Tensor
    y: Tensor
    constants: Tensor
    weights: Weights
    epochs: int
    stream: tuple[str | int, ...]
    pull: float = 0.0
    drift: Weights | None = None


@dataclass(frozen=True, eq=False)
class Learned:
    """What came of a lesson.

    Parameters
    ----------
    weights : mapping of str to Tensor
        Parameters and buffers after the last step; they share no memory with anything that is still trained.
    loss : float
        Mean loss of the windows in the last training epoch, each scored before the step that it takes part in.
    steps : int
        Steps of the optimiser.
    """

    weights: Weights
    loss: float
    steps: int


class Trainer(Protocol):
    """Trains clients, one after another or all at once."""

    def __call__(self, lessons: Sequence[Lesson]) -> list[Learned | Exception]:
        """What came of each lesson, in their order; an exception where a client failed, and the others go on."""
        ...
