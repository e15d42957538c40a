"""A federation of subjects: every subject is a client, one of Flower's aggregators joins what they learn."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Annotated, ClassVar

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from pydantic import Field
from torch import nn

from benchmarks.errors import LearningError
from benchmarks.normalization import Identity, Normalization
from clients.content import Content
from clients.encoders.contract import Encoder
from clients.exchange import Summary, arrays_of, dtypes_of, weights_of
from clients.network import initial_network
from clients.objectives.contract import Objective
from clients.predictor import NetworkPredictor
from clients.selection import BestModel, validation_score
from clients.serial import SerialTrainer
from clients.shelf import Shelf
from clients.stacked import StackedTrainer
from clients.subject_client import SubjectClient
from clients.training import Training, seeded
from strategies.contract import Learning, Observer, Predictor, Strategy, check_classes, report
from strategies.federated.contract import Aggregation, Personal
from strategies.federated.costs import Clock, Cost
from strategies.federated.garbage import sparing_collection
from strategies.grids.client_grid import ClientGrid
from strategies.grids.contract import Engine, Place
from strategies.grids.lockstep import side_by_side


@dataclass(frozen=True)
class Federation(Strategy):
    """Subjects train at home, and share weights alone.

    Clients tell their class counts, which weigh the loss of all, and, where the normalisation mode shares them, the
    moments of their windows. Windows never leave a client. The best round on the validation subjects is kept; without
    validation subjects it is the last.

    What each round costs is reported to the observer: ``bytes_down`` and ``bytes_up``, from and to the server;
    ``client_rounds``, how often a client trained; ``failed_replies``; ``wall_s`` and ``compute_s``, processor time,
    ``elsewhere_s`` of which was spent in other processes.
    Folds that learn side by side share the time evenly; that of validation and of the observer is not in it. Step 0 is
    the exchange of summaries. ``personal_bytes`` is what personalised models cost besides: a federation in use would
    not collect them. Names of arrays are not counted.

    Parameters
    ----------
    normalization, encoder, objective, training
        As for every strategy that trains a network.
    aggregator : Aggregation
        How what the clients learn is joined.
    grid : Place
        Where the clients run.
    rounds : int
        How often the clients' weights are joined.
    local_epochs : int
        Training epochs of a client in one round.
    min_replies : int or None
        Clients that have to answer in a round; None demands all that were asked. The others are left out of the round.
    """

    uses_validation: ClassVar[bool] = True

    normalization: Normalization
    encoder: Encoder
    objective: Objective
    training: Training
    aggregator: Aggregation
    grid: Place
    rounds: Annotated[int, Field(gt=0)]
    local_epochs: Annotated[int, Field(gt=0)] = 1
    min_replies: Annotated[int, Field(gt=0)] | None = None

    @property
    def lockstep(self) -> bool:
        """See `Strategy`: as the grid has it."""
        return self.grid.chosen(self.encoder).lockstep

    def fit(self, learning: Learning, observer: Observer) -> Predictor:
        """See `Strategy`; a step is a round.

        Raises
        ------
        LearningError
            A class is absent, clients cannot share the statistics that normalisation needs, there are fewer clients
            than the aggregator needs, or too few of them answered.
        """
        clients = self.clients(learning)
        place, trainer = self._placed(learning)
        with place.engine(clients, trainer) as engine:
            return self.lead(ClientGrid(clients, engine, self.min_replies), learning, observer)

    def fit_many(self, learnings: Sequence[Learning], observers: Sequence[Observer]) -> list[Predictor | Exception]:
        """See `Strategy`: federations side by side, where the grid trains their clients together."""
        if not learnings:
            return []
        place, trainer = self._placed(learnings[0])
        if not place.lockstep:
            return super().fit_many(learnings, observers)
        shelf = Shelf()
        made = [self._clients_or_error(learning, shelf) for learning in learnings]
        everybody = {
            f"{fold}/{name}": client
            for fold, clients in enumerate(made)
            if not isinstance(clients, Exception)
            for name, client in clients.items()
        }
        clock = Clock(federations=len(learnings))

        def lead(
            clients: Mapping[str, SubjectClient] | Exception, learning: Learning, observer: Observer, engine: Engine
        ) -> Predictor:
            if isinstance(clients, Exception):
                raise clients
            grid = ClientGrid(clients, engine, self.min_replies)
            return self.lead(grid, learning, observer, clock)

        folds = [partial(lead, *one) for one in zip(made, learnings, observers, strict=True)]
        with _quiet(), sparing_collection(), place.engine(everybody, trainer) as engine:
            return side_by_side(folds, engine)

    def clients(self, learning: Learning, shelf: Shelf | None = None) -> dict[str, SubjectClient]:
        """The training subjects, each with its own windows alone.

        Parameters
        ----------
        learning : Learning
            What they learn from.
        shelf : Shelf or None
            Where they put their normalised windows; None for one of this federation alone.

        Raises
        ------
        LearningError
            There are no clients to be, see `fit`.
        """
        check_classes(learning)
        if self.normalization.shares and learning.geometry == "spd":
            raise LearningError(
                f"Normalisation {type(self.normalization).__name__} of covariance matrices needs their Riemannian mean "
                "over subjects. It is no sum, so clients cannot tell their part of it: use subject_unlabelled or none."
            )
        network = self._network(learning)
        self.aggregator.check(network, self.training)
        given = {
            "trainer": SerialTrainer(network, self.objective, self.training),
            "normalization": self.normalization,
            "geometry": learning.geometry,
            "classes": len(learning.classes),
            "seed": learning.seed,
            "shelf": shelf or Shelf(),
        }
        return {
            subject: self.aggregator.client({**given, "windows": windows})
            for subject, windows in learning.training.by_subject()
        }

    def lead(self, grid: ClientGrid, learning: Learning, observer: Observer, clock: Clock | None = None) -> Predictor:
        """The server's side of `fit`, over a grid whose nodes are this federation's clients.

        Parameters
        ----------
        grid : ClientGrid
            The clients.
        learning, observer
            As for `fit`.
        clock : Clock or None
            That of the federations side by side with this one; None where it is alone.
        """
        clients = len(grid.get_node_ids())
        if clients < self.aggregator.fewest:
            raise LearningError(
                f"{type(self.aggregator).__name__} needs {self.aggregator.fewest} clients, and there are {clients} "
                "training subjects: use more subjects, or keep fewer for validation."
            )
        least, most = self.aggregator.fewest_sampled, self.aggregator.sampled(clients)
        if self.min_replies is not None and self.min_replies > most:
            raise LearningError(
                f"min_replies is {self.min_replies}, and {most} of {clients} clients train in a round: lower it, or "
                "let more of them train."
            )
        if self.min_replies is not None and self.min_replies < least:
            raise LearningError(
                f"{type(self.aggregator).__name__} needs the replies of {least} clients in a round, and min_replies is "
                f"{self.min_replies}: raise it to {least}, or leave it out."
            )
        network = self._network(learning)
        initial = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        dtypes = dtypes_of(network)
        kept = self.aggregator.kept(network)
        best: BestModel[Predictor] = BestModel()
        latest: dict[str, Personal] = {}
        clock = clock or Clock()
        cost = Cost(grid, clock)
        # Flower draws the clients of a round from Python's global source.
        with seeded(learning.seed, "federation"), _quiet():
            aggregator = self.aggregator.aggregator(clients)
            normalizer = _join_summaries(grid).normalizer(self.normalization, learning.geometry)
            validation = learning.validation
            if validation is not None:
                # Normalised once, not in every round.
                validation = replace(validation, x=normalizer(validation))

            def predictor_of(network: nn.Module) -> Predictor:
                shared = NetworkPredictor(network, normalizer, self.objective)
                return self.aggregator.predictor(shared, dict(latest))

            def after_round(step: int, arrays: ArrayRecord) -> None:
                shared = weights_of(arrays, dtypes)
                _check_complete(shared, [name for name in dtypes if name not in kept], aggregator)
                network.load_state_dict({**initial, **shared})
                told = {**cost.since(), **self.aggregator.measures(step, clients)}
                if kept:
                    latest.update(_personal(grid, dtypes))
                    # What is spent on collecting models is no cost of the next round.
                    aside = cost.since()
                    told["personal_bytes"] = aside["bytes_up"]
                    told["failed_replies"] += aside["failed_replies"]
                # What an observer draws cannot reach the sampling of the next round.
                with clock.stopped(), seeded(learning.seed, "observer", step):
                    if step > 0 and validation is not None:
                        mine = self.aggregator.predictor(NetworkPredictor(network, Identity(), self.objective), latest)
                        best.offer(step, validation_score(mine, validation), predictor_of(network))
                    observer(step, predictor_of(deepcopy(network)))
                    report(observer, step, told)

            aggregator.start(
                grid,
                arrays_of({name: tensor for name, tensor in initial.items() if name not in kept}),
                num_rounds=self.rounds,
                train_config=ConfigRecord({"local-epochs": self.local_epochs}),
                evaluate_fn=after_round,
            )
        return predictor_of(network) if learning.validation is None else best.model

    def _network(self, learning: Learning) -> nn.Module:
        shape, classes = learning.training.x.shape[1:], len(learning.classes)
        return initial_network(self.encoder, self.objective, shape, classes, learning.seed)

    def _placed(self, learning: Learning) -> tuple[Place, StackedTrainer]:
        trainer = StackedTrainer(self._network(learning), self.objective, self.training)
        return self.grid.chosen(self.encoder), trainer

    def _clients_or_error(self, learning: Learning, shelf: Shelf) -> dict[str, SubjectClient] | Exception:
        try:
            return self.clients(learning, shelf)
        except Exception as error:  # One fold that cannot be learned leaves the others alone.
            return error


def _check_complete(found: Mapping[str, torch.Tensor], wanted: Sequence[str], aggregator: object) -> None:
    lost = [name for name in wanted if name not in found]
    if lost:
        raise LearningError(f"{type(aggregator).__name__} gave no weights for {', '.join(lost)} of the network.")


def _ask_all(
    grid: ClientGrid, action: str, content: RecordDict, only: Container[str] | None = None
) -> dict[str, RecordDict]:
    """What the clients answer to a query, by their names; those that fail are left out, if the grid lets them."""
    nodes = [node for node in grid.get_node_ids() if only is None or grid.name_of(node) in only]
    asked = [Message(content, node, f"{MessageType.QUERY}.{action}") for node in nodes]
    replies = [reply for reply in grid.send_and_receive(asked) if reply.has_content()]
    return {grid.name_of(reply.metadata.src_node_id): reply.content for reply in replies}


def _personal(grid: ClientGrid, dtypes: Mapping[str, torch.dtype]) -> dict[str, Personal]:
    """What the clients keep to themselves, collected for scoring."""
    told = _ask_all(grid, "personal", Content({}))
    return {
        name: Personal(int(content["metrics"]["num-examples"]), weights_of(content["arrays"], dtypes))
        for name, content in told.items()
    }


def _join_summaries(grid: ClientGrid) -> Summary:
    """Ask every client for its summary, and tell all clients the sum."""
    told = _ask_all(grid, "tell", Content({}))
    total = reduce(Summary.merge, (Summary.read(content["summary"]) for content in told.values()))
    # Who has told nothing hears nothing, and so cannot train: the sum would not be that of all who do.
    _ask_all(grid, "hear", Content({"summary": total.record()}), only=set(told))
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
