"""Values that a study leaves open: candidates, their cells, and the choice on people who are set aside."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from benchmarks.cache import Cache
from benchmarks.datasets.contract import Places
from benchmarks.errors import StudyError
from experiments.choosing import candidates, choose
from experiments.folders import Folders
from experiments.plan import Plan, cells_of
from experiments.results import Results
from experiments.runner import run
from experiments.study import Choice, Study

STREAM = {"name": "stream", "held_out": 2, "choosing_subjects": 3, "choosing_orders": 2}
TUNED = {"strategy": {"name": "finetuning", "epochs": {"choose": [1, 9]}}}


def plan(folder: Path, **changes: Any) -> Plan:
    base = {
        "study": "s",
        "dataset": {"name": "simulated", "subjects": 8},
        "windows": {"length_s": 4},
        "protocol": STREAM,
        "controls": ["majority"],
        "orders": 2,
        "seeds": 2,
        "configurations": {"tuned": TUNED, "fixed": {"strategy": {"name": "finetuning", "epochs": 2}}},
    }
    return Plan(Study.model_validate({**base, **changes}), Places(folder / "data", folder / "cache", folder))


def rows(*values: tuple[str, int, str, float], level: str = "window") -> pd.DataFrame:
    frame = pd.DataFrame(values, columns=["digest", "step", "target", "value"])
    return frame.assign(level=level)


# Known answers


def test_the_score_is_the_mean_over_people_still_to_come_after_the_first_and_then_over_orders() -> None:
    told = rows(
        ("a0", 0, "unseen", 1.0),  # before anybody is met: left out
        ("a0", 1, "seen", 1.0),  # learned from: left out
        ("a0", 1, "unseen", 0.6),
        ("a0", 1, "unseen", 0.8),
        ("a0", 2, "unseen", 0.7),
        ("a1", 1, "unseen", 0.5),
        ("b0", 1, "unseen", 0.55),
        ("b1", 1, "unseen", 0.75),
    )
    chosen = choose("ewc", {"strength=1": ["a0", "a1"], "strength=10": ["b0", "b1"]}, told, {}, "balanced_accuracy")
    assert chosen.scores == pytest.approx({"strength=1": 0.6, "strength=10": 0.65})
    assert (chosen.configuration, chosen.value) == ("ewc", "strength=10")
    assert (
        choose("ewc", {"strength=1": ["a0", "a1"], "strength=10": ["b0", "b1"]}, told, {}, "brier").value
        == "strength=1"
    )


def test_of_equals_the_first_and_of_what_diverged_in_an_order_none() -> None:
    told = rows(("a", 1, "unseen", 0.5), ("b", 1, "unseen", 0.5), ("c0", 1, "unseen", 0.9))
    chosen = choose("x", {"1": ["a"], "2": ["b"], "3": ["c0", "c1"]}, told, {"c1": "it diverged"}, "accuracy")
    assert chosen.value == "1"
    assert math.isnan(chosen.scores["3"])
    assert chosen.causes == {"3": "it diverged"}
    assert chosen.told == "x: 1 (could not be learned: 3: it diverged)"


def test_candidates_are_all_combinations_in_the_order_of_the_file() -> None:
    open_choice = Choice(name="ewc", values={"a": {"choose": [1, 2]}, "b": 3, "c": {"choose": ["x", "y"]}})
    found = candidates(open_choice, "here")
    assert {told: dict(choice.values) for told, choice in found.items()} == {
        "a=1, c=x": {"a": 1, "b": 3, "c": "x"},
        "a=1, c=y": {"a": 1, "b": 3, "c": "y"},
        "a=2, c=x": {"a": 2, "b": 3, "c": "x"},
        "a=2, c=y": {"a": 2, "b": 3, "c": "y"},
    }
    assert candidates(Choice(name="ewc", values={"b": 3}), "here") == {}
    assert open_choice.text == "ewc(a=one of [1, 2], b=3, c=one of ['x', 'y'])"


# Behaviour


def test_cells_to_choose_are_of_people_who_are_never_scored_in_the_first_seed_and_the_protocols_orders(
    tmp_path: Path,
) -> None:
    made = plan(tmp_path)
    ((label, of),) = made.choosing().items()
    assert (label, list(of)) == ("tuned", ["epochs=1", "epochs=9"])
    cells = [cell for mine in of.values() for cell in cells_of(mine)]
    assert [(cell.seed, cell.stream) for cell in cells] == [(0, 0), (0, 1)] * 2
    assert len({cell.digest for cell in cells} | {cell.digest for cell in made.cells()}) == 4 + 1 + 2 * 4
    (fold,) = {cell.fold for cell in made.cells()}
    assert not set(cells[0].fold.learners) & {*fold.learners, *fold.scored}
    assert cells[0].fold.learners == made.subjects[:3]


def test_a_study_runs_with_what_was_chosen_tells_it_and_chooses_nothing_anew(tmp_path: Path) -> None:
    made, folders = plan(tmp_path), Folders(tmp_path)

    def once() -> int:
        return run(made, folders, Cache(tmp_path / "cache"), Console(quiet=True), workers=1).computed

    assert once() == 4 + 1 + 2 * 4
    with Results(folders.results("s"), writable=False) as results:
        (chosen,) = results.header().choices
        assert chosen.configuration == "tuned"
        assert set(chosen.scores) == {"epochs=1", "epochs=9"}
        assert chosen.scores[chosen.value] == max(chosen.scores.values())
        cells = results.cells(results.planned())
        told = cells.loc[cells["configuration"] == "tuned", "variant"].unique().tolist()
        assert told == [f"finetuning({chosen.value})"]
        assert len(results.finished()) == 4 + 9
    assert once() == 0


# Bad input


@pytest.mark.parametrize(
    ("values", "message"),
    [([10], "nothing to choose: a: 10"), ([1, 2, 1], "1 stands twice"), ([1, 1.0], "1.0 stands twice")],
)
def test_one_value_or_the_same_twice_is_no_choice(values: list[float], message: str) -> None:
    with pytest.raises(StudyError, match=rf"here\.a\.choose: .*{message}"):
        candidates(Choice(name="ewc", values={"a": {"choose": values}}), "here")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": {"name": "loso", "validation_subjects": 1}}, "sets nobody aside"),
        ({"protocol": {**STREAM, "choosing_subjects": 0}}, "sets nobody aside"),
        ({"configurations": {"x": {"strategy": {"name": "finetuning", "epochs": {"choose": []}}}}}, "values to choose"),
        ({"configurations": {"x": {"strategy": {"name": "finetuning", "epochs": {"choose": 3}}}}}, "values to choose"),
        ({"configurations": {"x": {"strategy": {"name": "finetuning", "epochs": {"choose": [0, 1]}}}}}, "found 0"),
        ({"configurations": {"x": TUNED, "y": {"strategy": {"name": "finetuning", "epochs": 9}}}}, "may choose"),
        ({"configurations": {"x": {"strategy": {"name": "pooled", "epochs": {"choose": [1, 2]}}}}}, "in sequence"),
    ],
)
def test_open_values_that_cannot_be_chosen_are_refused_before_anything_runs(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(StudyError, match=message):
        plan(tmp_path, **changes)


def test_a_configuration_that_cannot_be_learned_is_left_out_and_the_others_go_on(tmp_path: Path) -> None:
    explosive = {"optimizer": "sgd", "learning_rate": 1e30}
    entries = {"tuned": {**TUNED, "training": explosive}, "fixed": {"strategy": {"name": "finetuning", "epochs": 2}}}
    made, folders = plan(tmp_path, configurations=entries, seeds=1, orders=1), Folders(tmp_path)
    report = run(made, folders, Cache(tmp_path / "cache"), Console(quiet=True), workers=1)
    assert (report.computed, report.failed) == (4 + 2, 4)
    with Results(folders.results("s"), writable=False) as results:
        header = results.header()
        assert header.configurations == ("majority", "fixed")
        (chosen,) = header.choices
        assert chosen.value is None
        assert "diverge" in chosen.causes["epochs=1"]
        assert any("tuned is left out" in note for note in header.notes)


def test_a_reference_that_cannot_be_learned_ends_the_study(tmp_path: Path) -> None:
    made = plan(tmp_path, reference="tuned")
    digests = {cell.digest: "it diverged" for of in made.choosing()["tuned"].values() for cell in cells_of(of)}
    with pytest.raises(StudyError, match="reference: tuned is left out"):
        made.chosen(rows(), digests)


def test_another_metric_makes_other_cells_of_a_stream_and_the_same_of_leaving_one_out(tmp_path: Path) -> None:
    fixed = {"fixed": {"strategy": {"name": "finetuning", "epochs": 2}}}

    def digests(**changes: Any) -> set[str]:
        return {cell.digest for cell in plan(tmp_path, configurations=fixed, **changes).cells()}

    loso = {"name": "loso", "validation_subjects": 1}
    assert not digests(metric="accuracy") & digests(metric="balanced_accuracy")
    assert digests(metric="accuracy", protocol=loso) == digests(metric="balanced_accuracy", protocol=loso)
