"""Orders and seeds of a study side by side, against the same streams one by one: the learning, and whole cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tests.performance.entries.continual_study import STRATEGIES, study
from tests.performance.measuring import Row, Series, alternate, compared
from tests.performance.problem import STREAM
from tests.performance.process import Call, warm
from tests.performance.setting import Setting
from tests.performance.sides.table import STREAM_GROUP, STREAMS

_RUNS = 15
"""A full group of three seeds, see `experiments.plan`."""

_PROBLEMS = {
    "subjects as in continual_study": replace(STREAM, windows=80, shape=(40,)),
    "subjects as in continual_minibatch": STREAM,
}
_STACKED = [name for name in STRATEGIES if name != "replay"]
_WAYS = ("side_by_side", "one_by_one")


def measure(setting: Setting) -> list[Row]:
    """A row of learning for each size of a subject and each strategy, and of the cells of a group for each strategy."""
    rows, runs = [], 3 if setting.reduced else _RUNS
    for told, problem in _PROBLEMS.items():
        given = {"problem": setting.sized(problem).values(), "runs": runs}
        sides = {name: (STREAMS, {**given, "strategy": STRATEGIES[name]}) for name in _STACKED}
        rows += _rows(setting, f"{runs} streams, {told}", sides)
    made = study(setting.reduced)
    sides = {name: (STREAM_GROUP, {"study": made, "configuration": name}) for name in _STACKED}
    return rows + _rows(setting, "cells of continual_study", sides)


def _rows(setting: Setting, told: str, sides: Mapping[str, Call]) -> list[Row]:
    """A row for each strategy, whose side learns in either way; all of them in one process."""
    ways = {f"{name}/{way}": (side, {**values, "way": way}) for name, (side, values) in sides.items() for way in _WAYS}
    with warm(ways) as process:
        series = alternate(process.timing(*ways), setting.repeats)
    return [_row(f"{name}: {told}", [series[f"{name}/{way}"] for way in _WAYS]) for name in sides]


def _row(told: str, series: Sequence[Series]) -> Row:
    ours, peer = zip(_WAYS, series, strict=True)
    return compared("continual_stacked", told, ours, peer)
