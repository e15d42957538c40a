"""A network for each subject, trained on that subject alone; a new person is told the mean of what all say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from benchmarks.errors import LearningError
from benchmarks.normalization import Normalization
from clients.alone import train_alone
from clients.encoders.contract import Encoder
from clients.network import initial_network
from clients.objectives.contract import Objective
from clients.predictor import NetworkPredictor
from clients.training import Training
from strategies.contract import Learning, Observer, Strategy, check_classes
from strategies.ensemble import Ensemble


@dataclass(frozen=True)
class LocalOnly(Strategy):
    """Each training subject learns alone, from the same initial network; nothing is exchanged but probabilities.

    It is what a federation has to beat: the same subjects, the same networks, and no joint learning. A subject who
    lacks a class counts like the others; its network gives that class next to no probability, so the class has one
    voice less. Nobody learns after another, so there is one step: the untrained network, and then that of everyone.
    Showing who joined when would tell nothing, and an observer that keeps each step would hold n^2 / 2 networks.

    Parameters
    ----------
    normalization : Normalization
        ``training`` is the statistics of the learning subject's own windows, which its network keeps for new people.
    encoder : Encoder
        The network, one for each subject.
    objective : Objective
        The loss; classes are counted in each subject.
    training : Training
        How weights are updated; the optimiser is each subject's own.
    epochs : int
        Training epochs of each subject. They are fixed: a subject alone has nobody to choose the best one on.
    """

    normalization: Normalization
    encoder: Encoder
    objective: Objective
    training: Training
    epochs: Annotated[int, Field(gt=0)] = 50

    def fit(self, learning: Learning, observer: Observer) -> Ensemble:
        """See `Strategy`; the one step is the learning of all subjects."""
        check_classes(learning)
        shape, classes = learning.training.x.shape[1:], len(learning.classes)
        untrained = initial_network(self.encoder, self.objective, shape, classes, learning.seed)
        observer(0, NetworkPredictor(untrained, self.normalization.start(learning.geometry), self.objective))
        members: dict[str, NetworkPredictor] = {}
        for subject, windows in learning.training.by_subject():
            try:
                members[subject] = train_alone(
                    windows,
                    normalization=self.normalization,
                    encoder=self.encoder,
                    objective=self.objective,
                    training=self.training,
                    epochs=self.epochs,
                    geometry=learning.geometry,
                    classes=classes,
                    seed=learning.seed,
                )
            except LearningError as error:
                raise LearningError(f"{subject}, who learns alone: {error}") from error
        observer(1, Ensemble({subject: member.snapshot() for subject, member in members.items()}))
        return Ensemble(members)
