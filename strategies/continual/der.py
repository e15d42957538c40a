"""Dark experience replay: a memory of windows, and of what the network said of them while it learned from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from avalanche.core import SupervisedPlugin
from pydantic import Field
from torch import Tensor

from clients.training import torch_generator
from strategies.continual.contract import Continual, Tell
from strategies.continual.memory import BUFFERS, BufferName, Memory
from strategies.continual.replay import Rehearsal
from strategies.contract import Learning


@dataclass(frozen=True, kw_only=True)
class DarkExperienceReplay(Continual):
    """DER++: earlier windows keep their labels, and the outputs that they once had (Buzzega et al. 2020).

    The loss is that of a minibatch, plus ``alpha`` times the squared distance of the network's outputs from those that
    are remembered, sum over outputs and mean over a sample of the memory, plus ``beta`` times the loss of another
    sample, as in `ExperienceReplay` (arXiv:2004.07211). A beta of 0 is DER, an alpha of 0 experience
    replay. The authors' code and Avalanche's take the mean over outputs: their alpha is K times this one.

    Outputs are those of the forward pass in which a window was learned from, dropout included, as in the paper, and not
    those of the trained network, as in Avalanche. The paper's reservoir is offered every window in every epoch, so that
    what it holds comes from any epoch with the same probability, and some windows several times. Here a window is held
    once, with its outputs in an epoch drawn in this way; where training stops early, in one up to the best. And samples
    are of earlier subjects alone, not of the current one too. With the normalisation ``stream``, a window is later
    shown by newer statistics than those under which it had its outputs.

    A step costs three minibatches, whatever the number of subjects.

    Parameters
    ----------
    memory, buffer
        See `ExperienceReplay`.
    alpha, beta : float
        Weights of the outputs' and of the labels' loss; 0 and 0 is fine-tuning.
    """

    memory: Annotated[int, Field(gt=0)] = 500
    buffer: BufferName = "reservoir"
    alpha: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1
    beta: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5

    def plugins(self, learning: Learning, tell: Tell) -> Sequence[SupervisedPlugin]:
        """See `Continual`."""
        del tell
        classes, seed = len(learning.classes), learning.seed
        memory = Memory(self.memory, BUFFERS[self.buffer], self.normalization, seed)
        plugins: list[SupervisedPlugin] = []
        if self.alpha:
            plugins.append(OutputReplay(memory, self.objective.outputs(classes), self.alpha, seed))
        if self.beta:
            plugins.append(Rehearsal(memory, self.objective, classes, self.beta, seed))
        return (memory, *plugins) if plugins else ()


class OutputReplay(SupervisedPlugin):
    """Adds the distance of the network's outputs for windows of a memory from those that they had.

    Parameters
    ----------
    memory : Memory
        It stands before this plugin.
    outputs : int
        Size of the network's last layer.
    alpha : float
        Weight of the squared distance.
    seed : int
        Root seed of the cell; windows are drawn from ``(seed, "memory", "outputs")``, the epochs of which outputs are
        kept from ``(seed, "memory", "epochs")``.

    Attributes
    ----------
    kept : Tensor, shape (held, outputs)
        Outputs of the windows of the memory, in its order.
    """

    def __init__(self, memory: Memory, outputs: int, alpha: float, seed: int) -> None:
        super().__init__()
        self._memory = memory
        self._alpha = alpha
        self._drawing = torch_generator(seed, "memory", "outputs")
        self._choosing = torch_generator(seed, "memory", "epochs")
        self.kept = torch.empty(0, outputs)

    def after_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        """Number the subject's windows, so that a minibatch tells which it holds."""
        del kwargs
        *columns, task = strategy.tensors
        # The task label stays last: that is where Avalanche looks for it.
        self._place = len(columns)
        strategy.tensors = (*columns, torch.arange(len(task)), task)
        self._epoch = 0
        self._said = torch.full((len(task), self.kept.shape[1]), torch.nan)
        self._best: Tensor | None = None

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Count the epochs of the subject."""
        del strategy, kwargs
        self._epoch += 1

    def after_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Take a window's outputs in epoch e with probability 1 / e: each epoch is then the one with the same."""
        del kwargs
        number = strategy.mbatch[self._place]
        taken = torch.rand(len(number), 1, generator=self._choosing) * self._epoch < 1
        self._said[number] = torch.where(taken, strategy.mb_output.detach(), self._said[number])

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the distance for a sample of the memory."""
        del kwargs
        if len(self._memory):
            drawn = self._memory.draw(strategy.train_mb_size, self._drawing)
            moved = strategy.model(self._memory.x[drawn]) - self.kept[drawn]
            strategy.loss = strategy.loss + self._alpha * moved.square().sum(dim=1).mean()

    def at_best_epoch(self, strategy: Any) -> None:
        """Remember the outputs up to the epoch whose network may be kept."""
        del strategy
        self._best = self._said.clone()

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Keep the outputs of the windows that the memory keeps."""
        del strategy, kwargs
        said = self._said if self._best is None else self._best
        self.kept = torch.cat([self.kept, said])[self._memory.origin]
