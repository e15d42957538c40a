"""Domain-adversarial training: features that do not tell whose they are."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from avalanche.core import SupervisedPlugin
from pydantic import Field
from torch import nn

from benchmarks.errors import LearningError
from clients.training import tensors
from strategies.continual.adversary import Adversary, Against, Others
from strategies.continual.contract import Continual, Tell
from strategies.continual.experience import SubjectExperience
from strategies.continual.memory import Memory, subject_balanced
from strategies.contract import Learning

ScheduleName = Literal["logistic", "constant"]


def _logistic(progress: float) -> float:
    return 2 / (1 + math.exp(-10 * progress)) - 1


def _constant(progress: float) -> float:
    del progress
    return 1.0


SCHEDULES: Mapping[ScheduleName, Callable[[float], float]] = {"logistic": _logistic, "constant": _constant}
"""Share of the strength that is at work, by the progress of the stream from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Adversarial(Continual):
    """Fine-tuning, while a critic looks at the features and learns to tell whose windows they are.

    A concrete strategy says whose. Features are what enters the network's last layer. The critic, a network with
    one hidden layer, learns the domains of a minibatch and of as many windows of others; the layers before the features
    ascend its loss, through `reverse_gradient` (Ganin et al. 2016, arXiv:1505.07818). That loss is the mean
    cross-entropy of both, over the domains met so far. Others' windows teach what a domain is, never what a class is.

    The critic sees features as a new person's windows have them: without dropout, and with the running statistics of
    batch norm. It is drawn from a seed of its own, and its own optimiser, with the values of ``training``, goes on
    through the stream. So at strength 0 the network is that of fine-tuning.

    After each subject it is told how many domains there are (``dann_domains``; 1: nobody to compare with, so this
    subject was learned as in fine-tuning), the share of windows that the critic told right, mean over the subject's
    minibatches, each judged before the critic learns from it (``dann_critic_accuracy``), and the share of the most
    frequent domain (``dann_chance_accuracy``). A critic at chance says that the network evades this very critic, which
    it moves away from at every step, not that its features tell nothing: one that is trained anew on the finished
    features may still tell whose they are (see Elazar and Goldberg 2018, doi:10.18653/v1/D18-1002).

    Parameters
    ----------
    strength : float
        Lambda, weight of the reversed gradient, when all of it is at work; 0 is fine-tuning.
    schedule : {"logistic", "constant"}
        Whether lambda grows along the stream, from 0, as 2 / (1 + exp(-10 p)) - 1 (section 5.2.2), since a critic that
        knows nothing yet has nothing to say. p is the share of the stream that is over: subjects, and epochs of the
        subject in turn. So how many subjects will come must be known.
    critic_hidden : int
        Width of the critic's hidden layer.
    """

    strength: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    schedule: ScheduleName = "logistic"
    critic_hidden: Annotated[int, Field(gt=0)] = 64

    @abstractmethod
    def plugins(self, learning: Learning, tell: Tell) -> Sequence[SupervisedPlugin]:
        """See `Continual`."""

    def adversary(self, learning: Learning, tell: Tell, against: Against, domains: int) -> Adversary:
        """New plugin that compares each subject with some others.

        Parameters
        ----------
        learning, tell
            As for `plugins`.
        against : callable
            With whom a subject is compared.
        domains : int
            How many domains there will be.
        """
        schedule = SCHEDULES[self.schedule]
        return Adversary(
            against,
            strength=lambda progress: self.strength * schedule(progress),
            subjects=len(learning.training.subjects),
            outputs=self.objective.outputs(len(learning.classes)),
            critic=lambda features: nn.Sequential(
                nn.Linear(features, self.critic_hidden), nn.ReLU(), nn.Linear(self.critic_hidden, domains)
            ),
            training=self.training,
            seed=learning.seed,
            tell=tell,
        )


@dataclass(frozen=True, kw_only=True)
class DomainAdversarial(Adversarial):
    """Every subject is a domain, and is compared with the subjects before it, of whom windows are remembered.

    The first subject has nobody to be compared with. Half of the windows that the critic sees are the subject's.

    Parameters
    ----------
    memory : int
        Windows that are remembered, of all subjects together and as many of each.
    """

    memory: Annotated[int, Field(gt=0)] = 500

    def plugins(self, learning: Learning, tell: Tell) -> Sequence[SupervisedPlugin]:
        """See `Continual`."""
        domain_of = {name: domain for domain, name in enumerate(learning.training.subjects)}
        memory = Memory(self.memory, subject_balanced, self.normalization, learning.seed)

        def earlier(experience: SubjectExperience) -> Others | None:
            if not len(memory):
                return None
            domain = torch.tensor([domain_of[name] for name in memory.windows.subject])
            mine = domain_of[experience.subject]
            return Others(memory.x, domain, mine=mine, domains=mine + 1)

        return (memory, self.adversary(learning, tell, earlier, len(domain_of)))


@dataclass(frozen=True, kw_only=True)
class DomainAdversarialTarget(Adversarial):
    """Two domains, as in the paper: the subject in turn, and the people that are scored, without their labels.

    Unlabelled windows of these people are there from the first subject on, normalised as they are when they are scored.
    So results are transductive.
    """

    needs_target: ClassVar[bool] = True

    def plugins(self, learning: Learning, tell: Tell) -> Sequence[SupervisedPlugin]:
        """See `Continual`.

        Raises
        ------
        LearningError
            There are no such windows.
        """
        target = learning.target
        if target is None:
            raise LearningError(
                "DomainAdversarialTarget learns from unlabelled windows of the people that are scored, and was given "
                "none. Use dann, or a protocol that holds people out."
            )

        def held_out(experience: SubjectExperience) -> Others:
            x, domain = tensors(experience.normalizer(target), np.ones(len(target), dtype=np.int64))
            return Others(x, domain, mine=0, domains=2)

        return (self.adversary(learning, tell, held_out, 2),)
