"""What every grid is made of: nodes, letters to them, and an engine that answers the letters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from clients.encoders.contract import Encoder
from clients.lesson import Trainer
from clients.subject_client import SubjectClient

Client: TypeAlias = "ClientApp | SubjectClient"
"""What runs on a node: any app of Flower's, or a subject, whom a grid can also train together with others."""


@dataclass(frozen=True, eq=False)
class Node:
    """A client at its place, with the state that lasts as long as its federation.

    Parameters
    ----------
    name : str
        Of the client, for messages about it.
    client : ClientApp or SubjectClient
        What answers.
    app : ClientApp
        The client as Flower calls it.
    context : Context
        Flower's, with the client's state in it.
    """

    name: str
    client: Client
    app: ClientApp
    context: Context


@dataclass(frozen=True, eq=False)
class Letter:
    """A message on its way to a node; its content is the node's own to change."""

    node: Node
    message: Message


Answer: TypeAlias = "Message | Exception"
"""A node's reply, or why there is none."""

Engine = Callable[[Sequence[Letter]], list[Answer]]
"""Brings letters to their nodes; answers in the same order. It raises only what ends the whole federation."""

Opened = AbstractContextManager[Engine]
"""An engine for as long as a federation lasts."""


class Place(ABC):
    """Where a federation's clients run: a choice of the study, under `grid`.

    A concrete place is a frozen dataclass whose fields are values of the study file.

    Attributes
    ----------
    lockstep : bool
        Whether it trains the clients of several federations together, so that a study hands it the folds of one
        configuration, seed and order at once.
    """

    lockstep: ClassVar[bool] = False

    def chosen(self, encoder: Encoder) -> Place:
        """The place itself; one that leaves the choice to measurements says which it is for an encoder."""
        del encoder
        return self

    @abstractmethod
    def engine(self, clients: Mapping[str, Client], trainer: Trainer) -> Opened:
        """An engine for these clients.

        Parameters
        ----------
        clients : mapping of str to ClientApp or SubjectClient
            By name, in the order of their nodes.
        trainer : Trainer
            Trains lessons of these clients together, for a place that can.

        Raises
        ------
        LearningError
            The clients cannot run there.
        """
