"""Clients of a federation in this very process, one after another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass

from flwr.app import ArrayRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from benchmarks.errors import LearningError

_RUN_ID = 1


@dataclass(frozen=True)
class _Node:
    name: str
    app: ClientApp
    context: Context


class InProcessGrid(Grid):
    """Calls each client's app directly, without transport.

    Nodes are numbered in the order of `clients`. Whatever the order of the messages, clients run and their replies
    come back in the order of the nodes, so that an aggregator's sums are the same to the bit. Each node has one
    context, so that a client's state lasts. A client that raises is an error reply.

    Parameters
    ----------
    clients : mapping of str to flwr.clientapp.ClientApp
        Apps by the clients' names.
    min_replies : int or None
        Replies without error that `send_and_receive` demands; None demands one to every message.

    Raises
    ------
    LearningError
        There is no client, or fewer than `min_replies`.
    """

    def __init__(self, clients: Mapping[str, ClientApp], min_replies: int | None = None) -> None:
        if len(clients) < (min_replies or 1):
            raise LearningError(
                f"A federation of {len(clients)} clients, at least {min_replies or 1} are needed: "
                "use more training subjects, or lower min_replies."
            )
        _identify_process()
        first = SUPERLINK_NODE_ID + 1
        self._nodes = {
            first + i: _Node(name, app, _fresh_context(first + i, i, len(clients)))
            for i, (name, app) in enumerate(clients.items())
        }
        self._min_replies = min_replies
        self._run = Run.create_empty(_RUN_ID)
        self._sent = 0
        self._replies: dict[str, Message] = {}
        self._raised: dict[str, Exception] = {}

    @property
    def run(self) -> Run:
        """See `flwr.serverapp.Grid`."""
        return self._run

    def set_run(self, run: Run) -> None:
        """See `flwr.serverapp.Grid`."""
        self._run = run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """See `flwr.serverapp.Grid`."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Numbers of the nodes, in the order of the clients."""
        return list(self._nodes)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Run the clients that messages go to; returns the messages' names in the order of the nodes."""
        return [
            self._deliver(message) for message in sorted(messages, key=lambda message: message.metadata.dst_node_id)
        ]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Replies to messages, in the order asked for; each can be had once."""
        return [self._replies.pop(name) for name in message_ids if name in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Replies to messages, in the order of the nodes.

        Parameters
        ----------
        messages : iterable of Message
            At most one a node.
        timeout : float or None
            Without effect: a client that runs in this process cannot be left behind.

        Raises
        ------
        LearningError
            Too few replies without error; the clients that failed are named with their causes.
        """
        del timeout
        self._raised.clear()
        replies = self.pull_messages(self.push_messages(messages))
        self._check(replies)
        return replies

    def _deliver(self, message: Message) -> str:
        self._sent += 1
        name = str(self._sent)
        # Flower names a message when it leaves; the reply takes over the name, so it must be there first.
        message.metadata.__dict__["_message_id"] = name
        # Aggregators put one and the same record in all messages, and clients may write to theirs.
        message.content = _private(message.content)
        node = self._nodes.get(message.metadata.dst_node_id)
        if node is None:
            error = Error(ErrorCode.NODE_UNAVAILABLE, "there is no such node")
            self._replies[name] = Message(error, reply_to=message)
            return name
        try:
            self._replies[name] = node.app(message, node.context)
        except Exception as exception:  # A client may fail in any way; the others go on.
            self._raised[name] = exception
            error = Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, f"{type(exception).__name__}: {exception}")
            self._replies[name] = Message(error, reply_to=message)
        return name

    def _check(self, replies: list[Message]) -> None:
        failed = [reply for reply in replies if reply.has_error()]
        usable = len(replies) - len(failed)
        needed = len(replies) if self._min_replies is None else self._min_replies
        if not replies or usable >= needed:
            return
        causes = "; ".join(f"{self._name(reply)}: {reply.error.reason}" for reply in failed)
        first = next(iter(self._raised.values()), None)
        raise LearningError(
            f"{usable} of {len(replies)} clients gave a usable reply, {needed} are needed. Failed: {causes}"
        ) from first

    def _name(self, reply: Message) -> str:
        node = self._nodes.get(reply.metadata.src_node_id)
        return f"node {reply.metadata.src_node_id}" if node is None else node.name


def _identify_process() -> None:
    """Flower stamps messages with the task of the process they are made in; its launcher says which, we have none."""
    try:
        TaskIdentity.run_id  # noqa: B018  (raises where nobody has set it)
    except RuntimeError:
        TaskIdentity.task_id = TaskIdentity.run_id = _RUN_ID
        TaskIdentity.node_id = SUPERLINK_NODE_ID


def _fresh_context(node_id: int, position: int, clients: int) -> Context:
    place = {"partition-id": position, "num-partitions": clients}
    return Context(_RUN_ID, node_id, place, RecordDict(), {})


def _private(content: RecordDict) -> RecordDict:
    """Copy that a client may write to; arrays are immutable bytes and are shared."""
    return RecordDict(
        {
            name: record.copy() if isinstance(record, ArrayRecord) else deepcopy(record)
            for name, record in content.items()
        }
    )
