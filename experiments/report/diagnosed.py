"""What the diagnostics of a stream's cells measured (F1 to F3), over orders: the names are in `DIAGNOSTICS`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiments.report.families import Group
from experiments.report.stream_study import StreamStudy
from experiments.statistics import Summary, summary

NOISE = {"": "none", "_20db": "20 dB", "_10db": "10 dB", "_0db": "0 dB"}
"""Noise added to windows, as a signal-to-noise ratio, by the suffix of what is measured on them; from less to more."""

DIAGNOSTICS = {
    "f1": (
        *(f"{name}{suffix}" for name in ("f1_spearman", "f1_overlap") for suffix in NOISE),
        "f1_previous_spearman",
    ),
    "f2": ("f2_cosine", "f2_cosine_all", "f2_opposing", "f2_task_norm", "f2_penalty_norm"),
    "f3": ("f3_importance", "f3_rigidity"),
}
"""Measurements of each finding on penalties; what they are stands in `strategies.continual.diagnostics`."""

STEP = "f3_step"
"""How far a subject moves the weights, which strategies without a penalty tell as well."""

_TOP = 0.1
CHANCE_OVERLAP = _TOP / (2 - _TOP)
"""Overlap (Jaccard) to be expected of two random tenths of many weights: they share a hundredth."""

RATIOS = frozenset({"f3_importance", STEP})
"""Measurements without a scale of their own: a change of them is a ratio, and of all others a difference."""


@dataclass(frozen=True, eq=False)
class Diagnosed:
    """Measurements of a group's configurations.

    Parameters
    ----------
    group : Group
        Whose.
    values : Series
        Seeds averaged, under configuration, name, order and step: the number of subjects learned from.
    """

    group: Group
    values: pd.Series

    def configurations(self, names: Sequence[str]) -> list[str]:
        """Configurations with a value of one of these names, in the order of the study."""
        told = self.values.dropna()
        known = set(told.index[told.index.isin(names, level="name")].unique("configuration"))
        return [one.label for one in self.group.in_sequence if one.label in known]

    def mean(self, configuration: str, name: str) -> Summary:
        """Mean over steps, then over orders with its interval."""
        return summary(self._of(configuration, name).mean(axis=1).to_numpy(dtype=np.float64))

    def difference(self, configuration: str, name: str, other: str) -> Summary:
        """One measurement less another, over the steps that have both, then over orders with its interval."""
        both = self._of(configuration, name) - self._of(configuration, other)
        return summary(both.mean(axis=1).to_numpy(dtype=np.float64))

    def by_step(self, configuration: str, name: str) -> dict[int, Summary]:
        """Mean over orders with its interval, after each subject."""
        table = self._of(configuration, name)
        return {int(step): summary(of.to_numpy(dtype=np.float64)) for step, of in table.items()}

    def change(self, configuration: str, name: str) -> Summary:
        """From the second subject to the last: the last value over the first, or less it; mean over orders.

        The first subject is no part of it: the network starts from nothing there, and no penalty holds it. It is
        undefined for streams of two subjects, and where a ratio has no positive first value.
        """
        table = self._of(configuration, name)
        table = table.loc[:, table.columns >= 2]
        if table.shape[1] < 2:
            return summary(np.full(len(table), np.nan))
        first, last = (table[step].to_numpy(dtype=np.float64) for step in (table.columns[0], table.columns[-1]))
        if name not in RATIOS:
            return summary(last - first)
        return summary(np.divide(last, first, out=np.full_like(last, np.nan), where=first > 0))

    def _of(self, configuration: str, name: str) -> pd.DataFrame:
        """Orders in rows, steps in columns; NaN where there is no value."""
        found = self.values[
            (self.values.index.get_level_values("configuration") == configuration)
            & (self.values.index.get_level_values("name") == name)
        ]
        return found.droplevel(["configuration", "name"]).unstack("step").sort_index(axis=1)


def diagnosed(study: StreamStudy, group: Group) -> Diagnosed:
    """Measurements of a group of a study; those of no finding are left out."""
    names = [STEP, *(name for of in DIAGNOSTICS.values() for name in of)]
    rows = study.measurements
    mine = rows[rows["configuration"].isin([one.label for one in group.in_sequence]) & rows["name"].isin(names)]
    return Diagnosed(group, mine.groupby(["configuration", "name", "order", "step"])["value"].mean())
