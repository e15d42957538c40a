"""Penalties that are quadratic in the weights: what EWC, SI and MAS have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from avalanche.core import SupervisedPlugin
from pydantic import Field
from torch import Tensor, nn

from benchmarks.errors import StudyError
from strategies.continual.contract import Continual
from strategies.continual.divergence import diverged
from strategies.continual.importance import trainable
from strategies.continual.seat import Seat

Accumulation = Literal["sum", "decay", "max", "reset"]
"""What is made of the importance for the subjects so far and that for a new one."""

ACCUMULATIONS: Mapping[Accumulation, Callable[[Tensor, Tensor, float], Tensor]] = {
    "sum": lambda old, new, _: old + new,
    "decay": lambda old, new, decay: decay * old + new,
    "max": lambda old, new, _: torch.maximum(old, new),
    "reset": lambda _old, new, _: new,
}

DECAY = 0.9
"""Used by ``decay`` where a study gives none."""

Measure = Callable[[nn.Module, Tensor, Tensor], list[Tensor]]
"""Importance of each trainable parameter of a network for windows (n, ...) and their labels (n,)."""


@dataclass(frozen=True, eq=False)
class Quadratic:
    """sum_i importance_i (theta_i - anchor_i)^2, as tensors of the shapes of the parameters."""

    importance: list[Tensor]
    anchor: list[Tensor]


Join = Callable[[Quadratic, Quadratic], Quadratic]
"""What is remembered of all subjects, from what was remembered and what the last one adds."""


class QuadraticPenalty(SupervisedPlugin):
    """Pulls each weight to where earlier subjects want it, as strongly as it matters to them.

    The gradient of scale / 2 sum_i importance_i (theta_i - anchor_i)^2 is added to that of the loss. A parameter that
    the loss does not reach has no gradient and is left alone, so that the optimiser goes on passing it by. It costs the
    same whatever the number of subjects, and nothing is added before the first of them is over.

    Parameters
    ----------
    scale : float
        Factor of the gradient. At 0 the same is computed, and learning is fine-tuning to the bit.
    join : callable
        What is remembered of several subjects.

    Attributes
    ----------
    memory : Quadratic or None
        What is remembered of the subjects that are over; None before the first is.
    latest : list of Tensor
        Importance for the subject that was over last, alone.
    parameters : list of Parameter
        What is trained of the current subject's network.
    curvature : list of Tensor
        Second derivatives of the penalty during the current subject; empty during the first.
    """

    parameters: list[nn.Parameter]

    def __init__(self, scale: float, join: Join) -> None:
        super().__init__()
        self._scale = scale
        self._join = join
        self.memory: Quadratic | None = None
        self.latest: list[Tensor] = []
        self.curvature: list[Tensor] = []

    @abstractmethod
    def importance(self, strategy: Any) -> list[Tensor]:
        """Importance for the subject that is just over, with the weights that are kept."""

    def pull(self) -> list[Tensor]:
        """Gradient of the penalty at the current weights; only from the second subject on."""
        assert self.memory is not None
        return list(torch._foreach_mul(self.curvature, torch._foreach_sub(self._weights, self.memory.anchor)))

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Get hold of the weights, and scale the importance once for all steps."""
        del kwargs
        self.parameters = trainable(strategy.model)
        self._weights = [parameter.detach() for parameter in self.parameters]
        self.curvature = [self._scale * each for each in self.memory.importance] if self.memory else []

    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the penalty's gradient to that of the loss."""
        del strategy, kwargs
        if self.memory is None:
            return
        reached = [
            (parameter.grad, pull)
            for parameter, pull in zip(self.parameters, self.pull(), strict=True)
            if parameter.grad is not None
        ]
        torch._foreach_add_([gradient for gradient, _ in reached], [pull for _, pull in reached])

    def take_seat(self, seat: Seat) -> None:
        """Have a stack do at every minibatch what `after_backward` does."""
        if self.memory is not None:
            seat.pull(self.curvature, self.memory.anchor)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Measure the importance for the subject, and remember it.

        Raises
        ------
        LearningError
            The importance of a weight is not finite.
        """
        del kwargs
        self.latest = self.importance(strategy)
        if not all(each.isfinite().all() for each in self.latest):
            raise diverged(strategy.experience, "the importance of its weights is not finite")
        met = Quadratic(self.latest, [weight.clone() for weight in self._weights])
        self.memory = met if self.memory is None else self._join(self.memory, met)


class MeasuredPenalty(QuadraticPenalty):
    """A penalty whose importance is measured on the windows that were learned from, once they are.

    Parameters
    ----------
    scale, join
        As for every penalty.
    measure : callable
        Importance for windows and their labels.
    """

    def __init__(self, scale: float, join: Join, measure: Measure) -> None:
        super().__init__(scale, join)
        self._measure = measure

    def importance(self, strategy: Any) -> list[Tensor]:
        """See `QuadraticPenalty`."""
        x, y, _ = strategy.experience.tensors
        return self._measure(strategy.model, x, y)


@dataclass(frozen=True, kw_only=True)
class Regularised(Continual):
    """Fine-tuning with a quadratic penalty on leaving the weights that earlier subjects need.

    Parameters
    ----------
    normalization, encoder, objective, training, epochs, patience, diagnostics
        See `Continual`.
    strength : float
        Factor of the penalty; 0 is fine-tuning to the bit. Gradient descent with step size r is stable along a weight
        while r times the penalty's second derivative there is below 2, and diverges beyond. The steps of Adam are
        bounded whatever the strength: a huge one holds the weights about where the subject's first step, which starts
        at the anchor and feels no pull, has put them.
    accumulation : {"sum", "decay", "max", "reset"} or None
        How importance adds up over subjects: their sum; the new plus `decay` times the old; the larger of the two; the
        new alone. None is the method's own rule. The anchor is where the last subject left the weights.
    decay : float or None
        In [0, 1], for ``decay`` alone; 0.9 if not given.

    Attributes
    ----------
    own_accumulation : {"sum", "decay", "max", "reset"}
        The method's own rule.

    Raises
    ------
    StudyError
        A decay with a rule that does not use it, or a normalisation that needs subjects still to come.
    """

    seatable: ClassVar[bool] = True
    own_accumulation: ClassVar[Accumulation] = "sum"

    strength: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    accumulation: Accumulation | None = None
    decay: Annotated[float, Field(ge=0, le=1)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        rule = self.accumulation or self.own_accumulation
        if self.decay is not None and rule != "decay":
            raise StudyError(
                f"decay is {self.decay}, and importance is accumulated by {rule}, which does not use it: leave decay "
                "out, or choose accumulation: decay."
            )

    def join(self, old: Quadratic, new: Quadratic) -> Quadratic:
        """Accumulated importance around the last subject's weights."""
        accumulate = ACCUMULATIONS[self.accumulation or self.own_accumulation]
        decay = DECAY if self.decay is None else self.decay
        importance = [accumulate(*both, decay) for both in zip(old.importance, new.importance, strict=True)]
        return Quadratic(importance, new.anchor)
