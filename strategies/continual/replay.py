"""Experience replay: windows of earlier subjects are learned from again beside those of the current one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from avalanche.core import SupervisedPlugin
from pydantic import Field

from clients.objectives.contract import Objective
from clients.training import class_counts, torch_generator
from strategies.continual.contract import Continual, Tell
from strategies.continual.memory import BUFFERS, BufferName, Memory
from strategies.contract import Learning


@dataclass(frozen=True, kw_only=True)
class ExperienceReplay(Continual):
    """Fine-tuning on the subject's minibatches and on as many windows from a memory (Rolnick et al. 2019).

    The loss is that of a minibatch plus ``strength`` times that of a sample of the memory, drawn anew at each step and
    as large as a minibatch (arXiv:1811.11682; Chaudhry et al. 2019, arXiv:1902.10486, replay with a reservoir). Each
    goes through the network on its own, so that batch norm does not mix the subject with others; each is weighted by
    the classes of the windows that it comes from.

    The papers see every window once, and remember it at once. Here a subject is gone through several times, and its
    windows enter the memory when it is over. A step costs two minibatches, whatever the number of subjects.

    Parameters
    ----------
    memory : int
        Windows that are remembered, of all subjects together.
    buffer : {"reservoir", "subject_balanced"}
        Which: every window met so far is as likely as any other, or every subject has the same number.
    strength : float
        Weight of the memory's loss; 0 is fine-tuning.
    """

    memory: Annotated[int, Field(gt=0)] = 500
    buffer: BufferName = "reservoir"
    strength: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0

    def plugins(self, learning: Learning, tell: Tell) -> Sequence[SupervisedPlugin]:
        """See `Continual`."""
        del tell
        if self.strength == 0:
            return ()
        memory = Memory(self.memory, BUFFERS[self.buffer], self.normalization, learning.seed)
        return (memory, Rehearsal(memory, self.objective, len(learning.classes), self.strength, learning.seed))


class Rehearsal(SupervisedPlugin):
    """Adds the loss of windows drawn from a memory.

    Parameters
    ----------
    memory : Memory
        It stands before this plugin.
    objective : Objective
        The loss.
    classes : int
        Number of classes, K.
    strength : float
        Weight of the memory's loss.
    seed : int
        Root seed of the cell; windows are drawn from ``(seed, "memory", "labels")``.
    """

    def __init__(self, memory: Memory, objective: Objective, classes: int, strength: float, seed: int) -> None:
        super().__init__()
        self._memory = memory
        self._objective = objective
        self._classes = classes
        self._strength = strength
        self._drawing = torch_generator(seed, "memory", "labels")

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Count the classes of the memory."""
        del strategy, kwargs
        if len(self._memory):
            self._loss = self._objective.loss(class_counts(self._memory.windows.labels, self._classes))

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the loss of a sample of the memory."""
        del kwargs
        if len(self._memory):
            drawn = self._memory.draw(strategy.train_mb_size, self._drawing)
            loss = self._loss(strategy.model(self._memory.x[drawn]), self._memory.y[drawn])
            strategy.loss = strategy.loss + self._strength * loss
