"""Measurements of made-up cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from experiments.report.diagnosed import RELIABILITY, Diagnosed, stepped_up
from experiments.report.families import Entrant, Family, Group

FAMILY = Family("differential_entropy", "stream", "mlp(hidden=[64])", "cross_entropy")


def group_of(*labels: str, place: str = "here", reference: str | None = None) -> Group:
    """A group of configurations that are called by their strategies."""
    entrants = tuple(Entrant(label, FAMILY, label, label, False, ()) for label in labels)
    return Group(place, FAMILY, entrants, (), reference)


def diagnosed_of(
    told: Mapping[tuple[str, str], Mapping[int, Sequence[float]]], *, place: str = "here", reference: str | None = None
) -> Diagnosed:
    """Measurements by configuration and name: at each step a value for each order; reliability is of the halves."""
    whole = {
        (configuration, RELIABILITY): {step: list(stepped_up(np.array(orders))) for step, orders in steps.items()}
        for (configuration, name), steps in told.items()
        if name == "f1_spearman"
    }
    values = {
        (configuration, name, order, step): value
        for (configuration, name), steps in {**told, **whole}.items()
        for step, orders in steps.items()
        for order, value in enumerate(orders)
    }
    index = pd.MultiIndex.from_tuples(values, names=["configuration", "name", "order", "step"])
    labels = dict.fromkeys(configuration for configuration, _ in told)
    return Diagnosed(group_of(*labels, place=place, reference=reference), pd.Series(list(values.values()), index))
