"""How much of the spread of a score over runs comes from the order of a stream, and how much from the seed."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan

import numpy as np
from scipy import stats

from benchmarks.windows import FloatArray
from experiments.statistics import rounded


@dataclass(frozen=True)
class VarianceComponents:
    """Variance of a score over runs, by where it comes from.

    Parameters
    ----------
    order, seed, rest : float
        Variance between orders, between seeds, and what neither explains, in squared units of the score. The rest
        holds what a seed does in one order and not in another.
    negative : tuple of str
        Components whose estimate was negative, and is given as 0: differences so small come of the rest alone.
    f, p : float
        F of the orders, and its p if order makes no difference.
    lowest, highest : float
        Lowest and highest score of an order, its seeds averaged.
    orders, seeds : int
        Size of the table that all this is of.
    dropped_orders, dropped_seeds : int
        Orders and seeds that were left out of it, because a run of theirs has no score.
    """

    order: float
    seed: float
    rest: float
    negative: tuple[str, ...]
    f: float
    p: float
    lowest: float
    highest: float
    orders: int
    seeds: int
    dropped_orders: int
    dropped_seeds: int

    @property
    def shares(self) -> dict[str, float]:
        """Share of each component in their sum; NaN where all are 0 or unknown."""
        components = {"order": self.order, "seed": self.seed, "rest": self.rest}
        total = sum(components.values())
        return {name: value / total if total > 0 else nan for name, value in components.items()}

    @property
    def order_range(self) -> float:
        """Highest minus lowest score of an order; it grows with the number of orders, and is above 0 by chance too."""
        return self.highest - self.lowest


def variance_components(scores: FloatArray) -> VarianceComponents:
    """Take the variance of a score over orders and seeds apart.

    The model is score = mean + order + seed + rest, all but the mean random and independent, every seed run in every
    order once. Components are those at which the expected mean squares of the two-way analysis of variance are the
    ones found (Searle, Casella & McCulloch 1992, Variance Components, ch. 4), for a orders and b seeds::

        rest = MS_rest    order = (MS_order - MS_rest) / b    seed = (MS_seed - MS_rest) / a

    An estimate below 0 becomes 0, and the others stay as they are. Orders are tested by F = MS_order / MS_rest with
    a - 1 and (a - 1)(b - 1) degrees of freedom, which takes the rest to be normal. F is 0, and p 1, where orders do not
    differ at all; it is infinite where they do and nothing is left for the rest.

    Deviations are rounded to 1e-12, because rounding of the means would otherwise be tested against itself.

    Parameters
    ----------
    scores : ndarray, shape (orders, seeds)
        One score a run; NaN where the run failed or has none. Of the orders and seeds the one that lacks the largest
        share of its runs is left out, and so on until none lacks any.

    Returns
    -------
    VarianceComponents
        Components, F and p are NaN where fewer than two complete orders or seeds are left.

    Raises
    ------
    ValueError
        Not a table.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2:
        raise ValueError(f"a table of orders and seeds expected, found shape {scores.shape}")
    table = _complete(scores)
    orders, seeds = table.shape
    by_order = table.mean(axis=1) if table.size else np.array([nan])
    components, f, p = _analysis(table)
    return VarianceComponents(
        **{name: 0.0 if value < 0 else value for name, value in components.items()},
        negative=tuple(name for name, value in components.items() if value < 0),
        f=f,
        p=p,
        lowest=float(by_order.min()),
        highest=float(by_order.max()),
        orders=orders,
        seeds=seeds,
        dropped_orders=scores.shape[0] - orders,
        dropped_seeds=scores.shape[1] - seeds,
    )


def _complete(scores: FloatArray) -> FloatArray:
    """Orders and seeds without a missing run among them."""
    while (missing := np.isnan(scores)).any():
        by_order, by_seed = missing.mean(axis=1), missing.mean(axis=0)
        if by_order.max() >= by_seed.max():
            scores = np.delete(scores, by_order.argmax(), axis=0)
        else:
            scores = np.delete(scores, by_seed.argmax(), axis=1)
    return scores


def _analysis(table: FloatArray) -> tuple[dict[str, float], float, float]:
    """Components as they are estimated, negative ones too; F of the orders and its p."""
    a, b = table.shape
    if min(a, b) < 2:
        return {"order": nan, "seed": nan, "rest": nan}, nan, nan
    mean, by_order, by_seed = table.mean(), table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    df = (a - 1) * (b - 1)
    ms_order = b * _squares(by_order - mean) / (a - 1)
    ms_seed = a * _squares(by_seed - mean) / (b - 1)
    ms_rest = _squares(table - by_order - by_seed + mean) / df
    f = _ratio(ms_order, ms_rest)
    components = {"order": (ms_order - ms_rest) / b, "seed": (ms_seed - ms_rest) / a, "rest": ms_rest}
    return components, f, float(stats.f.sf(f, a - 1, df))


def _ratio(ms_order: float, ms_rest: float) -> float:
    if ms_order == 0:
        return 0.0
    return ms_order / ms_rest if ms_rest > 0 else inf


def _squares(deviations: FloatArray) -> float:
    return float((rounded(deviations) ** 2).sum())
