"""Elastic weight consolidation: weights that carry Fisher information about earlier subjects are held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from avalanche.core import SupervisedPlugin
from pydantic import BeforeValidator
from torch import Tensor, nn

from benchmarks.errors import StudyError
from strategies.continual.contract import Tell
from strategies.continual.diagnostics import diagnosed, of_windows
from strategies.continual.importance import FisherKind, fisher
from strategies.continual.quadratic import Accumulation, MeasuredPenalty, Quadratic, Regularised
from strategies.contract import Learning

Mode = Literal["separate", "online"]
"""Whether each subject keeps its own anchor, or all share the last."""


def _word(value: object) -> object:
    """YAML reads a bare ``true`` as a truth value."""
    return "true" if value is True else value


@dataclass(frozen=True, kw_only=True)
class EWC(Regularised):
    """Loss + strength / 2 sum_i F_i (theta_i - theta*_i)^2, with F the diagonal Fisher information at theta*.

    The method of Kirkpatrick et al. (2017, doi:10.1073/pnas.1611835114), with the Fisher information of each window's
    own gradient. ``separate`` sums the quadratics of all subjects, each around the weights that it left; ``online`` has
    one, around the last weights (Schwarz et al. 2018, arXiv:1805.06370, section 3.1); a constant factor of its penalty,
    as the paper's gamma, is a part of `strength` here.

    Parameters
    ----------
    normalization, encoder, objective, training, epochs, patience, diagnostics
        See `Continual`.
    strength : float
        The paper's lambda.
    mode : {"separate", "online"}
        Whether each subject keeps its own anchor, or all share the last.
    fisher : {"true", "empirical"}
        See `strategies.continual.importance.fisher`.
    accumulation : {"sum", "decay", "max", "reset"} or None
        Of the Fisher information, for ``online`` alone; None is the paper's ``decay``.
    decay : float or None
        In [0, 1], the paper's gamma, for ``decay`` alone; 0.9 if not given.

    Raises
    ------
    StudyError
        An accumulation or decay with ``separate``, or as in `Regularised`.
    """

    own_accumulation: ClassVar[Accumulation] = "decay"

    mode: Mode = "separate"
    fisher: Annotated[FisherKind, BeforeValidator(_word)] = "true"

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [name for name in ("accumulation", "decay") if getattr(self, name) is not None]
        if self.mode == "separate" and given:
            raise StudyError(
                f"EWC's mode is separate, which sums the quadratics of all subjects, and {' and '.join(given)} "
                f"would change nothing: leave it out, or choose mode: online."
            )

    def plugins(self, learning: Learning, tell: Tell) -> Sequence[SupervisedPlugin]:
        """See `Continual`."""
        penalty = MeasuredPenalty(self.strength, add if self.mode == "separate" else self.join, self._measure)
        if not self.diagnostics:
            return (penalty,)
        return diagnosed(penalty, self.objective, of_windows(self._measure, learning.seed), tell)

    def _measure(self, network: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
        return fisher(network, self.objective, x, y, self.fisher)


def add(one: Quadratic, other: Quadratic) -> Quadratic:
    """One quadratic that is the sum of two, but for a constant, so that memory does not grow with the subjects.

    a (t - u)^2 + b (t - v)^2 = (a + b) (t - w)^2 + constant, with w = (a u + b v) / (a + b) (Huszar 2018,
    doi:10.1073/pnas.1717042115). Where a and b are 0, any anchor will do.
    """
    importance = [a + b for a, b in zip(one.importance, other.importance, strict=True)]
    shares = [torch.where(total > 0, b / total, 0.0) for b, total in zip(other.importance, importance, strict=True)]
    anchor = [torch.lerp(u, v, share) for u, v, share in zip(one.anchor, other.anchor, shares, strict=True)]
    return Quadratic(importance, anchor)
