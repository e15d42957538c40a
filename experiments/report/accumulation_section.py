"""What the page says of rules of accumulation against the sum: a sentence, a table, and what it cannot tell apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from experiments.report.accumulation import HIGHER, LOWER, MEASURED, UNDECIDED, Contrast
from experiments.report.continual import ALPHA, COMPARED
from experiments.report.continual_words import TITLES, chance_of, factor, interval, named
from experiments.report.document import Block, Paragraph, Table
from experiments.report.words import NOTHING, number, plural
from experiments.statistics import MIN_SUBJECTS, minimum_p

_RIGIDITY, _IMPORTANCE = MEASURED
_NAMES = {**{key: TITLES[key] for key in COMPARED}, _RIGIDITY: "rigidity", _IMPORTANCE: "total importance"}
_VERDICTS = (HIGHER, LOWER, UNDECIDED)

_CONFOUND = (
    "The rules are compared at one strength. There they differ in what they remember and in how much of it: with the "
    "sum the total penalty also grows with the number of people, with the others less or not at all. So a difference "
    "may be one of the strength of the penalty and not of the rule; how far the totals are apart, the factor of total "
    "importance says. To tell both apart, each rule would need a strength of its own, chosen on other people."
)


def accumulation(of: Sequence[Contrast]) -> Iterator[Block]:
    """Blocks of the finding on importance that piles up (F3); none where no rule stands beside the sum."""
    if not of:
        return
    yield Paragraph(
        f"Other rules against the sum of importance, with the same strategy, values, encoder and data, over orders "
        f"(Wilcoxon signed-rank test, p below {number(ALPHA)} after Holm's correction over the rules in the same "
        f"measure, apart from all other tests). {_told(of)} {_room(of)}".rstrip()
    )
    yield _table(of)
    yield Paragraph(_CONFOUND)


def _told(of: Sequence[Contrast]) -> str:
    parts = []
    for measure, name in _NAMES.items():
        mine = [one for one in of if one.measure == measure]
        if mine:
            parts.append(f"{name[0].upper()}{name[1:]}: {_counted(mine)}.")
    return " ".join(parts)


def _counted(of: Sequence[Contrast]) -> str:
    told: dict[str, list[str]] = {verdict: [] for verdict in _VERDICTS}
    for one in of:
        told[one.verdict].append(named(one.configuration, one.place, [each.place for each in of]))
    return ", ".join(
        f"{verdict} in {len(labels)} of {len(of)} ({', '.join(labels)})" for verdict, labels in told.items() if labels
    )


def _room(of: Sequence[Contrast]) -> str:
    """Whether so few orders could have shown anything."""
    orders = max(one.paired.n for one in of)
    if orders < MIN_SUBJECTS:
        return f"With {plural(orders, 'order')} nothing is tested: that takes {MIN_SUBJECTS}."
    made = len([one for one in of if one.measure == COMPARED[0] and one.paired.n >= MIN_SUBJECTS])
    least = min(1.0, made * minimum_p(orders))
    if least < ALPHA:
        return ""
    return (
        f"No difference can be shown, since the smallest p that {plural(orders, 'order')} and {plural(made, 'rule')} "
        f"can give is {chance_of(least)}."
    )


def _table(of: Sequence[Contrast]) -> Table:
    told = [measure for measure in _NAMES if any(one.measure == measure for one in of)]
    rows = []
    for place, label, reference in dict.fromkeys((one.place, one.configuration, one.reference) for one in of):
        mine = {one.measure: one for one in of if (one.place, one.configuration) == (place, label)}
        orders = str(max(one.paired.n for one in mine.values()))
        rows.append((place, label, reference, orders, *(_cell(mine.get(measure)) for measure in told)))
    names = (f"{_NAMES[one]}{' (factor)' * (one == _IMPORTANCE)}" for one in told)
    return Table(
        ("data", "configuration", "against", "orders", *names),
        tuple(rows),
        "Rules of accumulation less the sum: Hodges-Lehmann estimate over orders, its 95 % interval (not corrected), "
        "and p (Holm); rigidity and total importance after the last subject",
        frozenset({0, 1, 2}),
    )


def _cell(one: Contrast | None) -> str:
    if one is None or math.isnan(one.paired.shift):
        return NOTHING
    found = one.paired
    told = (
        factor(found.shift, found.low, found.high)
        if one.measure == _IMPORTANCE
        else f"{number(found.shift, signed=True)} {interval(found.low, found.high, signed=True)}"
    )
    return told if math.isnan(one.p) else f"{told}, p {chance_of(one.p)}"
