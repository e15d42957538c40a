"""A study as a tracker shows it: a run a configuration, a nested run a held-out subject. Values only, no tracker."""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

import pandas as pd

from benchmarks.digest import digest
from benchmarks.metrics.table import LOWER_IS_BETTER, chance_level
from benchmarks.source import source_digest
from experiments.header import Header
from experiments.report.clients import People
from experiments.report.federation import Cost
from experiments.report.scores import judged, subject_means
from experiments.report.table import CONTROL, EQUALS_CONTROL, SEEN, Line, summarise
from experiments.report.words import plural
from experiments.statistics import Summary, summary

Cell = Mapping[str, Any]
"""A row of the cells' table."""

MARKS = ("simulated", "transductive")
VIEW = "study"
"""Key of the view that shows a study's configurations side by side, in the address of MLflow's page."""

_ATTACHMENTS = "experiments.attachments"
"""Module that makes a configuration's files: an edit of it is a reason to make them anew."""
_CHOICES = ("representation", "normalization", "protocol", "encoder", "objective", "strategy", "variant")


@dataclass(frozen=True)
class Run:
    """A run without its values, which follow from its cells.

    Parameters
    ----------
    key : str
        Tells the run from all others of its study.
    parent : str or None
        Key of the run that it is nested in.
    configuration : str
        Label of its configuration.
    fold, subject : str or None
        Of a nested run; there is no subject where no cell of the fold has a result.
    name : str
        What is shown.
    status : str
        ``"FINISHED"``, or ``"FAILED"`` where no cell has a result.
    start_ms, end_ms : int
        When its first cell began and its last one ended, milliseconds since 1970.
    params, tags : mapping of str to str
        What was chosen, and what it is marked with.
    cells : tuple of str
        Digests of its cells.
    basis : str
        Digest of all that its values are computed from.
    """

    key: str
    parent: str | None
    configuration: str
    fold: str | None
    subject: str | None
    name: str
    status: Literal["FINISHED", "FAILED"]
    start_ms: int
    end_ms: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    cells: tuple[str, ...]
    basis: str

    @cached_property
    def digest(self) -> str:
        """Equal for equal content: the basis, and the code that makes values of it, stand for the values."""
        return digest([source_digest([__name__]), self])


@dataclass(frozen=True, order=True)
class Point:
    """One value of a metric at one step; NaN where it is undefined."""

    metric: str
    step: int
    value: float


@dataclass(frozen=True)
class Finding:
    """What the cells of a configuration came to.

    Parameters
    ----------
    line : Line
        Its line in the study's table.
    scores : mapping of str to float
        Score of each person in the study's metric at the study's level, over seeds and orders; NaN where undefined.
    points : tuple of Point
        Statistics over people, and comparisons.
    tags : mapping of str to str
        What follows from them in words.
    """

    line: Line
    scores: Mapping[str, float]
    points: tuple[Point, ...]
    tags: Mapping[str, str]


def configuration_runs(header: Header, cells: pd.DataFrame, rows: pd.DataFrame, *, complete: bool) -> list[Run]:
    """Runs of all configurations that have a finished or failed cell, in the order of the study.

    Parameters
    ----------
    header : Header
        What the study asks.
    cells, rows : DataFrame
        Finished and failed cells of the plan, and the rows of their final predictors: comparisons depend on all.
    complete : bool
        Whether these are all cells of the plan: only then one of the configurations is offered as a model.
    """
    grouped: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells.to_dict("records"):
        grouped[cell["configuration"]].append(cell)
    told = [_told(cell) for mine in grouped.values() for cell in mine]
    rows = judged(header, rows)
    basis = digest([source_digest([_ATTACHMENTS]), header, told, complete])
    scored = _scored(rows)
    return [
        _configuration_run(header, grouped[label], scored.get(label, {}), basis)
        for label in header.configurations
        if label in grouped
    ]


