"""What a network says that has learned nothing: the zero line of transfer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from benchmarks.normalization import Normalization
from benchmarks.randomness import derive
from clients.encoders.contract import Encoder
from clients.network import initial_network
from clients.objectives.contract import Objective
from clients.predictor import NetworkPredictor
from strategies.contract import Learning, Observer, Strategy, check_classes


@dataclass(frozen=True)
class Untrained(Strategy):
    """Randomly initialised networks that meet nobody, one at each step; the last of them is returned.

    Scores of them, averaged over the steps, are the baseline b_j of forward transfer (Lopez-Paz and Ranzato 2017,
    arXiv:1706.08840). One network alone may tell two classes apart well or badly by chance, so several are needed.
    Nothing is learned from the windows but their shape and classes: neither weights nor statistics, so the normaliser
    is as strategies in sequence have it before their first subject. It is a control of those.

    Parameters
    ----------
    normalization : Normalization
        Whose normaliser, before anybody is met, inputs go through: with ``stream``, inputs are as they are.
    encoder : Encoder
        The network.
    objective : Objective
        What reads the network's outputs.
    inits : int
        How many networks. Network k is drawn from (seed, "untrained", k): other draws than those of the network that
        strategies of the cell start from.
    """

    sequential: ClassVar[bool] = True
    order_matters: ClassVar[bool] = False
    control: ClassVar[bool] = True

    normalization: Normalization
    encoder: Encoder
    objective: Objective
    inits: Annotated[int, Field(gt=0)] = 10

    def fit(self, learning: Learning, observer: Observer) -> NetworkPredictor:
        """See `Strategy`; a step is another network, from 0."""
        check_classes(learning)
        shape, classes = learning.training.x.shape[1:], len(learning.classes)
        normalizer = self.normalization.start(learning.geometry)
        for step in range(self.inits):
            seed = derive(learning.seed, "untrained", step)
            network = initial_network(self.encoder, self.objective, shape, classes, seed)
            predictor = NetworkPredictor(network, normalizer, self.objective)
            observer(step, predictor.snapshot())
        return predictor
