"""The clients of a round trained many at once, as stacks of one tensor program each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar

from flwr.app import MessageType

from benchmarks.errors import LearningError
from clients.lesson import Lesson, Trainer
from clients.subject_client import SubjectClient
from strategies.grids.contract import Answer, Client, Letter, Opened, Place
from strategies.grids.in_process import one_by_one


@dataclass(frozen=True)
class Stacked(Place):
    """Trains the clients of a round, and those of federations side by side, together, their weights stacked."""

    lockstep: ClassVar[bool] = True

    def engine(self, clients: Mapping[str, Client], trainer: Trainer) -> Opened:
        """See `Place`.

        Raises
        ------
        LearningError
            A client is an app of Flower's that nothing else is known of.
        """
        foreign = [name for name, client in clients.items() if not isinstance(client, SubjectClient)]
        if foreign:
            raise LearningError(
                f"Clients {', '.join(foreign)} cannot be stacked: they are no subjects. Use in_process."
            )
        return nullcontext(Together(trainer))


@dataclass(frozen=True, eq=False)
class Together:
    """Engine that gives all lessons of a delivery to one trainer; what is no lesson is answered one by one."""

    trainer: Trainer

    def __call__(self, letters: Sequence[Letter]) -> list[Answer]:
        """See `Engine`."""
        answers: list[Answer | None] = [None] * len(letters)
        asked: list[tuple[int, Letter, SubjectClient, Lesson]] = []
        for position, letter in enumerate(letters):
            client = letter.node.client
            if letter.message.metadata.message_type == MessageType.TRAIN and isinstance(client, SubjectClient):
                try:
                    asked.append((position, letter, client, client.lesson(letter.message, letter.node.context)))
                except Exception as error:  # A client may fail in any way; the others go on.
                    answers[position] = error
            else:
                (answers[position],) = one_by_one([letter])
        for position, answer in self._taught(asked):
            answers[position] = answer
        return [answer for answer in answers if answer is not None]

    def _taught(self, asked: Sequence[tuple[int, Letter, SubjectClient, Lesson]]) -> Iterator[tuple[int, Answer]]:
        learned = self.trainer([lesson for *_, lesson in asked]) if asked else []
        for (position, letter, client, lesson), outcome in zip(asked, learned, strict=True):
            if isinstance(outcome, Exception):
                yield position, outcome
                continue
            try:
                yield position, client.reply(letter.message, letter.node.context, lesson, outcome)
            except Exception as error:
                yield position, error
