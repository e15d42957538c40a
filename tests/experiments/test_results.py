from __future__ import annotations

import math
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.errors import ResultsError
from experiments.records import Outcome, PredictionRecord, ScoreRecord
from experiments.results import Results
from tests.experiments.studies import cell_of, failure_of, header_of, outcome_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results" / "small.sqlite"


def score(value: float, **changes) -> ScoreRecord:
    plain = ScoreRecord(1, True, "S00", "unseen", "trial", "window", "balanced_accuracy", value)
    return replace(plain, **changes)


# --- what is written is read ----------------------------------------------------------------------------------------


def test_a_cell_comes_back_as_it_was_written(path):
    cell = cell_of("lda", "S00", seed=2, stream=1, transductive=True)
    with Results(path) as results:
        results.record(cell, outcome_of("S00", 0.75, curve=[0.5, 0.625]), finished_at=123.5)
    with Results(path, writable=False) as results:
        (told,) = results.cells([cell.digest]).to_dict("records")
        rows = results.rows([cell.digest])
    assert {name: told[name] for name in ("configuration", "fold", "seed", "stream", "status", "finished_at")} == {
        "configuration": "lda", "fold": "S00", "seed": 2, "stream": 1, "status": "done", "finished_at": 123.5,
    }  # fmt: skip
    assert (told["transductive"], told["simulated"], told["cause"]) == (1, 0, None)
    assert '"data_fingerprint"' in told["provenance"]
    curve = rows[rows["final"] == 0]
    assert curve["step"].tolist() == [0, 1]
    assert curve["value"].tolist() == [0.5, 0.625]
    final = rows[rows["final"] == 1]
    assert final[["level", "metric"]].drop_duplicates().shape[0] == len(final) == 4
    assert final["step"].unique().tolist() == [2]
    assert final["value"].unique().tolist() == [0.75]
    assert final["order"].unique().tolist() == [1]


def test_final_rows_and_curves_can_be_read_apart(path):
    cell = cell_of("lda", "S00")
    with Results(path) as results:
        results.record(cell, outcome_of("S00", 0.75, curve=[0.5]), 1.0)
        assert set(results.rows([cell.digest], final=True)["final"]) == {1}
        assert set(results.rows([cell.digest], final=False)["final"]) == {0}
        assert len(results.rows([cell.digest])) == 5


def test_an_undefined_value_is_nan_with_its_reason(path):
    cell = cell_of("lda", "S00")
    with Results(path) as results:
        results.record(cell, Outcome([score(math.nan, reason="one class only")], [], 0.1), 1.0)
        (row,) = results.rows([cell.digest]).to_dict("records")
    assert math.isnan(row["value"])
    assert row["reason"] == "one class only"


