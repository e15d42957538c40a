"""Synaptic intelligence: weights along whose way the loss fell are held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from avalanche.core import SupervisedPlugin
from pydantic import Field
from torch import Tensor

from strategies.continual.contract import Tell
from strategies.continual.diagnostics import Pair, diagnosed, flat
from strategies.continual.importance import trainable
from strategies.continual.path import Path
from strategies.continual.quadratic import Join, QuadraticPenalty, Regularised
from strategies.continual.seat import Seat
from strategies.contract import Learning


@dataclass(frozen=True, kw_only=True)
class SI(Regularised):
    """Loss + strength sum_i Omega_i (theta_i - theta*_i)^2, Omega what each weight contributed to the fall of the loss.

    The method of Zenke et al. (2017, arXiv:1703.04200). Along the way, omega_i sums -g_i dtheta_i, with g the gradient
    of the loss alone, without the penalty, where the step dtheta begins. After a subject, max(0, omega_i) / (D_i^2 +
    xi), with D the way from the first to the last weights of the subject, is added to Omega_i, and theta* are the
    last weights. Where a subject's training stops early, its way ends at the epoch that is kept.

    Parameters
    ----------
    normalization, encoder, objective, training, epochs, patience, diagnostics
        See `Continual`.
    strength : float
        The paper's c; there is no 1/2.
    xi : float
        Keeps the importance of a weight that hardly moved within bounds. 0.001 to 0.1 are usual; it matters little
        where it is small against the squared way of the weights.
    accumulation, decay
        See `Regularised`; None is the paper's ``sum``.

    Raises
    ------
    StudyError
        See `Regularised`.
    """

    xi: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3

    def plugins(self, learning: Learning, tell: Tell) -> Sequence[SupervisedPlugin]:
        """See `Continual`."""
        del learning
        penalty = PathPenalty(2 * self.strength, self.join, self.xi)
        if not self.diagnostics:
            return (penalty,)
        alternate = AlternatePaths(self.xi)
        return (alternate, *diagnosed(penalty, self.objective, alternate.pairs, tell))


class PathPenalty(QuadraticPenalty):
    """The penalty of SI.

    Parameters
    ----------
    scale, join
        As for every penalty.
    xi : float
        See `SI`.

    Attributes
    ----------
    path : Path
        Of the subject met last.
    """

    path: Path

    def __init__(self, scale: float, join: Join, xi: float) -> None:
        super().__init__(scale, join)
        self._xi = xi

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Start a new way."""
        super().before_training_exp(strategy, **kwargs)
        self.path = Path(self.parameters)

    def take_seat(self, seat: Seat) -> None:
        """Have a stack follow the way too."""
        super().take_seat(seat)
        self.path.omega = seat.path()

    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Note the gradient before the penalty's is added."""
        self.path.before_step()
        super().after_backward(strategy, **kwargs)

    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        """Add what the step contributed."""
        del strategy, kwargs
        self.path.after_step()

    def at_best_epoch(self, strategy: Any) -> None:
        """See `strategies.continual.stopping.EarlyStopping`."""
        del strategy
        self.path.mark()

    def importance(self, strategy: Any) -> list[Tensor]:
        """See `QuadraticPenalty`."""
        del strategy
        return self.path.importance(self._xi)


class AlternatePaths(SupervisedPlugin):
    """For the diagnostics: the way of a subject in two, every other minibatch's steps in each.

    It stands before the penalty, whose gradient would be part of what it notes.

    Parameters
    ----------
    xi : float
        See `SI`.
    """

    def __init__(self, xi: float) -> None:
        super().__init__()
        self._xi = xi

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Start two new ways."""
        del kwargs
        parameters = trainable(strategy.model)
        self.paths = self._next, self._other = Path(parameters), Path(parameters)

    def take_seat(self, seat: Seat) -> None:
        """Follow the steps that a stack takes."""
        seat.watch(self)

    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Note the gradient of the loss."""
        del strategy, kwargs
        self._next.before_step()

    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        """Add what the step contributed to one of the two; the next goes to the other."""
        del strategy, kwargs
        self._next.after_step()
        self._next, self._other = self._other, self._next

    def at_best_epoch(self, strategy: Any) -> None:
        """See `strategies.continual.stopping.EarlyStopping`."""
        del strategy
        for path in self.paths:
            path.mark()

    def pairs(self, strategy: Any) -> Mapping[str, Pair]:
        """Importance by either half of the steps: it is no function of windows, so none is shown with noise."""
        del strategy
        one, other = (flat(path.importance(self._xi)) for path in self.paths)
        return {"": (one, other)}
