"""The critic of domain-adversarial training, and the features that it looks at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.errors import LearningError
from clients.training import Training, torch_generator, torch_seeded
from strategies.continual.contract import Tell
from strategies.continual.experience import SubjectExperience
from strategies.continual.gradient_reversal import reverse_gradient


@dataclass(frozen=True, eq=False)
class Others:
    """People from whom the subject in turn is not to be told.

    Parameters
    ----------
    x : Tensor, shape (n, ...)
        Normalised windows of theirs.
    domain : Tensor of int, shape (n,)
        The domain of each.
    mine : int
        The domain of the subject in turn.
    domains : int
        How many domains there are so far, that of the subject included.
    """

    x: Tensor
    domain: Tensor
    mine: int
    domains: int


Against = Callable[[SubjectExperience], Others | None]
"""With whom a subject is compared; None where there is nobody."""


class Adversary(SupervisedPlugin):
    """Teaches a critic whose windows are whose, and the layers before the last one to keep it from the critic.

    Parameters
    ----------
    against : callable
        With whom a subject is compared, asked when it is met.
    strength : callable
        Lambda, weight of the reversed gradient, by the progress of the stream from 0 to 1.
    subjects : int
        How many subjects the stream has.
    outputs : int
        Of the network's last layer.
    critic : callable
        New critic, from the number of features, drawn from torch's current random state.
    training : Training
        How the critic's weights are updated.
    seed : int
        Root seed of the cell; the critic is drawn from ``(seed, "critic")``, and windows of others from
        ``(seed, "critic", subject)``.
    tell : callable
        Takes what the critic told right.
    """

    def __init__(
        self,
        against: Against,
        *,
        strength: Callable[[float], float],
        subjects: int,
        outputs: int,
        critic: Callable[[int], nn.Module],
        training: Training,
        seed: int,
        tell: Tell,
    ) -> None:
        super().__init__()
        self._against = against
        self._strength = strength
        self._subjects = subjects
        self._outputs = outputs
        self._new_critic = critic
        self._training = training
        self._seed = seed
        self._tell = tell
        self._critic: nn.Module | None = None

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """See with whom the subject is compared."""
        del kwargs
        self._others = self._against(strategy.experience)
        self._head = last_layer(strategy.model, self._outputs)
        self._drawing = torch_generator(self._seed, "critic", strategy.experience.subject)
        self._right, self._guessed, self._minibatches = torch.zeros(()), torch.zeros(()), 0

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Set lambda."""
        del kwargs
        here = strategy.clock.train_exp_epochs / strategy.train_epochs
        self._lambda = self._strength((strategy.clock.train_exp_counter + here) / self._subjects)

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the domain loss of a minibatch and of as many windows of others."""
        del kwargs
        others = self._others
        if others is None:
            return
        drawn = torch.randperm(len(others.x), generator=self._drawing)[: len(strategy.mb_x)]
        domain = torch.cat([torch.full((len(strategy.mb_x),), others.mine), others.domain[drawn]])
        features = entering(self._head, strategy.model, torch.cat([strategy.mb_x, others.x[drawn]]))
        if self._critic is None:
            self._critic, self._optimizer = self._drawn_critic(features)
        said = self._critic(reverse_gradient(features, self._lambda))[:, : others.domains]
        strategy.loss = strategy.loss + functional.cross_entropy(said, domain)
        self._optimizer.zero_grad()
        self._right += (said.argmax(dim=1) == domain).float().mean()
        self._guessed += domain.bincount().max() / len(domain)
        self._minibatches += 1

    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        """Let the critic learn, beside the network."""
        del strategy, kwargs
        if self._others is not None:
            self._optimizer.step()

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Tell how the critic did."""
        del kwargs
        told = {"dann_domains": 1.0 if self._others is None else float(self._others.domains)}
        if self._minibatches:
            told["dann_critic_accuracy"] = float(self._right) / self._minibatches
            told["dann_chance_accuracy"] = float(self._guessed) / self._minibatches
        self._tell(strategy.experience.current_experience + 1, told)

    def _drawn_critic(self, features: Tensor) -> tuple[nn.Module, torch.optim.Optimizer]:
        if not features.requires_grad:
            raise LearningError(
                "No layer with weights stands before the network's last one, so there are no features that could be "
                "made alike. Give the encoder a hidden layer."
            )
        with torch_seeded(self._seed, "critic"):
            critic = self._new_critic(features.shape[1])
        return critic, self._training.optimizer_of(critic.parameters())


def last_layer(network: nn.Module, outputs: int) -> nn.Module:
    """The layer that tells the classes from the features: the last one, linear or convolution, that a network names.

    Raises
    ------
    LearningError
        It has another number of outputs, or there is none.
    """
    sizes = [
        (module, module.out_features if isinstance(module, nn.Linear) else module.out_channels)
        for module in network.modules()
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d))
    ]
    if not sizes or sizes[-1][1] != outputs:
        found = f"the last one has {sizes[-1][1]}" if sizes else "there is none"
        raise LearningError(
            f"Features are what enters a network's last layer, linear or a convolution, with its {outputs} outputs, "
            f"but {found}. Choose an encoder that ends in such a layer, as mlp does."
        )
    return sizes[-1][0]


def entering(layer: nn.Module, network: nn.Module, x: Tensor) -> Tensor:
    """What enters a layer when a network in use sees windows, shape (n, features); the network is left in train mode.

    Parameters
    ----------
    layer : torch.nn.Module
        A part of the network.
    network : torch.nn.Module
        Asked in eval mode.
    x : Tensor, shape (n, ...)
        Normalised windows.
    """
    entered: list[Tensor] = []
    network.eval()
    # The hook is gone before the network is copied for an observer.
    with layer.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0])):
        network(x)
    network.train()
    return entered[-1].flatten(1)
