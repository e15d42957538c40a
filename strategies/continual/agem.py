"""Averaged gradient episodic memory: no step may raise the mean loss of a sample of earlier windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from avalanche.core import SupervisedPlugin
from pydantic import Field
from torch import Tensor, nn

from clients.objectives.contract import Objective
from clients.training import class_counts, torch_generator
from strategies.continual.contract import Continual, Tell
from strategies.continual.memory import BUFFERS, BufferName, Memory
from strategies.continual.projection import GradientProjection
from strategies.contract import Learning


@dataclass(frozen=True, kw_only=True)
class AGEM(Continual):
    """GEM with one constraint for all earlier subjects together (Chaudhry et al. 2019, arXiv:1812.00420).

    At each step one reference gradient is taken, of windows drawn anew from the whole memory; see `without` for what
    becomes of the minibatch's, and `GradientProjection` for how the memory is looked at. Avalanche draws the same
    number from each subject, which is 0 where there are more subjects than windows to draw; here it is the sample that
    has a size. It has no strength: where the constraint is never violated, it is fine-tuning to the bit.

    A step costs a minibatch and a sample, whatever the number of subjects.

    Parameters
    ----------
    memory : int
        Windows that are remembered, of all subjects together.
    buffer : {"subject_balanced", "reservoir"}
        Which: every subject has the same number, as in the paper, or every window met so far is as likely as any other.
    sample : int
        Windows of the memory, at most, whose loss a step must not raise.
    """

    memory: Annotated[int, Field(gt=0)] = 500
    buffer: BufferName = "subject_balanced"
    sample: Annotated[int, Field(gt=0)] = 64

    def plugins(self, learning: Learning, tell: Tell) -> Sequence[SupervisedPlugin]:
        """See `Continual`."""
        memory = Memory(self.memory, BUFFERS[self.buffer], self.normalization, learning.seed)
        return (memory, _OfASample(memory, self.objective, len(learning.classes), self.sample, learning.seed, tell))


def without(gradient: Tensor, reference: Tensor) -> Tensor:
    """Nearest vector to a gradient g that is orthogonal to a reference r: g - (<g, r> / <r, r>) r, (P,) each."""
    return gradient - (gradient @ reference) / (reference @ reference) * reference


class _OfASample(GradientProjection):
    """One constraint, for windows drawn from the memory at each step."""

    def __init__(self, memory: Memory, objective: Objective, classes: int, sample: int, seed: int, tell: Tell) -> None:
        super().__init__(memory, tell)
        self._objective = objective
        self._classes = classes
        self._sample = sample
        self._drawing = torch_generator(seed, "memory", "sample")

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Count the classes of the memory."""
        super().before_training_exp(strategy, **kwargs)
        if len(self._memory):
            self._loss = self._objective.loss(class_counts(self._memory.windows.labels, self._classes))

    def losses(self, network: nn.Module) -> Iterator[Tensor]:
        """See `GradientProjection`."""
        drawn = self._memory.draw(self._sample, self._drawing)
        yield self._loss(network(self._memory.x[drawn]), self._memory.y[drawn])

    def projected(self, gradient: Tensor, references: Tensor) -> Tensor:
        """See `GradientProjection`."""
        return without(gradient, references[0])
