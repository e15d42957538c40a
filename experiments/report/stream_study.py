"""All that the results file of a study of streams says, as its page needs it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import pandas as pd

from benchmarks.errors import ResultsError
from benchmarks.metrics.table import LOWER_IS_BETTER, chance_level
from experiments.header import Header
from experiments.report.families import UNTRAINED, Group, entrants, groups
from experiments.report.streams import Stream, cell_scores, learner_levels, streams, untrained_scores
from experiments.results import Results


@dataclass(frozen=True, eq=False)
class StreamStudy:
    """Cells, streams and measurements of a study of streams; its rows, which are many, are not kept.

    Parameters
    ----------
    header : Header
        What the study asks.
    planned : int
        How many cells it has, finished, failed, or still to come.
    cells : DataFrame
        Those that are finished or failed.
    streams : mapping of str to tuple of Stream
        By the levels at which learners have scores; the first is the study's own, where it is among them.
    untrained : mapping of str to mapping of str to Series
        By level and configuration, scores of networks that learned nothing: see `untrained_scores`.
    kept : mapping of str to int
        How many learners are scored on whole trials, and how many on blocks of them.
    scores : int
        How many scores there are after all steps, at all levels.
    undefined : mapping of (str, str) to int
        How many of them are undefined, by configuration and reason.
    finals : mapping of str to DataFrame
        The study's metric of final predictors, by level.
    measurements : DataFrame
        What the steps of its cells showed.
    """

    header: Header
    planned: int
    cells: pd.DataFrame
    streams: Mapping[str, tuple[Stream, ...]]
    untrained: Mapping[str, Mapping[str, pd.Series]]
    kept: Mapping[str, int]
    scores: int
    undefined: Mapping[tuple[str, str], int]
    finals: Mapping[str, pd.DataFrame]
    measurements: pd.DataFrame

    @property
    def levels(self) -> tuple[str, ...]:
        """Levels at which learners have scores; the first is the study's own, where it is among them."""
        return tuple(self.streams)


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of a group at one level.

    Parameters
    ----------
    group : Group
        Whose.
    header : Header
        What its study asks.
    level : str
        ``window`` or ``trial``.
    streams : tuple of Stream
        All cells of the configurations in sequence.
    cells : DataFrame
        Their measures, see `experiments.report.streams.cell_scores`.
    beside : DataFrame
        Of the configurations beside them, by label, their mean score on learners (``acc``) and on held-out people
        (``held_out``), seeds averaged; NaN where they have none.
    """

    group: Group
    header: Header
    level: str
    streams: tuple[Stream, ...]
    cells: pd.DataFrame
    beside: pd.DataFrame


def read_stream_study(results: Results) -> StreamStudy:
    """Read a study of streams.

    Parameters
    ----------
    results : Results
        Open for reading.

    Raises
    ------
    ResultsError
        The results cannot be read, the study was never run, no stream of it is scored, rows of a cell do not tell in
        which order its learners were met, or its metric is better when it is lower: measures of a stream are of scores
        that are better when they are higher.
    """
    header, digests = results.header(), results.planned()
    if header.metric in LOWER_IS_BETTER:
        raise ResultsError(
            f"{header.study}: its metric is {header.metric}, which is better when it is lower, and after each subject "
            f"of a stream the study's metric alone is scored. What a page says of streams is of scores that are better "
            f"when they are higher: run the study with another metric, as balanced_accuracy."
        )
    cells, rows = results.cells(digests), results.tracked(digests, header.metric)
    nothing = cells.loc[cells["strategy"] == UNTRAINED, "configuration"]
    # Networks that learn nothing meet nobody, and who learns from the scored person alone follows nobody.
    streaming = rows[~rows["configuration"].isin([*nothing, *header.seen])]
    levels = sorted(learner_levels(streaming), key=lambda level: level != header.level)
    if not levels:
        failed = int((cells["status"] == "failed").sum())
        raise ResultsError(
            f"{header.study}: {results.path} holds no scores of people who are learned from one after another "
            f"({len(cells)} of {len(digests)} cells computed, {failed} of them failed). The page is of studies with "
            f"protocol: {{name: stream, ...}} and strategies in sequence, as finetuning: run one, or look at this one "
            f"with `unseen show {header.study}`."
        )
    return StreamStudy(
        header=header,
        planned=len(digests),
        cells=cells,
        streams={level: tuple(streams(streaming, level, header.study)) for level in levels},
        untrained={level: untrained_scores(rows[rows["configuration"].isin(nothing)], level) for level in levels},
        kept=_kept(streaming),
        scores=len(rows),
        undefined=_undefined(results, rows, header.metric),
        finals={level: results.people(digests, replace(header, level=level)) for level in levels},
        measurements=results.measurements(digests),
    )


def scored(study: StreamStudy, name: str) -> list[Scored]:
    """Scores of the groups of a study, each at all levels at which its learners have scores.

    Parameters
    ----------
    study : StreamStudy
        As read.
    name : str
        What the study is called on the page.
    """
    in_sequence = {one.configuration for of in study.streams.values() for one in of}
    together = {label for finals in study.finals.values() for label in finals["configuration"]} - in_sequence
    made = groups(study.header, name, entrants(study.header, study.cells), in_sequence, together)
    return [_scored(study, group, level, of) for group in made for level, of in study.streams.items()]


def _kept(rows: pd.DataFrame) -> dict[str, int]:
    met = rows[rows["target"] == "seen"].drop_duplicates("subject")
    return {str(grouping): int(count) for grouping, count in met["grouping"].astype(str).value_counts().items()}


def _undefined(results: Results, rows: pd.DataFrame, metric: str) -> dict[tuple[str, str], int]:
    counts: Counter[tuple[str, str]] = Counter()
    undefined = rows[rows["value"].isna()]
    # Rows with their reasons are much larger, so they are read for one configuration after another.
    for _, digests in undefined.groupby("configuration", observed=True)["digest"]:
        told = results.rows(digests.unique(), final=False)
        told = told[told["value"].isna() & (told["metric"] == metric)]
        counts.update(zip(told["configuration"], told["reason"].fillna("no reason given"), strict=True))
    return dict(counts)


def _scored(study: StreamStudy, group: Group, level: str, found: Iterable[Stream]) -> Scored:
    labels = {one.label for one in group.in_sequence}
    mine = tuple(one for one in found if one.configuration in labels)
    untrained = study.untrained[level].get(group.first(UNTRAINED) or "", pd.Series(dtype=float))
    chance = chance_level(study.header.metric, len(study.header.classes))
    together = _together(study.finals[level])
    for label, scores in _of_nobody(group, mine, untrained):
        together.loc[label] = scores
    beside = together.reindex([one.label for one in group.beside])
    cells = cell_scores(group, mine, untrained, math.nan if chance is None else chance)
    return Scored(group, study.header, level, mine, cells, beside)


def _together(finals: pd.DataFrame) -> pd.DataFrame:
    """Mean final score of each configuration on learners and on others: over people, then over seeds."""
    shared = finals[finals["model"] == "shared"]
    of_cells = shared.groupby(["configuration", "target", "digest"])["value"].mean()
    means = of_cells.groupby(["configuration", "target"]).mean().unstack("target")
    return means.reindex(columns=["seen", "unseen"]).set_axis(["acc", "held_out"], axis=1)


def _of_nobody(
    group: Group, found: Iterable[Stream], untrained: pd.Series
) -> Iterator[tuple[str, tuple[float, float]]]:
    """What networks that learned nothing score: of all of them, where their last one alone is a final predictor."""
    label = group.first(UNTRAINED)
    if label is not None and not untrained.empty:
        learners = {subject for one in found for subject in one.subjects}
        met = untrained.index.isin(learners)
        yield label, (float(untrained[met].mean()), float(untrained[~met].mean()))