def test_predictions_come_back_to_the_bit(path):
    probabilities = np.random.default_rng(0).random((5, 3))
    record = PredictionRecord(
        "S00", "unseen", probabilities, np.arange(5), np.array([f"s/{i}" for i in range(5)]), np.arange(5) / 3
    )
    with Results(path) as results:
        results.record(cell_of("lda", "S00"), Outcome([], [record], 0.1), 1.0)
        (back,) = results.predictions("lda-S00-0-0")
    assert (back.subject, back.target) == ("S00", "unseen")
    for name in ("probabilities", "y", "trial", "onset"):
        np.testing.assert_array_equal(getattr(back, name), getattr(record, name), strict=True)


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(values=st.lists(finite, min_size=1, max_size=20))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_values_survive_to_the_bit(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("law") / "law.sqlite"
    scores = [score(value, step=step, final=False) for step, value in enumerate(values)]
    with Results(path) as results:
        results.record(cell_of("lda", "S00"), Outcome(scores, [], 0.1), 1.0)
        assert results.rows(["lda-S00-0-0"])["value"].tolist() == values


def test_rows_are_sorted_however_they_were_written(path):
    cells = [cell_of(c, f, s) for c in ("b", "a") for f in ("S01", "S00") for s in (1, 0)]
    with Results(path) as results:
        for cell in cells:
            results.record(cell, outcome_of(cell.fold, 0.5), 1.0)
        rows = results.rows([cell.digest for cell in cells])
    keys = list(rows[["configuration", "fold", "seed"]].itertuples(index=False, name=None))
    assert keys == sorted(keys)


# --- cells, failures and plans --------------------------------------------------------------------------------------


def test_a_failed_cell_is_kept_with_its_cause_and_is_not_finished(path):
    cell = cell_of("lda", "S00")
    with Results(path) as results:
        results.record(cell, failure_of("LearningError: diverged"), 1.0)
        assert results.finished() == set()
        (told,) = results.cells([cell.digest]).to_dict("records")
    assert (told["status"], told["cause"]) == ("failed", "LearningError: diverged")


def test_a_success_replaces_the_failure_before_it(path):
    cell = cell_of("lda", "S00")
    with Results(path) as results:
        results.record(cell, failure_of("out of memory"), 1.0)
        results.record(cell, outcome_of("S00", 0.75), 2.0)
        assert results.finished() == {cell.digest}
        (told,) = results.cells([cell.digest]).to_dict("records")
    assert (told["status"], told["cause"], told["finished_at"]) == ("done", None, 2.0)


def test_recording_again_leaves_nothing_of_the_first_time(path):
    cell = cell_of("lda", "S00")
    with Results(path) as results:
        results.record(cell, outcome_of("S00", 0.75, curve=[0.1, 0.2, 0.3]), 1.0)
        results.record(cell, outcome_of("S01", 0.5), 2.0)
        assert set(results.rows([cell.digest])["subject"]) == {"S01"}
        assert [record.subject for record in results.predictions(cell.digest)] == ["S01"]


def test_rows_outside_the_plan_are_kept_and_not_shown(path):
    header = header_of("lda", notes=("a note", "another"))
    kept, shown = cell_of("lda", "S00"), cell_of("lda", "S01")
    with Results(path) as results:
        for cell in (kept, shown):
            results.record(cell, outcome_of(cell.fold, 0.5), 1.0)
        results.set_plan(header, [shown.digest])
    with Results(path, writable=False) as results:
        assert results.header() == header
        assert results.planned() == [shown.digest]
        assert set(results.rows(results.planned())["fold"]) == {"S01"}
        assert results.finished() == {kept.digest, shown.digest}


def test_more_digests_than_sqlite_takes_parameters(path):
    cell = cell_of("lda", "S00")
    with Results(path) as results:
        results.record(cell, outcome_of("S00", 0.5), 1.0)
        assert len(results.cells([*map(str, range(300_000)), cell.digest])) == 1


# --- nothing is lost, nothing is half -------------------------------------------------------------------------------


def test_a_cell_that_cannot_be_written_whole_is_not_written_at_all(path):
    first, second = cell_of("lda", "S00"), cell_of("lda", "S01")
    twice = Outcome([score(0.5), score(0.75)], [], 0.1)
    with Results(path) as results:
        results.record(first, outcome_of("S00", 0.5), 1.0)
        for cell in (first, second):
            with pytest.raises(ResultsError, match=r"Cannot write results to .*small\.sqlite"):
                results.record(cell, twice, 2.0)
        told = results.cells([first.digest, second.digest])
        assert told["digest"].tolist() == [first.digest]
        # The one that stood there before is as it was.
        assert told["finished_at"].tolist() == [1.0]
        assert set(results.rows([first.digest])["value"]) == {0.5}


def test_a_reader_sees_cells_as_they_finish(path):
    cells = [cell_of("lda", f"S{number:02d}") for number in range(3)]
    with Results(path) as writer, Results(path, writable=False) as reader:
        for number, cell in enumerate(cells, start=1):
            writer.record(cell, outcome_of(cell.fold, 0.5), 1.0)
            assert len(reader.cells([cell.digest for cell in cells])) == number


def test_a_reader_cannot_write(path):
    with Results(path) as writer, Results(path, writable=False) as reader:
        with pytest.raises(ResultsError, match="readonly"):
            reader.record(cell_of("lda", "S00"), outcome_of("S00", 0.5), 1.0)
        assert writer.finished() == set()


def test_a_closed_file_stands_alone(path):
    with Results(path) as results:
        results.record(cell_of("lda", "S00"), outcome_of("S00", 0.5), 1.0)
    assert [file.name for file in path.parent.iterdir()] == ["small.sqlite"]


def test_cells_survive_the_killed_driver(path):
    driver = f"""
        import os, signal
        from pathlib import Path
        from experiments.results import Results
        from tests.experiments.studies import cell_of, outcome_of
        results = Results(Path({str(path)!r}))
        results.record(cell_of("lda", "S00"), outcome_of("S00", 0.5), 1.0)
        results._db.execute("INSERT INTO plan VALUES ('half done')")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(driver)], cwd=root, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    with Results(path, writable=False) as reader:
        assert reader.finished() == {"lda-S00-0-0"}
    with Results(path) as results:
        results.record(cell_of("lda", "S01"), outcome_of("S01", 0.5), 2.0)
        assert len(results.finished()) == 2
        assert results.planned() == []


# --- bad input ------------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "results").write_text("a file, not a folder")
    with pytest.raises(ResultsError, match=r"Cannot write results at .*--results DIR"):
        Results(tmp_path / "results" / "small.sqlite")


def test_nothing_to_read(path):
    with pytest.raises(ResultsError, match=r"No results at .*run the study first"):
        Results(path, writable=False)
    assert not path.parent.exists()


@pytest.mark.parametrize("writable", [True, False])
def test_a_file_that_is_no_database(tmp_path, writable):
    path = tmp_path / "small.sqlite"
    path.write_text("subject,label\n" * 100)
    before = path.read_bytes()
    with pytest.raises(ResultsError, match="not a database"):
        Results(path, writable=writable)
    assert path.read_bytes() == before


def test_results_of_another_format(path):
    Results(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    for writable in (True, False):
        with pytest.raises(ResultsError, match="format 99"):
            Results(path, writable=writable)


def test_a_damaged_file(path):
    cells = [cell_of("lda", f"S{number:02d}") for number in range(50)]
    with Results(path) as results:
        for cell in cells:
            results.record(cell, outcome_of(cell.fold, 0.5), 1.0)
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xa5" * (len(content) - 8192)
    path.write_bytes(content)
    with Results(path, writable=False) as results:
        for read in (
            lambda: results.rows([cell.digest for cell in cells]),
            lambda: results.predictions(cells[0].digest),
            results.header,
            results.planned,
            results.finished,
        ):
            with pytest.raises(ResultsError, match="Cannot read results from"):
                read()


def test_a_study_that_was_never_run(path):
    with Results(path) as results, pytest.raises(ResultsError, match="run it first"):
        results.header()


def test_a_renamed_configuration_keeps_its_cells(tmp_path):
    cell = cell_of("lda", "S00")
    renamed = replace(cell, configuration="lda/training", study="renamed")
    with Results(tmp_path / "s.sqlite") as results:
        results.record(cell, outcome_of("S00", 0.75, curve=[0.5]), 1.0)
        before = results.rows([cell.digest])
        results.relabel([renamed, cell_of("lda/training", "S01")])
        after, cells = results.rows([cell.digest]), results.cells([cell.digest])
    assert set(after["configuration"]) == {"lda/training"}
    assert set(after["study"]) == {"renamed"}
    names = ["configuration", "study"]
    assert after.drop(columns=names).equals(before.drop(columns=names))
    assert len(cells) == 1, "a cell that was never computed is not made by naming it"


def test_a_failure_never_replaces_a_result(tmp_path):
    cell = cell_of("lda", "S00")
    with Results(tmp_path / "s.sqlite") as results:
        results.record(cell, outcome_of("S00", 0.75), 1.0)
        results.record(cell, failure_of("out of memory"), 2.0)
        assert results.finished() == {cell.digest}
        assert set(results.rows([cell.digest])["value"]) == {0.75}


@pytest.mark.parametrize("version", [0, 999])
def test_a_file_of_somebody_else_is_refused_and_left_as_it_is(tmp_path, version):
    path = tmp_path / "s.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (value)")
        db.execute(f"PRAGMA user_version = {version}")
        db.commit()
    before = path.read_bytes()
    with pytest.raises(ResultsError, match=r"s\.sqlite has results of format"):
        Results(path)
    assert path.read_bytes() == before
