"""W as a leave-one-subject-out study in lockstep, against a plain loop fold by fold; engines are warm."""

from __future__ import annotations

from tests.performance.measuring import Row, Target, alternate, compared, share
from tests.performance.problem import THOUSAND, Problem, W
from tests.performance.process import warm
from tests.performance.setting import Setting
from tests.performance.sides.table import OURS, PLAIN

_GRID = "auto"


def measure(setting: Setting) -> list[Row]:
    """Rows of W's network and of one of about a thousand parameters; of each, a second where folds share no windows."""
    return [*_rows(setting, W, Target(0.38)), *_rows(setting, THOUSAND, Target(0.22))]


def _rows(setting: Setting, problem: Problem, target: Target) -> list[Row]:
    work = setting.sized(problem)
    given = {"problem": work.values(), "folds": work.folds}
    sides = {
        "plain": (PLAIN, given),
        "ours": (OURS, {**given, "grid": _GRID}),
        "unlike": (OURS, {**given, "grid": _GRID, "alike": False}),
        "idle": (OURS, {**given, "grid": "idle"}),
    }
    with warm(sides) as process:
        series = alternate(process.timing(*sides), setting.repeats)
        facts = {**process.profile("ours"), **share("share_of_flower", series["idle"], series["ours"])}
    told = f"LOSO of W, warm: {len(work.folds)} folds, {work.hidden} hidden units"
    plain = ("plain loop, fold by fold", series["plain"])
    return [
        compared("loso_warm", told, (_GRID, series["ours"]), plain, target, facts),
        compared("loso_warm", told, (f"({_GRID}, no windows alike)", series["unlike"]), plain),
    ]
