"""Measurements of cells, over steps, seeds and orders."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from experiments.report.diagnosed import CHANCE_OVERLAP, RELIABILITY, Diagnosed, diagnosed, stepped_up
from experiments.report.stream_study import scored
from experiments.statistics import summary
from tests.experiments.stream_rows import cell_of_stream, outcome_of_stream, study_of

NAN = math.nan
ORDER = ("A", "B", "C")


def measured_of(folder: Path, told: dict[tuple[str, int, int], dict[tuple[int, str], float]]) -> Diagnosed:
    """Measurements by strategy, order and seed."""
    cells = [
        (
            cell_of_stream(strategy, order, seed),
            outcome_of_stream(ORDER, np.full((4, 3), 0.5), {"X": [0.5] * 4}, measured=values),
        )
        for (strategy, order, seed), values in told.items()
    ]
    study = study_of(folder, cells)
    (one,) = scored(study, "here")
    return diagnosed(study, one.group)


def test_a_mean_is_over_steps_and_seeds_first_and_then_over_orders(tmp_path: Path):
    orders = [0.125, 0.25, 0.5, 0.625, 0.75]
    told = {
        ("ewc", order, seed): {(step, "f2_cosine"): value + seed / 8 + step for step in (2, 3)}
        for order, value in enumerate(orders)
        for seed in (0, 1)
    }
    found = measured_of(tmp_path, told)
    assert found.mean("ewc", "f2_cosine") == summary(np.array(orders) + 1 / 16 + 2.5)
    by_step = found.by_step("ewc", "f2_cosine")
    assert list(by_step) == [2, 3]
    assert by_step[3] == summary(np.array(orders) + 1 / 16 + 3)


def test_a_difference_is_of_the_same_order_and_step(tmp_path: Path):
    told = {
        ("ewc", order, 0): {
            (1, "f1_spearman"): 0.75,
            (2, "f1_spearman"): 0.5,
            (1, "f1_spearman_0db"): 0.5 - order / 8,
            (2, "f1_spearman_0db"): NAN,
        }
        for order in range(5)
    }
    found = measured_of(tmp_path, told).difference("ewc", "f1_spearman", "f1_spearman_0db")
    assert found == summary(0.25 + np.arange(5) / 8)


def test_a_change_is_from_the_second_subject_to_the_last(tmp_path: Path):
    told = {
        ("ewc", order, 0): {
            **{(step, "f3_importance"): value for step, value in ((1, 99.0), (2, 2.0), (3, 5.0 + order))},
            **{(step, "f3_rigidity"): value for step, value in ((2, 0.25), (3, 0.5))},
        }
        for order in range(5)
    }
    found = measured_of(tmp_path, told)
    # Importance has no scale of its own, so its change is a factor, told by its logarithm; a share's is a difference.
    assert found.change("ewc", "f3_importance") == summary(np.log(5.0 + np.arange(5)) - np.log(2.0))
    assert found.change("ewc", "f3_rigidity").mean == 0.25
    assert found.last("ewc", "f3_importance").tolist() == np.log(5.0 + np.arange(5)).tolist()
    assert found.last("ewc", "f3_rigidity").tolist() == [0.5] * 5


def test_a_change_that_has_no_beginning_or_no_end_is_undefined(tmp_path: Path):
    told = {
        ("ewc", 0, 0): {(2, "f3_importance"): 0.0, (3, "f3_importance"): 1.0, (2, "f3_rigidity"): 0.5},
        ("ewc", 1, 0): {(2, "f3_importance"): NAN, (3, "f3_importance"): 1.0},
        ("ewc", 2, 0): {(2, "f3_importance"): 1.0, (3, "f3_importance"): 0.0},
    }
    found = measured_of(tmp_path, told)
    assert (found.change("ewc", "f3_importance").n, found.change("ewc", "f3_importance").undefined) == (0, 3)
    assert found.change("ewc", "f3_rigidity").n == 0


def test_configurations_are_those_with_a_value_in_the_order_of_the_study(tmp_path: Path):
    found = measured_of(
        tmp_path,
        {
            ("mas", 0, 0): {(1, "f1_spearman"): 0.5, (1, "epsilon"): 1.0},
            ("ewc", 0, 0): {(1, "f1_overlap"): 0.5},
            ("finetuning", 0, 0): {(1, "f3_step"): 1.0},
            ("si", 0, 0): {(1, "f1_spearman"): NAN},
        },
    )
    assert found.configurations(["f1_spearman", "f1_overlap"]) == ["mas", "ewc"]
    assert found.configurations(["f3_step"]) == ["finetuning"]
    assert "epsilon" not in found.values.index.get_level_values("name")
    assert found.mean("si", "f1_spearman").n == 0


def test_a_study_that_measured_nothing(tmp_path: Path):
    found = measured_of(tmp_path, {("ewc", 0, 0): {}})
    assert found.configurations(["f1_spearman"]) == []
    assert found.mean("ewc", "f1_spearman").n == 0
    assert found.by_step("ewc", "f1_spearman") == {}
    assert found.change("ewc", "f3_step").n == 0
    assert found.last("ewc", "f3_step").empty
    assert math.isnan(found.share("ewc", "f2_penalty_norm", "f2_task_norm"))


def test_halves_are_stepped_up_to_the_whole():
    # The formula's fixed points are 0 and 1; a negative correlation has no bound there.
    halves = np.array([0.0, 1.0, 0.5, 0.25, -0.9, NAN])
    np.testing.assert_allclose(stepped_up(halves), [0.0, 1.0, 2 / 3, 0.4, -0.9, NAN])


def test_reliability_is_of_each_subject_before_seeds_and_steps_are_averaged(tmp_path: Path):
    told = {
        ("ewc", order, seed): {(1, "f1_spearman"): 1.0 * seed, (2, "f1_spearman"): 0.5}
        for order in range(5)
        for seed in (0, 1)
    }
    # Steps give (0 + 1) / 2 and 2/3; of the mean half, .5, it would be 2/3 in both.
    assert measured_of(tmp_path, told).mean("ewc", RELIABILITY).mean == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_a_share_is_of_the_mean_lengths_of_an_order(tmp_path: Path):
    told = {
        ("ewc", order, 0): {
            (step, name): length * (1 + order)
            for step in (2, 3)
            for name, length in (("f2_task_norm", 1.0 + step), ("f2_penalty_norm", 0.035 * (step - 1) / (1 + order)))
        }
        for order in (0, 1)
    }
    # Lengths are 0.0525 over 3.5, and in the second order 0.0525 over 7.
    share = measured_of(tmp_path, told).share("ewc", "f2_penalty_norm", "f2_task_norm")
    assert share == pytest.approx((0.015 + 0.0075) / 2)


def test_random_tops_overlap_as_said():
    rng = np.random.default_rng(0)
    weights, top = 20_000, 2_000
    drawn = [np.isin(np.arange(weights), rng.permutation(weights)[:top]) for _ in range(2)]
    overlap = (drawn[0] & drawn[1]).sum() / (drawn[0] | drawn[1]).sum()
    assert overlap == pytest.approx(CHANCE_OVERLAP, abs=0.01)
