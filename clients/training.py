"""How one side trains a network: the optimiser, the minibatches, the random state."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from benchmarks.errors import LearningError
from benchmarks.randomness import derive
from benchmarks.windows import FloatArray, IntArray
from clients.objectives.contract import Loss
from clients.optimizers import OPTIMIZERS, OptimizerName


@dataclass(frozen=True)
class Training:
    """How weights are updated.

    Parameters
    ----------
    optimizer : {"sgd", "adam", "adamw"}
        Update rule.
    learning_rate, weight_decay : float
        Step size and L2 (AdamW: decoupled) decay.
    batch_size : int
        Windows in a minibatch; the last of a training epoch may be smaller.
    """

    optimizer: OptimizerName = "adam"
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    batch_size: Annotated[int, Field(gt=0)] = 64

    def optimizer_of(self, parameters: Iterable[Tensor], *, fused: bool = True) -> torch.optim.Optimizer:
        """Fresh optimiser of a model's parameters.

        Parameters
        ----------
        parameters : iterable of Tensor
            What it updates.
        fused : bool
            One update for all parameters: small networks train about a quarter faster. Where parameters are few and
            large, as in stacks, it is slower.
        """
        return OPTIMIZERS[self.optimizer](
            parameters, lr=self.learning_rate, weight_decay=self.weight_decay, fused=fused, foreach=False
        )


def tensors(x: FloatArray, y: IntArray, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Inputs in `dtype` and labels in int64, as fresh tensors that share no memory with the arrays."""
    return torch.tensor(x, dtype=dtype), torch.tensor(y, dtype=torch.int64)


def dtype_of(model: nn.Module) -> torch.dtype:
    """Floating type of a model's parameters; float32 where it has none."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def class_counts(y: IntArray, classes: int) -> IntArray:
    """Windows of each class, shape (K,)."""
    return np.bincount(y, minlength=classes).astype(np.int64)


def train_epoch(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    batch_size: int,
    generator: torch.Generator,
    correct: Callable[[], None] | None = None,
) -> float:
    """One training epoch over shuffled minibatches.

    Parameters
    ----------
    model : torch.nn.Module
        Trained in place; it is left in train mode.
    data : tuple of Tensor
        Inputs (n, ...) and labels (n,).
    loss : callable
        Mean loss of outputs and labels.
    optimizer : torch.optim.Optimizer
        Of the model's parameters.
    batch_size : int
        Windows in a minibatch.
    generator : torch.Generator
        Source of the shuffling alone.
    correct : callable or None
        Called when the gradients of a minibatch stand, to change them before the step.

    Returns
    -------
    float
        Mean loss over the windows, each scored before the step that it takes part in.

    Raises
    ------
    LearningError
        The loss is no longer finite.
    """
    x, y = data
    model.train()
    total = torch.zeros(())
    for batch in torch.split(torch.randperm(len(x), generator=generator), batch_size):
        optimizer.zero_grad(set_to_none=True)
        value = loss(model(x[batch]), y[batch])
        value.backward()  # type: ignore[no-untyped-call]
        if correct is not None:
            correct()
        optimizer.step()
        total += value.detach() * len(batch)
    mean = float(total) / len(x)
    check_finite(mean)
    return mean


def check_finite(loss: float) -> None:
    """Refuse to go on with a loss that is no number.

    Raises
    ------
    LearningError
        The loss is not finite.
    """
    if not np.isfinite(loss):
        raise LearningError("Training diverged: the loss is not finite. Try a smaller training.learning_rate.")


@contextmanager
def seeded(*names: str | int) -> Iterator[None]:
    """Inside, every global random source of the CPU starts from the names; outside, nothing has happened.

    Flower samples clients from Python's global source, dropout and initial weights come from torch's.
    """
    before = random_state()
    seed_globally(*names)
    try:
        yield
    finally:
        set_random_state(before)


def random_state() -> tuple[Any, ...]:
    """State of every global random source of the CPU: Python's, numpy's and torch's."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002


def set_random_state(state: tuple[Any, ...]) -> None:
    """Put all global random sources into a state that `random_state` has told."""
    python, numpy, torchs = state
    random.setstate(python)
    np.random.set_state(numpy)  # noqa: NPY002  (libraries below us draw from the global source)
    torch.set_rng_state(torchs)


def seed_globally(*names: str | int) -> None:
    """Start every global random source of the CPU from the names, inside a `seeded`, which takes ten times as long.

    To keep numpy's state and to give it back takes 70 microseconds.
    """
    seed = derive(*names)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (libraries below us draw from the global source)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed takes long: it seeds every device's too


@contextmanager
def torch_seeded(*names: str | int) -> Iterator[None]:
    """As `seeded`, for torch's source alone and in a twentieth of its time: for what runs thousands of times."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(derive(*names))  # see `seed_globally`
    try:
        yield
    finally:
        torch.set_rng_state(before)


def torch_generator(*names: str | int) -> torch.Generator:
    """Generator of torch that is seeded by the names."""
    return torch.Generator().manual_seed(derive(*names))
