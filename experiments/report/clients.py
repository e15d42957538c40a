"""How unevenly a configuration serves people: those that it learned from, by either model, and unseen ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, repeat

import numpy as np
import pandas as pd
from rich.console import Group
from rich.table import Table
from rich.text import Text

from benchmarks.metrics.table import LOWER_IS_BETTER
from experiments.header import Header
from experiments.records import Model
from experiments.report.layout import Fitting, empty_table, folded
from experiments.report.words import number, spoken
from experiments.results import Results
from experiments.statistics import spread, worst_decile
from strategies.contract import Target


@dataclass(frozen=True)
class People:
    """Scores of the people whom one model of a configuration was asked about, in the study's metric at its level.

    Parameters
    ----------
    configuration : str
        Its label.
    target : {"unseen", "seen"}
        Whether the people were learned from, in other windows.
    model : {"shared", "personal"}
        Who answered.
    n : int
        People with a score, each the mean over the folds that learned from the person, seeds and orders.
    mean, worst_decile, spread : float
        Over the people; NaN where too few have a score.
    """

    configuration: str
    target: Target
    model: Model
    n: int
    mean: float
    worst_decile: float
    spread: float


_KINDS: tuple[tuple[Target, Model], ...] = (("unseen", "shared"), ("seen", "shared"), ("seen", "personal"))


def read_clients(results: Results, header: Header, digests: Sequence[str]) -> list[People]:
    """People of these cells, see `clients`; raises as `Results` does."""
    return clients(header, results.people(digests, header))


def clients(header: Header, rows: pd.DataFrame) -> list[People]:
    """Seen people of each configuration and, beside them, its unseen ones, in the order of the study.

    Parameters
    ----------
    header : Header
        What the study asks.
    rows : DataFrame
        Rows of final predictors.

    Returns
    -------
    list of People
        Empty where nobody is scored as a seen person but by configurations that learn from the scored person alone.
    """
    shown = set(rows.loc[rows["target"] == "seen", "configuration"])
    if shown <= set(header.seen):
        return []
    rows = rows[(rows["level"] == header.level) & (rows["metric"] == header.metric)]
    means = rows.groupby(["configuration", "target", "model", "subject"])["value"].mean()
    groups = {key: mine.to_numpy(dtype=float) for key, mine in means.groupby(["configuration", "target", "model"])}
    lower_is_better = header.metric in LOWER_IS_BETTER

    def people(label: str, target: Target, model: Model) -> People:
        values = groups[label, target, model]
        known = values[~np.isnan(values)]
        return People(
            configuration=label,
            target=target,
            model=model,
            n=len(known),
            mean=float(known.mean()) if len(known) else math.nan,
            worst_decile=worst_decile(known, lower_is_better=lower_is_better),
            spread=spread(known),
        )

    told = ((label, *kind) for label in header.configurations if label in shown for kind in _KINDS)
    return [people(*key) for key in told if key in groups]


def render_clients(header: Header, told: Sequence[People]) -> Group:
    """The table of seen and unseen people, with what its columns mean."""
    layouts = [_table(header, told, fold) for fold in (False, True)]
    return Group(Fitting(layouts), "", *map(Text, _footer(header, told)))


def _table(header: Header, told: Sequence[People], fold: bool) -> Table:
    table = empty_table()
    table.add_column("Clients", overflow="fold")
    for name in ("people", "model"):
        table.add_column(name, no_wrap=True)
    for name in ("n", spoken(header.metric), "worst\ndecile", "spread"):
        table.add_column(Text(name), justify="right", no_wrap=True)
    for label, people in groupby(told, key=lambda one: one.configuration):
        # The label stands once, beside the first of its lines.
        labels = chain([folded(label) if fold else label], repeat(""))
        for one in people:
            numbers = map(number, (one.mean, one.worst_decile, one.spread))
            table.add_row(*map(Text, (next(labels), one.target, one.model, str(one.n), *numbers)))
    return table


def _footer(header: Header, told: Sequence[People]) -> Iterator[str]:
    yield (
        f"Clients: means over people, {header.level} level. Worst decile: mean of the worst tenth of the people, at "
        f"least one; spread: standard deviation over people."
    )
    personal = any(one.model == "personal" for one in told)
    models = "the model for anybody (shared)" + " and by their own (personal)" * personal
    yield (
        f"Seen people were learned from, in the first part of each trial or the first trials of each class, and are "
        f"scored on the last, by {models}; each is averaged over the folds that learned from the person. These are "
        f"other windows than those of unseen people, so nothing is compared with them above."
    )
