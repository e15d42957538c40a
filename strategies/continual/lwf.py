"""Learning without forgetting: the network keeps to what it said of a subject's windows before it learned from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from avalanche.core import SupervisedPlugin
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from benchmarks.errors import LearningError
from strategies.continual.contract import Continual, Tell
from strategies.contract import Learning


@dataclass(frozen=True, kw_only=True)
class LwF(Continual):
    """Fine-tuning that distils the network before a subject into the network that learns from it (Li and Hoiem 2016).

    The loss of a minibatch is the objective's plus ``strength`` times `distillation`, the teacher being the network
    after the last subject; the first subject has none. Nothing is kept of earlier people but the network, so what is
    remembered is what it says of the current person's windows.

    The paper (arXiv:1606.09282) adds a head a task, distils the old heads, and trains the new one alone first. Here
    all subjects share one head and one set of classes, so all classes are distilled, those too that no subject has
    shown yet; implementations for classes that come one after another distil old classes alone.

    Parameters
    ----------
    strength : float
        Weight of the distillation against the objective; 0 is fine-tuning.
    temperature : float
        T by which outputs are divided before their softmax; above 1, classes that are unlikely count more.
    """

    strength: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2.0

    def plugins(self, learning: Learning, tell: Tell) -> Sequence[SupervisedPlugin]:
        """See `Continual`.

        Raises
        ------
        LearningError
            The network's outputs are no logits of the classes.
        """
        del tell
        classes, outputs = len(learning.classes), self.objective.outputs(len(learning.classes))
        if outputs != classes:
            raise LearningError(
                f"LwF compares softmaxes over the classes, so it needs an objective with one output a class: "
                f"{type(self.objective).__name__} has {outputs} for {classes} classes. Use cross_entropy."
            )
        return (_Distillation(self.strength, self.temperature),)


def distillation(outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(z' / T) || softmax(z / T)), mean over windows (Hinton et al. 2015, arXiv:1503.02531).

    It differs from the cross-entropy of the paper of Li and Hoiem by a constant, so that it is 0 where nothing was
    forgotten; T^2 keeps the size of its gradient the same for all T.

    Parameters
    ----------
    outputs, taught : Tensor, shape (n, K)
        Logits z of the network that learns, and z' of its teacher.
    temperature : float
        T.
    """
    student = torch.log_softmax(outputs / temperature, dim=1)
    teacher = torch.log_softmax(taught / temperature, dim=1)
    return temperature**2 * functional.kl_div(student, teacher, reduction="batchmean", log_target=True)


class _Distillation(SupervisedPlugin):
    """Puts the teacher's logits between a subject's tensors, so that they are shuffled with the windows they are of."""

    def __init__(self, strength: float, temperature: float) -> None:
        super().__init__()
        self._strength = strength
        self._temperature = temperature
        self._place: int | None = None

    def after_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        """Ask the network before it learns from the subject: no copy of it is needed, and each window is asked once."""
        del kwargs
        if strategy.clock.train_exp_counter == 0:
            return
        x, *_, task = strategy.tensors
        strategy.model.eval()
        with torch.no_grad():
            taught = strategy.model(x)
        strategy.model.train()
        # The task label stays last: that is where Avalanche looks for it.
        self._place = len(strategy.tensors) - 1
        strategy.tensors = (*strategy.tensors[:-1], taught, task)

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the distillation of a minibatch."""
        del kwargs
        if self._place is not None:
            taught = strategy.mbatch[self._place]
            strategy.loss = strategy.loss + self._strength * distillation(strategy.mb_output, taught, self._temperature)
