"""How far a download is: one line for all of its files."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_BYTES_A_MB = 1e6


class ProgressLine:
    """A line that stands on a terminal while files come, and nothing elsewhere; enter it as a context.

    To pooch it is the progress bar of each file in turn: `total`, `update`, `reset` and `close` are what pooch asks of
    one. The line counts files, since a publisher tells the size of a file only when it is asked for that file.

    Parameters
    ----------
    console : Console
        Where the line stands.
    name : str
        What is coming.
    """

    def __init__(self, console: Console, name: str) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
        self._line = Progress(
            *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
        )
        self._task = self._line.add_task(name, total=None, told="")
        self._files, self._there = 0, 0
        self._bytes_before, self._bytes, self._bytes_expected = 0, 0, 0

    def __enter__(self) -> ProgressLine:
        self._line.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.stop()

    @property
    def told(self) -> str:
        """What the line says beside its bar: files, and the bytes that came over the network."""
        files = f"{self._there} of {self._files} files, " if self._files > 1 else ""
        return f"{files}{(self._bytes_before + self._bytes) / _BYTES_A_MB:.1f} MB"

    @property
    def share(self) -> float | None:
        """Share of the whole download that is there; None where nobody knows how much there is to come."""
        if not self._files or (self._files == 1 and not self._there and not self._bytes_expected):
            return None
        current = min(self._bytes / self._bytes_expected, 1.0) if self._bytes_expected else 0.0
        return (self._there + current) / self._files

    def expect(self, files: int) -> None:
        """So many files are to come."""
        self._files = files
        self._show()

    def file_is_there(self) -> None:
        """One more of them is there, fetched now or before."""
        self._bytes_before += self._bytes
        self._bytes, self._bytes_expected = 0, 0
        self._there += 1
        self._show()

    @property
    def total(self) -> int:
        """Bytes of the current file; 0 where the server does not say. Set at the start of each try."""
        return self._bytes_expected

    @total.setter
    def total(self, bytes_: int) -> None:
        self._bytes, self._bytes_expected = 0, bytes_
        self._show()

    def update(self, bytes_: int) -> None:
        """So many bytes more came; the last piece of a file may be told larger than it is."""
        self._bytes += bytes_
        if self._bytes_expected:
            self._bytes = min(self._bytes, self._bytes_expected)
        self._show()

    def reset(self) -> None:
        """Count the bytes of the current file anew, where their number is known."""
        if self._bytes_expected:
            self._bytes = 0

    def close(self) -> None:
        """A file has ended, and maybe will be tried again: the line stays."""

    def _show(self) -> None:
        share = self.share
        if share is None:
            self._line.update(self._task, told=self.told)
        else:
            self._line.update(self._task, total=1.0, completed=share, told=self.told)
