"""Networks of many streams in one tensor program: each in a row, with windows, an optimiser and a pace of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from clients.objectives.contract import Objective
from clients.selection import log_likelihoods
from clients.stack_size import FEWEST, stack_size
from clients.stackable import Stackable
from clients.training import Training, dtype_of, torch_generator
from strategies.continual.path import Path
from strategies.continual.row_windows import Judges, RowWindows


class Watcher(Protocol):
    """What looks at every minibatch of a row, by the hooks of a plugin; there is no template that it could look at."""

    def after_backward(self, strategy: None) -> None:
        """Look at the gradients of the loss, which the network's parameters have, before any penalty is added."""

    def after_update(self, strategy: None) -> None:
        """Look at the weights after the step."""


@dataclass
class _Course:
    """Where a row is in its training epoch.

    Parameters
    ----------
    windows : int
        Of the subject.
    minibatches : int
        Of a training epoch.
    shuffling, dropping : torch.Generator
        Sources of the order of windows, and of all that the network draws.
    done : int
        Minibatches of this epoch that were taken.
    """

    windows: int
    minibatches: int
    shuffling: torch.Generator
    dropping: torch.Generator
    done: int = 0


@dataclass(frozen=True)
class Epoch:
    """What came of a row's training epoch.

    Parameters
    ----------
    losses : sequence of float
        Mean losses of its minibatches, each before its step.
    score : float
        See `clients.selection.network_score`; not defined where a subject has no validation windows.
    """

    losses: Sequence[float]
    score: float


