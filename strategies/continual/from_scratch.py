"""Training from scratch: what each subject of a stream teaches on its own."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from avalanche.core import SupervisedPlugin
from torch import Tensor

from benchmarks.archive import Archive, archived
from benchmarks.normalization import NORMALIZERS, Geometry, Normalization, Normalizer, Statistics
from benchmarks.windows import FloatArray, Windows
from clients.predictor import NetworkPredictor
from strategies.continual.contract import Continual, Tell
from strategies.contract import Learning, Observer


@dataclass(frozen=True, kw_only=True)
class FromScratch(Continual):
    """Every subject is learned from with the initial network, as if nobody had come before.

    It is what a stream has to beat to have carried anything over. In the matrix R of its scores, R[j, j] is that of
    subject j alone, and R[j - 1, j] what the previous subject alone tells of the next: see `plasticity` and
    `forward_transfer_over_previous` in `benchmarks.metrics.continual`. Early stopping, minibatches and class counts are
    as in every stream, so after the first subject all strategies that do nothing special with it agree to the bit.

    Alone includes the normalisation: with ``stream``, statistics are those of the subject in turn, not of the subjects
    so far. What a stream gains by knowing more people's statistics is then part of what it is ahead.
    """

    def plugins(self, learning: Learning, tell: Tell) -> Sequence[SupervisedPlugin]:
        """See `Continual`."""
        del learning, tell
        return (_Restart(),)

    def fit(self, learning: Learning, observer: Observer) -> NetworkPredictor:
        """See `Strategy`; a step is a subject."""
        if not self.normalization.shares:
            return super().fit(learning, observer)
        return Continual.fit(replace(self, normalization=_OfOne(self.normalization)), learning, observer)


class _Restart(SupervisedPlugin):
    """Gives the network its first weights and buffers back before each subject."""

    def __init__(self) -> None:
        super().__init__()
        self._initial: Mapping[str, Tensor] | None = None

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Start anew; the optimiser does so by itself."""
        del kwargs
        if self._initial is None:
            self._initial = copy.deepcopy(strategy.model.state_dict())
        strategy.model.load_state_dict(self._initial)


@dataclass(frozen=True)
class _OfOne(Normalization):
    """Another mode, whose statistics are those of the subject met last alone."""

    order: ClassVar[Literal["any", "together", "in_sequence"]] = "in_sequence"
    shares: ClassVar[bool] = True

    mode: Normalization

    def start(self, geometry: Geometry) -> Normalizer:
        """See `Normalization`."""
        blank = self.mode.start(geometry)
        return _MetLast(blank, blank)


@dataclass(frozen=True, eq=False)
class _MetLast(Normalizer):
    """Forgets whom it met when it meets another."""

    blank: Normalizer
    known: Normalizer

    def learn(self, statistics: Statistics) -> _MetLast:
        """See `Normalizer`."""
        return replace(self, known=self.blank.learn(statistics))

    def __call__(self, windows: Windows) -> FloatArray:
        """See `Normalizer`."""
        return self.known(windows)

    def archive(self) -> Archive:
        """That of what it knows."""
        return archived(self.known, NORMALIZERS)