def subject_runs(header: Header, cells: pd.DataFrame, rows: pd.DataFrame) -> list[Run]:
    """Nested runs: a held-out subject of a fold in a configuration, over seeds and orders.

    Parameters
    ----------
    header : Header
        What the study asks.
    cells, rows : DataFrame
        Finished and failed cells, and the rows of their final predictors.
    """
    grouped: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in cells.to_dict("records"):
        grouped[cell["configuration"], cell["fold"]].append(cell)
    subjects: dict[tuple[str, str], list[str]] = defaultdict(list)
    rows = judged(header, rows)
    there = rows[["configuration", "fold", "subject"]].drop_duplicates()
    for configuration, fold, subject in sorted(there.itertuples(index=False, name=None)):
        subjects[configuration, fold].append(subject)
    undefined, scored = _undefined(rows), _scored(rows)
    nobody: list[str | None] = [None]
    return [
        _subject_run(header, grouped[group], scored.get(group[0], {}), subject, undefined[(*group, subject)])
        for group in sorted(grouped)
        for subject in subjects[group] or nobody
    ]


def configuration_findings(
    header: Header, cells: pd.DataFrame, rows: pd.DataFrame, costs: Sequence[Cost] = (), people: Sequence[People] = ()
) -> dict[str, Finding]:
    """Statistics of each configuration over subjects, its comparisons with the reference and the best control.

    Beside them stand what its federations cost (``federation/``, in the units that were measured), and how unevenly
    people are served: ``clients/unseen_shared``, ``clients/seen_shared`` and ``clients/seen_personal``.

    A mean carries the name that the value has in nested runs, so that both stand in one column; the other statistics
    are named below it. The step is the number of subjects.

    Parameters
    ----------
    header : Header
        What the study asks.
    cells, rows : DataFrame
        Finished and failed cells of the plan, and the rows of their final predictors.
    costs : sequence of Cost
        Of the configurations that are federations.
    people : sequence of People
        Of the configurations that score seen people beside unseen ones.
    """
    lines = {line.configuration: line for line in summarise(header, cells, rows)}
    points = {label: [*_line_points(line)] for label, line in lines.items()}
    scores: dict[str, dict[str, float]] = {label: {} for label in lines}
    means = subject_means(judged(header, rows))
    for (label, level, metric), values in means.groupby(["configuration", "level", "metric"], sort=True):
        told = summary(values.to_numpy(dtype=float), lower_is_better=metric in LOWER_IS_BETTER)
        points[label] += _summary_points(f"{level}/{metric}", told)
        if (level, metric) == (header.level, header.metric):
            scores[label] = values.droplevel(["configuration", "level", "metric"]).to_dict()
    for cost in costs:
        points[cost.configuration] += _values(cost, "federation", lines[cost.configuration].primary.n)
    for one in people:
        points[one.configuration] += _values(one, f"clients/{one.target}_{one.model}", one.n)
    return {
        label: Finding(line, scores[label], tuple(points[label]), _control_tags(line)) for label, line in lines.items()
    }


def running_points(header: Header, rows: pd.DataFrame) -> list[Point]:
    """Mean scores of one configuration so far, the step being the number of subjects; from final rows."""
    points = []
    for (level, metric), values in subject_means(judged(header, rows)).dropna().groupby(["level", "metric"], sort=True):
        points.append(Point(f"{level}/{metric}", len(values), float(values.mean())))
    return points


def subject_points(header: Header, rows: pd.DataFrame) -> dict[tuple[str, str | None, str | None], list[Point]]:
    """Means over seeds and orders by configuration, fold and held-out subject: final scores, and learning curves.

    Final scores stand at step 0, curves under ``curve/`` at their own steps. A mean is over the defined values; it is
    NaN where there is none.
    """
    gathered: dict[tuple[str, str | None, str | None], dict[tuple[str, int], list[float]]]
    gathered = defaultdict(lambda: defaultdict(list))
    names = ["configuration", "fold", "subject", "final", "level", "metric", "step", "value"]
    rows = judged(header, rows)
    for configuration, fold, subject, final, level, metric, step, value in zip(
        *(rows[name].tolist() for name in names), strict=True
    ):
        place = (f"{level}/{metric}", 0) if final else (f"curve/{level}/{metric}", step)
        gathered[configuration, fold, subject][place].append(value)
    return {
        key: [Point(metric, step, _mean(values)) for (metric, step), values in sorted(places.items())]
        for key, places in gathered.items()
    }


