"""Controls at work: where time tells the classes, they tell them too, and physiology has to do better."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.datasets.contract import Places
from experiments.study import Study
from tests.experiments.test_known_answers import scores

CONFIGURATIONS: dict[str, Any] = {
    "line": {"strategy": "time_linear"},
    "forest": {"strategy": {"name": "time_forest", "trees": 20}},
    "lda": {"strategy": "lda", "normalization": ["training", "subject_unlabelled"]},
    "personal": {
        "strategy": {"name": "personal", "epochs": 20},
        "encoder": {"name": "mlp", "hidden": [16]},
        "training": {"learning_rate": 0.02},
    },
}


def means(folder: Path, **dataset: Any) -> dict[str, float]:
    """Mean balanced accuracy over the subjects of three simulated cohorts, by configuration."""
    places = Places(folder, folder, folder)
    small = {"subjects": 16, "trials": 3, "trial_s": 12, "channels": 2, "trial_spread": 0.1, **dataset}
    found = [
        scores(
            Study.model_validate(
                {
                    "study": "controls",
                    "dataset": {"name": "simulated", "seed": seed, **small},
                    "windows": {"length_s": 4},
                    "protocol": {"name": "loso", "validation_subjects": 0},
                    "seeds": 1,
                    "controls": ["class_prior"],
                    "configurations": CONFIGURATIONS,
                }
            ),
            places,
        )
        for seed in range(3)
    ]
    return {label: float(np.mean([one[label] for one in found])) for label in found[0]}


def test_the_clock_beats_chance_on_a_cohort_that_drifts_without_class_signal_and_physiology_does_not(
    tmp_path: Path,
) -> None:
    found = means(tmp_path, order="calm_first", effect=0.0, drift=4.0)
    assert found["class_prior"] == 0.5
    assert min(found["line"], found["forest"]) > 0.95, found
    # 48 people, each drifting a way of their own: the standard error of a mean is about .06.
    assert abs(found["lda/training"] - 0.5) < 0.15, found
    assert abs(found["lda/subject_unlabelled"] - 0.5) < 0.15, found
    # The drift is there to be learned: within a person it passes for the classes.
    assert found["personal"] > 0.65, found


def test_the_clock_tells_nothing_where_the_order_is_random_and_physiology_does(tmp_path: Path) -> None:
    found = means(tmp_path, effect=2.0)
    # Nine times, most of a cohort happen to have had the same of two neighbouring trials first: a coin each.
    assert abs(found["line"] - 0.5) < 0.2, found
    assert abs(found["forest"] - 0.5) < 0.2, found
    assert min(found[label] for label in ("lda/training", "lda/subject_unlabelled", "personal")) > 0.8, found
