"""What the diagnostics of a stream's cells measured (F1 to F3), over orders: the names are in `DIAGNOSTICS`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.windows import FloatArray
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

RELIABILITY = "f1_reliability"
"""Rank correlation of the halves, stepped up to the whole: see `stepped_up`."""

STEP = "f3_step"
"""How far a subject moves the weights, which strategies without a penalty tell as well."""

_HALVES = "f1_spearman"

_TOP = 0.1
CHANCE_OVERLAP = _TOP / (2 - _TOP)
"""Overlap (Jaccard) to be expected of two random tenths of many weights: they share a hundredth."""

RATIOS = frozenset({"f3_importance", STEP})
"""Measurements without a scale of their own: a change of them is a ratio, and of all others a difference.

Ratios are averaged as logarithms: half and twice as much cancel out, while their mean as they are is above 1.
"""


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

    def share(self, configuration: str, name: str, other: str) -> float:
        """Mean of one measurement over that of another, of each order, then over orders; NaN where it has none."""
        one, of = (self._of(configuration, each).mean(axis=1) for each in (name, other))
        return float((one / of.where(of > 0)).mean())

    def by_step(self, configuration: str, name: str) -> dict[int, Summary]:
        """Mean over orders with its interval, after each subject."""
        table = self._of(configuration, name)
        return {int(step): summary(of.to_numpy(dtype=np.float64)) for step, of in table.items()}

    def change(self, configuration: str, name: str) -> Summary:
        """From the second subject to the last, mean over orders: the last value less the first.

        Of `RATIOS` it is the logarithm of the last over the first. The first subject is no part of it: the network
        starts from nothing there, and no penalty holds it. It is undefined for streams of two subjects, and where a
        ratio has a value that is not positive.
        """
        table = self._of(configuration, name)
        table = table.loc[:, table.columns >= 2]
        if table.shape[1] < 2:
            return summary(np.full(len(table), np.nan))
        first, last = (on_scale(name, table[step]) for step in (table.columns[0], table.columns[-1]))
        return summary(last - first)

    def last(self, configuration: str, name: str) -> pd.Series:
        """After the last subject of each order; of `RATIOS` the logarithm."""
        table = self._of(configuration, name)
        return pd.Series(on_scale(name, table.iloc[:, -1]), table.index) if table.shape[1] else pd.Series(dtype=float)

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
    halves = mine[mine["name"] == _HALVES]
    # Before anything is averaged: the formula is not linear, and of a mean it would give more than the mean of it.
    whole = halves.assign(name=RELIABILITY, value=stepped_up(halves["value"].to_numpy(dtype=np.float64)))
    told = pd.concat([mine, whole])
    return Diagnosed(group, told.groupby(["configuration", "name", "order", "step"])["value"].mean())


def stepped_up(halves: FloatArray) -> FloatArray:
    """Reliability of the whole, from the correlation of its halves.

    It is 2 r / (1 + r), the prophecy formula for twice the length (Spearman 1910, Br. J. Psychol. 3:271; Brown 1910,
    Br. J. Psychol. 3:296), which takes the halves for parallel. A correlation below 0 is no reliability, and the
    formula has no bound there: it stays as it is.
    """
    halves = np.asarray(halves, dtype=np.float64)
    return np.where(halves > 0, 2 * halves / (1 + np.maximum(halves, 0)), halves)


def on_scale(name: str, values: pd.Series) -> FloatArray:
    """Values of a measurement as differences are taken of them: of `RATIOS` the logarithm, NaN where there is none."""
    found: FloatArray = values.to_numpy(dtype=np.float64)
    if name in RATIOS:
        found = np.log(found, out=np.full_like(found, np.nan), where=found > 0)
    return found
