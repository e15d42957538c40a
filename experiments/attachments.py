"""What a configuration's run carries beside its values: figures, rows, and what is needed for the best one's model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.errors import ResultsError, UnseenError
from benchmarks.metrics.table import LOWER_IS_BETTER, chance_level
from experiments.figures import Caption, confusion_png, mean_confusion, subjects_png
from experiments.header import Header
from experiments.model import save_model
from experiments.model_code import ModelCard
from experiments.records import PredictionRecord
from experiments.report.table import CONTROL, EQUALS_CONTROL, SEEN, Line
from experiments.results import Results
from experiments.runs import Finding

CONFUSION, SUBJECTS, ROWS = "confusion_matrix.png", "subjects.png", "rows.parquet"
FILES = (CONFUSION, SUBJECTS, ROWS)
"""Of every configuration that has a result."""


@dataclass(frozen=True, eq=False)
class Best:
    """The configuration whose fitted predictors are offered for new people.

    Parameters
    ----------
    configuration : str
        Its label.
    members : mapping of str to bytes
        Its fitted predictors, as `strategies.archives` packs them, by the held-out subject whose fold each is of.
    cell : mapping
        One of their cells, a row of `Results.cells`.
    told : str
        How it was chosen, and what that means for its score.
    """

    configuration: str
    members: Mapping[str, bytes]
    cell: Mapping[str, Any]
    told: str


def write_files(
    folder: Path, header: Header, results: Results, cells: pd.DataFrame, findings: Mapping[str, Finding], label: str
) -> None:
    """Write `FILES` of one configuration.

    Parameters
    ----------
    folder : Path
        Where to; it exists.
    header : Header
        What the study asks.
    results : Results
        Open for reading.
    cells : DataFrame
        Finished and failed cells of the configuration, at least one of them finished.
    findings : mapping of str to Finding
        What the cells of every configuration of the study came to.
    label : str
        Which configuration.

    Raises
    ------
    ResultsError
        The results cannot be read.
    """
    line, caption = findings[label].line, _caption(header, findings[label].line)
    done = cells.loc[cells["status"] == "done", "digest"].sort_values()
    confusion = mean_confusion(_predictions(results, done), len(header.classes))
    (folder / CONFUSION).write_bytes(confusion_png(confusion, header.classes, caption))
    control = None if line.best_control is None else (line.best_control, findings[line.best_control].scores)
    image = subjects_png(
        findings[label].scores,
        line.primary,
        header.metric,
        header.level,
        chance_level(header.metric, len(header.classes)),
        control,
        caption,
    )
    (folder / SUBJECTS).write_bytes(image)
    results.rows(cells["digest"]).to_parquet(folder / ROWS, index=False)


def best_of(header: Header, results: Results, cells: pd.DataFrame, findings: Mapping[str, Finding]) -> Best | None:
    """The configuration with the best mean, among those that may be offered: no control, learned from other people.

    Parameters
    ----------
    header : Header
        What the study asks.
    results : Results
        Open for reading.
    cells : DataFrame
        Finished and failed cells of the plan.
    findings : mapping of str to Finding
        What the cells of every configuration came to.

    Returns
    -------
    Best or None
        None where no configuration has a fitted predictor of every fold of the study.

    Raises
    ------
    ResultsError
        The results cannot be read.
    """
    lines = [finding.line for finding in findings.values()]
    offered = [line for line in lines if not line.control and line.target == "unseen" and line.primary.n]
    # Equal means: the first one of the study file.
    offered.sort(key=lambda line: line.primary.mean, reverse=header.metric not in LOWER_IS_BETTER)
    folds = set(cells["fold"])
    for place, line in enumerate(offered):
        mine = cells[cells["configuration"] == line.configuration].sort_values(["fold", "stream", "seed"])
        members = _members(results, mine)
        if members.keys() == folds:
            # The predictors that are kept are of the first order and seed.
            cell = mine.sort_values(["stream", "seed"]).iloc[0].to_dict()
            return Best(line.configuration, members, cell, _chosen(header, line, len(offered), place))
    return None


def write_model(folder: Path, header: Header, best: Best) -> None:
    """Write the best configuration's predictors as an MLflow model.

    Parameters
    ----------
    folder : Path
        Empty.
    header : Header
        What the study asks.
    best : Best
        The predictors.

    Raises
    ------
    ResultsError
        They are damaged, or the folder cannot be written.
    """
    save_model(folder, ModelCard.of(header, best.cell, best.members), best.members)


def _members(results: Results, cells: pd.DataFrame) -> dict[str, bytes]:
    """Kept predictors of one configuration by fold, none where a fold has none."""
    members: dict[str, bytes] = {}
    for fold, mine in cells.groupby("fold"):
        kept = (results.model(digest) for digest in mine["digest"])
        member = next((one for one in kept if one is not None), None)
        if member is None:
            return {}
        members[str(fold)] = member
    return members


def _chosen(header: Header, line: Line, count: int, place: int) -> str:
    told = "the only configuration that is no control and learns from other people"
    if count > 1:
        better = f", {place} better ones of which no predictor is kept left out" if place else ""
        told = (
            f"best mean {header.metric} ({header.level}) of {count} configurations{better}; chosen by the very people "
            f"that it is scored on, so {line.primary.mean:.3f} is an optimistic pick: expect less of new people"
        )
    doubt = f"; it does not beat its best control, {line.best_control}" if EQUALS_CONTROL in line.marks else ""
    return f"{told}{doubt}."


def _caption(header: Header, line: Line) -> Caption:
    words = {
        "simulated people": line.simulated,
        "transductive": line.transductive,
        SEEN: line.target == "seen",
        CONTROL: line.control,
        EQUALS_CONTROL: EQUALS_CONTROL in line.marks,
    }
    return Caption(
        configuration=line.configuration,
        study=header.study,
        marks=tuple(word for word, holds in words.items() if holds),
        scored="people, in later windows" if line.target == "seen" else "held-out people",
    )


def _predictions(results: Results, digests: pd.Series) -> Iterator[PredictionRecord]:
    for digest in digests:
        try:
            yield from results.predictions(digest)
        except UnseenError:
            raise
        except Exception as error:
            # An archive cut in half or overwritten: zipfile, zlib and NumPy each have errors of their own.
            raise ResultsError(
                f"Cannot read the predictions of cell {digest} from {results.path}: {error}. The file is damaged: "
                f"take it from a copy, or move it away and run the study again."
            ) from error
