"""The table that a study ends in: a line a configuration, over held-out subjects."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO

import numpy as np
import pandas as pd
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from benchmarks.metrics.table import LOWER_IS_BETTER, chance_level
from experiments.header import Header
from experiments.report.layout import Fitting, empty_table, folded
from experiments.report.scores import judged, subject_means
from experiments.report.words import NOTHING, number, plural, spoken
from experiments.statistics import (
    ENOUGH_SUBJECTS,
    MIN_SUBJECTS,
    Paired,
    Summary,
    holm,
    minimum_p,
    paired_difference,
    summary,
)
from strategies.contract import Target

SIMULATED, TRANSDUCTIVE, SEEN, CONTROL, EQUALS_CONTROL = "sim", "transductive", "seen", "control", "= control"
PARTIAL = "partial"

_WIDTH = 118
_SECONDARY = "macro_f1"
_ALPHA = 0.05
_SHOWN_CAUSES = 3


@dataclass(frozen=True)
class Line:
    """What a study says of one configuration.

    Parameters
    ----------
    configuration : str
        Its label.
    simulated, transductive, control : bool
        Its marks.
    target : {"unseen", "seen"}
        Whether the scored people were learned from, in other windows.
    primary : Summary
        The study's metric at the study's level, over held-out subjects.
    macro_f1 : float
        Mean over held-out subjects, at the same level; NaN where it was not scored.
    paired : Paired or None
        Difference to the reference; None for the reference itself, and where other windows are scored than its.
    p : float
        p of that difference, Holm-corrected over all comparisons of the study.
    best_control : str or None
        Control with the best mean over the configuration's people, among those that have a score of all of them and use
        no more than the configuration does (a transductive control is for transductive ones only); None for controls,
        and where there is nothing to compare.
    to_control : Paired or None
        Difference to it.
    p_control : float
        p of that difference, Holm-corrected over all configurations that are compared with a control.
    control_beatable : bool
        Whether so many people can show a difference to be significant after that correction.
    compute_s : float
        Processor seconds of all its cells, failed ones included.
    seeds, orders, cells : int
        How many of each are finished or failed.
    failed : mapping of str to int
        Failed cells by cause.
    undefined : mapping of str to int
        Scores without a value, by metric and reason.
    """

    configuration: str
    simulated: bool
    transductive: bool
    control: bool
    target: Target
    primary: Summary
    macro_f1: float
    paired: Paired | None
    p: float
    best_control: str | None
    to_control: Paired | None
    p_control: float
    control_beatable: bool
    lower_is_better: bool
    compute_s: float
    seeds: int
    orders: int
    cells: int
    failed: Mapping[str, int]
    undefined: Mapping[str, int]

    @property
    def marks(self) -> tuple[str, ...]:
        """Marks that warn a reader, in words."""
        return (
            *(SIMULATED,) * self.simulated,
            *(TRANSDUCTIVE,) * self.transductive,
            *(SEEN,) * (self.target == "seen"),
            *(CONTROL,) * self.control,
            *(EQUALS_CONTROL,) * (self.to_control is not None and self.control_beatable and not self.beats_control),
            *(f"{PARTIAL}: {self.finished} of {self.cells} cells",) * self.partial,
        )

    @property
    def finished(self) -> int:
        """How many of its cells did not fail."""
        return self.cells - sum(self.failed.values())

    @property
    def partial(self) -> bool:
        """Whether some of its cells failed and others did not, so that its scores are of a part of its runs."""
        return 0 < self.finished < self.cells

    @property
    def beats_control(self) -> bool:
        """Whether it is significantly better than its best control."""
        if self.to_control is None:
            return False
        better = self.to_control.difference < 0 if self.lower_is_better else self.to_control.difference > 0
        return better and self.p_control < _ALPHA


def summarise(header: Header, cells: pd.DataFrame, rows: pd.DataFrame) -> list[Line]:
    """Lines of a study's table, in the order of its configurations.

    Parameters
    ----------
    header : Header
        What the study asks.
    cells : DataFrame
        Finished and failed cells of the current plan.
    rows : DataFrame
        Rows of their final predictors; those of people whom a configuration is not judged on are left out.
    """
    rows = judged(header, rows)
    means = subject_means(rows)
    at_level = rows[rows["level"] == header.level]
    lower_is_better = header.metric in LOWER_IS_BETTER

    def values(configuration: str, metric: str) -> pd.Series:
        key = (configuration, header.level, metric)
        return means.loc[key] if key in means.index.droplevel("subject") else pd.Series(dtype=float)

    scores = {label: values(label, header.metric) for label in header.configurations}
    transductive = set(cells.loc[cells["transductive"].astype(bool), "configuration"])
    compared = [label for label in header.configurations if label != header.reference and label not in header.seen]
    to_reference = _against(dict.fromkeys(compared, header.reference), scores)
    best = {
        label: control
        for label in header.configurations
        if label not in header.seen and label not in header.controls
        if (control := _best_control(header, scores, transductive, label)) is not None
    }
    to_control = _against(best, scores)

    lines = []
    for label in header.configurations:
        mine = cells[cells["configuration"] == label]
        unvalued = at_level[(at_level["configuration"] == label) & at_level["value"].isna()]
        told = unvalued[unvalued["metric"].isin([header.metric, _SECONDARY])]
        secondary = values(label, _SECONDARY).dropna()
        paired, p = to_reference.get(label, (None, math.nan))
        versus, p_control = to_control.get(label, (None, math.nan))
        lines.append(
            Line(
                configuration=label,
                simulated=header.simulated,
                transductive=label in transductive,
                control=label in header.controls,
                target="seen" if label in header.seen else "unseen",
                primary=summary(scores[label].to_numpy(dtype=float), lower_is_better=lower_is_better),
                macro_f1=float(secondary.mean()) if len(secondary) else math.nan,
                paired=paired,
                p=p,
                best_control=best.get(label),
                to_control=versus,
                p_control=p_control,
                control_beatable=versus is not None and len(to_control) * minimum_p(versus.n) < _ALPHA,
                lower_is_better=lower_is_better,
                compute_s=float(mine["compute_s"].sum()),
                seeds=int(mine["seed"].nunique()),
                orders=int(mine["stream"].nunique()),
                cells=len(mine),
                failed=_counted(mine.loc[mine["status"] == "failed", "cause"]),
                undefined=_counted(_all_spoken(told["metric"]) + ": " + told["reason"].fillna("no reason given")),
            )
        )
    return lines


def _best_control(
    header: Header, scores: Mapping[str, pd.Series], transductive: Collection[str], label: str
) -> str | None:
    """Control with the best mean over the people that a configuration has a score of, among those that fit it."""
    people = scores[label].dropna().index
    means = {
        control: float(scores[control].loc[people].mean())
        for control in header.controls
        if label in transductive or control not in transductive
        if len(people) and people.isin(scores[control].dropna().index).all()
    }
    sign = -1 if header.metric in LOWER_IS_BETTER else 1
    return max(means, key=lambda control: sign * means[control], default=None)


def _against(pairs: Mapping[str, str], scores: Mapping[str, pd.Series]) -> dict[str, tuple[Paired, float]]:
    """Paired difference of each configuration to another one, with its p Holm-corrected over all of them."""
    paired = {label: _paired(scores[label], scores[other]) for label, other in pairs.items()}
    adjusted = holm([one.p for one in paired.values()])
    return {label: (one, p) for (label, one), p in zip(paired.items(), adjusted, strict=True)}


def render(header: Header, lines: Sequence[Line]) -> Group:
    """The table with its title and all that a reader needs to judge it; looks best from 110 columns on."""
    return Group(_title(header), "", _fitting(header, lines), "", *map(Text, _footer(header, lines)))


def table_console(file: IO[str] | None = None) -> Console:
    """Console for `render`: as wide as the terminal, and wide enough for the table where there is none."""
    console = Console(file=file)
    return console if console.is_terminal else Console(file=file, width=max(console.width, _WIDTH))


def _fitting(header: Header, lines: Sequence[Line]) -> Fitting:
    return Fitting([_table(header, lines, *form) for form in ((False, False), (True, False), (True, True))])


def _table(header: Header, lines: Sequence[Line], marks_below: bool, fold: bool) -> Table:
    table = empty_table()
    table.add_column("configuration", overflow="fold")
    if not marks_below:
        table.add_column("marks")
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column(Text(f"{spoken(header.metric)}\n[95 % interval]"), no_wrap=True)
    for name in ("worst", "macro\nF1", "diff.\nto ref.", "p", "CPU s"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        label, marks = line.configuration, " ".join(line.marks)
        label = folded(label) if fold else label
        names = ["\n".join(filter(None, (label, marks)))] if marks_below else [label, marks]
        table.add_row(*map(Text, (*names, *_numbers(line, header.reference))))
    return table


def _paired(mine: pd.Series, reference: pd.Series) -> Paired:
    subjects = mine.index.intersection(reference.index).sort_values()
    return paired_difference(
        mine.loc[subjects].to_numpy(dtype=np.float64), reference.loc[subjects].to_numpy(dtype=np.float64)
    )


def _counted(texts: pd.Series) -> Mapping[str, int]:
    return dict(sorted(Counter(texts.tolist()).items()))


def _all_spoken(metrics: pd.Series) -> pd.Series:
    return metrics.map(spoken).astype(str)


def _title(header: Header) -> Text:
    told = f"{header.study}: {header.dataset}, {header.task}" + (", simulated" if header.simulated else "")
    return Text("\n".join(filter(None, (header.question, told))), style="bold")


def _numbers(line: Line, reference: str) -> tuple[str, ...]:
    paired = line.paired
    nothing = "ref." if line.configuration == reference else ""
    return (
        str(line.primary.n),
        _main(line),
        number(line.primary.worst),
        number(line.macro_f1),
        nothing if paired is None else number(paired.difference, signed=True),
        "" if paired is None else _p_text(line.p),
        f"{line.compute_s:.1f}" if line.compute_s < 1000 else f"{line.compute_s:.0f}",
    )


def _main(line: Line) -> str:
    if line.primary.n:
        return f"{number(line.primary.mean)} [{number(line.primary.low)}, {number(line.primary.high)}]"
    return "undefined" if line.finished else "no finished cell"


def _p_text(p: float) -> str:
    if math.isnan(p):
        return NOTHING
    return "<.0001" if p < 0.0001 else f"{p:.4f}".replace("0.", ".", 1)


def _footer(header: Header, lines: Sequence[Line]) -> Iterator[str]:
    metric = spoken(header.metric)
    seeds, orders = max(line.seeds for line in lines), max(line.orders for line in lines)
    repeats = f"up to {plural(seeds, 'seed')}" + (f" and {orders} orders" if orders > 1 else "")
    averaged = f"; {repeats} averaged for each before anything else" if seeds * orders > 1 else ""
    yield (
        f"n: held-out subjects, {header.level} level{averaged}. Mean with BCa bootstrap interval, worst and macro-F1: "
        f"over subjects. CPU s: seconds of compute, all cells together."
    )
    few = min((line.primary.n for line in lines if line.primary.n), default=ENOUGH_SUBJECTS)
    if few < ENOUGH_SUBJECTS:
        yield (
            f"With {plural(few, 'subject')} a bootstrap interval is too narrow, it covers less than its 95 %; below "
            f"{MIN_SUBJECTS} none is given."
        )
    yield from _comparison(header, lines)
    yield _chance(header, metric)
    if header.simulated:
        yield f"{SIMULATED}: simulated people, no recording of anybody."
    if any(line.transductive for line in lines):
        yield f"{TRANSDUCTIVE}: unlabelled windows of the scored subject were used."
    yield from _told_of_controls(lines)
    if any(line.partial for line in lines):
        yield (
            f"{PARTIAL}: some of its cells failed, so its scores are of the folds, orders and seeds that did not, and "
            f"those beside it of more."
        )
    for line in lines:
        if line.failed:
            told = _told(line.failed, "cell")
            yield f"{line.configuration}: {sum(line.failed.values())} of {line.cells} cells failed: {told}."
        if line.undefined:
            told = _told(line.undefined, "score")
            yield f"{line.configuration}: {sum(line.undefined.values())} undefined scores: {told}."
    yield from header.notes


def _comparison(header: Header, lines: Sequence[Line]) -> Iterator[str]:
    made = [line for line in lines if line.paired is not None and line.paired.n]
    if not made:
        yield f"Reference: {header.reference}. Nothing to compare with it yet."
        return
    yield (
        f"Diff. to ref.: mean over subjects of the paired difference to {header.reference}. p: two-sided Wilcoxon "
        f"signed-rank over subjects, Holm-corrected over {plural(len(made), 'comparison')}."
    )
    counts = [line.paired.n for line in made if line.paired is not None]
    if min(counts) != max(counts):
        yield f"Subjects compared: {min(counts)} to {max(counts)}, those that both configurations have."
    yield from _reach(min(counts), max(counts), len(made))


def _reach(fewest: int, most: int, comparisons: int) -> Iterator[str]:
    """What no data could have shown: a signed-rank test over few subjects has few values."""
    best, worst = min(1.0, comparisons * minimum_p(most)), minimum_p(fewest)
    if best > _ALPHA:
        yield (
            f"No difference can be significant: the smallest p that {plural(most, 'subject')} and "
            f"{plural(comparisons, 'comparison')} can give is {_p_text(best)}."
        )
    elif worst > _ALPHA:
        yield (
            f"A difference over {plural(fewest, 'subject')} cannot be significant: the smallest p, before "
            f"correction, is {_p_text(worst)}."
        )


def _told_of_controls(lines: Sequence[Line]) -> Iterator[str]:
    if any(line.target == "seen" for line in lines):
        yield (
            f"{SEEN}: learned from the scored person alone, from the first part of each trial or the first trials of "
            "each class, and scored on the last; so not compared with the others. A bound, where a person has windows "
            "enough."
        )
    if any(line.control for line in lines):
        yield f"{CONTROL}: what can be told without the physiology in question (class frequencies, time, movement)."
    best = {line.best_control for line in lines if line.best_control is not None}
    if best:
        means = {line.configuration: number(line.primary.mean) for line in lines}
        told = " or ".join(f"{label} ({means[label]})" for label in sorted(best))
        made = [line for line in lines if line.to_control is not None]
        yield (
            f"{EQUALS_CONTROL}: not significantly better than its best control, {told} (paired Wilcoxon, "
            f"Holm-corrected over {plural(len(made), 'comparison')})."
        )
        if not all(line.control_beatable for line in made):
            yield "Where too few people are compared for any difference to be significant, nothing is marked so."


def _chance(header: Header, metric: str) -> str:
    chance = chance_level(header.metric, len(header.classes))
    told = "depends on how frequent the classes are: compare with the majority class"
    return f"Chance level of {metric}: {told if chance is None else number(chance)}."


def _told(counts: Mapping[str, int], noun: str) -> str:
    """Reasons with what so many have them, the most frequent first."""
    frequent = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = islice(frequent, _SHOWN_CAUSES)
    told = "; ".join(f"{reason.rstrip('.')} (in {plural(count, noun)})" for reason, count in shown)
    return told + (f"; and {len(frequent) - _SHOWN_CAUSES} more" if len(frequent) > _SHOWN_CAUSES else "")
