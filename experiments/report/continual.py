"""What orders of a stream say of each configuration: scores (the table), their spread (F4), and differences (F5)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.windows import FloatArray
from experiments.equivalence import Equivalence, equivalence
from experiments.report.families import CUMULATIVE, FROM_SCRATCH, REGULARISERS, UNTRAINED, Entrant
from experiments.report.stream_study import Scored
from experiments.report.streams import MEASURES, by_order
from experiments.statistics import MIN_SUBJECTS, Paired, Summary, holm, paired_difference, rounded, summary
from experiments.variance import VarianceComponents, variance_components

ALPHA = 0.05
MARGIN = 0.02
"""Difference of scores that is as good as none, where no other is given."""

SPREAD = ("acc", "held_out")
COMPARED = ("next_subject", "held_out", "acc")
"""Measures whose spread is taken apart, and whose differences to fine-tuning are tested.

The difference in the next subject's score is that in forward transfer too: its baseline is the same for both.
"""

CHOSEN, GIVEN, OTHER = "regulariser, value chosen", "regulariser, value given", "other method"
"""Families of comparisons, each corrected by itself: what the page asks, on values chosen beforehand on other people;
regularisers at a value of the study's own, as to see what it does; and what is told beside them.
"""

_OF_PEOPLE = "held_out"

_BOUNDS = frozenset({CUMULATIVE, FROM_SCRATCH, UNTRAINED})
"""They show what could be reached, and are no methods that fine-tuning would be given up for."""


@dataclass(frozen=True)
class Line:
    """Scores of a configuration.

    Parameters
    ----------
    entrant : Entrant
        The configuration.
    values : dict of str to Summary
        Mean and interval over orders by the key of a measure, seeds averaged; of a configuration that meets nobody in
        sequence its one value, without an interval.
    """

    entrant: Entrant
    values: dict[str, Summary]


class Spread(NamedTuple):
    """Where the variance of a configuration's measure comes from: see `variance_components`.

    Below `MIN_SUBJECTS` orders its p is NaN, as that of differences. A bound shows what could be reached, and is no
    method whose dependence on the order is asked about.
    """

    place: str
    configuration: str
    measure: str
    components: VarianceComponents
    bound: bool


class Pairs(NamedTuple):
    """Scores of two configurations by order, (orders,) each, of the runs that both have: an order with a seed each."""

    mine: FloatArray
    reference: FloatArray
    runs: pd.Index
    left_out: int


@dataclass(frozen=True)
class Comparison:
    """A configuration against fine-tuning, paired over orders: see `comparisons`.

    Parameters
    ----------
    place : str
        The group that both are of.
    configuration, reference : str
        Labels of the two.
    measure : str
        Key of what is compared.
    family : str
        Which comparisons it is corrected with: `CHOSEN`, `GIVEN` or `OTHER`.
    paired : Paired
        Configuration less fine-tuning.
    p : float
        p of that difference, Holm-corrected over all comparisons of the page in this measure and family; NaN below
        `MIN_SUBJECTS` orders, of which the page says that there are no statistics.
    equivalence : Equivalence
        Whether the two differ by less than the margin; its p as that of the difference.
    left_out : int
        Runs, each an order with a seed, that only one of the two has a score of.
    people : tuple of (int, int) or None
        Of the score on held-out people: how many of them the configuration does better on, and how many fine-tuning,
        mean over runs; None of other scores.
    """

    place: str
    configuration: str
    reference: str
    measure: str
    family: str
    paired: Paired
    p: float
    equivalence: Equivalence
    left_out: int
    people: tuple[int, int] | None = None

    @property
    def verdict(self) -> str:
        """What may be said of the two, in words; a difference may be shown to be there and to be small.

        The direction is that of the signed ranks, which are tested: a single order may turn the mean difference.
        """
        if self.p < ALPHA:
            direction = "better" if self.paired.rank_biserial > 0 else "worse"
            return f"{direction}, {WITHIN}" if self.equivalence.equivalent(ALPHA) else direction
        return EQUIVALENT if self.equivalence.equivalent(ALPHA) else INCONCLUSIVE


WITHIN = "by less than the margin"
EQUIVALENT = "equivalent within the margin"
INCONCLUSIVE = "inconclusive"


def lines(scored: Scored) -> list[Line]:
    """Scores of all configurations of a group: first those in sequence, then what stands beside them."""
    orders = by_order(scored.cells)
    met = [
        Line(one, {measure.key: summary(_values(orders, one.label, measure.key)) for measure in MEASURES})
        for one in scored.group.in_sequence
    ]
    beside = [
        Line(one, {key: summary(np.array([value])) for key, value in scored.beside.loc[one.label].items()})
        for one in scored.group.beside
    ]
    return [*met, *beside]


def spreads(scored: Scored) -> list[Spread]:
    """Variance of the measures in `SPREAD` over the orders and seeds of each configuration in sequence."""
    return [
        Spread(
            scored.group.place,
            one.label,
            key,
            _components(_table(scored.cells, one.label, key)),
            one.strategy in _BOUNDS,
        )
        for one in scored.group.in_sequence
        for key in SPREAD
    ]


def comparisons(of: Sequence[Scored], margin: float = MARGIN) -> list[Comparison]:
    """All methods against the fine-tuning of their group, in the measures of `COMPARED`.

    Both are taken from the same runs, an order with a seed each, that both have a score of; then their seeds are
    averaged, and orders are the pairs of the tests.

    Parameters
    ----------
    of : sequence of Scored
        All groups that are told of together, each once.
    margin : float
        Difference that is as good as none, above 0.

    Raises
    ------
    ValueError
        A margin that is no positive number.
    """
    made = [one for scored in of for one in _compared(scored, margin)]
    families: dict[tuple[str, str], list[int]] = {}
    for place, one in enumerate(made):
        families.setdefault((one.measure, one.family), []).append(place)
    for places in families.values():
        adjusted = holm([made[place].p for place in places])
        for place, p in zip(places, adjusted, strict=True):
            made[place] = replace(made[place], p=p)
    return made


def _compared(scored: Scored, margin: float) -> Iterator[Comparison]:
    reference = scored.group.reference
    if reference is None:
        return
    chosen = {one.configuration for one in scored.header.choices}
    for one in scored.group.in_sequence:
        if one.label == reference or one.strategy in _BOUNDS:
            continue
        for key in COMPARED:
            pairs = in_pairs(scored, one.label, reference, key)
            paired = paired_difference(pairs.mine, pairs.reference)
            equal = equivalence(pairs.mine, pairs.reference, margin)
            yield Comparison(
                place=scored.group.place,
                configuration=one.label,
                reference=reference,
                measure=key,
                family=_family(one, chosen),
                paired=paired,
                p=tested(paired.p, paired.n),
                equivalence=replace(equal, p=tested(equal.p, equal.n)),
                left_out=pairs.left_out,
                people=_people(scored, one.label, reference, pairs.runs) if key == _OF_PEOPLE else None,
            )


def tested(p: float, orders: int) -> float:
    """A p value of so many orders; NaN where they are too few for statistics."""
    return p if orders >= MIN_SUBJECTS else nan


def in_pairs(scored: Scored, label: str, reference: str, key: str) -> Pairs:
    """A measure of two configurations over the same runs, their seeds averaged."""
    runs = scored.cells[key].unstack("configuration").reindex(columns=[label, reference])
    shared = runs.dropna()
    mine, plain = shared.groupby(level="order").mean().to_numpy(dtype=np.float64).T
    return Pairs(mine, plain, shared.index, len(runs.dropna(how="all")) - len(shared))


def _people(scored: Scored, label: str, reference: str, runs: pd.Index) -> tuple[int, int] | None:
    """How many held-out people either does better on in the end, mean over runs; ties are of neither."""
    final = {(one.configuration, one.order, one.seed): one.curve[-1] for one in scored.streams}
    differences = pd.DataFrame([final[label, *run] - final[reference, *run] for run in runs])
    if differences.empty:
        return None
    means = rounded(differences.mean().to_numpy(dtype=np.float64))
    return int((means > 0).sum()), int((means < 0).sum())


def _family(one: Entrant, chosen: Collection[str]) -> str:
    if one.strategy not in REGULARISERS:
        return OTHER
    return CHOSEN if one.label in chosen else GIVEN


def _values(orders: pd.DataFrame, label: str, key: str) -> FloatArray:
    values: FloatArray = orders.xs(label, level="configuration")[key].to_numpy(dtype=np.float64)
    return values


def _components(table: FloatArray) -> VarianceComponents:
    found = variance_components(table)
    return replace(found, p=tested(found.p, found.orders))


def _table(cells: pd.DataFrame, label: str, key: str) -> FloatArray:
    """A measure of a configuration, (orders, seeds)."""
    table: FloatArray = cells.xs(label, level="configuration")[key].unstack("seed").to_numpy(dtype=np.float64)
    return table
