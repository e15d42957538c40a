"""A study of streams: all of its cells on two workers, and where the time of a cell goes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from tests.performance.measuring import Row, alternate, compared
from tests.performance.process import once, warm
from tests.performance.setting import Setting
from tests.performance.sides.table import STREAM_CELL, STREAM_CELLS

_WORKERS = 2

STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "finetuning": {"name": "finetuning"},
    "ewc": {"name": "ewc", "strength": 100},
    "si": {"name": "si", "strength": 0.1},
    "mas": {"name": "mas", "strength": 0.1},
    "replay": {"name": "replay", "memory": 100},
}
"""What stands in the study file, by configuration."""

_PARTS = ("training", "validation", "importance", "snapshots", "scoring")
"""See `tests.performance.sides.stream_cells.PARTS`."""


def measure(setting: Setting) -> list[Row]:
    """A row of the whole study, and one of a cell of each strategy alone; what counts are the times themselves."""
    made = study(setting.reduced)
    whole = alternate({"study": partial(once, (STREAM_CELLS, {"study": made, "workers": _WORKERS}))}, setting.repeats)
    sides = {name: (STREAM_CELL, {"study": made, "configuration": name}) for name in STRATEGIES}
    with warm(sides) as process:
        cells = alternate(process.timing(*sides), setting.repeats)
        inside = {name: process.profile(name) for name in sides}
    told = f"{len(STRATEGIES)} strategies, {made['orders']} orders, {made['seeds']} seeds"
    ours = (f"{_WORKERS} workers", whole["study"].mapped(lambda facts: {"s": facts["compute_s"]}))
    peer = ("processor time of the cells", whole["study"].mapped(lambda facts: {"s": facts["cells_s"]}))
    rows = [compared("continual_study", told, ours, peer, facts=whole["study"].medians("cells"), of="s")]
    for name, series in cells.items():
        facts = {**series.medians(*(f"share_of_{part}" for part in _PARTS)), **inside[name]}
        steps = series.mapped(lambda facts: {"seconds": facts["seconds"] * facts["share_of_training"]})
        cell = series.mapped(lambda facts: {"seconds": facts["seconds"]})
        rows.append(compared("continual_study", "a cell", (name, cell), ("its training epochs", steps), facts=facts))
    return rows


def study(reduced: bool) -> dict[str, Any]:
    """What stands in the study file."""
    subjects, held_out, orders, seeds, epochs = (5, 1, 1, 1, 2) if reduced else (15, 3, 10, 3, 20)
    return {
        "study": "continual_study",
        "dataset": {"name": "simulated", "subjects": subjects, "trials": 12},
        "windows": {"length_s": 2},
        "protocol": {"name": "stream", "held_out": held_out},
        "training": {"batch_size": 32},
        "controls": [],
        "reference": "finetuning",
        "seeds": seeds,
        "orders": orders,
        "configurations": {name: {"strategy": {**values, "epochs": epochs}} for name, values in STRATEGIES.items()},
    }