def experiment_tags(header: Header) -> Mapping[str, str]:
    """What the tracker shows of the study as a whole, and how: MLflow gives its own tags a meaning."""
    marks = ("Simulated people.",) if header.simulated else ()
    score = f"{header.level}/{header.metric}"
    view = {
        "searchFilter": "tags.run = 'configuration'",
        "orderByKey": f"metrics.`{score}`",
        "orderByAsc": header.metric in LOWER_IS_BETTER,
        "selectedColumns": [
            *(f"metrics.`{score}{told}`" for told in ("", "/low", "/high", "/worst")),
            f"metrics.`{header.level}/macro_f1`",
            *(f"metrics.`to_reference/{told}`" for told in ("difference", "p_holm")),
            *(f"tags.`{mark}`" for mark in (*MARKS, *(CONTROL,) * bool(header.controls), "target")),
        ],
    }
    return {
        "mlflow.note.content": "\n\n".join(filter(None, (header.question, *marks, *header.notes))),
        # MLflow's pages are for language models otherwise.
        "mlflow.experimentKind": "custom_model_development",
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view),
        "dataset": header.dataset,
        "task": header.task,
        "reference": header.reference,
        "simulated": _plain(header.simulated),
    }


def _configuration_run(header: Header, cells: Sequence[Cell], scored: Mapping[str, str], basis: str) -> Run:
    first = cells[0]
    provenance = json.loads(first["provenance"])
    params = {name: str(first[name]) for name in _CHOICES}
    params |= _flat(provenance["configuration"]) | _flat({"recipe": provenance["recipe"]})
    return Run(
        key=json.dumps([first["configuration"]]),
        parent=None,
        fold=None,
        subject=None,
        name=_name(header, first["configuration"], cells),
        params=dict(sorted(params.items())),
        tags={"run": "configuration", **_tags(header, cells, scored), **_origins(cells)},
        basis=basis,
        **_common(cells),
    )


def _subject_run(
    header: Header,
    cells: Sequence[Cell],
    scored: Mapping[str, str],
    subject: str | None,
    undefined: Counter[str],
) -> Run:
    configuration, fold = cells[0]["configuration"], cells[0]["fold"]
    kind = "seen subject" if configuration in header.seen else "held-out subject"
    tags = {"run": kind, **_tags(header, cells, scored), "fold": fold}
    tags |= {"subject": subject} if subject is not None else {}
    tags |= {"undefined": _counted(undefined, "score")} if undefined else {}
    return Run(
        key=json.dumps([configuration, fold, subject]),
        parent=json.dumps([configuration]),
        fold=fold,
        subject=subject,
        name=_name(header, fold if subject is None else subject, cells),
        params={},
        tags=tags,
        basis=digest([_told(cell) for cell in cells]),
        **_common(cells),
    )


def _common(cells: Sequence[Cell]) -> dict[str, Any]:
    return {
        "configuration": cells[0]["configuration"],
        "status": "FINISHED" if any(cell["status"] == "done" for cell in cells) else "FAILED",
        "start_ms": min(int(1000 * (cell["finished_at"] - cell["compute_s"])) for cell in cells),
        "end_ms": max(int(1000 * cell["finished_at"]) for cell in cells),
        "cells": tuple(sorted(cell["digest"] for cell in cells)),
    }


def _told(cell: Cell) -> tuple[str, float]:
    """What tells a cell's rows from all others: a cell that is computed again ends at another time."""
    return cell["digest"], cell["finished_at"]


def _scored(rows: pd.DataFrame) -> Mapping[str, Mapping[str, str]]:
    """Who was scored, and what was held out as a whole, by configuration; a configuration without rows is not told."""
    told = rows[["configuration", "target", "grouping"]].drop_duplicates()
    return {
        label: {"target": _joined(mine["target"]), "grouping": _joined(mine["grouping"])}
        for label, mine in told.groupby("configuration")
    }


def _tags(header: Header, cells: Sequence[Cell], scored: Mapping[str, str]) -> dict[str, str]:
    chance = chance_level(header.metric, len(header.classes))
    tags = {
        "study": header.study,
        "configuration": cells[0]["configuration"],
        "dataset": header.dataset,
        "task": header.task,
        **{mark: _plain(_marked(mark, cells)) for mark in MARKS},
        **scored,
        "chance": "depends on class frequencies" if chance is None else f"{chance:g} {header.metric}",
    }
    causes = Counter(cell["cause"] for cell in cells if cell["status"] == "failed")
    if causes:
        told = _counted(causes, "cell")
        tags["failed_cells"] = f"{causes.total()} of {len(cells)}: {told}"
    return tags


