from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.errors import ResultsError
from experiments.lock import only_run

_HOLD = """
import sys
from pathlib import Path
from experiments.lock import only_run
with only_run(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "results" / "s.sqlite"
    with only_run(path), pytest.raises(ResultsError, match="'s' is being run by another process"), only_run(path):
        pass


def test_studies_of_one_folder_do_not_hinder_each_other(tmp_path: Path) -> None:
    with only_run(tmp_path / "one.sqlite"), only_run(tmp_path / "two.sqlite"):
        pass


def test_a_run_that_failed_leaves_the_study_free(tmp_path: Path) -> None:
    with pytest.raises(KeyError), only_run(tmp_path / "s.sqlite"):
        raise KeyError
    with only_run(tmp_path / "s.sqlite"):
        pass


def test_a_killed_process_leaves_the_study_free(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ResultsError, match="another process"), only_run(path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with only_run(path):
        pass


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(ResultsError, match="Is the folder writable"), only_run(tmp_path / "results" / "s.sqlite"):
        pass
