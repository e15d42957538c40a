"""What a client costs in federations of ten to ten thousand, of whom a hundred train in a round."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import psutil

from tests.performance.chart import draw_scaling
from tests.performance.measuring import Row, Series, Target, alternate, compared
from tests.performance.problem import Problem
from tests.performance.process import once
from tests.performance.setting import Setting
from tests.performance.sides.table import SCALING

_CLIENTS = (100, 10, 1000, 10_000)
"""The first is what the others are compared with."""

_TOLD = ("setup_s", "data_mib", "peak_mib")
_SAMPLED = 100
_COPIES = 8
"""Times the data that have to fit into memory; larger federations are left out."""


def measure(setting: Setting) -> list[Row]:
    """A row of time and a row of memory for each number of clients, and a chart."""
    problems = {clients: Problem(subjects=clients, windows=128, rounds=20) for clients in _CLIENTS}
    if setting.reduced:
        problems = {clients: Problem(subjects=clients, windows=8, rounds=2) for clients in _CLIENTS[:3]}
    able = {clients: problem for clients, problem in problems.items() if _fits(problem)}
    sides = {
        str(clients): partial(once, (SCALING, {"problem": problem.values(), "sampled": _SAMPLED}))
        for clients, problem in able.items()
    }
    series = {int(name): told for name, told in alternate(sides, setting.repeats).items()}
    draw_scaling(series, setting.output / "scaling.png")
    return [*_rows(series, "per_client_s", "s", "time per sampled client"), *_memory(series)]


def _rows(series: Mapping[int, Series], fact: str, unit: str, told: str) -> list[Row]:
    base = (f"{_CLIENTS[0]} clients", series[_CLIENTS[0]])
    return [
        compared(
            "scaling", told, (f"{clients} clients", one), base, Target(1.2), one.medians(*_TOLD), of=fact, unit=unit
        )
        for clients, one in series.items()
        if clients != _CLIENTS[0]
    ]


def _memory(series: Mapping[int, Series]) -> list[Row]:
    for one in series.values():
        for facts in one.facts:
            facts["beyond_mib"] = facts["peak_mib"] - facts["data_mib"]
    return _rows(series, "beyond_mib", "MiB", "peak memory beyond the data")


def _fits(problem: Problem) -> bool:
    data = 4 * problem.subjects * problem.windows * problem.shape[0]
    return data * _COPIES < psutil.virtual_memory().available
