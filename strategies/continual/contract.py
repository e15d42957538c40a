"""What every continual strategy is: the stream of subjects, and plugins that say what is done against forgetting."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
from avalanche.core import SupervisedPlugin
from pydantic import Field

from benchmarks.normalization import Normalization
from clients.encoders.contract import Encoder
from clients.network import initial_network
from clients.objectives.contract import Objective
from clients.predictor import NetworkPredictor
from clients.training import Training
from strategies.continual.rows import Rows, rows_of
from strategies.continual.seat import AtSubjects, Seat, SeatedTemplate, seatable
from strategies.continual.side_by_side import side_by_side
from strategies.continual.stream import learn_stream
from strategies.continual.template import StreamTemplate
from strategies.contract import Learning, Observer, Predictor, Strategy, report

Tell = Callable[[int, Mapping[str, float]], None]
"""Takes measurements of a step, which is the number of subjects learned from, by name."""


@dataclass(frozen=True, kw_only=True)
class Continual(Strategy):
    """One network that meets one subject after another.

    Where a protocol holds windows of each subject out for validation (``stream``), a subject's training stops early on
    its own; elsewhere it is trained on for a fixed number of epochs: validation subjects would have to be met before
    the stream ends.

    Parameters
    ----------
    normalization : Normalization
        Whose statistics make subjects comparable; ``stream`` knows the subjects met so far.
    encoder : Encoder
        The network.
    objective : Objective
        The loss; classes are counted anew in each subject.
    training : Training
        How weights are updated; the optimiser starts anew with each subject.
    epochs : int
        Training epochs with each subject, at most.
    patience : int
        A subject's training stops after this many epochs in a row without a better score of its validation windows.
    diagnostics : bool
        Whether the observer is told more after each subject, for which more is computed; learning is the same. Every
        strategy tells ``f3_step``, the distance between its weights before and after the subject; what else there is
        stands in `strategies.continual.diagnostics`.

    Attributes
    ----------
    seatable : bool
        Whether all of its plugins are `Seatable`: orders, seeds and folds of a network that stacks well are then
        trained in one program.

    Raises
    ------
    StudyError
        The normalisation needs subjects still to come.
    """

    sequential: ClassVar[bool] = True
    seatable: ClassVar[bool] = False

    normalization: Normalization
    encoder: Encoder
    objective: Objective
    training: Training
    epochs: Annotated[int, Field(gt=0)] = 20
    patience: Annotated[int, Field(gt=0)] = 5
    diagnostics: bool = False

    def plugins(self, learning: Learning, tell: Tell) -> Sequence[SupervisedPlugin]:
        """New plugins for one stream, called in this order; none is fine-tuning.

        Parameters
        ----------
        learning : Learning
            What is learned from: its classes and seed, and how many subjects there will be.
        tell : callable
            Takes what a step cost or showed.
        """
        del learning, tell
        return ()

    @property
    def lockstep(self) -> bool:
        """See `Strategy`."""
        stacks = self.encoder.stacks_well and not self.encoder.mixes
        # One that learns in a way of its own would be passed by.
        return self.seatable and stacks and type(self).fit is Continual.fit

    def at_once(self, learning: Learning, wanted: int) -> int:
        """See `Strategy`."""
        rows = self._rows(learning, wanted)
        return 1 if rows is None else rows.number

    def fit(self, learning: Learning, observer: Observer) -> NetworkPredictor:
        """See `Strategy`; a step is a subject."""
        return self._fit(learning, observer, StreamTemplate)

    def fit_many(self, learnings: Sequence[Learning], observers: Sequence[Observer]) -> list[Predictor | Exception]:
        """See `Strategy`: streams side by side, where their networks and all that is done to them can be stacked."""
        rows = self._rows(learnings[0], len(learnings), _longest(learnings)) if self.lockstep and learnings else None
        if rows is None:
            return super().fit_many(learnings, observers)

        def fit(learning: Learning, observer: Observer, seat: Seat) -> Predictor:
            # The row is another's afterwards.
            return self._fit(learning, observer, partial(SeatedTemplate, seat=seat)).snapshot()

        return side_by_side([partial(fit, *one) for one in zip(learnings, observers, strict=True)], rows)

    def _fit(self, learning: Learning, observer: Observer, template: Callable[..., StreamTemplate]) -> NetworkPredictor:
        tell = partial(report, observer)
        watching = [_Distance(tell)] if self.diagnostics else []
        return learn_stream(
            learning,
            observer,
            normalization=self.normalization,
            encoder=self.encoder,
            objective=self.objective,
            training=self.training,
            epochs=self.epochs,
            patience=self.patience,
            plugins=[*self.plugins(learning, tell), *watching],
            template=template,
        )

    def _rows(self, learning: Learning, streams: int, longest: int | None = None) -> Rows | None:
        """A stack for streams like this one; None where they cannot be stacked, or are too few."""
        if not all(map(seatable, self.plugins(learning, _unheard))):
            return None
        shape, classes = learning.training.x.shape[1:], len(learning.classes)
        network = initial_network(self.encoder, self.objective, shape, classes, learning.seed)
        longest = longest or _longest([learning])
        return rows_of(network, self.objective, self.training, shape, classes, streams, longest)


def _longest(learnings: Sequence[Learning]) -> int:
    """Windows of a subject, at most."""
    return max(int(np.unique(each.training.subject, return_counts=True)[1].max()) for each in learnings)


def _unheard(step: int, values: Mapping[str, float]) -> None:
    del step, values


class _Distance(AtSubjects):
    """Tells how far a subject moved the weights: the Euclidean distance over all parameters."""

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Note where the weights are."""
        del kwargs
        self._start = [parameter.detach().clone() for parameter in strategy.model.parameters()]

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Tell how far those that are kept lie from there."""
        del kwargs
        pairs = zip(strategy.model.parameters(), self._start, strict=True)
        squares = [float((end.detach() - start).double().square().sum()) for end, start in pairs]
        self._tell(strategy.experience.current_experience + 1, {"f3_step": math.sqrt(math.fsum(squares))})
