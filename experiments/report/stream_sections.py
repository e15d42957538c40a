"""Sections of the page of streams that tell what was done and what was scored, of one study each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.metrics.table import chance_level
from experiments.header import Header
from experiments.report.chosen import remarks
from experiments.report.continual import Line, lines
from experiments.report.continual_figures import as_png, matrices
from experiments.report.continual_words import told
from experiments.report.document import Block, Bullets, Figure, Heading, Paragraph, Table
from experiments.report.families import ALONE, UPPER_BOUND
from experiments.report.stream_study import Scored, StreamStudy
from experiments.report.streams import FURTHER, MEASURES, SCORES, TRANSFERS, Measure, mean_matrix
from experiments.report.table import CONTROL, SIMULATED, TRANSDUCTIVE
from experiments.report.words import NOTHING, number, plural, spoken, were
from experiments.statistics import ENOUGH_SUBJECTS, MIN_SUBJECTS

_MEANING = {
    SIMULATED: "simulated people, no recording of anybody",
    TRANSDUCTIVE: "unlabelled windows of the scored person were used",
    CONTROL: "what can be told without the physiology in question, or without learning from it",
    UPPER_BOUND: "it keeps everybody's windows, which a stream does not",
    ALONE: "it starts anew with each subject",
}
_STREAM = "stream"
"""Name of the normalisation by the subjects met so far."""

_KEPT = {"trial": "whole trials", "block": "blocks of trials, where a class has too few of them"}


@dataclass(frozen=True, eq=False)
class Chapter:
    """A study of the page.

    Parameters
    ----------
    name : str
        What it is called there, unlike the others.
    study : StreamStudy
        As read.
    scored : tuple of Scored
        Its groups, each at all its levels.
    """

    name: str
    study: StreamStudy
    scored: tuple[Scored, ...]

    @property
    def main(self) -> tuple[Scored, ...]:
        """Its groups at the first level, whose numbers are tested."""
        return tuple(one for one in self.scored if one.level == self.study.levels[0])


def done(chapter: Chapter) -> Iterator[Block]:
    """Who was met and who was not, how often, how scores come about, and what was chosen beforehand."""
    study, header = chapter.study, chapter.study.header
    streams = [stream for one in chapter.main for stream in one.streams]
    learners, held_out = counted(chapter)
    orders, seeds = ({getattr(one, field) for one in streams} for field in ("order", "seed"))
    yield Heading(3, f"{chapter.name}: {header.task}")
    yield Paragraph(
        f"{plural(learners, 'subject')} of {header.dataset} {were(learners)} learned from one after another, in "
        f"{plural(len(orders), 'order')} with {plural(len(seeds), 'seed')} each, the same for all strategies. "
        f"{plural(held_out, 'subject')} {were(held_out)} held out: never learned from, and scored after every step as "
        f"all others. "
        f"{_kept(study)} Protocol: {study.cells['protocol'].iloc[0]}. The score is {spoken(header.metric)} of "
        f"each subject, at the level of {study.levels[0]}s; {_chance(header)}."
    )
    yield from _incomplete(chapter)
    if any(one.group.family.normalization == _STREAM for one in chapter.main):
        yield Paragraph(_unnormalised(header))
    if len(orders) < MIN_SUBJECTS:
        yield Paragraph(
            f"With {plural(len(orders), 'order')} there are no statistics: no interval is given, and no difference can "
            f"be shown. Means are told as they are."
        )
    elif len(orders) < ENOUGH_SUBJECTS:
        yield Paragraph(f"With {len(orders)} orders a bootstrap interval is too narrow: it covers less than its 95 %.")
    yield from _choices(header)


def counted(chapter: Chapter) -> tuple[int, int]:
    """How many learners and how many held-out people it has."""
    stream = chapter.main[0].streams[0]
    return len(stream.subjects), stream.curve.shape[1]


def scores(chapter: Chapter, name: str) -> Iterator[Block]:
    """Tables of each group at each level, and its matrices R, in figures whose names begin with `name`."""
    for place, group in enumerate(dict.fromkeys(one.group.place for one in chapter.scored), start=1):
        yield Heading(3, group)
        for one in (scored for scored in chapter.scored if scored.group.place == group):
            made = lines(one)
            yield _scores(one, made)
            yield from _of_streams(one, made, TRANSFERS, "what subjects do to each other")
            yield from _of_streams(one, made, FURTHER, "further metrics")
            if one.level == chapter.study.levels[0]:
                yield _matrices(f"{name}_{place}", one)


def meanings(chapters: Sequence[Chapter]) -> Iterator[Block]:
    """What columns and marks of the tables mean."""
    yield Paragraph(
        "Numbers are means over orders, in brackets with the 95 % interval of a BCa bootstrap over orders; seeds are "
        "averaged before anything else. Orders are of the same people: an interval says what other orders of them "
        "would give, not what other people would. Joint training and controls meet nobody in sequence, so they have "
        "one value, without an interval."
    )
    marks = {mark for chapter in chapters for one in chapter.main for other in one.group.all for mark in other.marks}
    yield Bullets(
        (
            *(f"{measure.title}: {measure.meaning}." for measure in MEASURES),
            *(f"Mark {mark}: {meaning}." for mark, meaning in _MEANING.items() if mark in marks),
        )
    )


def troubles(chapter: Chapter) -> Iterator[Block]:
    """Cells that failed, and scores that are undefined, with their causes."""
    study = chapter.study
    failed = study.cells[study.cells["status"] == "failed"]
    if len(failed):
        causes = Counter(zip(failed["configuration"], failed["cause"].fillna("no cause given"), strict=True))
        yield Table(
            ("configuration", "cells", "cause"),
            tuple((label, str(count), cause) for (label, cause), count in sorted(causes.items())),
            f"{chapter.name}: {len(failed)} of {plural(len(study.cells), 'cell')} failed",
            text=frozenset({0, 2}),
        )
    if study.undefined:
        yield Table(
            ("configuration", "scores", "reason"),
            tuple((label, str(count), reason) for (label, reason), count in sorted(study.undefined.items())),
            f"{chapter.name}: {sum(study.undefined.values())} of {plural(study.scores, 'score')} are undefined, and "
            f"left out of means",
            text=frozenset({0, 2}),
        )


def _incomplete(chapter: Chapter) -> Iterator[Block]:
    """What the numbers of some configurations lack."""
    study = chapter.study
    if missing := study.planned - len(study.cells):
        yield Paragraph(
            f"{chapter.name}: {missing} of {plural(study.planned, 'cell')} are not computed yet, and numbers are of "
            f"the rest."
        )
    failed = study.cells[study.cells["status"] == "failed"]
    if len(failed):
        yield Paragraph(
            f"{chapter.name}: {len(failed)} of {plural(len(study.cells), 'cell')} failed, so that numbers of "
            f"{', '.join(sorted(set(failed['configuration'])))} are of fewer runs than those beside them, as their "
            f"orders tell; why they failed stands below."
        )


def _kept(study: StreamStudy) -> str:
    parts = [f"{_KEPT[grouping]} ({plural(count, 'subject')})" for grouping, count in study.kept.items()]
    return (
        f"Of each learner some windows are kept to score, and others to stop training on: {' and '.join(parts)}; "
        f"nobody learns from them."
    )


def _unnormalised(header: Header) -> str:
    return (
        f"Normalisation {_STREAM} is by the subjects met so far. Before the first nothing is known to normalise with: "
        f"row 0 of R, and networks that learned nothing, see inputs as they are, and often say one class for all "
        f"windows, which is a balanced accuracy of {number(1 / len(header.classes))}."
    )


def _chance(header: Header) -> str:
    chance = chance_level(header.metric, len(header.classes))
    if chance is None:
        return "its chance level depends on how frequent the classes are: compare with the controls"
    return f"chance is {number(chance)}"


def _choices(header: Header) -> Iterator[Block]:
    if not header.choices:
        yield Paragraph("No value was left open: all strengths are those of the study file.")
        return
    yield Paragraph(
        "Values left open by the study were chosen on subjects who are set aside, whom nobody here learns from or is "
        "scored on: the candidate with the best mean score on those of them that its streams had still to meet, after "
        "the first subject, in orders of their own."
    )
    told = {one.configuration: "; ".join(remarks(one)) for one in header.choices}
    yield Table(
        ("configuration", "chosen", "mean score of each candidate", "remarks"),
        tuple(
            (
                one.configuration,
                one.value or "none: it is left out",
                ", ".join(f"{value}: {number(score)}" for value, score in one.scores.items()),
                told[one.configuration],
            )
            for one in header.choices
        ),
        "What was chosen",
        text=frozenset({0, 1, 2, 3}),
    )
    if any(told.values()):
        yield Paragraph(
            "Beyond a value at the edge of those offered there may be a better one, which was not tried. Between "
            "candidates that score alike the choice decides nothing."
        )


def _scores(scored: Scored, made: Sequence[Line]) -> Table:
    rows = tuple(
        (line.entrant.label, ", ".join(line.entrant.marks), _orders(line), *(_cell(line, one) for one in SCORES))
        for line in made
    )
    columns = ("configuration", "marks", "orders", *(measure.title for measure in SCORES))
    return Table(columns, rows, f"{_heading(scored)}: scores", text=frozenset({0, 1}))


def _of_streams(scored: Scored, made: Sequence[Line], measures: Sequence[Measure], caption: str) -> Iterator[Block]:
    """Measures that only a stream has, and which of them it has not."""
    in_sequence = [line for line in made if measures[0].key in line.values]
    told_of = [one for one in measures if any(line.values[one.key].n for line in in_sequence)]
    if told_of:
        rows = tuple((line.entrant.label, *(_cell(line, one) for one in told_of)) for line in in_sequence)
        yield Table(("configuration", *(measure.title for measure in told_of)), rows, f"{_heading(scored)}: {caption}")
    missing = [one for one in measures if one not in told_of]
    if missing:
        told_why = ", ".join(f"{one.title} ({one.needs or 'a later subject'})" for one in missing)
        yield Paragraph(f"Left out, for want of what they are measured against: {told_why}.")


def _heading(scored: Scored) -> str:
    return f"{spoken(scored.header.metric).capitalize()} of {scored.level}s"


def _orders(line: Line) -> str:
    count = max((value.n for value in line.values.values()), default=0)
    return str(count) if count else NOTHING


def _cell(line: Line, measure: Measure) -> str:
    value = line.values.get(measure.key)
    return NOTHING if value is None else told(value, signed=measure.signed)


def _matrices(name: str, scored: Scored) -> Figure:
    found = {
        one.label: mean_matrix([stream for stream in scored.streams if stream.configuration == one.label])
        for one in scored.group.in_sequence
    }
    header = scored.header
    chance = chance_level(header.metric, len(header.classes))
    caption = (
        f"{scored.group.place}: R, the {spoken(header.metric)} on the subject at each position of the stream (column) "
        f"after so many subjects were learned from (row; 0: nobody), mean over orders and seeds. Left of and below the "
        f"line, the subject had been met."
    )
    return Figure(name, as_png(matrices(found, spoken(header.metric), chance)), caption)
