"""The command line: help at once, errors without a traceback, studies that survive being stopped."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from experiments import cli
from experiments.lock import only_run
from experiments.results import Results

ROOT = Path(__file__).resolve().parents[2]

STUDY = """
study: small
dataset: {name: simulated, subjects: 5}
windows: {length_s: 4}
protocol: {name: loso, validation_subjects: 1}
seeds: 2
encoder: {name: mlp, hidden: [16]}
controls: [majority]
configurations:
  lda: {strategy: lda, normalization: subject_unlabelled}
  pooled: {strategy: {name: pooled, epochs: 60, patience: 60}, normalization: subject_unlabelled}
  federated: {strategy: {name: federated, rounds: 3}, normalization: subject_unlabelled}
"""
CELLS = 5 + 5 + 5 * 2 + 5 * 2
WITH_WHOLE = pytest.mark.xdist_group("whole")
"""Tests of one group run in one process, so that what they share is computed once."""


@contextmanager
def short_folder() -> Iterator[Path]:
    """An empty folder with a short name: the paths of Ray's sockets below it may have 107 characters."""
    made = Path(tempfile.mkdtemp(prefix="u", dir="/tmp"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of the test's own."""
    with short_folder() as made:
        yield made


@pytest.fixture(scope="module")
def whole() -> Iterator[tuple[Path, subprocess.CompletedProcess[str]]]:
    """Results of the study where nothing happens to it, on a cluster of its own with two workers, and what was said."""
    with short_folder() as made:
        (made / "small.yaml").write_text(STUDY)
        done = unseen(made, "run", "small.yaml", "--workers", "2")
        assert done.returncode == 0, done.stderr
        assert f"{CELLS} cells computed" in done.stderr
        yield made / "results" / "small.sqlite", done


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    paths = {"UNSEEN_CACHE": str(folder / "cache"), "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "experiments", *arguments],
        cwd=folder, env={**os.environ, **paths}, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def unseen(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    process = started(folder, *arguments)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def finished_cells(path: Path) -> int:
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            return int(db.execute("SELECT count(*) FROM cells").fetchone()[0])
    except sqlite3.Error:
        return 0


def wait_for_cells(path: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while finished_cells(path) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def numbers(path: Path) -> pd.DataFrame:
    """All rows of a study but what depends on the clock."""
    with Results(path, writable=False) as results:
        return results.rows(results.planned())


def table(text: str) -> list[str]:
    """Lines of a table without the column of seconds, which is the last."""
    return [line.rsplit(maxsplit=1)[0] for line in text.splitlines() if " ." in line or "%" in line]


def left_behind(folder: Path) -> list[str]:
    """Command lines of processes that were started for a study in `folder` and still run."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from experiments.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = 'torch mlflow avalanche flwr ray mne sklearn scipy numpy pandas pydantic rich'.split()\n"
        "print(sorted(sys.modules.keys() & heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_plan_loads_no_engine_that_its_study_does_not_use(tmp_path: Path) -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from experiments.cli import app\n"
        "only = [word for name in ('lda', 'pooled') for word in ('--only', name)]\n"
        "done = CliRunner().invoke(app, ['plan', 'demo', '--data', sys.argv[1], *only])\n"
        "assert (done.exit_code, 'pooled/training' in done.stdout) == (0, True), done\n"
        "print(sorted({'mlflow', 'avalanche', 'flwr', 'ray'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_plan_shows_how_and_where_a_federation_federates(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    assert called(monkeypatch, "plan", "demo", "--only", "fedavg", "--set", "aggregator.fraction=0.5") == 0
    assert "federated(rounds=10, local_epochs=5), aggregator=fedavg(fraction=0.5), grid=auto" in capsys.readouterr().out


def test_the_entry_point_switches_telemetry_off_and_leaves_the_users_word(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLWR_TELEMETRY_ENABLED", "RAY_USAGE_STATS_ENABLED", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr(sys, "argv", ["unseen", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    told = [os.environ[name] for name in ("FLWR_TELEMETRY_ENABLED", "RAY_USAGE_STATS_ENABLED", "WANDB_MODE")]
    assert told == ["0", "0", "online"]
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nothing.yaml"], "No study file 'nothing.yaml'"),
        (["run", "demo", "--set", "seed=3"], "seed: no such key"),
        (["run", "demo", "--set", "configurations.lda.strategy=ldaa"], "Did you mean 'lda'"),
        (["plan", "eegmat", "--data", "/no/such/folder"], "physionet"),
        (["show", "demo", "--results", "/no/such/folder"], "run the study first (unseen run STUDY)"),
        (["run", "demo", "--results", "/dev/null/results"], "Cannot write results"),
        (["run", "demo", "--set", "dataset.subjects=1"], "nobody to learn from"),
        (["run", "demo", "--set", "windows.length_s=600"], "a window of 600 s is longer than"),
    ],
)
def test_bad_input_is_told_in_a_line_without_a_traceback(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UNSEEN_DATA", raising=False)
    monkeypatch.setattr(sys, "argv", ["unseen", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == cli.BAD_INPUT
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("*.sqlite")), "a study that was refused leaves no results"


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["unseen", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code


SEVERAL = (
    STUDY.replace("study: small", "study: several").replace("dataset: {name: simulated, subjects: 5}\n", "")
    + """
across:
  wrong: {dataset: {name: simulated, subjects: 5}, windows: {length_s: 600}}
  senseless: {dataset: {name: simulated, subjects: 5}, quality: impute, representation: raw}
  right: {dataset: {name: simulated, subjects: 5}, configurations: {pooled: {strategy: {name: pooled, epochs: 1}}}}
"""
)


def test_what_is_wrong_with_one_of_several_data_sets_is_told_and_the_others_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    (folder / "several.yaml").write_text(SEVERAL.replace("subjects: 5", "subjects: 3"))
    assert called(monkeypatch, "plan", "several.yaml", "--only", "pooled") == cli.BAD_INPUT
    planned = capsys.readouterr()
    assert "unseen: several.senseless: quality: impute is for vectors of features" in planned.err
    assert "several.right" in planned.out
    assert called(monkeypatch, "run", "several.yaml", "--only", "pooled", "--workers", "1") == cli.BAD_INPUT
    ran = capsys.readouterr()
    assert "unseen: several.wrong: " in ran.err
    assert "a window of 600 s is longer than" in ran.err
    assert [path.name for path in (folder / "results").glob("*.sqlite")] == ["several.right.sqlite"]


def test_a_margin_of_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """No difference is shown to lie within it."""
    assert called(monkeypatch, "report", "demo", "--margin", "0") == 2
    assert "--margin" in capsys.readouterr().err


def test_a_new_study_runs_as_it_is_written_and_never_overwrites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert called(monkeypatch, "new", "mine") == 0
    capsys.readouterr()
    assert called(monkeypatch, "plan", "mine.yaml") == 0
    assert "lda/training" in capsys.readouterr().out
    assert called(monkeypatch, "new", "mine") == cli.BAD_INPUT


def test_what_the_comments_of_a_new_study_offer_for_streams_can_be_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert called(monkeypatch, "new", "mine") == 0
    text = (tmp_path / "mine.yaml").read_text()
    text, stream = re.subn(r"^protocol: .*\n(# .*\n)#   (protocol: .*\n)", r"\1\2", text, flags=re.MULTILINE)
    text, configurations = re.subn(r"^  # (sequential|penalty|bounds):", r"  \1:", text, flags=re.MULTILINE)
    text, across = re.subn(r"^# (across:|  easy:.*|  hard:.*)$", r"\1", text, flags=re.MULTILINE)
    assert (stream, configurations, across) == (1, 3, 3)
    (tmp_path / "mine.yaml").write_text(text)
    capsys.readouterr()
    assert called(monkeypatch, "plan", "mine.yaml") == 0
    out = capsys.readouterr().out
    assert "mine.easy" in out
    assert "mine.hard" in out
    assert "6 streams of 2 people who are set aside" in out


def test_the_data_sets_are_listed_with_licence_and_whether_they_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert called(monkeypatch, "datasets", "--data", str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("eegmat", "ODC-By", "physionet", "no", "simulated", "yes", "table"))


def test_a_second_run_of_a_study_says_so_and_touches_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    (folder / "small.yaml").write_text(STUDY)
    with only_run(folder / "results" / "small.sqlite"):
        assert called(monkeypatch, "run", "small.yaml") == cli.BAD_INPUT
    assert "'small' is being run by another process" in capsys.readouterr().err
    assert not (folder / "results" / "small.sqlite").exists()


def test_publishing_what_was_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    address = f"sqlite:///{tmp_path / 'there.db'}"
    assert called(monkeypatch, "publish", "demo", "--tracking-uri", address) == cli.BAD_INPUT
    assert "run the study first" in capsys.readouterr().err


@pytest.mark.slow
@WITH_WHOLE
def test_a_killed_study_computes_only_what_is_missing_and_ends_with_the_same_numbers(
    folder: Path, whole: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    undisturbed, said = whole
    (folder / "small.yaml").write_text(STUDY)
    broken = folder / "broken" / "small.sqlite"
    process = started(folder, "run", "small.yaml", "--results", "broken", "--workers", "1")
    wait_for_cells(broken, CELLS // 2, process)
    process.kill()
    process.communicate()
    done = finished_cells(broken)
    assert CELLS // 2 <= done < CELLS
    deadline = time.monotonic() + 60
    while left_behind(folder) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not left_behind(folder), "workers of a killed study go with it"

    resumed = unseen(folder, "run", "small.yaml", "--results", "broken", "--workers", "1")
    assert resumed.returncode == 0, resumed.stderr
    assert f"{CELLS - done} cells computed" in resumed.stderr
    pd.testing.assert_frame_equal(numbers(undisturbed), numbers(broken), check_exact=True)
    assert table(resumed.stdout) == table(said.stdout)
    assert len(table(said.stdout)) >= 3

    again = unseen(folder, "show", "small.yaml", "--results", "broken")
    assert again.stdout == resumed.stdout

    address = f"sqlite:///{folder / 'elsewhere.db'}"
    first, second = (unseen(folder, "publish", "small", "--results", "broken", "--tracking-uri", address) for _ in "12")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "0 runs were written" in second.stdout
    assert "0 runs were written" not in first.stdout


@pytest.mark.slow
@WITH_WHOLE
def test_two_studies_at_once_on_a_cluster_that_is_already_up_give_the_numbers_of_a_cluster_of_their_own(
    folder: Path, whole: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    import ray

    for name in ("first", "second"):
        (folder / f"{name}.yaml").write_text(STUDY.replace("study: small", f"study: {name}"))
    little = ["--only", "lda", "--only", "federated"]
    options = {"include_dashboard": False, "log_to_driver": False, "_temp_dir": str(folder / "ray")}
    address = ray.init(address="local", num_cpus=2, **options).address_info["gcs_address"]
    try:
        both = [
            started(folder, "run", f"{name}.yaml", "--results", name, "--ray", address, *little)
            for name in ("first", "second")
        ]
        told = [process.communicate(timeout=300) for process in both]
        assert [process.returncode for process in both] == [0, 0], told
        assert ray.cluster_resources()["CPU"] == 2, "the cluster is still up"
    finally:
        ray.shutdown()
    alone = numbers(whole[0])
    expected = alone[alone.configuration.isin(["majority", "lda", "federated"])].reset_index(drop=True)
    for name in ("first", "second"):
        found = numbers(folder / name / f"{name}.sqlite").assign(study="small")
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_keeps_what_is_finished(folder: Path) -> None:
    (folder / "small.yaml").write_text(STUDY)
    process = started(folder, "run", "small.yaml", "--workers", "1")
    wait_for_cells(folder / "results" / "small.sqlite", 8, process)
    # A terminal sends it to the whole group, workers included.
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == cli.STOPPED
    assert "Stopped" in err
    assert "Traceback" not in err
    assert finished_cells(folder / "results" / "small.sqlite") >= 8


@pytest.mark.slow
def test_a_newcomers_table_with_a_strategy_that_fails_and_a_server_that_does_not_answer(folder: Path) -> None:
    rows = [f"{s},{p},{p % 2},{p % 2 + s / 10},{s - p}" for s in range(4) for p in range(8)]
    (folder / "my.csv").write_text("id,phase,stress,eda_mean,hr_mean\n" + "\n".join(rows))
    (folder / "mine_too.py").write_text(
        "from dataclasses import dataclass\n"
        "from strategies.contract import Strategy\n"
        "from strategies.federated.averaging import FedAvg\n\n\n"
        "@dataclass(frozen=True)\n"
        "class Broken(Strategy):\n"
        "    def fit(self, learning, observer):\n"
        "        raise RuntimeError('not today')\n\n\n"
        "@dataclass(frozen=True)\n"
        "class Few(FedAvg):\n"
        "    def client(self, given):\n"
        "        if '3' in given['windows'].subjects:\n"
        "            raise RuntimeError('not with 3')\n"
        "        return super().client(given)\n"
    )
    (folder / "mine.yaml").write_text(
        "study: mine\n"
        "dataset: {name: table, path: my.csv, subject: id, label: stress, trial: phase, features: [eda_*, hr_*]}\n"
        "configurations:\n"
        "  lda: {strategy: lda}\n"
        "  broken: {strategy: 'mine_too:Broken'}\n"
        "  federated: {strategy: {name: federated, rounds: 2}, aggregator: 'mine_too:Few'}\n"
    )
    done = unseen(folder, "run", "mine.yaml", "--set", "protocol.validation_subjects=0",
                  "--tracking-uri", "http://127.0.0.1:1")  # fmt: skip
    assert done.returncode == cli.CELLS_FAILED, done.stderr
    assert "cells failed: 7" in done.stderr
    assert "What cannot be learned, or diverged, fails until the study is changed." in done.stderr
    assert "MLflow is behind" in done.stderr
    assert "Traceback" not in done.stderr
    rows_kept = numbers(folder / "results" / "mine.sqlite")
    final = rows_kept[(rows_kept.final == 1) & (rows_kept.metric == "balanced_accuracy")]
    means = final.groupby("configuration")["value"].mean()
    assert means["lda"] == 1.0
    assert means["majority"] == 0.5
    with Results(folder / "results" / "mine.sqlite", writable=False) as results:
        cells = results.cells(results.planned())
    failed = cells[cells.status == "failed"].set_index(["configuration", "fold"])["cause"]
    assert sorted(failed.index) == sorted([*(("broken", s) for s in "0123"), *(("federated", s) for s in "012")])
    assert all("RuntimeError: not today" in cause for cause in failed["broken"])
    assert all("RuntimeError: not with 3" in cause for cause in failed["federated"])
