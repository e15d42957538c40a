"""Avalanche's training template for a stream of subjects: fed with tensors, without metrics, stopped by divergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from avalanche.core import BasePlugin, BaseSGDPlugin, SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from benchmarks.windows import IntArray
from clients.objectives.contract import Objective
from clients.selection import network_score
from clients.training import Training, seeded, torch_generator
from strategies.continual.divergence import diverged
from strategies.continual.experience import Minibatches, SubjectExperience


class StreamTemplate(SupervisedTemplate):
    """Avalanche's template with all of its hooks, so that any plugin for it runs here as it stands.

    Four things differ. Minibatches are cut from tensors, unless a plugin brings other data or another loader. At each
    epoch it is looked up which plugins do anything at a hook, and no others are called. There is no evaluator:
    Avalanche's own writes to the screen and, even without metrics, copies the experience at every hook. And a loss that
    explodes, or is not finite, ends the training.

    Parameters
    ----------
    network : torch.nn.Module
        Trained in place.
    training : Training
        How weights are updated.
    epochs : int
        Training epochs with each subject.
    plugins : sequence of SupervisedPlugin
        Called in this order; new ones for each stream, since they remember what they met.

    Attributes
    ----------
    tensors : tuple of Tensor
        What minibatches are cut from: those of the subject, unless a plugin puts others in their place after the data
        set was adapted. It may do the same with the loss, `_criterion`.
    losses : sequence of float
        Of the minibatches of the training epoch that is over, each before its step.
    """

    tensors: tuple[Tensor, ...]
    losses: Sequence[float]
    loss: Any
    dataloader: Any

    # Avalanche deprecates positional parameters of templates.
    def __init__(
        self, *, network: nn.Module, training: Training, epochs: int, plugins: Sequence[SupervisedPlugin]
    ) -> None:
        super().__init__(
            model=network,
            optimizer=training.optimizer_of(network.parameters()),
            train_mb_size=training.batch_size,
            train_epochs=epochs,
            plugins=[*plugins, _StopAtDivergence()],
            evaluator=_NoMetrics(),
        )

    def meet(
        self, experience: SubjectExperience, objective: Objective, counts: IntArray, names: Sequence[str | int]
    ) -> None:
        """Train on one subject, with an optimiser that remembers none of those before.

        Parameters
        ----------
        experience : SubjectExperience
            The subject; the template lets go of it afterwards.
        objective : Objective
            What is trained for.
        counts : ndarray of int, shape (K,)
            Windows of each class.
        names : sequence of str or int
            Seed the order of windows, and all that the network and plugins draw.

        Raises
        ------
        LearningError
            The loss explodes, or is no longer finite.
        """
        self._shuffling = torch_generator(*names)
        # Dropout and plugins draw from the global sources; their numbers must not be those that shuffle.
        with seeded(*names, "global"):
            self._learn(experience, objective, counts)

    def _learn(self, experience: SubjectExperience, objective: Objective, counts: IntArray) -> None:
        self._criterion = objective.loss(counts)
        self.train(experience, eval_streams=[], reset_optimizer_state=True)
        self.tensors = ()

    def score(self, objective: Objective, x: Tensor, y: Tensor, weights: Tensor) -> float:
        """Score of the network as it is now, see `clients.selection.network_score`."""
        return network_score(self.model, objective, x, y, weights)

    def train_dataset_adaptation(self, **kwargs: Any) -> None:
        """Take the data set as it is: Avalanche would copy it to choose transforms, of which it has none."""
        del kwargs
        self.adapted_dataset = self.experience.dataset
        self.tensors = self.experience.tensors

    def make_train_dataloader(self, **kwargs: Any) -> None:
        """Cut minibatches from tensors; data that a plugin has put in the subject's place goes Avalanche's way."""
        if self.adapted_dataset is self.experience.dataset:
            self.dataloader = Minibatches(self.tensors, self.train_mb_size, self._shuffling)
        else:
            super().make_train_dataloader(**kwargs)

    def training_epoch(self, **kwargs: Any) -> None:
        """As Avalanche's, call by call; who does nothing at a hook is not asked at every minibatch."""
        hooks = [self._doing_something_at(hook) for hook in HOOKS]
        start, before_forward, after_forward, before_backward, after_backward, before_update, after_update, end = hooks
        losses = []
        for self.mbatch in self.dataloader:  # noqa: B020 - where plugins look for the minibatch
            if self._stop_training:
                break
            self._unpack_minibatch()
            for hook in start:
                hook(self, **kwargs)
            self.optimizer.zero_grad()
            self.loss = _NO_LOSS
            for hook in before_forward:
                hook(self, **kwargs)
            self.mb_output = self.forward()
            for hook in after_forward:
                hook(self, **kwargs)
            loss = self.criterion()
            self.loss = loss if self.loss is _NO_LOSS else self.loss + loss
            for hook in before_backward:
                hook(self, **kwargs)
            self.backward()
            for hook in after_backward:
                hook(self, **kwargs)
            for hook in before_update:
                hook(self, **kwargs)
            self.optimizer_step()
            for hook in after_update:
                hook(self, **kwargs)
            for hook in end:
                hook(self, **kwargs)
            losses.append(self.loss.detach())
        self.losses = torch.stack(losses).tolist() if losses else ()

    def forward(self) -> Tensor:
        """Outputs of the minibatch: one head serves all subjects, so Avalanche's search for others is left out."""
        outputs: Tensor = self.model(self.mbatch[0])
        return outputs

    def _unpack_minibatch(self) -> None:
        """Move a minibatch to the device; ours are there."""
        if not isinstance(self.dataloader, Minibatches):
            super()._unpack_minibatch()

    def _doing_something_at(self, hook: str) -> list[Callable[..., Any]]:
        """Methods of the plugins for a hook, without those that are Avalanche's empty ones."""
        return [getattr(plugin, hook) for plugin in self.plugins if _does_something(plugin, hook)]


