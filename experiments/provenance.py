"""Where numbers come from: versions of the libraries that make them, and the commit of the project."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from benchmarks.cohort import LIBRARIES as COHORT_LIBRARIES
from benchmarks.source import PROJECT
from benchmarks.versions import installed

LIBRARIES = (
    "torch", "flwr", "dp-accounting", "avalanche-lib", "scikit-learn", "mne", "pyriemann", "neurokit2", "numpy",
    "scipy", "braindecode", "qpsolvers", "quadprog",
)  # fmt: skip
"""A new version of one of these may change a number, so it makes a new cell."""


def versions() -> dict[str, str]:
    """Installed versions of `LIBRARIES`, and of those that windows are made with."""
    return installed(sorted({*LIBRARIES, *COHORT_LIBRARIES}))


def versions_of(modules: Iterable[str]) -> dict[str, str]:
    """Installed versions of the packages that hold modules; the project's own and a user's files have none."""
    tops = {module.partition(".")[0] for module in modules} - PROJECT
    if not tops:
        return {}
    packages = metadata.packages_distributions()
    return installed(sorted({name for top in tops for name in packages.get(top, ())}))


def git_commit() -> str:
    """Commit of the project, with ``+changes`` where its working tree differs; ``unknown`` outside a checkout."""
    root = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return commit + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