def _origins(cells: Sequence[Cell]) -> dict[str, str]:
    """Data, commit and versions; several where the study went on after an update."""
    provenances = [json.loads(text) for text in sorted({cell["provenance"] for cell in cells})]
    names = sorted({name for provenance in provenances for name in provenance["versions"]})
    return {
        "data_fingerprint": _joined(provenance["data_fingerprint"] for provenance in provenances),
        "git_commit": _joined(provenance["commit"] for provenance in provenances),
        **{
            f"version.{name}": _joined(p["versions"][name] for p in provenances if name in p["versions"])
            for name in names
        },
    }


def _undefined(rows: pd.DataFrame) -> Mapping[tuple[str, str, str | None], Counter[str]]:
    """Scores without a value, by configuration, fold and subject, counted by metric and reason."""
    counts: dict[tuple[str, str, str | None], Counter[str]] = defaultdict(Counter)
    without = rows.loc[rows["value"].isna(), ["configuration", "fold", "subject", "level", "metric", "reason"]]
    for configuration, fold, subject, level, metric, reason in without.itertuples(index=False, name=None):
        counts[configuration, fold, subject][f"{level}/{metric}: {reason}"] += 1
    return counts


def _line_points(line: Line) -> Iterator[Point]:
    step = line.primary.n
    values: dict[str, float] = {
        "compute_s": line.compute_s,
        "cells": line.cells,
        "failed_cells": sum(line.failed.values()),
        "subjects": line.primary.n,
    }
    compared = (("to_reference", line.paired, line.p), ("to_control", line.to_control, line.p_control))
    for other, paired, p in compared:
        if paired is not None and paired.n:
            values |= {f"{other}/{field.name}": getattr(paired, field.name) for field in fields(paired)}
            values[f"{other}/p_holm"] = p
    for name, value in values.items():
        if not math.isnan(value):
            yield Point(name, step, float(value))


def _values(told: Cost | People, name: str, step: int) -> Iterator[Point]:
    """Numbers of a line of a table, each under its own name; those without a finite value are left out."""
    for field in fields(told):
        value = getattr(told, field.name)
        if not isinstance(value, str) and math.isfinite(value):
            yield Point(f"{name}/{field.name}", step, float(value))


def _control_tags(line: Line) -> dict[str, str]:
    """Whether it is a control, equals its best one, or beats it; nothing where no data could tell."""
    if line.control:
        return {CONTROL: CONTROL}
    if line.to_control is None or line.best_control is None:
        return {}
    mark = "beaten" if line.beats_control else EQUALS_CONTROL if EQUALS_CONTROL in line.marks else None
    return {**({CONTROL: mark} if mark else {}), "best_control": line.best_control}


def _summary_points(name: str, told: Summary) -> Iterator[Point]:
    yield Point(name, told.n, told.mean)
    for field in ("sd", "median", "worst", "low", "high", "undefined"):
        value = float(getattr(told, field))
        if not math.isnan(value):
            yield Point(f"{name}/{field}", told.n, value)


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def _marked(mark: str, cells: Sequence[Cell]) -> bool:
    return any(cell[mark] for cell in cells)


def _name(header: Header, text: str, cells: Sequence[Cell]) -> str:
    marks = [mark for mark in MARKS if _marked(mark, cells)]
    marks += [SEEN] * (cells[0]["configuration"] in header.seen)
    marks += [CONTROL] * (cells[0]["configuration"] in header.controls)
    return f"{text} ({', '.join(marks)})" if marks else text


def _joined(values: Iterable[str]) -> str:
    return ", ".join(sorted(set(values)))


def _counted(counts: Counter[str], noun: str) -> str:
    return "; ".join(f"{text} (in {plural(count, noun)})" for text, count in sorted(counts.items()))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as dotted names that a tracker takes; what is not there is left out."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = prefix + re.sub(r"[^\w\- ]", "_", key)
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{name}.")
        elif value is not None:
            flat[name] = _plain(value)
    return flat


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
