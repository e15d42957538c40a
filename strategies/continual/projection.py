"""Gradients that are turned away from where they would raise a loss of the memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor, nn

from strategies.continual.contract import Tell
from strategies.continual.memory import Memory


class GradientProjection(SupervisedPlugin):
    """Changes the gradient of a minibatch where a step along it would raise a loss of earlier subjects.

    Where it would raise none, nothing is changed, to the bit. Losses of the memory are those of the network as it
    predicts, in eval mode: dropout would make constraints of noise, and windows of others would move the statistics of
    batch norm. So no random number is drawn and no buffer moves, unlike in the authors' code and Avalanche's, which
    look back in train mode.

    It is the gradient that is held to the constraints. A step of plain gradient descent keeps them to first order; an
    optimiser with a memory or a step size for each weight, such as Adam, or a weight decay only roughly.

    From the second subject on it tells ``projected_share``, the share of a subject's minibatches whose gradient was
    changed.

    Parameters
    ----------
    memory : Memory
        It stands before this plugin.
    tell : callable
        Takes the measurements of each subject.
    """

    def __init__(self, memory: Memory, tell: Tell) -> None:
        super().__init__()
        self._memory = memory
        self._tell = tell

    @abstractmethod
    def losses(self, network: nn.Module) -> Iterator[Tensor]:
        """Losses that a step must not raise, one at a time; only asked where the memory holds something."""

    @abstractmethod
    def projected(self, gradient: Tensor, references: Tensor) -> Tensor:
        """What a gradient (P,) becomes whose product with a reference is negative.

        Parameters
        ----------
        gradient : Tensor of float64, shape (P,)
            Of the minibatch.
        references : Tensor of float64, shape (k, P)
            Gradients of the losses of the memory.
        """

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Start to count minibatches."""
        del strategy, kwargs
        self._minibatches, self._changed = 0, 0

    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Compare the gradient with those of the memory, and change it if it has to be."""
        del kwargs
        if not len(self._memory):
            return
        self._minibatches += 1
        # A parameter that the loss does not reach stays where it is, so no constraint is about it.
        reached = [
            (parameter, parameter.grad) for parameter in strategy.model.parameters() if parameter.grad is not None
        ]
        gradient = _flat(grad for _, grad in reached)
        references = self._references(strategy.model, [parameter for parameter, _ in reached])
        along = references @ gradient
        # Numbers that are not finite are left to the divergence that they lead to.
        if not along.isfinite().all() or (along >= 0).all():
            return
        self._changed += 1
        parts = torch.split(self.projected(gradient, references), [grad.numel() for _, grad in reached])
        for (_, grad), part in zip(reached, parts, strict=True):
            grad.copy_(part.view_as(grad))

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Tell how often the gradient was changed."""
        del kwargs
        if self._minibatches:
            step = strategy.experience.current_experience + 1
            self._tell(step, {"projected_share": self._changed / self._minibatches})

    def _references(self, network: nn.Module, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Gradients of the losses of the memory, (k, P)."""
        network.eval()
        # Each graph is gone before the next is made.
        rows = [
            _flat(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))
            for loss in self.losses(network)
        ]
        network.train()
        return torch.stack(rows)


def _flat(gradients: Iterable[Tensor]) -> Tensor:
    """All entries one after another, (P,): products over many weights are lost in the rounding of float32."""
    return torch.cat([gradient.flatten() for gradient in gradients]).double()