class Rows:
    """A stack of networks, each of which trains on one subject after another at its own pace.

    All weights of a network are one row of one tensor, so that what is done entry by entry, as an optimiser's step or
    the pull of a penalty, is one operation for all networks. Each step takes one minibatch of every row. Rows in which
    nobody trains are carried along, and what becomes of their weights is of no consequence.

    Parameters
    ----------
    network : Stackable
        The shape of all; no window's outputs depend on others', and all parameters are trained.
    objective : Objective
        What they are trained with.
    training : Training
        How weights are updated.
    number : int
        Rows.
    longest : int
        Windows of a subject, at most.
    """

    def __init__(self, network: Stackable, objective: Objective, training: Training, number: int, longest: int) -> None:
        self.number = number
        self._network, self._objective, self._size = network, objective, min(training.batch_size, longest)
        parameters = dict(network.network.named_parameters())
        ends = list(accumulate((each.numel() for each in parameters.values()), initial=0))
        self._shapes = [each.shape for each in parameters.values()]
        self._places = [slice(*ends) for ends in pairwise(ends)]
        dtype = next(iter(parameters.values())).dtype
        self._weights = torch.zeros((number, ends[-1]), dtype=dtype)
        # Each row is a parameter of its own, since each is at a step of its own.
        self._parameters = self._weights.unbind()
        self._optimizer = training.optimizer_of(self._parameters)
        self._leaves = {
            name: self._weights[:, place].view(number, *shape).detach().requires_grad_()
            for name, place, shape in zip(parameters, self._places, self._shapes, strict=True)
        }
        self._program = torch.vmap(self._losses)
        self._networks: dict[int, list[nn.Parameter]] = {}
        self._watchers: dict[int, list[Watcher]] = {}
        self._courses: dict[int, _Course] = {}
        self._told: list[Tensor] = []
        self._pulls: tuple[Tensor, Tensor] | None = None
        self._path: Path | None = None
        self._held: RowWindows | None = None
        self._judges: Judges | None = None

    def seat(self, row: int, network: nn.Module) -> None:
        """Train a network in a row: its weights become a view of it, so that either side sees what the other does."""
        self._networks[row] = list(network.parameters())
        for place, shape, parameter in zip(self._places, self._shapes, self._networks[row], strict=True):
            mine = self._weights[row, place].view(shape)
            mine.copy_(parameter.detach())
            parameter.data = mine

    def begin(self, row: int, x: Tensor, y: Tensor, constants: Tensor, names: Sequence[str | int]) -> None:
        """Let a row begin with a subject: by a fresh optimiser, and without a penalty.

        Parameters
        ----------
        row : int
            Which.
        x, y : Tensor, shapes (n, ...) and (n,)
            Normalised windows and their labels.
        constants : Tensor
            See `Objective.constants`.
        names : sequence of str or int
            Seed the order of the windows; with ``"global"`` behind them, what the network draws.
        """
        if self._held is None:
            self._held = RowWindows.none(self.number, self._size, x, y, constants)
        self._held = self._held.with_room(len(x))
        self._held.put(row, x, y, constants)
        draws = torch_generator(*names), torch_generator(*names, "global")
        self._courses[row] = _Course(len(x), -(-len(x) // self._size), *draws)
        self._optimizer.state.pop(self._parameters[row], None)
        self._watchers[row] = []
        for kept in self._pulls or ():
            kept[row] = 0
        if self._judges is not None:
            self._judges.weights[row] = 0

    def pull(self, row: int, curvature: Sequence[Tensor], anchor: Sequence[Tensor]) -> None:
        """Add curvature times (weights - anchor), entry by entry, to the gradients of the subject in a row."""
        if self._pulls is None:
            self._pulls = torch.zeros_like(self._weights), torch.zeros_like(self._weights)
        for kept, given in zip(self._pulls, (curvature, anchor), strict=True):
            torch.cat([each.reshape(-1) for each in given], out=kept[row])

    def path(self, row: int) -> list[Tensor]:
        """Follow what each weight of a row contributes to the fall of the loss, from now on: what `Path` calls omega.

        Returns
        -------
        list of Tensor
            Of the shapes of the parameters, as they stand; they follow the training.
        """
        if self._path is None:
            self._path = Path([self._weights])
        (omega,) = self._path.omega
        omega[row] = 0
        return [omega[row, place].view(shape) for place, shape in zip(self._places, self._shapes, strict=True)]

    def judge(self, row: int, x: Tensor, y: Tensor, weights: Tensor) -> None:
        """Score a row after each training epoch with its subject, by what `clients.selection.network_score` takes."""
        if self._judges is None:
            self._judges = Judges.none(self.number, x, y, weights)
        self._judges = self._judges.with_room(len(x))
        self._judges.put(row, x, y, weights)

    def watch(self, row: int, watcher: Watcher) -> None:
        """Call a watcher at the minibatches of a row's subject; what it raises ends the training of all rows."""
        self._watchers[row].append(watcher)

    def open_epoch(self, row: int) -> None:
        """Shuffle the windows of a row for another training epoch."""
        assert self._held is not None
        course = self._courses[row]
        course.done = 0
        self._held.shuffle(row, torch.randperm(course.windows, generator=course.shuffling))

    def leave(self, row: int) -> None:
        """Nobody trains in a row any more."""
        for of_rows in (self._courses, self._watchers, self._networks):
            of_rows.pop(row, None)

    def step(self) -> None:
        """One minibatch of every row in training."""
        assert self._held is not None
        sizes = [self._windows_of(row) for row in range(self.number)]
        starts = [self._start_of(row) for row in range(self.number)]
        x, y = self._held.minibatch(starts, max(sizes))
        losses = self._program(self._leaves, self._held.constants, self._factors(sizes), x, y)
        counts = torch.tensor(sizes)[:, None]
        own = torch.arange(max(sizes)) < counts
        # Each row's mean, in which windows beyond its own weigh nothing.
        shares = (own / counts.clamp(min=1)).to(losses.dtype)
        found = torch.autograd.grad((losses * shares).sum(), list(self._leaves.values()))
        self._told.append(torch.where(own, losses.detach() * shares, 0).sum(dim=1))
        self._move(torch.cat([each.reshape(self.number, -1) for each in found], dim=1))
        for course in self._courses.values():
            course.done += 1

    def finished(self) -> Mapping[int, Epoch]:
        """What came of the training epoch of each row where it is over: it has to open another, begin or leave."""
        longest = max((course.minibatches for course in self._courses.values()), default=0)
        self._told = self._told[-longest:]
        over = [row for row, course in self._courses.items() if course.done == course.minibatches]
        if not over:
            return {}
        told = torch.stack(self._told)
        scores = [math.nan] * len(over) if self._judges is None else self._scores(over)
        return {
            row: Epoch(told[-self._courses[row].minibatches :, row].tolist(), score)
            for row, score in zip(over, scores, strict=True)
        }

    def _scores(self, over: Sequence[int]) -> list[float]:
        """See `clients.selection.network_score`, of the networks and validation windows in some rows."""
        assert self._judges is not None
        x, y, weights = (each[over] for each in (self._judges.x, self._judges.y, self._judges.weights))
        networks = {name: leaf.detach()[over] for name, leaf in self._leaves.items()}
        factors = [x.new_ones(()).expand(*y.shape, *call.shape) for call in self._network.dropout]
        with torch.no_grad():
            outputs = torch.vmap(self._network)(networks, factors, x)
            likelihoods = log_likelihoods(self._objective, outputs.flatten(0, 1), y.flatten())
        # A network may make no number of a window that never was, which would not vanish by a weight of zero.
        counted = torch.where(weights > 0, weights * likelihoods.view(y.shape), 0)
        return counted.sum(dim=1).tolist()

    def _losses(
        self, weights: Mapping[str, Tensor], constants: Tensor, factors: Sequence[Tensor], x: Tensor, y: Tensor
    ) -> Tensor:
        return self._objective.losses(self._network(weights, factors, x), y, constants)

    def _move(self, gradient: Tensor) -> None:
        """Step along the gradient of the losses and of the penalties."""
        self._weights.grad = gradient
        for row, (parameter, its) in enumerate(zip(self._parameters, gradient, strict=True)):
            parameter.grad = its if row in self._courses else None
        for row, watchers in self._watchers.items():
            if watchers:
                self._lend(gradient[row], self._networks[row])
            for watcher in watchers:
                watcher.after_backward(None)
        if self._path is not None:
            self._path.before_step()
        if self._pulls is not None:
            curvature, anchor = self._pulls
            gradient.addcmul_(curvature, self._weights - anchor)
        self._optimizer.step()
        if self._path is not None:
            self._path.after_step()
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.after_update(None)

    def _lend(self, gradient: Tensor, network: Sequence[nn.Parameter]) -> None:
        for place, shape, parameter in zip(self._places, self._shapes, network, strict=True):
            parameter.grad = gradient[place].view(shape)

    def _windows_of(self, row: int) -> int:
        """How many windows of a row are in its next minibatch."""
        course = self._courses.get(row)
        return 0 if course is None else min(self._size, course.windows - course.done * self._size)

    def _start_of(self, row: int) -> int:
        course = self._courses.get(row)
        return 0 if course is None else course.done * self._size

    def _factors(self, sizes: Sequence[int]) -> list[Tensor]:
        """For each call of a dropout layer its factors, (rows, widest, ...), each row's as its network draws alone."""
        calls = self._network.dropout
        factors = [torch.ones((self.number, max(sizes), *call.shape), dtype=self._weights.dtype) for call in calls]
        for row, course in self._courses.items():
            for call, mine in zip(calls, factors, strict=True):
                call.draw(mine[row, : sizes[row]], course.dropping)
        return factors


def rows_of(
    network: nn.Module,
    objective: Objective,
    training: Training,
    shape: Sequence[int],
    classes: int,
    networks: int,
    longest: int,
) -> Rows | None:
    """Rows for so many networks, or for as many of them as are trained well at once; None where a stack is no good.

    That is where the networks are few, or so large that few fit the cache, where windows of a minibatch meet, as in
    batch norm, where a network has buffers, or parameters that are not trained, or does what `torch.vmap` does not
    know.

    Parameters
    ----------
    network : torch.nn.Module
        The shape of all; it is left as it was.
    objective, training
        See `Rows`.
    shape : sequence of int
        Of one window, without the batch axis.
    classes : int
        Number of classes, K.
    networks : int
        How many are to be trained.
    longest : int
        Windows of a subject, at most.
    """
    x, y = torch.zeros((2, *shape), dtype=dtype_of(network)), torch.zeros(2, dtype=torch.int64)
    size = sum(parameter.nbytes for parameter in network.parameters())
    number = min(networks, stack_size(size, x[:1].nbytes * min(training.batch_size, longest)))
    trained = all(parameter.requires_grad for parameter in network.parameters())
    if number < FEWEST or not trained or any(True for _ in network.buffers()):
        return None
    try:
        stackable = Stackable.of(network, x)
        tried = Rows(stackable, objective, training, 2, len(x))
        tried.begin(0, x, y, objective.constants(np.full(classes, len(x))), ("tried",))
        tried.open_epoch(0)
        tried.step()
    except MemoryError:  # It is no property of the network, and another time there may be more.
        raise
    except Exception:  # Whatever is wrong with it is told when it is trained alone.
        return None
    return None if stackable.mixing else Rows(stackable, objective, training, number, longest)