HOOKS = (
    "before_training_iteration",
    "before_forward",
    "after_forward",
    "before_backward",
    "after_backward",
    "before_update",
    "after_update",
    "after_training_iteration",
)
"""Of a minibatch, in the order in which they are called."""

_NO_LOSS = 0.0
"""What plugins add to before there is a loss: a tensor would cost three operations a minibatch for the few that do."""


def _does_something(plugin: object, hook: str) -> bool:
    method = getattr(type(plugin), hook, None)
    empty = [getattr(base, hook, None) for base in (BasePlugin, BaseSGDPlugin, SupervisedPlugin)]
    # Hooks may also stand on the plugin itself, or on something that is no plugin by class.
    return hook in vars(plugin) or (method is not None and method not in empty)


class _NoMetrics(SupervisedPlugin):
    """Stands where the template wants an evaluator."""

    def get_last_metrics(self) -> dict[str, float]:
        """Of none, none."""
        return {}


_EXPLODED = 1e6
"""So many times the loss with which a subject began, or 1 if that is less, no training comes back from."""


class _StopAtDivergence(SupervisedPlugin):
    """Looks at the losses of a training epoch, and at the weights that a subject leaves.

    A loss that explodes counts as diverged before it overflows: early stopping would end the subject, and put weights
    back that are finite and nothing but a step on the way there.
    """

    def __init__(self) -> None:
        super().__init__()
        self._limit = math.inf

    def before_training_exp(self, strategy: StreamTemplate, **kwargs: Any) -> None:
        """A new subject begins with a loss of its own."""
        del strategy, kwargs
        self._limit = math.inf

    def after_training_epoch(self, strategy: StreamTemplate, **kwargs: Any) -> None:
        """See whether all were finite, and none beyond the limit."""
        del kwargs
        losses = strategy.losses
        if losses and self._limit == math.inf:
            self._limit = _EXPLODED * max(1.0, losses[0])
        if not all(map(math.isfinite, losses)):
            raise diverged(strategy.experience, "the loss is not finite")
        if max(losses, default=0.0) > self._limit:
            rise = f"from {self._limit / _EXPLODED:.2g} to {max(losses):.2g}"
            raise diverged(strategy.experience, f"the loss rose {rise}")

    def after_training_exp(self, strategy: StreamTemplate, **kwargs: Any) -> None:
        """See whether all weights are finite: the last step may have lost them, of a penalty that no loss shows."""
        del kwargs
        if not all(bool(parameter.isfinite().all()) for parameter in strategy.model.parameters()):
            raise diverged(strategy.experience, "weights are not finite")
