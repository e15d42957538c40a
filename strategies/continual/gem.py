"""Gradient episodic memory: no step may raise the loss of any earlier subject."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from avalanche.core import SupervisedPlugin
from pydantic import Field
from qpsolvers import solve_qp
from torch import Tensor, nn

from benchmarks.errors import LearningError
from clients.objectives.contract import Loss, Objective
from clients.training import class_counts
from strategies.continual.contract import Continual, Tell
from strategies.continual.memory import Memory, each_subject
from strategies.continual.projection import GradientProjection
from strategies.contract import Learning

_SLACK = 1e-12
"""By how much a product of unit vectors may be negative.

It is far below what gradients in float32 are known to, and without it rounding can leave the solver no solution where
the constraints leave the gradient no direction.
"""


@dataclass(frozen=True, kw_only=True)
class GEM(Continual):
    """Fine-tuning along the gradient nearest to the minibatch's that raises no earlier subject's loss.

    A memory holds windows of each subject; see `projected` for the gradient, and `GradientProjection` for how the
    memory is looked at (Lopez-Paz and Ranzato 2017, arXiv:1706.08840). It has no strength: where no constraint is
    violated, it is fine-tuning to the bit.

    At each step the gradient of every earlier subject's loss is taken. So by its definition, memory and the cost of a
    step grow with the number of subjects.

    Parameters
    ----------
    per_subject : int
        Windows that are remembered of each subject, drawn at random.
    margin : float
        Least weight of each earlier subject's gradient where a constraint is violated, see `projected`. Above 0 it
        favours lower losses of earlier subjects over the current one's (backward transfer), as the 0.5 of the paper and
        of Avalanche does; 0 changes the gradient as little as the constraints allow.
    """

    per_subject: Annotated[int, Field(gt=0)] = 64
    margin: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    def plugins(self, learning: Learning, tell: Tell) -> Sequence[SupervisedPlugin]:
        """See `Continual`."""
        memory = Memory(self.per_subject, each_subject, self.normalization, learning.seed)
        return (memory, _OfEachSubject(memory, self.objective, len(learning.classes), self.margin, tell))


def projected(gradient: Tensor, references: Tensor, margin: float = 0.0) -> Tensor:
    """Nearest vector to a gradient whose product with no reference is negative.

    With the gradient g and references g_k it is z = g + sum_k v_k g_k, the minimum of |z - g|^2 / 2 subject to
    <z, g_k> >= 0; its multipliers v minimise |g + sum_k v_k g_k|^2 / 2 subject to v_k >= 0. A margin replaces the 0 of
    the latter, as in the authors' code. References of any length, that depend on each other, or are zero are taken.

    The paper solves for v, in as many dimensions as there are references, and the authors' code adds 0.001 to the
    diagonal of their products, so that there is one solution: with short gradients, constraints are then not met. Here
    z is solved for, in an orthonormal basis of the references, where the solution is always unique.

    Parameters
    ----------
    gradient : Tensor of float64, shape (P,)
        What is projected.
    references : Tensor of float64, shape (k, P)
        Gradients that define the constraints.
    margin : float
        Least weight of each reference.

    Raises
    ------
    LearningError
        The solver finds no solution.
    """
    pushed = gradient + margin * references.sum(dim=0)
    length, lengths = float(pushed.norm()), references.norm(dim=1)
    units = references[lengths > 0] / lengths[lengths > 0, None]
    if not length or not len(units):
        return pushed
    basis, constraints = torch.linalg.qr(units.T)
    start = (basis.T @ pushed).numpy() / length
    nearest = solve_qp(
        P=np.eye(len(start)),
        q=-start,
        G=-constraints.T.numpy(),
        h=np.full(len(units), _SLACK),
        solver="quadprog",
    )
    if nearest is None:
        raise LearningError(
            f"GEM found no gradient that meets the constraints of {len(references)} subjects, the current one's being "
            f"{length:.3g} long. Try a smaller training.learning_rate, or agem, which has one constraint."
        )
    return pushed + length * torch.mv(basis, torch.from_numpy(nearest - start))


class _OfEachSubject(GradientProjection):
    """A constraint for the windows of each subject in the memory, with its classes counted."""

    def __init__(self, memory: Memory, objective: Objective, classes: int, margin: float, tell: Tell) -> None:
        super().__init__(memory, tell)
        self._objective = objective
        self._classes = classes
        self._margin = margin
        self._parts: list[tuple[Tensor, Tensor, Loss]] = []

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Part the memory by subject."""
        super().before_training_exp(strategy, **kwargs)
        if len(self._memory):
            windows = self._memory.windows
            masks = [windows.subject == subject for subject in windows.subjects]
            self._parts = [
                (
                    self._memory.x[mask],
                    self._memory.y[mask],
                    self._objective.loss(class_counts(windows.labels[mask], self._classes)),
                )
                for mask in masks
            ]

    def losses(self, network: nn.Module) -> Iterator[Tensor]:
        """See `GradientProjection`."""
        return (loss(network(x), y) for x, y, loss in self._parts)

    def projected(self, gradient: Tensor, references: Tensor) -> Tensor:
        """See `GradientProjection`."""
        return projected(gradient, references, self._margin)
