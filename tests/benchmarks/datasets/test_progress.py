from __future__ import annotations

import io

import pytest
from rich.console import Console

from benchmarks.datasets.progress import ProgressLine

MB = 1_000_000


def line(terminal: bool = False) -> tuple[ProgressLine, io.StringIO]:
    shown = io.StringIO()
    return ProgressLine(Console(file=shown, force_terminal=terminal, width=100), "birds"), shown


def fetched(progress: ProgressLine, size: int, pieces: tuple[int, ...]) -> None:
    """What pooch does with the bar of one file."""
    progress.total = size
    for piece in pieces:
        progress.update(piece)
    progress.reset()
    progress.update(size)
    progress.close()


def test_share_is_of_files_and_of_the_bytes_of_the_current_one() -> None:
    progress, _ = line()
    progress.expect(4)
    assert progress.share == 0
    fetched(progress, 2 * MB, (MB, MB))
    progress.file_is_there()
    progress.file_is_there()
    assert progress.share == 2 / 4, "one was fetched, one was there"
    progress.total = 4 * MB
    progress.update(MB)
    assert progress.share == pytest.approx((2 + 1 / 4) / 4)
    assert progress.told == "2 of 4 files, 3.0 MB"


def test_a_last_piece_told_too_large_and_a_second_try_are_not_counted_twice() -> None:
    progress, _ = line()
    progress.expect(2)
    progress.total = 2 * MB
    progress.update(MB)
    assert progress.told == "0 of 2 files, 1.0 MB"
    fetched(progress, 2 * MB, (3 * MB,))
    progress.file_is_there()
    assert (progress.share, progress.told) == (1 / 2, "1 of 2 files, 2.0 MB")


def test_share_of_one_file_of_unknown_size_is_unknown() -> None:
    progress, _ = line()
    assert progress.share is None
    progress.expect(1)
    progress.total = 0
    progress.update(MB)
    assert progress.share is None
    assert progress.told == "1.0 MB"
    progress.total = 4 * MB
    progress.update(MB)
    assert progress.share == 1 / 4


@pytest.mark.parametrize("terminal", [True, False])
def test_one_line_on_a_terminal_and_none_elsewhere(terminal: bool) -> None:
    progress, shown = line(terminal)
    with progress:
        progress.expect(75)
        for _ in range(75):
            fetched(progress, MB, (MB,))
            progress.file_is_there()
    assert ("75 of 75 files, 75.0 MB" in shown.getvalue()) == terminal
    assert shown.getvalue().count("\n") <= 1
    assert terminal or not shown.getvalue()
