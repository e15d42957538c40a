"""Convolutions and self-attention on the grid that is chosen for them, against a plain loop; engines are warm."""

from __future__ import annotations

from tests.performance.measuring import Row, Target, alternate, compared
from tests.performance.problem import Problem
from tests.performance.process import warm
from tests.performance.setting import Setting
from tests.performance.sides.table import OURS, PLAIN

_NETWORKS = ("conv1d", "transformer")


def measure(setting: Setting) -> list[Row]:
    """Of each network a row of the chosen grid, and beside it one of stacked clients."""
    return [row for network in _NETWORKS for row in _rows(setting, network)]


def _rows(setting: Setting, network: str) -> list[Row]:
    work = setting.sized(Problem(network=network, shape=(8, 128), windows=128))
    given = {"problem": work.values(), "folds": [work.everybody]}
    sides = {"plain": (PLAIN, given), **{grid: (OURS, {**given, "grid": grid}) for grid in ("auto", "stacked")}}
    with warm(sides) as process:
        series = alternate(process.timing(*sides), setting.repeats)
        facts = process.profile("auto")
    told = f"{network}, warm: {work.subjects} clients, {work.rounds} rounds"
    plain = ("plain loop", series["plain"])
    return [
        compared("encoders", told, ("auto", series["auto"]), plain, Target(1.1), facts),
        compared("encoders", told, ("(stacked)", series["stacked"]), plain),
    ]
