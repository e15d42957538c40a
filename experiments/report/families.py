"""Which configurations of a study are comparable, and what each of them is there for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from experiments.header import Header
from experiments.report.table import CONTROL, SIMULATED, TRANSDUCTIVE

FINETUNING, CUMULATIVE, FROM_SCRATCH, UNTRAINED = "finetuning", "cumulative", "from_scratch", "untrained"
"""Strategies that the others of their family are measured against."""

REGULARISERS = frozenset({"ewc", "si", "mas"})
"""Strategies that hold weights which were important to earlier subjects."""

UPPER_BOUND, ALONE = "upper bound", "one subject alone"
_MARKS = {CUMULATIVE: UPPER_BOUND, "pooled": UPPER_BOUND, FROM_SCRATCH: ALONE}
_NONE = "none"


class Family(NamedTuple):
    """What comparable configurations share; ``none`` stands for a part that a strategy does not take."""

    representation: str
    normalization: str
    encoder: str
    objective: str

    def __str__(self) -> str:
        return ", ".join(part for part in self if part != _NONE)


@dataclass(frozen=True)
class Entrant:
    """A configuration of a study.

    Parameters
    ----------
    label : str
        Its label.
    family : Family
        Its parts.
    strategy : str
        Name of its strategy.
    variant : str
        The same with its values, as the study has them.
    control : bool
        Whether it shows what can be told without the physiology, or without learning from it.
    marks : tuple of str
        What warns a reader, in words.
    """

    label: str
    family: Family
    strategy: str
    variant: str
    control: bool
    marks: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Configurations of a study that are comparable, and those that stand beside them.

    Parameters
    ----------
    place : str
        What the group is called: its data set and, where there are several groups of it, what they share.
    family : Family
        What the configurations in sequence share.
    in_sequence : tuple of Entrant
        They meet one subject after another, and were scored after each.
    beside : tuple of Entrant
        Joint training, controls, what stands for no learning, and configurations of the family without any score.
    reference : str or None
        Label of the fine-tuning that the others are compared with.
    """

    place: str
    family: Family
    in_sequence: tuple[Entrant, ...]
    beside: tuple[Entrant, ...]
    reference: str | None

    @property
    def all(self) -> tuple[Entrant, ...]:
        """All of them."""
        return (*self.in_sequence, *self.beside)

    def first(self, strategy: str) -> str | None:
        """Label of the first configuration with a strategy, which is the one that others are measured against."""
        return next((one.label for one in self.all if one.strategy == strategy), None)


def entrants(header: Header, cells: pd.DataFrame) -> list[Entrant]:
    """Configurations of a study, in its order; those that learn from the scored person alone are left out.

    Parameters
    ----------
    header : Header
        What the study asks.
    cells : DataFrame
        Its finished and failed cells.
    """
    told = cells.drop_duplicates("configuration").set_index("configuration")
    shown = [label for label in header.configurations if label in told.index and label not in header.seen]
    return [_entrant(header, label, told.loc[label]) for label in shown]


def groups(
    header: Header, name: str, of: Collection[Entrant], in_sequence: Collection[str], together: Collection[str]
) -> list[Group]:
    """Families of a study that hold a stream, in the order of their first configuration.

    Joint training and controls stand beside every family with their representation, encoder and objective, where they
    take one. Their normalisation may be another: few suit both subjects in sequence and all together.

    Parameters
    ----------
    header : Header
        What the study asks.
    name : str
        What the study is called on the page.
    of : collection of Entrant
        Its configurations, in their order.
    in_sequence : collection of str
        Labels of those that were scored after each subject of a stream.
    together : collection of str
        Labels of those that were scored, but not so.
    """
    families = list(dict.fromkeys(one.family for one in of if one.label in in_sequence))
    made = []
    for family in families:
        streams = tuple(one for one in of if one.family == family and one.label in in_sequence)
        beside = tuple(
            one
            for one in of
            if one.label not in in_sequence and (one.family == family or (one.label in together and _fits(one, family)))
        )
        plain = [one.label for one in streams if one.strategy == FINETUNING]
        # Of several, the one that the study names as its reference.
        reference = min(plain, key=lambda label: label != header.reference, default=None)
        place = name if len(families) == 1 else f"{name}: {family}"
        made.append(Group(place, family, streams, beside, reference))
    return made


def _entrant(header: Header, label: str, told: pd.Series) -> Entrant:
    control, strategy = label in header.controls, str(told["strategy"])
    marks = (
        *(SIMULATED,) * header.simulated,
        *(TRANSDUCTIVE,) * bool(told["transductive"]),
        *(CONTROL,) * control,
        *filter(None, [_MARKS.get(strategy)]),
    )
    family = Family(*(str(told[part]) for part in Family._fields))
    return Entrant(label, family, strategy, str(told["variant"]), control, marks)


def _fits(one: Entrant, family: Family) -> bool:
    """Whether a configuration that meets nobody in sequence says something about a family."""
    if one.strategy == UNTRAINED:  # It is the zero line of networks like itself.
        return False
    mine = one.family
    alike = mine.encoder in (_NONE, family.encoder) and mine.objective in (_NONE, family.objective)
    return one.control or (alike and mine.representation == family.representation)
