"""What a minibatch costs late in a stream of a hundred subjects, against early in the same stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean

from tests.performance.chart import draw_subjects
from tests.performance.measuring import Row, Series, Target, alternate, compared
from tests.performance.pace import steps_with
from tests.performance.problem import STREAM, Problem
from tests.performance.process import Call, warm
from tests.performance.setting import Setting
from tests.performance.sides.table import OUR_STREAM, STOCK_AVALANCHE
from tests.performance.strategies import STRATEGIES, STRENGTH

_OURS = ("finetuning", "ewc_separate", "si", "mas", "replay")
_CONTRAST = "(avalanche_ewc_separate)"

_SUBJECTS = 10
"""Those whose mean is early or late, unless there are too few."""


def measure(setting: Setting) -> list[Row]:
    """A row for each strategy, and a chart."""
    work = setting.sized(replace(STREAM, subjects=100, epochs=4))
    sides = _sides(work)
    with warm(sides) as process:
        series = alternate(process.timing(*sides), setting.repeats)
    draw_subjects(series, work.subjects, setting.output / "continual_subjects.png")
    return [slope(name, one, work.subjects, None if name == _CONTRAST else Target(1.1)) for name, one in series.items()]


def _sides(work: Problem) -> dict[str, Call]:
    given = {"problem": work.values()}
    return {
        **{name: (OUR_STREAM, {**given, "strategy": STRATEGIES[name]}) for name in _OURS},
        _CONTRAST: (STOCK_AVALANCHE, {**given, "plugin": "ewc_separate", "strength": STRENGTH}),
    }


def slope(name: str, series: Series, subjects: int, target: Target | None) -> Row:
    """The last subjects of a stream against as many early ones; the first has nothing to look back on."""
    many = min(_SUBJECTS, (subjects - 1) // 2)
    early, late = range(2, 2 + many), range(subjects + 1 - many, subjects + 1)
    ours, peer = ((f"{name}, {_told(few)}", _mean_of(series, few)) for few in (late, early))
    facts = series.medians("besides_ms")
    return compared("continual_subjects", "training steps", ours, peer, target, facts, of="ms", unit="ms")


def _told(subjects: Sequence[int]) -> str:
    return f"subjects {subjects[0]} to {subjects[-1]}"


def _mean_of(series: Series, subjects: Sequence[int]) -> Series:
    return series.mapped(lambda facts: {"ms": mean(facts[steps_with(number)] for number in subjects)})
