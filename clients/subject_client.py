"""One subject as a client of a Flower federation."""

from __future__ import annotations

from dataclasses import dataclass, field

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import Tensor, nn

from benchmarks.errors import LearningError
from benchmarks.normalization import Geometry, Normalization
from benchmarks.windows import Windows
from clients.exchange import Summary, load_weights, weights_record
from clients.objectives.contract import Loss, Objective
from clients.training import Training, tensors, torch_generator, torch_seeded, train_epoch


@dataclass(eq=False)
class SubjectClient:
    """A subject's windows, and how a network learns from them.

    Parameters
    ----------
    windows : Windows
        Labelled windows of one subject.
    network : torch.nn.Module
        Where it trains. Clients of one process may share it: all its weights are overwritten before each training.
    objective : Objective
        What the network is trained with.
    training : Training
        How weights are updated; the optimiser is a new one in each round.
    normalization, geometry
        How windows are normalised.
    classes : int
        Number of classes, K.
    seed : int
        Root seed of the cell.

    Raises
    ------
    ValueError
        Windows of no subject or of several.
    """

    windows: Windows
    network: nn.Module
    objective: Objective
    training: Training
    normalization: Normalization
    geometry: Geometry
    classes: int
    seed: int
    subject: str = field(init=False)
    _lesson: tuple[tuple[Tensor, Tensor], Loss] | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        if len(self.windows.subjects) != 1:
            raise ValueError(f"a client is one subject, found {list(self.windows.subjects)}")
        (self.subject,) = self.windows.subjects

    def app(self) -> ClientApp:
        """The client as Flower calls it.

        ============== ======================================== ==================================================
        message        content                                  reply
        ============== ======================================== ==================================================
        query.tell     nothing                                  ``summary``: `Summary` of the subject's windows
        query.hear     ``summary``: that of the federation      nothing; it stays in the state of the context
        train          ``arrays``: weights; ``config``:         ``arrays``: weights; ``metrics``: ``num-examples``
                       ``server-round``, ``local-epochs``       and ``train-loss``, the mean of the last epoch
        ============== ======================================== ==================================================
        """
        app = ClientApp()
        app.query("tell")(self._tell)
        app.query("hear")(self._hear)
        app.train()(self._train)
        return app

    def _tell(self, message: Message, context: Context) -> Message:
        del context
        summary = Summary.of(self.windows, self.classes, self.normalization, self.geometry)
        return Message(RecordDict({"summary": summary.record()}), reply_to=message)

    def _hear(self, message: Message, context: Context) -> Message:
        context.state["summary"] = message.content["summary"]
        self._lesson = None
        return Message(RecordDict(), reply_to=message)

    def _train(self, message: Message, context: Context) -> Message:
        data, loss = self._prepared(context)
        config = message.content["config"]
        names = (self.seed, "client", self.subject, config["server-round"])
        load_weights(self.network, message.content["arrays"])
        optimizer = self.training.optimizer_of(self.network)
        shuffling = torch_generator(*names)
        with torch_seeded(*names, "dropout"):
            for _ in range(config["local-epochs"]):
                mean_loss = train_epoch(self.network, data, loss, optimizer, self.training.batch_size, shuffling)
        metrics = MetricRecord({"num-examples": len(self.windows), "train-loss": mean_loss})
        reply = RecordDict({"arrays": weights_record(self.network), "metrics": metrics})
        return Message(reply, reply_to=message)

    def _prepared(self, context: Context) -> tuple[tuple[Tensor, Tensor], Loss]:
        """Normalised windows, and the loss weighted by the class counts of the whole federation."""
        # Engines that keep no client objects bring the context alone, so the lesson can be made again from it.
        if self._lesson is None:
            if "summary" not in context.state:
                raise LearningError(f"{self.subject}: asked to train before it heard the federation's summary.")
            summary = Summary.read(context.state["summary"])
            normalizer = summary.normalizer(self.normalization, self.geometry)
            data = tensors(normalizer(self.windows), self.windows.labels)
            self._lesson = data, self.objective.loss(summary.class_counts)
        return self._lesson
