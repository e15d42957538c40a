"""One stack of clients in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from benchmarks.errors import LearningError
from benchmarks.windows import FloatArray
from clients.lesson import Learned, Lesson
from clients.minibatches import Minibatches, Room
from clients.objectives.contract import Objective
from clients.stackable import Stackable
from clients.training import Training, check_finite, torch_generator

_OF_A_ROW = (0, 0, None, None, None)
"""Which of the arguments of the losses the clients of a row have each their own of: weights and constants."""


class Stack:
    """Clients whose lessons are alike but for the number of windows, the longest first.

    They stand in rows. Those of a row read the same windows in the same order, as a subject does in all folds of a
    study whose normalisation looks at the subject alone. Their windows are read once, and meet the weights of all in
    one product. Rows that are done fall off the end of the stack, so those still in training are always the first of
    it. The weights of all stay in place, and what the optimiser does to those of rows that are done is of no
    consequence.

    Parameters
    ----------
    network : Stackable
        The network of all.
    objective : Objective
        What it is trained with.
    training : Training
        How weights are updated.
    rows : sequence of sequence of Lesson
        As many in each row; with one number of epochs and one pull, all with a drift or none.
    room : Room
        For their windows.
    """

    def __init__(
        self,
        network: Stackable,
        objective: Objective,
        training: Training,
        rows: Sequence[Sequence[Lesson]],
        room: Room,
    ) -> None:
        self._network, self._objective, self.rows = network, objective, rows
        self._across = len(rows[0])
        lessons = [lesson for row in rows for lesson in row]
        self._constants = self._stacked([lesson.constants for lesson in lessons])
        self._weights = {name: self._stacked([each.weights[name] for each in lessons]) for name in lessons[0].weights}
        names = [name for name, parameter in network.network.named_parameters() if parameter.requires_grad]
        self._trained = {name: self._weights[name].requires_grad_() for name in names}
        self._optimizer = training.optimizer_of(self._trained.values(), fused=False)
        drifts = [lesson.drift for lesson in lessons if lesson.drift is not None]
        drift = {name: self._stacked([drift[name] for drift in drifts]) for name in names} if drifts else {}
        self._correction = _Correction(self._trained, lessons[0].pull, drift)
        self._lessons = [row[0] for row in rows]
        self._minibatches = Minibatches(self._lessons, training.batch_size, room)
        self._dropout = _Dropout(network, self._lessons, self._minibatches.widest)

    def learn(self) -> list[Learned | Exception]:
        """Train to the end; what came of each lesson, row by row.

        Raises
        ------
        RuntimeError
            Something in the network cannot be stacked.
        """
        self._network.network.train()
        # Not kept with the stack, which it holds: the weights would wait for the garbage collector.
        program = torch.vmap(self._losses if self._across == 1 else torch.vmap(self._losses, _OF_A_ROW))
        steps = self._minibatches.steps
        losses = torch.zeros((steps[0], len(self.rows), self._across))
        finished: list[dict[str, Tensor]] = []
        active = len(self.rows)
        for step in range(steps[0]):
            losses[step, :active] = self._step(program, step, active).view(active, self._across)
            still = sum(its > step + 1 for its in steps)
            finished += reversed(self._taken_out(still, active))
            active = still
        finished.reverse()
        told = losses.flatten(1).numpy()
        return [self._outcome(i, weights, told[:, i]) for i, weights in enumerate(finished)]

    def _step(self, program: Callable[..., Tensor], step: int, active: int) -> Tensor:
        """One minibatch of each row still in training; sums of their losses, (active,) or (active, across)."""
        x, y, sizes = self._minibatches.read(step, active)
        weights = self._weights if active == len(self.rows) else {k: w[:active] for k, w in self._weights.items()}
        self._optimizer.zero_grad()
        factors = self._dropout.factors(sizes, max(sizes))
        losses = program(weights, self._constants[:active], factors, x, y)
        counts = torch.tensor(sizes, dtype=losses.dtype).view(-1, *(1 for _ in losses.shape[1:]))
        own = torch.arange(max(sizes)) < counts
        # Each client's mean, in which windows beyond its own weigh nothing. Their sum, because `backward` with a
        # gradient given imports torch's symbolic shapes: two seconds of every process.
        (losses * (own / counts)).sum().backward()  # type: ignore[no-untyped-call]
        self._correction.apply()
        self._optimizer.step()
        return torch.where(own, losses.detach(), 0).sum(dim=-1)

    def _losses(
        self, weights: Mapping[str, Tensor], constants: Tensor, factors: Sequence[Tensor], x: Tensor, y: Tensor
    ) -> Tensor:
        return self._objective.losses(self._network(weights, factors, x), y, constants)

    def _stacked(self, tensors: Sequence[Tensor]) -> Tensor:
        """One tensor of one for each client, (rows, ...) or, where rows are longer than one, (rows, across, ...)."""
        stacked = torch.stack(tuple(tensors))
        return stacked if self._across == 1 else stacked.view(len(self.rows), self._across, *stacked.shape[1:])

    def _taken_out(self, start: int, stop: int) -> list[dict[str, Tensor]]:
        """Weights of the clients in rows `start` to `stop`, in memory that is trained no more."""
        if start == stop:
            return []
        # With the first row the training of all ends.
        rows = {name: w.detach() if start == 0 else w[start:stop].detach().clone() for name, w in self._weights.items()}
        each = {
            name: (taken[: stop - start] if self._across == 1 else taken[: stop - start].flatten(0, 1)).unbind()
            for name, taken in rows.items()
        }
        return [{name: mine[i] for name, mine in each.items()} for i in range((stop - start) * self._across)]

    def _outcome(self, position: int, weights: dict[str, Tensor], losses: FloatArray) -> Learned | Exception:
        row = position // self._across
        steps, an_epoch = self._minibatches.steps[row], self._minibatches.an_epoch[row]
        try:
            check_finite(float(losses[:steps].sum()))
        except LearningError as error:
            return error
        last = float(losses[steps - an_epoch : steps].sum()) / len(self._lessons[row].x)
        return Learned(weights, last, steps)


class _Correction:
    """What is added to the gradients of the mean loss, see `Lesson`."""

    def __init__(self, trained: Mapping[str, Tensor], pull: float, drift: Mapping[str, Tensor]) -> None:
        self._trained, self._pull, self._drift = trained, pull, drift
        self._start = {name: tensor.detach().clone() for name, tensor in trained.items()} if pull else {}

    def apply(self) -> None:
        """Add it."""
        for name, weights in self._trained.items():
            if weights.grad is None:
                continue
            if self._pull:
                weights.grad.add_(weights.detach() - self._start[name], alpha=self._pull)
            if self._drift:
                weights.grad.add_(self._drift[name])


class _Dropout:
    """The factors of every row's dropout layers, each drawn from the clients' own stream as it would be alone."""

    def __init__(self, network: Stackable, lessons: Sequence[Lesson], widest: int) -> None:
        self._calls = network.dropout
        self._generators = [torch_generator(*lesson.stream, "dropout") for lesson in lessons] if self._calls else []
        shapes = [(len(lessons), widest, *call.shape) for call in self._calls]
        self._factors = [torch.ones(shape, dtype=lessons[0].x.dtype) for shape in shapes]

    def factors(self, sizes: Sequence[int], widest: int) -> tuple[Tensor, ...]:
        """For each call of a dropout layer, factors of the rows still in training, (active, widest, ...)."""
        if self._calls:
            for row, (size, generator) in enumerate(zip(sizes, self._generators, strict=False)):
                for call, factors in zip(self._calls, self._factors, strict=True):
                    call.draw(factors[row, :size], generator)
        return tuple(factors[: len(sizes), :widest] for factors in self._factors)
