"""From a study to its model: run, published, loaded by MLflow, and saying what the results hold."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pytest
from rich.console import Console

from benchmarks.cache import Cache
from benchmarks.cohort import build_cohort
from benchmarks.datasets.contract import Places
from experiments.folders import Folders
from experiments.plan import Plan
from experiments.publishing import publish
from experiments.results import Results
from experiments.runner import run
from experiments.study import Study
from tests.experiments.stores import runs_of

pytestmark = pytest.mark.slow

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "lda": {"strategy": "lda", "normalization": "subject_unlabelled"},
    "network": {
        "strategy": {"name": "pooled", "epochs": 10},
        "encoder": {"name": "mlp", "hidden": [16]},
        "normalization": "subject_unlabelled",
        "training": {"learning_rate": 0.01},
    },
}


def plan_of(best: str, folder: Path) -> Plan:
    """A study in which one configuration stands beside a control and the same pooled network without learning."""
    untrained = {**CONFIGURATIONS["network"], "training": {"learning_rate": 1e-9}}
    study = Study.model_validate(
        {
            "study": "travels",
            "dataset": {"name": "simulated", "subjects": 4, "channels": 4, "effect": 2.0, "trial_spread": 0.1},
            "windows": {"length_s": 4},
            "protocol": {"name": "loso", "validation_subjects": 1},
            "seeds": 2,
            "controls": ["majority"],
            "configurations": {"untrained": untrained, best: CONFIGURATIONS[best]},
        }
    )
    return Plan(study, Places(folder, folder / "cache", folder))


@pytest.mark.parametrize("best", CONFIGURATIONS)
def test_the_model_of_a_study_that_was_run_says_what_its_results_hold_to_the_bit(
    best: str, tmp_path: Path, empty_store: Path, store: str
) -> None:
    plan, cache, folders = plan_of(best, tmp_path), Cache(tmp_path / "cache"), Folders(tmp_path / "results")
    folders.root.mkdir()
    shutil.copy(empty_store, folders.root / "mlflow.db")
    report = run(plan, folders, cache, Console(quiet=True), workers=1)
    assert (report.failed, report.problem) == (0, None)

    assert f"Model: {best}, best mean" in publish("travels", folders, store)
    model = mlflow.pyfunc.load_model(f"{runs_of(store, 'travels')[best, None].info.artifact_uri}/model")

    configuration = next(one for one in plan.configurations if one.label == best)
    cohort = build_cohort(plan.dataset, plan.task_name, plan.subjects, plan.recipe(configuration), cache)
    cells = [cell for cell in plan.cells() if cell.configuration.label == best and cell.seed == 0]
    assert sorted(cell.fold.name for cell in cells) == sorted(plan.subjects)
    said = []
    with Results(folders.results("travels"), writable=False) as results:
        for cell in cells:
            (stored,) = results.predictions(cell.digest)
            windows = cohort.windows.of(stored.subject)
            found = model.predict(windows.x, params={"subject": stored.subject})
            assert list(found.columns) == list(plan.task.classes)
            assert found.to_numpy().tobytes() == stored.probabilities.tobytes()
            said.append(stored.probabilities.tobytes())
    assert len(set(said)) == len(plan.subjects), "no two people are answered alike"
