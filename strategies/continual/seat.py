"""One stream's place among others that are trained in one program: what it asks of its row, and where it waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from avalanche.core import SupervisedPlugin
from greenlet import getcurrent
from torch import Tensor, nn

from benchmarks.windows import IntArray
from clients.objectives.contract import Objective
from clients.training import Training
from strategies.continual.experience import SubjectExperience
from strategies.continual.rows import Epoch, Rows
from strategies.continual.template import HOOKS, StreamTemplate


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
    _watching: list[_Guarded] = field(default_factory=list, init=False)

    def take(self, network: nn.Module) -> None:
        """See `Rows.seat`."""
        self.rows.seat(self.row, network)

    def begin(self, x: Tensor, y: Tensor, constants: Tensor, names: Sequence[str | int]) -> None:
        """See `Rows.begin`."""
        self._watching.clear()
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
        """See `Rows.watch`; what the plugin raises comes when the epoch is over, and ends this stream alone."""
        self._watching.append(_Guarded(plugin))
        self.rows.watch(self.row, self._watching[-1])

    def epoch(self) -> Epoch:
        """Wait until the row has been trained for an epoch."""
        self.rows.open_epoch(self.row)
        parent = getcurrent().parent
        assert parent is not None
        epoch: Epoch = parent.switch()
        for watching in self._watching:
            if watching.error is not None:
                raise watching.error
        return epoch


class _Guarded:
    """A watcher whose errors wait for its stream, and which is called no more after the first.

    Attributes
    ----------
    error : Exception or None
        What it raised.
    """

    def __init__(self, plugin: SupervisedPlugin) -> None:
        self._plugin = plugin
        self.error: Exception | None = None

    def after_backward(self, strategy: Any) -> None:
        """See `Rows.watch`."""
        self._call(self._plugin.after_backward, strategy)

    def after_update(self, strategy: Any) -> None:
        """See `Rows.watch`."""
        self._call(self._plugin.after_update, strategy)

    def _call(self, hook: Callable[[Any], None], strategy: Any) -> None:
        if self.error is None:
            try:
                hook(strategy)
            except Exception as error:  # Whatever a part throws, the other streams go on.
                self.error = error


@runtime_checkable
class Seatable(Protocol):
    """A plugin whose work at every minibatch can be done by a stack for all of its rows at once.

    Beside that it works at the hooks of subjects and epochs alone, draws nothing, and leaves the template's tensors,
    loss and network in their places.
    """

    def take_seat(self, seat: Seat) -> None:
        """Say what the stack has to do at every minibatch of the subject; called when all know of the subject."""
        ...


def seatable(plugin: SupervisedPlugin) -> bool:
    """Whether a stack can do all that a plugin does at minibatches.

    A class that changes what is done there has to say anew what the stack does: by the ``take_seat`` that it inherits,
    the stack would do what was done before.
    """
    kinds = type(plugin).__mro__
    saying = next((place for place, kind in enumerate(kinds) if "take_seat" in vars(kind)), None)
    if saying is None:
        return False
    changed = [*vars(plugin), *(name for kind in kinds[:saying] for name in vars(kind))]
    return not set(changed) & {*HOOKS, "pull"}


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
