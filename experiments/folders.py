"""Where results lie below the folder that a user names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SQLITE = "sqlite:///"
"""How the address of an MLflow store in a file begins."""


@dataclass(frozen=True)
class Folders:
    """Where results lie.

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
        return f"{SQLITE}{(self.root / 'mlflow.db').absolute()}"

    @property
    def artifacts(self) -> Path:
        """Folder of the MLflow store's files."""
        return (self.root / "mlartifacts").absolute()
