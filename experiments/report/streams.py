"""Streams of subjects as their rows tell them: who was met when, the matrix R, and what R says of each cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import pandas as pd

from benchmarks.errors import ResultsError
from benchmarks.metrics import continual as metrics
from benchmarks.windows import FloatArray
from experiments.report.families import CUMULATIVE, FROM_SCRATCH, UNTRAINED, Group


@dataclass(frozen=True, eq=False)
class Stream:
    """Scores of one cell after every step of its stream.

    Parameters
    ----------
    configuration : str
        Its label.
    order, seed : int
        Number of the order in which subjects were met, and of the seed.
    subjects : tuple of str
        The T learners, in that order.
    R : ndarray, shape (T + 1, T)
        Score on each learner, in that order, before any learning (row 0) and after each subject; NaN where it is
        undefined.
    curve : ndarray, shape (T + 1, H)
        The same of the people who are never met.
    """

    configuration: str
    order: int
    seed: int
    subjects: tuple[str, ...]
    R: FloatArray
    curve: FloatArray


@dataclass(frozen=True, eq=False)
class References:
    """What a stream is measured against; NaN where the study has none.

    Parameters
    ----------
    untrained : ndarray, shape (T,)
        Score of networks that learned nothing, on each learner in the order of the stream.
    together : ndarray, shape (T + 1, T)
        R of a learner that after each subject was trained on all so far.
    alone : ndarray, shape (T + 1, T)
        R of a learner that starts anew with each subject.
    chance : float
        Chance level of the score.
    """

    untrained: FloatArray
    together: FloatArray
    alone: FloatArray
    chance: float


@dataclass(frozen=True)
class Measure:
    """A number that sums a stream up.

    Parameters
    ----------
    key : str
        Its column in `cell_scores`.
    title : str
        Its name in a table.
    meaning : str
        What it is, in words.
    value : callable
        Takes it from a stream and its references.
    needs : str or None
        What it cannot be told without: the strategy whose scores it takes as reference, for instance.
    signed : bool
        Whether it is a difference of scores.
    """

    key: str
    title: str
    meaning: str
    value: Callable[[Stream, References], float]
    needs: str | None = None
    signed: bool = True


def _held_out(metric: Callable[[FloatArray], float]) -> Callable[[Stream, References], float]:
    # Somebody's own protocol may hold nobody out.
    return lambda stream, _: metric(stream.curve) if stream.curve.size else nan


SCORES = (
    Measure(
        "next_subject",
        "next subject",
        "score on each subject just before it is learned from, from the second on",
        lambda s, _: metrics.next_subject(s.R),
        signed=False,
    ),
    Measure(
        "held_out",
        "held-out, final",
        "score on the people who are never learned from, after the last subject",
        _held_out(metrics.final_held_out),
        signed=False,
    ),
    Measure(
        "aaa",
        "held-out, AAA",
        "the same, mean over all steps",
        _held_out(metrics.average_held_out),
        signed=False,
    ),
    Measure(
        "acc",
        "ACC",
        "score on all learners after the last one",
        lambda s, _: metrics.average_accuracy(s.R),
        signed=False,
    ),
    Measure(
        "aia",
        "AIA",
        "score on the learners met so far, mean over steps",
        lambda s, _: metrics.average_incremental_accuracy(s.R),
        signed=False,
    ),
    Measure(
        "learning",
        "learning accuracy",
        "score on each learner just after it was learned from",
        lambda s, _: metrics.learning_accuracy(s.R),
        signed=False,
    ),
)
"""Means of scores, which chance and controls can be held against."""

TRANSFERS = (
    Measure(
        "fwt",
        "FWT",
        "next subject, less the score of untrained networks on it: forward transfer",
        lambda s, r: metrics.forward_transfer(s.R, r.untrained),
        needs=UNTRAINED,
    ),
    Measure(
        "over_previous",
        "FWT over previous",
        "next subject, less the score of a learner that knows the previous subject alone",
        lambda s, r: metrics.forward_transfer_over_previous(s.R, r.alone),
        needs=FROM_SCRATCH,
    ),
    Measure(
        "bwt",
        "BWT",
        "ACC less learning accuracy, of all learners but the last: backward transfer, below 0 a loss",
        lambda s, _: metrics.backward_transfer(s.R),
    ),
    Measure(
        "forgetting",
        "forgetting",
        "what was lost of the best score on each learner since it was met, of all but the last",
        lambda s, _: metrics.forgetting(s.R),
    ),
    Measure(
        "stability",
        "stability",
        "one less forgetting",
        lambda s, _: metrics.stability(s.R),
        signed=False,
    ),
    Measure(
        "plasticity",
        "plasticity",
        "learning accuracy, less the score that each subject reaches alone",
        lambda s, r: metrics.plasticity(s.R, r.alone),
        needs=FROM_SCRATCH,
    ),
    Measure(
        "intransigence",
        "intransigence",
        "what a learner that keeps training on all subjects so far is ahead on the newest; below 0 it is behind",
        lambda s, r: metrics.intransigence(s.R, r.together),
        needs=CUMULATIVE,
    ),
)
"""What earlier and later subjects do to each other."""

FURTHER = (
    Measure(
        "fwt_all",
        "FWT over all",
        "score on all subjects still to come, mean over steps and subjects: forward transfer without a baseline",
        lambda s, _: metrics.forward_transfer_all(s.R),
        signed=False,
    ),
    Measure(
        "over_chance",
        "FWT over chance",
        "next subject, less the chance level",
        lambda s, r: metrics.forward_transfer_over_chance(s.R, r.chance),
        needs="a chance level",
    ),
    Measure(
        "gain",
        "adaptation gain",
        "score on each subject just after it was learned from, less the one just before, from the second on",
        lambda s, _: metrics.adaptation_gain(s.R),
    ),
    Measure(
        "rate",
        "forgetting rate",
        "how far the score on held-out people went from the one after the first subject, as a share of it; a gain "
        "counts like a loss",
        _held_out(metrics.forgetting_rate),
        needs="held-out people",
        signed=False,
    ),
)
"""The same questions as other authors put them."""

MEASURES = (*SCORES, *TRANSFERS, *FURTHER)


def streams(rows: pd.DataFrame, level: str, study: str) -> list[Stream]:
    """Streams among cells, in the order of their rows; cells whose learners are not met in sequence are left out.

    Parameters
    ----------
    rows : DataFrame
        As `experiments.results.Results.tracked` has them, of all levels, without networks that learn nothing. A learner
        is met at the first step at which its target is ``seen``; who never is, is held out.
    level : str
        Whose scores are taken. The order comes from all levels: of some learners a level may have no score.
    study : str
        Its name, for what may be wrong.

    Raises
    ------
    ResultsError
        A cell's rows do not tell in which order its learners were met.
    """
    met = rows.loc[rows["target"] == "seen", "digest"].unique()
    cells = rows[rows["digest"].isin(met)].groupby("digest", sort=False, observed=True)
    return [_stream(mine, level, study) for _, mine in cells]


def learner_levels(rows: pd.DataFrame) -> list[str]:
    """Levels at which learners of streams have scores: windows, and trials where whole trials are held out of them.

    Rows are as for `streams`.
    """
    return sorted(rows.loc[rows["target"] == "seen", "level"].unique(), reverse=True)


def untrained_scores(rows: pd.DataFrame, level: str) -> dict[str, pd.Series]:
    """Score of each person by networks that learned nothing: mean over networks, which are its steps, and seeds.

    Parameters
    ----------
    rows : DataFrame
        As `experiments.results.Results.tracked` has them, of the configurations with these networks alone.
    level : str
        Whose scores are taken.

    Returns
    -------
    dict of str to Series
        By configuration, under the person.
    """
    cells = rows[rows["level"] == level].astype({"subject": str}).groupby("configuration", observed=True)
    return {str(label): mine.groupby("subject")["value"].mean() for label, mine in cells}


def cell_scores(group: Group, found: Sequence[Stream], untrained: pd.Series, chance: float) -> pd.DataFrame:
    """All measures of the streams of a group.

    A stream's references are of its own order, their seeds averaged.

    Parameters
    ----------
    group : Group
        Says whose scores are references.
    found : sequence of Stream
        Its streams, those of the references among them.
    untrained : Series
        Score of networks that learned nothing, under the person.
    chance : float
        Chance level of the score; NaN where it has none.

    Returns
    -------
    DataFrame
        A row under configuration, order and seed; a column a measure, NaN where its reference is missing.
    """
    together, alone = (_by_order(found, group.first(strategy)) for strategy in (CUMULATIVE, FROM_SCRATCH))

    def values(one: Stream) -> dict[str, float]:
        missing = np.full_like(one.R, nan)
        key = (one.order, one.subjects)
        baseline = untrained.reindex(list(one.subjects)).to_numpy(dtype=np.float64)
        references = References(baseline, together.get(key, missing), alone.get(key, missing), chance)
        return {measure.key: measure.value(one, references) for measure in MEASURES}

    keys = [(one.configuration, one.order, one.seed) for one in found]
    return pd.DataFrame(
        [values(one) for one in found],
        index=pd.MultiIndex.from_tuples(keys, names=["configuration", "order", "seed"]),
        columns=[measure.key for measure in MEASURES],
        dtype=float,
    )


def by_order(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores with their seeds averaged, under configuration and order: the unit of statistics is the order."""
    return scores.groupby(level=["configuration", "order"]).mean()


