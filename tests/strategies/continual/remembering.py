"""What the tests of strategies with a memory share: a stream to forget on, and runs that can be looked into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor, nn

from benchmarks.windows import concatenate
from clients.encoders.mlp import MLP
from clients.objectives.cross_entropy import CrossEntropy
from clients.predictor import NetworkPredictor
from clients.training import class_counts
from strategies.continual.contract import Continual, Tell
from strategies.continual.memory import Memory
from strategies.contract import Learning
from tests.strategies.continual.streams import made
from tests.strategies.learnings import Recorder, balanced_accuracy, gaussian_windows, learning


def apart() -> Learning:
    """Two people whose classes are the other way round, and who can be told from each other: one network fits both."""
    first, second = gaussian_windows(["first"]), gaussian_windows(["second"])
    elsewhere = second.x + np.array([0.0, 0.0, 6.0, 0.0])
    return learning(concatenate([first, replace(second, x=elsewhere, y=1 - second.labels)]))


def twins(subjects: Sequence[str]) -> Learning:
    """People whose windows are the same."""
    windows = gaussian_windows(["one"])
    return learning(concatenate([replace(windows, subject=np.full(len(windows), name)) for name in subjects]))


def accuracy_of_the_first(kind: type[Continual], **values: object) -> float:
    """Balanced accuracy on the first person of `apart` after the second was learned from, who is known well too."""
    problem = apart()
    predictor = made(kind, epochs=40, **values).fit(problem, lambda step, predictor: None)
    assert balanced_accuracy(predictor, problem.training.of("second")) > 0.9
    return balanced_accuracy(predictor, problem.training.of("first"))


@dataclass(frozen=True, eq=False)
class Run:
    """A finished stream.

    Parameters
    ----------
    predictor : NetworkPredictor
        What it returned.
    plugins : list of SupervisedPlugin
        Those of the strategy, as they ended.
    told : dict
        Measurements of each step.
    """

    predictor: NetworkPredictor
    plugins: list[SupervisedPlugin]
    told: dict[int, dict[str, float]]

    @property
    def memory(self) -> Memory:
        """The first plugin."""
        memory = self.plugins[0]
        assert isinstance(memory, Memory)
        return memory


def run(strategy: Continual, problem: Learning, after: Sequence[Any] = (), before: Sequence[Any] = ()) -> Run:
    """Fit, with probes that are called before and after the strategy's own plugins."""
    own: list[SupervisedPlugin] = []

    class Probed(type(strategy)):  # type: ignore[misc]  # whatever it is
        def plugins(self, learning: Learning, tell: Tell) -> Sequence[SupervisedPlugin]:
            own.extend(super().plugins(learning, tell))
            return (*before, *own, *after)

    probed = Probed(**{field.name: getattr(strategy, field.name) for field in fields(strategy)})
    recorder = Recorder(problem.training)
    predictor = probed.fit(problem, recorder)
    return Run(predictor, own, recorder.measures)


class Probe(SupervisedPlugin):  # type: ignore[misc]  # Avalanche is untyped
    """A plugin that looks and changes nothing."""


class Passes(Probe):
    """Counts the windows of each forward pass of each subject."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[str, list[int]] = {}

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        sizes = self.sizes.setdefault(strategy.experience.subject, [])
        self._hook = strategy.model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self._hook.remove()


class Gradients(Probe):
    """Keeps the gradient of each minibatch from the second subject on, and its cosines with those of the memory.

    There is one for each subject in the memory, whose loss is that of the network as it predicts.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        self.cosines: list[Tensor] = []

    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        memory = next(plugin for plugin in strategy.plugins if isinstance(plugin, Memory))
        if not len(memory):
            return
        parameters = list(strategy.model.parameters())
        gradient = torch.cat([parameter.grad.flatten() for parameter in parameters]).double()
        strategy.model.eval()
        cosines = []
        for subject in memory.windows.subjects:
            mine = memory.windows.subject == subject
            loss = CrossEntropy().loss(class_counts(memory.windows.labels[mine], 2))
            value = loss(strategy.model(memory.x[mine]), memory.y[mine])
            reference = torch.cat([each.flatten() for each in torch.autograd.grad(value, parameters)]).double()
            cosines.append(nn.functional.cosine_similarity(gradient, reference, dim=0))
        strategy.model.train()
        self.seen.append(gradient)
        self.cosines.append(torch.stack(cosines))


class _Aside(nn.Module):
    """A network with weights that no output depends on, and others that are not trained."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.before = nn.Linear(3, 2)
        self.network = network
        self.frozen = nn.Linear(2, 2).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        shown: Tensor = self.frozen(self.network(x))
        return shown


@dataclass(frozen=True)
class Unreached(MLP):
    """An encoder of which a loss reaches some weights alone."""

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        return _Aside(super().build(shape, outputs))
