"""One subject as a client of a Flower federation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord
from flwr.clientapp import ClientApp
from torch import Tensor

from benchmarks.errors import LearningError
from benchmarks.normalization import Geometry, Normalization
from benchmarks.windows import Windows
from clients.content import Content
from clients.exchange import Summary, arrays_of, weights_of
from clients.lesson import Learned, Lesson, Weights
from clients.serial import SerialTrainer
from clients.shelf import Shelf
from clients.training import dtype_of

_TERMS = {"server-round", "local-epochs"}
"""What a message to train has to say."""

Mod = Callable[[Message, Context, Callable[[Message, Context], Message]], Message]
"""Flower's wrapper around what a client does with a message."""


@dataclass(eq=False)
class SubjectClient:
    """A subject's windows, and how a network learns from them.

    A method of federated learning in which clients do more than train what they are sent is a subclass: it changes
    `begin`, which makes the lesson, and `end`, which tells what came of it. Both may keep arrays in the state of the
    context, which lasts as long as the federation.

    Parameters
    ----------
    windows : Windows
        Labelled windows of one subject.
    trainer : SerialTrainer
        Network, objective and training. Clients of one process may share it: all weights are overwritten before each
        lesson.
    normalization, geometry
        How windows are normalised.
    classes : int
        Number of classes, K.
    seed : int
        Root seed of the cell.
    mods : tuple of callable
        Flower's client mods, the outermost first. They are called when the training is done: what they change in the
        message is not seen by it, what they change in the reply is.
    shelf : Shelf
        Where it puts its normalised windows, or finds the same of another client in this process.

    Raises
    ------
    ValueError
        Windows of no subject or of several.
    """

    windows: Windows
    trainer: SerialTrainer
    normalization: Normalization
    geometry: Geometry
    classes: int
    seed: int
    mods: tuple[Mod, ...] = ()
    shelf: Shelf = field(default_factory=Shelf, repr=False)
    subject: str = field(init=False)
    _prepared: tuple[Tensor, Tensor, Tensor] | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        if len(self.windows.subjects) != 1:
            raise ValueError(f"a client is one subject, found {list(self.windows.subjects)}")
        (self.subject,) = self.windows.subjects

    def app(self) -> ClientApp:
        """The client as Flower calls it.

        ================ ====================================== ==================================================
        message          content                                reply
        ================ ====================================== ==================================================
        query.tell       nothing                                ``summary``: `Summary` of the subject's windows
        query.hear       ``summary``: that of the federation    nothing; it stays in the state of the context
        query.personal   nothing                                ``arrays``: the weights that never leave it otherwise;
                                                        ``metrics``: ``num-examples``
        train            ``arrays``: weights; ``config``:       ``arrays``: weights; ``metrics``: ``num-examples``
                         ``server-round``, ``local-epochs``     and ``train-loss``, the mean of the last epoch
        ================ ====================================== ==================================================
        """
        app = ClientApp()
        app.query("tell")(self._tell)
        app.query("hear")(self._hear)
        app.query("personal")(self._personal)
        app.train()(self._train)
        return app

    def lesson(self, message: Message, context: Context) -> Lesson:
        """What a message to train asks of this client.

        Raises
        ------
        LearningError
            It has not heard the federation's summary yet.
        """
        lacking = {"arrays", "config"} - set(message.content) or _TERMS - set(message.content["config"])
        if lacking:
            raise LearningError(
                f"{self.subject}: asked to train without {', '.join(sorted(lacking))}. An aggregator has to send the "
                "weights as `arrays`, and `server-round` and `local-epochs` in `config`."
            )
        config = message.content["config"]
        x, y, constants = self._lesson_data(context)
        plain = Lesson(
            subject=self.subject,
            x=x,
            y=y,
            constants=constants,
            weights=weights_of(message.content["arrays"], self.trainer.dtypes),
            epochs=int(config["local-epochs"]),
            stream=(self.seed, "client", self.subject, config["server-round"]),
            # Flower's FedProx sends its strength to the clients under this name.
            pull=float(config.get("proximal-mu", 0.0)),
        )
        return self.begin(plain, message, context)

    def reply(self, message: Message, context: Context, lesson: Lesson, learned: Learned) -> Message:
        """Answer to a message to train, once its lesson is learned."""

        def told(message: Message, context: Context) -> Message:
            metrics = MetricRecord({"num-examples": len(self.windows), "train-loss": learned.loss})
            content = Content({"arrays": self.end(lesson, learned, context), "metrics": metrics})
            return Message(content, reply_to=message)

        answer: Callable[[Message, Context], Message] = told
        for mod in reversed(self.mods):
            answer = partial(_wrapped, mod, answer)
        return answer(message, context)

    def begin(self, lesson: Lesson, message: Message, context: Context) -> Lesson:
        """The lesson as a method of federated learning has it; here, as it is."""
        del message, context
        return lesson

    def end(self, lesson: Lesson, learned: Learned, context: Context) -> ArrayRecord:
        """What the federation is told of the weights that were learned; here, all of them."""
        del lesson, context
        return arrays_of(learned.weights)

    def personal(self, context: Context) -> Weights:
        """The weights that never leave the client while it trains; here, none."""
        del context
        return {}

    def _tell(self, message: Message, context: Context) -> Message:
        del context
        summary = Summary.of(self.windows, self.classes, self.normalization, self.geometry)
        return Message(Content({"summary": summary.record()}), reply_to=message)

    def _hear(self, message: Message, context: Context) -> Message:
        context.state["summary"] = message.content["summary"]
        self._prepared = None
        return Message(Content({}), reply_to=message)

    def _personal(self, message: Message, context: Context) -> Message:
        metrics = MetricRecord({"num-examples": len(self.windows)})
        return Message(Content({"arrays": arrays_of(self.personal(context)), "metrics": metrics}), reply_to=message)

    def _train(self, message: Message, context: Context) -> Message:
        lesson = self.lesson(message, context)
        return self.reply(message, context, lesson, self.trainer.learn(lesson))

    def _lesson_data(self, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised windows, labels, and what the objective needs to know of the whole federation's class counts."""
        # Engines that keep no client objects bring the context alone, so this can be made again from it.
        if self._prepared is None:
            if "summary" not in context.state:
                raise LearningError(f"{self.subject}: asked to train before it heard the federation's summary.")
            summary = Summary.read(context.state["summary"])
            normalizer = summary.normalizer(self.normalization, self.geometry)
            dtype = dtype_of(self.trainer.network)
            # Not copied, since nobody changes windows; but torch takes no memory that may only be read, as Ray's.
            x = torch.as_tensor(np.require(normalizer(self.windows), requirements="W"), dtype=dtype)
            x, y = self.shelf.shared(self.subject, x, torch.tensor(self.windows.labels, dtype=torch.int64))
            self._prepared = x, y, self.trainer.objective.constants(summary.class_counts)
        return self._prepared


def _wrapped(mod: Mod, inner: Callable[[Message, Context], Message], message: Message, context: Context) -> Message:
    return mod(message, context, inner)
