from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from experiments.report.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(cells, *, missing=None, finished=0, terminal=False, every=1.0):
    """Text that a study of these cells shows, one cell each `every` seconds."""
    file, clock = io.StringIO(), Clock()
    console = Console(file=file, force_terminal=terminal, width=100, height=30)
    with Progress(console, len(cells) if missing is None else missing, finished, clock) as progress:
        for cell in cells:
            clock.now += every
            progress.cell_done(*cell)
    return file.getvalue()


def test_the_last_line_counts_cells_and_gives_running_means():
    cells = [("lda", 0.5, False), ("pooled", 0.25, False), ("lda", 1.0, False), ("pooled", None, True)]
    assert run(cells) == "4 of 4 cells, 1 failed, 0:00:00 left; running means: lda 0.750, pooled 0.250\n"


def test_an_undefined_score_does_not_move_the_mean():
    assert "lda 0.500" in run([("lda", 0.5, False), ("lda", math.nan, False), ("lda", None, False)])


def test_a_configuration_without_a_score_has_no_mean():
    assert run([("lda", None, True)]) == "1 of 1 cells, 1 failed, 0:00:00 left\n"


def test_cells_of_earlier_runs_count_as_done():
    assert run([("lda", 0.5, False)] * 2, missing=6, finished=4).startswith("6 of 10 cells, 0 failed, 0:00:04 left")


def test_time_left_follows_the_last_cells():
    slow_at_last = io.StringIO()
    clock = Clock()
    with Progress(Console(file=slow_at_last), 100, 0, clock) as progress:
        for number in range(60):
            clock.now += 1.0 if number < 30 else 10.0
            progress.cell_done("lda", 0.5, False)
    assert slow_at_last.getvalue().splitlines()[-1].startswith("60 of 100 cells, 0 failed, 0:06:40 left")


def test_before_the_first_cell_nobody_knows_how_long_it_takes():
    assert run([], missing=3) == "0 of 3 cells, 0 failed, -:--:-- left\n"


@pytest.mark.parametrize(
    ("count", "every", "lines"),
    [
        (100, 0.01, 1),  # over before ten seconds have passed: the last line only
        (100, 2.0, 10),  # each tenth takes twenty seconds
        (800, 0.125, 10),  # each tenth takes ten seconds
        (50, 100.0, 50),  # each cell takes longer than a minute
    ],
)
def test_a_log_file_gets_a_plain_line_now_and_then(count, every, lines):
    text = run([("lda", 0.5, False)] * count, every=every)
    assert len(text.splitlines()) == lines
    assert "\x1b" not in text
    assert "\r" not in text


def test_a_line_tells_of_what_moved_and_the_last_one_of_all():
    lines = run([("lda", 0.5, False)] * 10 + [("pooled", 0.25, False)] * 10, every=6.0).splitlines()
    assert [line.partition("; running means: ")[2] for line in lines] == [
        *["lda 0.500"] * 5,
        *["pooled 0.250"] * 4,
        "lda 0.500, pooled 0.250",
    ]


def test_lines_of_a_log_file_are_never_folded():
    cells = [(f"a_configuration_with_a_long_name_{number}", 0.5, False) for number in range(20)]
    assert len(run(cells, every=0.01).splitlines()) == 1


def test_a_terminal_gets_a_live_display_that_goes_away():
    text = run([("lda/[x]", 0.5, False), ("pooled", 0.75, False)], terminal=True)
    assert "\x1b[" in text
    assert "━" in text
    last = text.rpartition("\x1b[2K")[2]
    assert last == "2 of 2 cells, 0 failed, 0:00:00 left; running means: lda/[x] 0.500, pooled 0.750\n"


def test_more_configurations_than_the_terminal_has_lines():
    cells = [(f"c{number:02d}", 0.5, False) for number in range(60)]
    shown = run(cells, terminal=True).split("running means")[0]
    frames = shown.split("\x1b[2K")
    assert max(frame.count("\n") for frame in frames) < 30
    assert "  c59  " in shown
    assert "  c00  " not in shown.rpartition("60 of 60")[0].rpartition("━")[2]


def test_an_interrupted_study_still_says_how_far_it_came():
    file = io.StringIO()

    def interrupted() -> None:
        with Progress(Console(file=file), 3, 0, Clock()) as progress:
            progress.cell_done("lda", 0.5, False)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert file.getvalue().startswith("1 of 3 cells, 0 failed")
