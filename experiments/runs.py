"""A study as a tracker shows it: a run a configuration, a nested run a held-out subject. Values only, no tracker."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

import pandas as pd

from benchmarks.digest import digest
from benchmarks.metrics.table import LOWER_IS_BETTER, chance_level
from experiments.header import Header
from experiments.report.table import Line, subject_means, summarise
from experiments.statistics import Summary, summary

_CHOICES = ("representation", "normalization", "protocol", "encoder", "objective", "strategy", "variant")


@dataclass(frozen=True, order=True)
class Point:
    """One value of a metric at one step; NaN where it is undefined."""

    metric: str
    step: int
    value: float


@dataclass(frozen=True)
class RunContent:
    """All that a run of the tracker says.

    Parameters
    ----------
    key : str
        Tells the run from all others of its study.
    parent : str or None
        Key of the run that it is nested in.
    name : str
        What is shown.
    status : str
        ``"FINISHED"``, or ``"FAILED"`` where no cell of it has a result.
    start_ms, end_ms : int
        When its first cell began and its last one ended, milliseconds since 1970.
    params, tags : mapping of str to str
        What was chosen, and what it is marked with.
    points : tuple of Point
        Values, sorted.
    """

    key: str
    parent: str | None
    name: str
    status: Literal["FINISHED", "FAILED"]
    start_ms: int
    end_ms: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    points: tuple[Point, ...]

    @cached_property
    def digest(self) -> str:
        """Equal for equal content."""
        return digest(self)


def configuration_runs(header: Header, cells: pd.DataFrame, rows: pd.DataFrame) -> Iterator[RunContent]:
    """Runs of all configurations that have a cell, with their statistics over subjects and their comparisons.

    Parameters
    ----------
    header : Header
        What the study asks.
    cells, rows : DataFrame
        Finished and failed cells of the plan, and the rows of their final predictors.
    """
    means = subject_means(rows)
    for line in summarise(header, cells, rows):
        mine = cells[cells["configuration"] == line.configuration]
        if not len(mine):
            continue
        points = [*_line_points(line)]
        for (level, metric), values in _by_level_and_metric(means, line.configuration):
            told = summary(values.to_numpy(dtype=float), lower_is_better=metric in LOWER_IS_BETTER)
            points += _summary_points(f"{level}/{metric}", told)
        yield _configuration_run(header, mine, points)


def running_run(header: Header, cells: pd.DataFrame, rows: pd.DataFrame) -> RunContent:
    """Run of one configuration that is still being computed: mean scores, the step being the number of subjects.

    Parameters
    ----------
    header : Header
        What the study asks.
    cells, rows : DataFrame
        As for `configuration_runs`, of one configuration.
    """
    points = []
    for (level, metric), values in _by_level_and_metric(subject_means(rows), str(cells["configuration"].iloc[0])):
        defined = values.dropna()
        if len(defined):
            points.append(Point(f"{level}/{metric}", len(defined), float(defined.mean())))
    return _configuration_run(header, cells, points)


def subject_runs(header: Header, cells: pd.DataFrame, rows: pd.DataFrame) -> Iterator[RunContent]:
    """Nested runs: means over seeds and orders for each held-out subject of each fold, with its learning curves.

    A fold none of whose cells has a result is a run as well, of status ``"FAILED"``.

    Parameters
    ----------
    header : Header
        What the study asks.
    cells, rows : DataFrame
        Finished and failed cells, and all their rows, learning curves included.
    """
    unseen = dict(list(rows[rows["target"] == "unseen"].groupby(["configuration", "fold"], sort=True)))
    for group, mine in cells.groupby(["configuration", "fold"], sort=True):
        if group not in unseen:
            yield _subject_run(header, mine, str(mine["fold"].iloc[0]), None)
            continue
        for subject, theirs in unseen[group].groupby("subject", sort=True):
            yield _subject_run(header, mine, str(subject), theirs)


def experiment_tags(header: Header) -> Mapping[str, str]:
    """What the tracker shows of the study as a whole."""
    marks = ("Simulated people.",) if header.simulated else ()
    return {
        # MLflow shows this one as the experiment's description.
        "mlflow.note.content": "\n\n".join(filter(None, (header.question, *marks, *header.notes))),
        "dataset": header.dataset,
        "task": header.task,
        "reference": header.reference,
        "simulated": _plain(header.simulated),
    }


def _configuration_run(header: Header, cells: pd.DataFrame, points: Iterable[Point]) -> RunContent:
    first = cells.iloc[0]
    configuration = str(first["configuration"])
    provenance = json.loads(first["provenance"])
    params = {name: str(first[name]) for name in _CHOICES}
    params |= _flat(provenance["configuration"]) | _flat({"recipe": provenance["recipe"]})
    return RunContent(
        key=json.dumps([configuration]),
        parent=None,
        name=_name(configuration, cells),
        status=_status(cells),
        start_ms=_start_ms(cells),
        end_ms=_end_ms(cells),
        params=dict(sorted(params.items())),
        tags={**_tags(header, cells), **_origins(cells)},
        points=tuple(sorted(points)),
    )


def _subject_run(header: Header, cells: pd.DataFrame, subject: str, rows: pd.DataFrame | None) -> RunContent:
    first = cells.iloc[0]
    configuration, fold = str(first["configuration"]), str(first["fold"])
    points, undefined = ((), {}) if rows is None else (_subject_points(rows), _undefined(rows))
    return RunContent(
        key=json.dumps([configuration, fold, None if rows is None else subject]),
        parent=json.dumps([configuration]),
        name=_name(subject, cells),
        status=_status(cells),
        start_ms=_start_ms(cells),
        end_ms=_end_ms(cells),
        params={},
        tags={**_tags(header, cells), "subject": subject, "fold": fold, **undefined},
        points=points,
    )


def _tags(header: Header, cells: pd.DataFrame) -> dict[str, str]:
    chance = chance_level(header.metric, len(header.classes))
    tags = {
        "study": header.study,
        "configuration": str(cells["configuration"].iloc[0]),
        "dataset": header.dataset,
        "task": header.task,
        "simulated": _plain(bool(cells["simulated"].any())),
        "transductive": _plain(bool(cells["transductive"].any())),
        "chance": "depends on class frequencies" if chance is None else f"{chance:g} {header.metric}",
    }
    failed = Counter(cells.loc[cells["status"] == "failed", "cause"])
    if failed:
        causes = "; ".join(f"{cause} ({count})" for cause, count in sorted(failed.items()))
        tags["failed_cells"] = f"{failed.total()} of {len(cells)}: {causes}"
    return tags


def _origins(cells: pd.DataFrame) -> dict[str, str]:
    """Data, commit and versions; several where the study went on after an update."""
    provenances = [json.loads(text) for text in cells["provenance"].unique()]
    names = sorted({name for provenance in provenances for name in provenance["versions"]})
    return {
        "data_fingerprint": _joined(provenance["data_fingerprint"] for provenance in provenances),
        "git_commit": _joined(provenance["commit"] for provenance in provenances),
        **{
            f"version.{name}": _joined(p["versions"][name] for p in provenances if name in p["versions"])
            for name in names
        },
    }


def _line_points(line: Line) -> Iterator[Point]:
    step = line.primary.n
    values: dict[str, float] = {
        "compute_s": line.compute_s,
        "cells": line.cells,
        "failed_cells": sum(line.failed.values()),
        "subjects": line.primary.n,
    }
    if line.paired is not None and line.paired.n:
        told = {field.name: getattr(line.paired, field.name) for field in fields(line.paired)}
        values |= {f"to_reference/{name}": value for name, value in told.items() if not math.isnan(value)}
        values["to_reference/p_holm"] = line.p
    for name, value in values.items():
        yield Point(name, step, float(value))


def _summary_points(name: str, told: Summary) -> Iterator[Point]:
    """The mean under the name that it has in nested runs, so that both stand in one column; the rest below it."""
    yield Point(name, told.n, told.mean)
    for field in ("sd", "median", "worst", "low", "high", "undefined"):
        value = float(getattr(told, field))
        if not math.isnan(value):
            yield Point(f"{name}/{field}", told.n, value)


def _by_level_and_metric(means: pd.Series, configuration: str) -> Iterator[tuple[tuple[str, str], pd.Series]]:
    mine = means[means.index.get_level_values("configuration") == configuration]
    yield from mine.groupby(["level", "metric"], sort=True)


def _subject_points(rows: pd.DataFrame) -> tuple[Point, ...]:
    """Final scores at step 0, curves at theirs; means over seeds and orders."""
    final = rows["final"] == 1
    named = rows.assign(
        name=rows["level"].where(final, "curve/" + rows["level"]) + "/" + rows["metric"],
        at=rows["step"].where(~final, 0),
    )
    means = named.groupby(["name", "at"], sort=True)["value"].mean()
    return tuple(sorted(Point(name, int(step), float(value)) for (name, step), value in means.items()))


def _undefined(rows: pd.DataFrame) -> Mapping[str, str]:
    """Tag that counts the final scores without a value, by reason; no tag where all have one."""
    without = rows[(rows["final"] == 1) & rows["value"].isna()]
    counts = Counter(zip(without["level"] + "/" + without["metric"], without["reason"], strict=True))
    told = "; ".join(f"{name}: {reason} ({count})" for (name, reason), count in sorted(counts.items()))
    return {"undefined": told} if told else {}


def _name(text: str, cells: pd.DataFrame) -> str:
    marks = [mark for mark in ("simulated", "transductive") if cells[mark].any()]
    return f"{text} ({', '.join(marks)})" if marks else text


def _status(cells: pd.DataFrame) -> Literal["FINISHED", "FAILED"]:
    return "FINISHED" if (cells["status"] == "done").any() else "FAILED"


def _start_ms(cells: pd.DataFrame) -> int:
    return int(1000 * (cells["finished_at"] - cells["compute_s"]).min())


def _end_ms(cells: pd.DataFrame) -> int:
    return int(1000 * cells["finished_at"].max())


def _joined(values: Iterable[str]) -> str:
    return ", ".join(sorted(set(values)))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as dotted names; what is not there is left out."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value is not None:
            flat[f"{prefix}{name}"] = _plain(value)
    return flat


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
