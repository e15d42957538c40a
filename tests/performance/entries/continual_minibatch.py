"""A minibatch of continual strategies against one of a plain loop, and Avalanche's own beside it; engines are warm.

A penalty has a second row, of the training steps alone and from the second subject on: there it is felt, and its look
back at a subject that is over (part of ``besides_ms``) is left out. Avalanche's SI has no effect on a CPU; its cost is
there all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tests.performance.measuring import Row, Series, Target, alternate, compared
from tests.performance.problem import STREAM, Problem
from tests.performance.process import Call, warm
from tests.performance.setting import Setting
from tests.performance.sides.table import OUR_STREAM, PLAIN_STREAM, STOCK_AVALANCHE
from tests.performance.strategies import STRATEGIES, STRENGTH

_PENALTIES = ("ewc_separate", "ewc_online", "si", "mas")

# Convolutions learn this problem faster: with smaller steps too, there is a loss left to compare.
_PROBLEMS = (STREAM, replace(STREAM, network="conv1d", shape=(8, 128), learning_rate=1e-5))

_TARGETS: Mapping[str, Mapping[str, Target]] = {
    "mlp": {"finetuning": Target(1.3), **dict.fromkeys(_PENALTIES, Target(1.8))},
    "conv1d": {"finetuning": Target(1.05)},
}


def measure(setting: Setting) -> list[Row]:
    """Rows of two networks, of each what is ours and, in brackets, what is not."""
    return [row for problem in _PROBLEMS for row in _rows(setting, problem)]


def _rows(setting: Setting, problem: Problem) -> list[Row]:
    work = setting.sized(problem)
    given = {"problem": work.values()}
    plain: Call = (PLAIN_STREAM, given)
    ours: dict[str, Call] = {
        name: (OUR_STREAM, {**given, "strategy": STRATEGIES[name]}) for name in ("finetuning", *_PENALTIES)
    }
    others: dict[str, Call] = {
        "(plain_loop_with_our_loss)": (PLAIN_STREAM, {**given, "loss": "ours"}),
        **{
            _avalanche(name): (STOCK_AVALANCHE, {**given, "plugin": name, "strength": STRENGTH})
            for name in ("naive", *_PENALTIES)
        },
    }
    sides = {"plain": plain, **ours, **others}
    with warm(sides) as process:
        series = alternate(process.timing(*sides), setting.repeats)
        inside = {"finetuning": process.profile("finetuning")}
    told = f"{work.network}, {work.subjects} subjects of {work.minibatches} minibatches"
    targets = _TARGETS[work.network]
    rows = []
    for name in (*ours, *others):
        facts = {**series[name].medians("besides_ms"), **inside.get(name, {})}
        pair = (name, series[name]), ("plain loop", series["plain"])
        rows.append(_compared(f"{told}: whole", *pair, targets.get(name), "stream_ms", facts))
    for name in (*_PENALTIES, *map(_avalanche, _PENALTIES)):
        pair = (name, _steps(series[name])), ("plain loop", _steps(series["plain"]))
        rows.append(_compared(f"{told}: later steps", *pair, targets.get(name), "later_ms"))
    return rows


def _avalanche(name: str) -> str:
    return f"(avalanche_{name})"


def _steps(series: Series) -> Series:
    """Training steps alone: processor time is known of the whole stream only, so it is left out."""
    return series.mapped(lambda facts: {name: facts[name] for name in ("later_ms", "loss")})


def _compared(
    told: str,
    ours: tuple[str, Series],
    peer: tuple[str, Series],
    target: Target | None,
    of: str,
    facts: Mapping[str, float] | None = None,
) -> Row:
    return compared("continual_minibatch", told, ours, peer, target, facts, of=of, unit="ms")
