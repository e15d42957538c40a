"""Run a study: compute the cells that are missing, write each as it finishes, publish, and tell what came out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.cache import Cache
from benchmarks.cohort import Cohort, build_cohort
from experiments.cell import Job
from experiments.configuration import describe
from experiments.header import Header
from experiments.plan import Cell, Plan
from experiments.provenance import git_commit
from experiments.report.progress import Progress
from experiments.results import Outcome, Results


@dataclass(frozen=True)
class Folders:
    """Where a study's results lie.

    Parameters
    ----------
    root : Path
        The folder given with ``--results``.
    """

    root: Path

    def results(self, study: str) -> Path:
        """SQLite file of a study."""
        return self.root / f"{study}.sqlite"

    @property
    def tracking_uri(self) -> str:
        """Address of the MLflow store beside the results."""
        return f"sqlite:///{(self.root / 'mlflow.db').absolute()}"

    @property
    def artifacts(self) -> Path:
        """Folder of the MLflow store's files."""
        return (self.root / "mlartifacts").absolute()
