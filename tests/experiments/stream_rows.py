"""Results of streams, written as the runner writes them, from the matrices that they are to hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.header import Header
from experiments.records import CellRecord, MeasurementRecord, Outcome, ScoreRecord
from experiments.report.stream_study import StreamStudy, read_stream_study
from experiments.results import Results
from tests.experiments.studies import SmallStudy, cell_of, header_of

METRIC = "balanced_accuracy"
PROTOCOL = "stream(held_out=2, choosing_subjects=3)"
PARTS = {"normalization": "stream", "protocol": PROTOCOL, "encoder": "mlp(hidden=[64])"}


def header_of_streams(*configurations: str, **changes: Any) -> Header:
    """Header of a study of streams with these configurations."""
    return header_of(*configurations, **{"study": "small", "question": "What is carried over?", **changes})


def cell_of_stream(
    strategy: str, order: int = 0, seed: int = 0, *, configuration: str | None = None, **changes: Any
) -> CellRecord:
    """Cell of a configuration that is called by its strategy, if it has no other label."""
    parts = {"strategy": strategy, "variant": strategy, **PARTS, **changes}
    return cell_of(configuration or strategy, "stream", seed, order, **parts)


def outcome_of_stream(
    subjects: Sequence[str],
    R: Any,
    held_out: Mapping[str, Sequence[float]],
    *,
    trial: Any = None,
    measured: Mapping[tuple[int, str], float] | None = None,
    unmet: bool = False,
) -> Outcome:
    """Scores of a stream.

    Parameters
    ----------
    subjects : sequence of str
        Learners, in the order in which they are met.
    R : array_like, shape (T + 1, T)
        Their scores.
    held_out : mapping of str to sequence of float
        Scores of the people who are never met, after each step.
    trial : array_like or None
        The same as `R` at the level of trials; None where only parts of trials are held out of the learners.
    measured : mapping or None
        Measurements by step and name.
    unmet : bool
        Whether nobody is met at any step, as by networks that learn nothing.
    """
    grouping = "block" if trial is None else "trial"
    levels = {"window": np.asarray(R, dtype=float)}
    if trial is not None:
        levels["trial"] = np.asarray(trial, dtype=float)
    scores = []
    for level, table in levels.items():
        for (step, place), value in np.ndenumerate(table):
            seen = not unmet and step > place
            scores.append(_score(step, False, subjects[place], seen, grouping, level, value))
        for place, value in enumerate(table[-1]):
            scores.append(_score(len(table) - 1, True, subjects[place], True, grouping, level, value))
    for level in ("window", "trial"):
        for person, curve in held_out.items():
            scores += [_score(step, False, person, False, "trial", level, value) for step, value in enumerate(curve)]
            scores.append(_score(len(curve) - 1, True, person, False, "trial", level, curve[-1]))
    measurements = [MeasurementRecord(step, name, value) for (step, name), value in (measured or {}).items()]
    return Outcome(scores, (), 0.5, measurements=measurements)


def outcome_of_all_together(learners: Mapping[str, float], held_out: Mapping[str, float]) -> Outcome:
    """Final scores of a strategy that meets nobody in sequence."""
    scores = [
        _score(0, True, person, target, "trial", "window", value)
        for target, of in ((True, learners), (False, held_out))
        for person, value in of.items()
    ]
    curve = [replace(one, final=False) for one in scores if one.target == "unseen"]
    return Outcome([*scores, *curve], (), 0.5)


def _score(step: int, final: bool, subject: str, seen: bool, grouping: Any, level: Any, value: float) -> ScoreRecord:
    target: Any = "seen" if seen else "unseen"
    reason = "a class is absent" if value != value else None
    return ScoreRecord(step, final, subject, target, grouping, level, METRIC, float(value), reason)


def rows_of(cells: Iterable[tuple[CellRecord, Outcome]]) -> pd.DataFrame:
    """Rows at every step, as the results file of a study with these cells would give them."""
    told = [
        {**asdict(cell), **asdict(score), "order": cell.stream}
        for cell, outcome in cells
        for score in outcome.scores
        if not score.final
    ]
    keys = ["configuration", "seed", "order", "step", "subject", "level"]
    names = ["digest", "configuration", "subject", "target", "level", "grouping"]
    rows = pd.DataFrame(told).sort_values(keys, ignore_index=True)
    return rows[[*names[:2], *keys[1:5], *names[3:], "value"]].astype(dict.fromkeys(names, "category"))


def study_of(folder: Path, cells: Iterable[tuple[CellRecord, Outcome]], **changes: Any) -> StreamStudy:
    """A study with these cells, written and read again; its configurations in the order in which they come."""
    cells = list(cells)
    labels = dict.fromkeys(cell.configuration for cell, _ in cells)
    header = header_of_streams(*labels, **changes)
    small = SmallStudy(folder / f"{header.study}.sqlite", header)
    small.add_all(cells)
    with Results(small.path, writable=False) as results:
        return read_stream_study(results)
