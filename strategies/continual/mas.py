"""Memory aware synapses: weights that the length of the outputs is sensitive to are held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avalanche.core import SupervisedPlugin
from torch import Tensor, nn

from strategies.continual.contract import Tell
from strategies.continual.diagnostics import diagnosed, of_windows
from strategies.continual.importance import mas_importance
from strategies.continual.quadratic import MeasuredPenalty, Regularised
from strategies.contract import Learning


@dataclass(frozen=True, kw_only=True)
class MAS(Regularised):
    """Loss + strength sum_i Omega_i (theta_i - theta*_i)^2, Omega the sensitivity of the outputs' squared length.

    The method of Aljundi et al. (2018, arXiv:1711.09601), see `strategies.continual.importance.mas_importance`; Omega
    is summed over subjects, and theta* are the weights that the last one left. Labels play no part in it.

    Parameters
    ----------
    normalization, encoder, objective, training, epochs, patience, diagnostics
        See `Continual`.
    strength : float
        The paper's lambda; there is no 1/2.
    accumulation, decay
        See `Regularised`; None is the paper's ``sum``.

    Raises
    ------
    StudyError
        See `Regularised`.
    """

    def plugins(self, learning: Learning, tell: Tell) -> Sequence[SupervisedPlugin]:
        """See `Continual`."""
        penalty = MeasuredPenalty(2 * self.strength, self.join, _measure)
        if not self.diagnostics:
            return (penalty,)
        return diagnosed(penalty, self.objective, of_windows(_measure, learning.seed), tell)


def _measure(network: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
    del y
    return mas_importance(network, x)
