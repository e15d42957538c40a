"""A federation of subjects: every subject is a client, one of Flower's aggregators joins what they learn."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from typing import Annotated, ClassVar

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy as Aggregator
from pydantic import Field
from torch import nn

from benchmarks.errors import LearningError
from benchmarks.normalization import Identity, Normalization
from clients.encoders.contract import Encoder
from clients.exchange import Summary, load_weights, weights_record
from clients.network import initial_network
from clients.objectives.contract import Objective
from clients.predictor import NetworkPredictor
from clients.selection import BestModel, validation_score
from clients.subject_client import SubjectClient
from clients.training import Training, seeded
from strategies.contract import Learning, Observer, Strategy, check_classes
from strategies.grids.in_process import InProcessGrid


@dataclass(frozen=True)
class Federation(Strategy):
    """What federations have in common; a concrete one says which aggregator it has.

    Clients tell their class counts, which weigh the loss of all, and, where the normalisation mode shares them, the
    moments of their windows. Windows never leave a client. The best round on the validation subjects is kept; without
    validation subjects it is the last.

    Parameters
    ----------
    normalization, encoder, objective, training
        As for every strategy that trains a network.
    rounds : int
        How often the clients' weights are joined.
    local_epochs : int
        Training epochs of a client in one round.
    """

    uses_validation: ClassVar[bool] = True

    normalization: Normalization
    encoder: Encoder
    objective: Objective
    training: Training
    rounds: Annotated[int, Field(gt=0)]
    local_epochs: Annotated[int, Field(gt=0)] = 1

    @abstractmethod
    def aggregator(self) -> Aggregator:
        """A new aggregator of Flower's; it leaves evaluation on the clients out."""

    def fit(self, learning: Learning, observer: Observer) -> NetworkPredictor:
        """See `Strategy`; a step is a round.

        Raises
        ------
        LearningError
            A class is absent, clients cannot share the statistics that normalisation needs, there are fewer clients
            than the aggregator samples, or a client failed.
        """
        check_classes(learning)
        clients = self.clients(learning)
        return self.lead(InProcessGrid({client.subject: client.app() for client in clients}), learning, observer)

    def clients(self, learning: Learning) -> list[SubjectClient]:
        """The training subjects, each with its own windows alone."""
        network = self._network(learning)
        return [
            SubjectClient(
                windows=windows,
                network=network,
                objective=self.objective,
                training=self.training,
                normalization=self.normalization,
                geometry=learning.geometry,
                classes=len(learning.classes),
                seed=learning.seed,
            )
            for _, windows in learning.training.by_subject()
        ]

    def lead(self, grid: Grid, learning: Learning, observer: Observer) -> NetworkPredictor:
        """The server's side of `fit`, over a grid whose nodes are this federation's clients."""
        if self.normalization.shares and learning.geometry == "spd":
            raise LearningError(
                f"Normalisation {type(self.normalization).__name__} of covariance matrices needs their Riemannian mean "
                "over subjects. It is no sum, so clients cannot tell their part of it: use subject_unlabelled or none."
            )
        network = self._network(learning)
        best = BestModel()
        # Flower draws the clients of a round from Python's global source.
        with seeded(learning.seed, "federation"), _quiet():
            aggregator = self.aggregator()
            _check_enough_clients(aggregator, grid)
            normalizer = _join_summaries(grid).normalizer(self.normalization, learning.geometry)
            predictor = NetworkPredictor(network, normalizer, self.objective)
            validation = learning.validation
            if validation is not None:
                # Normalised once, not in every round.
                validation = replace(validation, x=normalizer(validation))
            scored = NetworkPredictor(network, Identity(), self.objective)

            def after_round(step: int, arrays: ArrayRecord) -> None:
                load_weights(network, arrays)
                if step > 0 and validation is not None:
                    best.offer(step, validation_score(scored, validation), network)
                # What an observer draws cannot reach the sampling of the next round.
                with seeded(learning.seed, "observer", step):
                    observer(step, predictor.snapshot())

            aggregator.start(
                grid,
                weights_record(network),
                num_rounds=self.rounds,
                train_config=ConfigRecord({"local-epochs": self.local_epochs}),
                evaluate_fn=after_round,
            )
        return predictor if validation is None else replace(predictor, network=best.network)

    def _network(self, learning: Learning) -> nn.Module:
        shape, classes = learning.training.x.shape[1:], len(learning.classes)
        return initial_network(self.encoder, self.objective, shape, classes, learning.seed)


def _check_enough_clients(aggregator: Aggregator, grid: Grid) -> None:
    """Flower itself would wait for more clients without end."""
    wanted, found = max(aggregator.min_available_nodes, aggregator.min_train_nodes), len(list(grid.get_node_ids()))
    if found < wanted:
        raise LearningError(
            f"{type(aggregator).__name__} needs {wanted} clients, and there are {found} training subjects: "
            "use more subjects, or keep fewer for validation."
        )


def _join_summaries(grid: Grid) -> Summary:
    """Ask every client for its summary, and tell all clients the sum."""
    nodes = list(grid.get_node_ids())
    asked = [Message(RecordDict(), node, f"{MessageType.QUERY}.tell") for node in nodes]
    told = [reply.content["summary"] for reply in grid.send_and_receive(asked) if reply.has_content()]
    total = reduce(Summary.merge, map(Summary.read, told))
    content = RecordDict({"summary": total.record()})
    grid.send_and_receive([Message(content, node, f"{MessageType.QUERY}.hear") for node in nodes])
    return total


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, Flower logs errors only: it would log every round, and warn that clients do not evaluate."""
    logger = logging.getLogger("flwr")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
