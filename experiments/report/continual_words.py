"""Numbers and measures of streams as the page writes them."""

from __future__ import annotations

import math
from collections.abc import Iterable

from experiments.report.streams import MEASURES
from experiments.report.words import NOTHING, amount, number
from experiments.statistics import Summary

TITLES = {measure.key: measure.title for measure in MEASURES}
"""Names of measures."""


def named(label: str, place: str, places: Iterable[str]) -> str:
    """Label of a configuration, with its data set where there are several: within one, labels are unique."""
    datasets = {each.partition(": ")[0] for each in places}
    return label if len(datasets) == 1 else f"{label} ({place.partition(': ')[0]})"


def interval(low: float, high: float, *, signed: bool = False) -> str:
    """Ends of an interval, where there is one."""
    return NOTHING if math.isnan(low) else f"[{number(low, signed=signed)}, {number(high, signed=signed)}]"


def told(found: Summary, *, signed: bool = False) -> str:
    """A mean and, where there is one, its interval."""
    mean = number(found.mean, signed=signed)
    return mean if math.isnan(found.low) else f"{mean} {interval(found.low, found.high, signed=signed)}"


def factor(mean: float, low: float, high: float) -> str:
    """A factor and, where there is one, its interval, all told by their logarithms."""
    middle = amount(math.exp(mean))
    return middle if math.isnan(low) else f"{middle} [{amount(math.exp(low))}, {amount(math.exp(high))}]"


def percent(share: float) -> str:
    """A share in percent."""
    return NOTHING if math.isnan(share) else f"{100 * share:.0f} %"


def chance_of(p: float) -> str:
    """A p value."""
    return "below 0.0001" if p < 0.0001 else amount(p)
