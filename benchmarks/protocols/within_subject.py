"""Holding out later windows of the subject that is learned from: by trial, or by block where trials are few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.quality import BoolArray
from benchmarks.windows import Windows

Grouping = Literal["trial", "block"]
"""What is held out as a whole: trials, or blocks of trials."""


@dataclass(frozen=True, eq=False)
class Within:
    """Windows of one subject that are learned from, and those that are scored; the ones between are neither.

    Parameters
    ----------
    learned, scored : ndarray of bool, shape (n,)
        No window is both.
    grouping : {"trial", "block"}
        What was held out as a whole.
    """

    learned: BoolArray
    scored: BoolArray
    grouping: Grouping


def early_and_late(windows: Windows, length_s: float | None) -> Within:
    """Split the windows of one subject."""
    raise NotImplementedError
