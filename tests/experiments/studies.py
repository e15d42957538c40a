"""Small finished studies, written as the runner writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.header import Header
from experiments.records import CellRecord, Outcome, PredictionRecord, ScoreRecord
from experiments.results import Results

METRICS = ("balanced_accuracy", "macro_f1")
LEVELS = ("window", "trial")
START = 1_700_000_000.0


def header_of(*configurations: str, **changes: Any) -> Header:
    """Header of a study with these configurations, the first one the reference."""
    header = Header(
        study="small",
        question="Does it work on the next person?",
        dataset="eegmat",
        task="rest_vs_arithmetic",
        classes=("rest", "arithmetic"),
        configurations=configurations,
        reference=configurations[0],
        metric="balanced_accuracy",
        level="window",
        simulated=False,
    )
    return replace(header, **changes)


def cell_of(configuration: str, fold: str, seed: int = 0, stream: int = 0, **changes: Any) -> CellRecord:
    """A cell; its digest is its name."""
    cell = CellRecord(
        digest=f"{configuration}-{fold}-{seed}-{stream}",
        study="small",
        dataset="eegmat",
        task="rest_vs_arithmetic",
        configuration=configuration,
        representation="differential_entropy",
        normalization="training",
        protocol="loso",
        fold=fold,
        encoder="mlp(hidden=[64])",
        objective="cross_entropy",
        strategy="pooled",
        variant="pooled",
        seed=seed,
        stream=stream,
        transductive=False,
        simulated=False,
        provenance={
            "configuration": {
                "strategy": {"part": "strategies.pooled:Pooled", "epochs": 3, "encoder": {"hidden": [64]}},
                "representation": None,
            },
            "recipe": {"signal": "eeg", "windows": {"length_s": 4.0, "step_s": None}},
            "data_fingerprint": "f" * 64,
            "versions": {"torch": "2.9.0", "mne": "1.10"},
            "commit": "c" * 40,
        },
    )
    return replace(cell, **changes)


def outcome_of(
    subject: str,
    value: float,
    *,
    curve: Sequence[float] = (),
    reason: str | None = None,
    compute_s: float = 0.5,
    target: str = "unseen",
) -> Outcome:
    """Scores of one subject: `value` for every metric at both levels, and a learning curve."""
    final = [
        ScoreRecord(len(curve), True, subject, target, "trial", level, metric, value, reason)
        for level in LEVELS
        for metric in METRICS
    ]
    steps = [
        ScoreRecord(step, False, subject, target, "trial", "window", "balanced_accuracy", at_step)
        for step, at_step in enumerate(curve)
    ]
    predictions = PredictionRecord(
        subject, target, np.array([[0.25, 0.75]]), np.array([1]), np.array(["s/t"]), np.array([0.0])
    )
    return Outcome([*final, *steps], [predictions], compute_s)


def failure_of(cause: str) -> Outcome:
    return Outcome((), (), 0.25, cause=cause)


@dataclass
class SmallStudy:
    """A results file that grows cell by cell; each cell ends a second after the one before."""

    path: Path
    header: Header
    digests: list[str] = field(default_factory=list)

    def add(self, cell: CellRecord, outcome: Outcome) -> None:
        """Record one finished or failed cell and take it into the plan."""
        self.add_all([(cell, outcome)])

    def add_all(self, cells: Iterable[tuple[CellRecord, Outcome]]) -> None:
        """Record several."""
        with Results(self.path) as results:
            for cell, outcome in cells:
                results.record(cell, outcome, START + len(self.digests))
                self.digests += [cell.digest] if cell.digest not in self.digests else []
            results.set_plan(self.header, self.digests)

    def fill(self, scores: Mapping[str, Sequence[float]], *, seeds: int = 1, curve: Sequence[float] = ()) -> None:
        """For each configuration one value a subject, S00, S01, ..."""
        self.add_all(
            (
                cell_of(configuration, f"S{number:02d}", seed),
                outcome_of(f"S{number:02d}", value, curve=curve, reason="not a number" if value != value else None),
            )
            for configuration, values in scores.items()
            for number, value in enumerate(values)
            for seed in range(seeds)
        )

    def frames(self, *, final: bool | None = None) -> tuple[Any, Any]:
        """Cells and rows of the plan."""
        with Results(self.path, writable=False) as results:
            return results.cells(self.digests), results.rows(self.digests, final=final)
