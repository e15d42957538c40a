"""One stream's place among others that are trained in one program: what it asks of its row, and where it waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from avalanche.core import SupervisedPlugin
from greenlet import getcurrent
from torch import Tensor, nn

from benchmarks.windows import IntArray
from clients.objectives.contract import Objective
from clients.training import Training
from strategies.continual.experience import SubjectExperience
from strategies.continual.rows import Epoch, Rows
from strategies.continual.template import StreamTemplate


@dataclass(frozen=True, eq=False)
class Seat:
    """A row of a stack, for one stream, which runs in a greenlet of its own.

    Parameters
    ----------
    rows : Rows
        The stack.
    row : int
        Which of its rows.
    """

    rows: Rows
    row: int

    def take(self, network: nn.Module) -> None:
        """See `Rows.seat`."""
        self.rows.seat(self.row, network)

    def begin(self, x: Tensor, y: Tensor, constants: Tensor, names: Sequence[str | int]) -> None:
        """See `Rows.begin`."""
        self.rows.begin(self.row, x, y, constants, names)

    def pull(self, curvature: Sequence[Tensor], anchor: Sequence[Tensor]) -> None:
        """See `Rows.pull`."""
        self.rows.pull(self.row, curvature, anchor)

    def path(self) -> list[Tensor]:
        """See `Rows.path`."""
        return self.rows.path(self.row)

    def judge(self, x: Tensor, y: Tensor, weights: Tensor) -> None:
        """See `Rows.judge`."""
        self.rows.judge(self.row, x, y, weights)

    def watch(self, plugin: SupervisedPlugin) -> None:
        """See `Rows.watch`."""
        self.rows.watch(self.row, plugin)

    def epoch(self) -> Epoch:
        """Wait until the row has been trained for an epoch."""
        self.rows.open_epoch(self.row)
        parent = getcurrent().parent
        assert parent is not None
        epoch: Epoch = parent.switch()
        return epoch


@runtime_checkable
class Seatable(Protocol):
    """A plugin whose work at every minibatch can be done by a stack for all of its rows at once.

    Beside that it works at the hooks of subjects and epochs alone, draws nothing, and leaves the template's tensors,
    loss and network in their places.
    """

    def take_seat(self, seat: Seat) -> None:
        """Say what the stack has to do at every minibatch of the subject; called when all know of the subject."""
        ...


class AtSubjects(SupervisedPlugin):
    """A plugin that does nothing at minibatches: a stack has nothing to do for it."""

    def take_seat(self, seat: Seat) -> None:
        """See `Seatable`."""


class SeatedTemplate(StreamTemplate):
    """A template whose minibatches are taken by a stack, along with those of other streams.

    Parameters
    ----------
    seat : Seat
        Where its network is trained.
    network, training, epochs, plugins
        See `StreamTemplate`.
    """

    def __init__(
        self, *, seat: Seat, network: nn.Module, training: Training, epochs: int, plugins: Sequence[SupervisedPlugin]
    ) -> None:
        super().__init__(network=network, training=training, epochs=epochs, plugins=[*plugins, _TakeSeats(seat)])
        self._seat = seat
        seat.take(network)

    def meet(
        self, experience: SubjectExperience, objective: Objective, counts: IntArray, names: Sequence[str | int]
    ) -> None:
        """See `StreamTemplate`; nobody draws from the global sources, so they need no seed, and no watch over them."""
        x, y, _ = experience.tensors
        self._seat.begin(x, y, objective.constants(counts), names)
        self._learn(experience, objective, counts)

    def make_train_dataloader(self, **kwargs: Any) -> None:
        """The stack has the windows."""
        del kwargs

    def training_epoch(self, **kwargs: Any) -> None:
        """Wait until it is over."""
        del kwargs
        epoch = self._seat.epoch()
        self.losses, self._score = epoch.losses, epoch.score

    def score(self, objective: Objective, x: Tensor, y: Tensor, weights: Tensor) -> float:
        """See `StreamTemplate`; by what the seat was told to judge by."""
        del objective, x, y, weights
        return self._score


class _TakeSeats(SupervisedPlugin):
    """Stands behind all others, and asks them what the stack has to do."""

    def __init__(self, seat: Seat) -> None:
        super().__init__()
        self._seat = seat

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Ask those that have something to be done."""
        del kwargs
        for plugin in strategy.plugins:
            if isinstance(plugin, Seatable):
                plugin.take_seat(self._seat)