def mean_matrix(found: Sequence[Stream]) -> FloatArray:
    """R by position in the stream: mean over the seeds of each order, then over orders, of what is defined.

    Parameters
    ----------
    found : sequence of Stream
        At least one, all with T learners.

    Returns
    -------
    ndarray, shape (T + 1, T)
    """
    orders: dict[int, list[FloatArray]] = {}
    for one in found:
        orders.setdefault(one.order, []).append(one.R)
    return _mean([_mean(of) for of in orders.values()])


def _stream(rows: pd.DataFrame, level: str, study: str) -> Stream:
    # A category knows the names of all cells, and a cell has few of them.
    first, rows = rows.iloc[0], rows.astype({"subject": str})
    met = rows[rows["target"] == "seen"].groupby("subject")["step"].min().sort_values()
    if met.tolist() != list(range(1, len(met) + 1)):
        raise ResultsError(
            f"{study}: rows of {first['configuration']}, seed {first['seed']}, order {first['order']}, do not "
            f"tell who was met when: {len(met)} learners are first seen at steps {', '.join(map(str, met))}, and one a "
            f"step was expected. A strategy that meets subjects in sequence calls its observer after each of them."
        )
    subjects = tuple(met.index)
    held_out = sorted(set(rows["subject"]) - set(subjects))
    table = rows[rows["level"] == level].pivot(index="step", columns="subject", values="value")
    table = table.reindex(index=range(len(met) + 1))
    return Stream(
        configuration=first["configuration"],
        order=int(first["order"]),
        seed=int(first["seed"]),
        subjects=subjects,
        R=table.reindex(columns=list(subjects)).to_numpy(dtype=np.float64),
        curve=table.reindex(columns=held_out).to_numpy(dtype=np.float64),
    )


def _by_order(found: Sequence[Stream], configuration: str | None) -> dict[tuple[int, tuple[str, ...]], FloatArray]:
    """R of a configuration in each order, its seeds averaged."""
    of: dict[tuple[int, tuple[str, ...]], list[FloatArray]] = {}
    for one in found:
        if one.configuration == configuration:
            of.setdefault((one.order, one.subjects), []).append(one.R)
    return {key: _mean(matrices) for key, matrices in of.items()}


def _mean(matrices: Sequence[FloatArray]) -> FloatArray:
    """Mean of what is defined, and NaN where nothing is, without a warning."""
    stack = np.stack(matrices)
    mean: FloatArray = pd.DataFrame(stack.reshape(len(stack), -1)).mean().to_numpy().reshape(stack.shape[1:])
    return mean
