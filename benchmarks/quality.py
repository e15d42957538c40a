"""What is wrong with a subject's signals, counted, and what a study does about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.windows import Windows

Treatment = Literal["drop", "keep", "fail"]
"""What a study does with unusable windows: leave them out, learn from them all the same, or stop."""


@dataclass(frozen=True)
class SignalReport:
    """Windows of one subject and task, and the unusable ones by reason.

    Parameters
    ----------
    subject : str
        Whose.
    windows : int
        All windows that the task cuts, unusable ones included.
    unusable : mapping of str to int
        Windows by reason (``"flat"``, ``"clipped"``, ``"nan"``, ...); one window may count under several.
    dropped : int
        Windows left out of the cohort.
    """

    subject: str
    windows: int
    unusable: Mapping[str, int] = field(default_factory=dict)
    dropped: int = 0


@dataclass(frozen=True, eq=False)
class SubjectWindows:
    """Labelled windows of one subject with the report on its signals."""

    windows: Windows
    report: SignalReport
