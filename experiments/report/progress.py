"""Progress of a study: cells done and failed, time left, and the running mean score of each configuration."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_LINE_EVERY_S = 10.0
_SILENT_AT_MOST_S = 60.0
_LINE_SHARE = 0.1
_SPEED_OVER_CELLS = 20
_OTHER_LINES = 8


@dataclass
class _Running:
    """Cells of one configuration so far."""

    cells: int = 0
    scored: int = 0
    total: float = 0.0

    def __str__(self) -> str:
        return f"{self.total / self.scored:.3f}" if self.scored else "-"


class Progress:
    """Display of a running study, as a context.

    A terminal gets a live display; anything else (a log file, a pipe) gets a plain line now and then: at each tenth of
    the cells and at least every minute, but never more often than every ten seconds, with the configurations that
    moved since the one before; and one at the end, with all.

    Parameters
    ----------
    console : rich.console.Console
        Where to show it.
    missing : int
        Cells to compute now.
    finished : int
        Cells that earlier runs of the study have finished.
    clock : callable
        Seconds that only grow.
    """

    def __init__(
        self, console: Console, missing: int, finished: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._clock = clock
        self._done, self._total = finished, finished + missing
        self._failed = 0
        self._running: dict[str, _Running] = {}
        # Configurations differ in cost, and cells come configuration by configuration: only the last ones tell.
        self._ends = deque([clock()], maxlen=_SPEED_OVER_CELLS + 1)
        self._live = Live(get_renderable=self._display, console=console, refresh_per_second=4, transient=True)
        self._said_at = clock()
        self._said_done = finished
        self._moved: set[str] = set()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._live.stop()
        self._say(self._running)

    def cell_done(self, configuration: str, value: float | None, failed: bool) -> None:
        """Count a cell.

        Parameters
        ----------
        configuration : str
            Label of its configuration.
        value : float or None
            Its score; None or NaN leaves the running mean as it is.
        failed : bool
            Whether it failed.
        """
        # Taken out and put back, so that the configuration that moved last stands last.
        running = self._running.pop(configuration, None) or _Running()
        self._running[configuration] = running
        running.cells += 1
        if value is not None and value == value:
            running.scored += 1
            running.total += value
        self._failed += failed
        self._done += 1
        self._ends.append(self._clock())
        self._moved.add(configuration)
        if not self._console.is_terminal and self._due():
            self._say(self._moved)
            self._moved.clear()

    def _left(self) -> str:
        cells = len(self._ends) - 1
        if not cells:
            return "-:--:--"
        seconds = (self._ends[-1] - self._ends[0]) / cells * (self._total - self._done)
        return str(timedelta(seconds=round(seconds)))

    def _counts(self) -> str:
        return f"{self._done} of {self._total} cells, {self._failed} failed, {self._left()} left"

    def _due(self) -> bool:
        if self._done == self._total:
            return False
        silent = self._clock() - self._said_at
        moved = self._done - self._said_done >= _LINE_SHARE * self._total
        return silent >= _SILENT_AT_MOST_S or (moved and silent >= _LINE_EVERY_S)

    def _say(self, configurations: Container[str]) -> None:
        self._said_at, self._said_done = self._clock(), self._done
        shown = {name: running for name, running in self._running.items() if name in configurations and running.scored}
        means = ", ".join(f"{name} {running}" for name, running in shown.items())
        self._console.print(Text(self._counts() + (f"; running means: {means}" if means else "")), soft_wrap=True)

    def _display(self) -> Group:
        """The bar, and below it the configurations that moved last, as many as the terminal has room for."""
        head = Table.grid(padding=(0, 2))
        head.add_row(ProgressBar(total=self._total, completed=self._done, width=30), self._counts())
        table = Table.grid(padding=(0, 2))
        room = max(1, self._console.height - _OTHER_LINES)
        for name, running in list(self._running.items())[-room:]:
            table.add_row(
                Text(f"  {name}"), f"{running.cells} cell{'s' * (running.cells > 1)}", f"running mean {running}"
            )
        return Group(head, table)
