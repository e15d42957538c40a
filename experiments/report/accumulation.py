"""Rules by which importance adds up over subjects, each against the sum of it, all else being the same (F3)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from benchmarks.windows import FloatArray
from experiments.report.continual import ALPHA, COMPARED, in_pairs, tested
from experiments.report.diagnosed import Diagnosed
from experiments.report.families import Entrant
from experiments.report.stream_study import Scored
from experiments.statistics import Paired, holm, paired_difference

OWN_RULES: Mapping[str, str] = {"ewc": "decay", "si": "sum", "mas": "sum"}
"""Rule of a strategy where the study names none; EWC has one where it is online."""

MEASURED = ("f3_rigidity", "f3_importance")
"""What is compared beside the scores of `COMPARED`: as it is after the last subject, where most has piled up."""

_SUM = "sum"
_RULE = re.compile(r"accumulation=(\w+)")
_OF_RULES = ("accumulation=", "decay=")


@dataclass(frozen=True)
class Contrast:
    """A rule against the sum, paired over orders: see `contrasts`.

    Parameters
    ----------
    place : str
        The group that both are of.
    configuration, reference : str
        Labels of the two.
    measure : str
        A score of `COMPARED`, or one of `MEASURED`.
    paired : Paired
        Rule less sum; of importance, the logarithm of rule over sum.
    p : float
        p of that difference, Holm-corrected over all contrasts of the page in this measure; NaN where orders are too
        few for statistics.
    """

    place: str
    configuration: str
    reference: str
    measure: str
    paired: Paired
    p: float

    @property
    def verdict(self) -> str:
        """What may be said of the two; the direction is that of the signed ranks, which are tested."""
        if not self.p < ALPHA:
            return UNDECIDED
        return HIGHER if self.paired.rank_biserial > 0 else LOWER


HIGHER, LOWER, UNDECIDED = "higher than with the sum", "lower than with the sum", "no difference shown"


def contrasts(of: Sequence[tuple[Scored, Diagnosed]]) -> list[Contrast]:
    """Configurations that differ from the sum in their rule alone: in strategy, values, encoder and data they do not.

    Seeds are averaged, and orders are the pairs of the tests; scores are of the runs that both have.

    Parameters
    ----------
    of : sequence of (Scored, Diagnosed)
        All groups that are told of together, each once, with its measurements.
    """
    made = [one for scored, measured in of for one in _contrasts(scored, measured)]
    for measure in (*COMPARED, *MEASURED):
        places = [place for place, one in enumerate(made) if one.measure == measure]
        adjusted = holm([made[place].p for place in places])
        for place, p in zip(places, adjusted, strict=True):
            made[place] = replace(made[place], p=p)
    return made


def rule(one: Entrant) -> str | None:
    """By which rule importance adds up; None where the strategy accumulates none."""
    named = _RULE.search(one.variant)
    return named[1] if named else OWN_RULES.get(one.strategy)


def _contrasts(scored: Scored, measured: Diagnosed) -> Iterator[Contrast]:
    accumulating = [one for one in scored.group.in_sequence if rule(one) is not None]
    sums = {_apart_from_rule(one): one.label for one in reversed(accumulating) if rule(one) == _SUM}
    for one in accumulating:
        reference = sums.get(_apart_from_rule(one))
        if reference is None or rule(one) == _SUM:
            continue
        for measure, (mine, plain) in _pairs(scored, measured, one.label, reference):
            paired = paired_difference(mine, plain)
            yield Contrast(scored.group.place, one.label, reference, measure, paired, tested(paired.p, paired.n))


def _pairs(
    scored: Scored, measured: Diagnosed, label: str, reference: str
) -> Iterator[tuple[str, tuple[FloatArray, FloatArray]]]:
    """Both by order, in each measure that there is."""
    for key in COMPARED:
        pairs = in_pairs(scored, label, reference, key)
        yield key, (pairs.mine, pairs.reference)
    for name in MEASURED:
        both = pd.concat([measured.last(each, name) for each in (label, reference)], axis=1).to_numpy(dtype=np.float64)
        if both.size:
            yield name, (both[:, 0], both[:, 1])


def _apart_from_rule(one: Entrant) -> tuple[str, ...]:
    """Strategy and values without those of the rule, in any order."""
    name, _, values = one.variant.partition("(")
    kept = [value for value in values.removesuffix(")").split(", ") if not value.startswith(_OF_RULES)]
    return (name, *sorted(kept))
