"""Predictors as an MLflow model: what the study predicted comes out again, and nothing is unpickled."""

from __future__ import annotations

import json
import pickle
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cloudpickle
import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from mlflow.models import Model

from benchmarks.archive import Archive
from benchmarks.cohort import Cohort
from benchmarks.errors import DataError, ResultsError
from benchmarks.metrics.classification import accuracy
from benchmarks.normalization import SubjectUnlabelled
from benchmarks.normalization import Training as TrainingStatistics
from benchmarks.protocols.leave_one_subject_out import LeaveOneSubjectOut
from benchmarks.windows import Windows
from clients.encoders.mlp import MLP
from clients.objectives.cross_entropy import CrossEntropy
from clients.training import Training
from experiments.cell import Job, Split, compute, learning_of
from experiments.model import log_model, save_model
from experiments.model_code import HeldOutModel, ModelCard
from strategies.archives import WindowForm, packed, unpacked
from strategies.classical import LDA, TangentSpace
from strategies.contract import Strategy
from strategies.pooled import Pooled
from tests.experiments.studies import cell_of, header_of
from tests.strategies.learnings import covariance_windows, gaussian_windows

SUBJECTS = ("S01", "S02", "S/3", "S04")
HEADER = header_of("lda")
VECTORS = gaussian_windows(SUBJECTS, per_class=30, features=12, shift=1.0, distance=1.0)
RAW = replace(VECTORS, x=np.repeat(VECTORS.x[:, :, None], 7, axis=2).astype(np.float32))


def cohort_of(windows: Windows, geometry: Any) -> Cohort:
    # Subjects of several lengths, and windows that do not lie class after class.
    kept = np.random.default_rng(0).permutation(len(windows))[:-17]
    windows = replace(windows, onset=np.arange(len(windows), dtype=float)).select(kept)
    return Cohort("toy", "t", HEADER.classes, geometry, windows, (), "f", simulated=True)


def pooled(mode: Any, encoder: Any = None) -> Pooled:
    training = Training(learning_rate=0.02, batch_size=16)
    return Pooled(mode, encoder or MLP(hidden=(16,), dropout=0.3), CrossEntropy(), training, epochs=3)


CASES: dict[str, tuple[Strategy, Cohort]] = {
    "lda/training": (LDA(TrainingStatistics()), cohort_of(VECTORS, "vector")),
    "lda/subject_unlabelled": (LDA(SubjectUnlabelled()), cohort_of(VECTORS, "vector")),
    "network/training": (pooled(TrainingStatistics()), cohort_of(VECTORS, "vector")),
    "network/subject_unlabelled": (pooled(SubjectUnlabelled()), cohort_of(RAW, "channels")),
    "tangent_space/training": (
        TangentSpace(TrainingStatistics()), cohort_of(covariance_windows(SUBJECTS, 30, shift=0.3), "spd"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Studied:
    """What a small study computed of one configuration."""

    cohort: Cohort
    card: ModelCard
    members: dict[str, bytes]
    predictions: dict[str, np.ndarray]


def study(strategy: Strategy, cohort: Cohort) -> Studied:
    members, predictions = {}, {}
    for fold in LeaveOneSubjectOut().folds(SUBJECTS):
        job = Job(strategy, fold, 0, 0, 1, {"window": {"accuracy": accuracy}}, {"window": {"accuracy": accuracy}})
        learning = learning_of(cohort, job, Split.of(cohort, job))
        content = packed(strategy.fit(learning, lambda step, shown: None), learning.training)
        assert content is not None
        outcome = compute(cohort, job)
        assert outcome.cause is None
        (subject,) = fold.scored
        members[subject], predictions[subject] = content, outcome.predictions[0].probabilities
    return Studied(cohort, ModelCard.of(HEADER, row_of(), members), members, predictions)


def row_of(**changes: Any) -> dict[str, Any]:
    """A cell as the results hold it."""
    row = asdict(cell_of("lda", "S01"))
    return {**row, "provenance": json.dumps(row["provenance"]), **changes}


@pytest.fixture(scope="module")
def studied() -> Studied:
    return study(*CASES["lda/subject_unlabelled"])


@pytest.fixture
def folder(studied: Studied, tmp_path: Path) -> Path:
    save_model(tmp_path / "model", studied.card, studied.members)
    return tmp_path / "model"


@contextmanager
def no_pickle() -> Iterator[None]:
    """Inside, unpickling fails."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("unpickled")

    with pytest.MonkeyPatch.context() as patch:
        for module in (pickle, cloudpickle, torch):
            for name in ("load", "loads", "Unpickler"):
                patch.setattr(module, name, refuse, raising=False)
        yield


def windows_of(studied: Studied, subject: str) -> np.ndarray:
    return studied.cohort.windows.of(subject).x


# --- predictions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_what_the_study_predicted_comes_out_to_the_bit(name: str, tmp_path: Path) -> None:
    small = study(*CASES[name])
    save_model(tmp_path / "model", small.card, small.members)
    with no_pickle():
        model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
        for subject, expected in small.predictions.items():
            found = model.predict(windows_of(small, subject), params={"subject": subject})
            assert list(found.columns) == list(HEADER.classes)
            assert found.to_numpy().tobytes() == expected.tobytes()


def test_for_a_new_person_the_mean_of_all_predictors_answers(studied: Studied, folder: Path) -> None:
    model = mlflow.pyfunc.load_model(str(folder))
    new = gaussian_windows(["new"], per_class=9, features=12).x
    each = [model.predict(new, params={"subject": subject}) for subject in SUBJECTS]
    for found in (model.predict(new), model.predict(new, params={"subject": ""})):
        np.testing.assert_allclose(found.to_numpy(), np.mean(each, axis=0), atol=1e-12)


@pytest.mark.parametrize(("name", "atol"), [("lda/subject_unlabelled", 1e-12), ("network/subject_unlabelled", 1e-5)])
def test_the_order_of_a_persons_windows_does_not_matter(name: str, atol: float) -> None:
    small = study(*CASES[name])
    members = {subject: unpacked(content) for subject, content in small.members.items()}
    model = HeldOutModel(small.card, members)
    x = windows_of(small, "S02")
    order = np.random.default_rng(1).permutation(len(x))
    shuffled = model.predict(x[order], {"subject": "S02"}).to_numpy()
    np.testing.assert_allclose(shuffled, small.predictions["S02"][order], atol=atol)


def test_a_missing_feature_is_imputed_inside_the_model(folder: Path) -> None:
    x = gaussian_windows(["new"], per_class=9, features=12).x
    x[3, 5] = np.nan
    assert np.isfinite(mlflow.pyfunc.load_model(str(folder)).predict(x)).all(axis=None)


def test_threads_are_as_before(folder: Path, studied: Studied) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        mlflow.pyfunc.load_model(str(folder)).predict(windows_of(studied, "S02"))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("subject", ["s02", "S05", "new"])
def test_a_name_that_the_study_does_not_know_is_refused(folder: Path, studied: Studied, subject: str) -> None:
    model = mlflow.pyfunc.load_model(str(folder))
    with pytest.raises(DataError, match=f"{subject!r} is nobody whom the study small held out.*leave"):
        model.predict(windows_of(studied, "S02"), params={"subject": subject})


def test_windows_of_another_shape_or_none_are_refused(folder: Path) -> None:
    with pytest.raises(Exception, match="shape"):
        mlflow.pyfunc.load_model(str(folder)).predict(np.zeros((3, 11)))
    model = HeldOutModel.read(folder / "data" / "predictors")
    for x in (np.zeros((3, 11)), np.zeros((0, 12)), np.zeros(12), np.zeros((3, 12, 1))):
        with pytest.raises(DataError, match=r"expected \(n, 12\): those of differential_entropy"):
            model.predict(x)


# --- the folder ------------------------------------------------------------------------------------------------------


def test_the_folder_holds_archives_and_text_alone_and_tells_what_they_are(folder: Path, studied: Studied) -> None:
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    archives = {f"data/predictors/{number:03d}.archive" for number in range(4)}
    text = {"MLmodel", "README.md", "conda.yaml", "python_env.yaml", "requirements.txt", "data/predictors/card.json"}
    assert files == archives | text
    told = Model.load(str(folder))
    (spec,) = told.signature.inputs.to_dict()
    assert spec["tensor-spec"] == {"dtype": "float64", "shape": (-1, 12)}
    assert told.signature.outputs.input_names() == list(HEADER.classes)
    assert [(param.name, param.default) for param in told.signature.params] == [("subject", "")]
    assert told.metadata["study"] == "small"
    assert told.metadata["subjects"] == list(SUBJECTS)
    readme = (folder / "README.md").read_text()
    for word in ("lda of the study small", "rest, arithmetic", "differential_entropy", '"length_s": 4.0', "training"):
        assert word in readme


def test_a_transductive_model_says_that_windows_belong_together(studied: Studied, tmp_path: Path) -> None:
    provenance = json.dumps({**cell_of("lda", "S01").provenance, "features": ["scr_count", "rate"]})
    card = ModelCard.of(HEADER, row_of(transductive=1, simulated=1, provenance=provenance), studied.members)
    assert card.features == ("scr_count", "rate")
    save_model(tmp_path / "model", card, studied.members)
    readme = (tmp_path / "model" / "README.md").read_text()
    assert "all of them in one call" in readme
    assert "Simulated people" in readme
    assert "scr_count, rate" in readme
    assert Model.load(str(tmp_path / "model")).metadata["transductive"] is True


def test_requirements_are_pinned_have_no_address_and_leave_unseen_to_its_owner(folder: Path) -> None:
    lines = (folder / "requirements.txt").read_text().splitlines()
    pinned = [line for line in lines if not line.startswith("#")]
    assert all(len(line.split("==")) == 2 for line in pinned)
    assert f"mlflow=={mlflow.__version__}" in pinned
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert any(line.startswith(f"# unseen {project['version']}") for line in lines)
    assert not any("://" in path.read_text() for path in folder.glob("*") if path.is_file())
    assert "unseen==" not in "".join(path.read_text() for path in folder.glob("*") if path.is_file())


def test_saving_into_an_empty_folder_takes_nothing_from_the_current_one_and_puts_nothing_there(
    studied: Studied, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    for name in ("uv.lock", "pyproject.toml", ".python-version"):
        (here / name).write_text("private")
    monkeypatch.chdir(here)
    save_model(there, studied.card, studied.members)
    assert not (there / "uv.lock").exists()
    assert {path.name for path in here.iterdir()} == {"uv.lock", "pyproject.toml", ".python-version"}


def test_no_state_of_mlflow_is_touched(studied: Studied, tmp_path: Path) -> None:
    before = mlflow.get_tracking_uri(), mlflow.active_run()
    save_model(tmp_path / "model", studied.card, studied.members)
    assert (mlflow.get_tracking_uri(), mlflow.active_run()) == before


def test_a_folder_that_cannot_be_written_is_told(studied: Studied, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="Cannot write the model"):
        save_model(tmp_path / "file" / "model", studied.card, studied.members)


def test_a_card_needs_predictors_that_take_the_same_windows(studied: Studied) -> None:
    other = packed(unpacked(studied.members["S02"]), RAW)
    assert other is not None
    assert studied.card.form == WindowForm((12,), "float64")
    for members, told in (({}, "no predictor"), ({**studied.members, "S02": other}, r"shape=\(12, 7\)")):
        with pytest.raises(ResultsError, match=f"lda: a model needs predictors that all take the same windows.*{told}"):
            ModelCard.of(HEADER, row_of(), members)


# --- a store ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[MlflowClient, str]:
    """A run of a store, which MLflow is told of by the environment as a user would."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    client = MlflowClient(store)
    experiment = client.create_experiment("small", artifact_location=(tmp_path / "artifacts").as_uri())
    return client, client.create_run(experiment).info.run_id


def test_a_logged_model_loads_by_the_address_of_its_run(
    run: tuple[MlflowClient, str], folder: Path, studied: Studied, tmp_path: Path
) -> None:
    client, run_id = run
    address = log_model(client, run_id, folder)
    assert address == f"runs:/{run_id}/model"
    (tmp_path / "download").mkdir()
    with no_pickle():
        model = mlflow.pyfunc.load_model(address, dst_path=str(tmp_path / "download"))
        found = model.predict(windows_of(studied, "S02"), params={"subject": "S02"})
    assert found.to_numpy().tobytes() == studied.predictions["S02"].tobytes()


def test_logging_twice_equals_logging_once_and_the_run_may_be_finished(
    run: tuple[MlflowClient, str], folder: Path
) -> None:
    client, run_id = run
    client.set_terminated(run_id)
    contents = []
    for _ in range(2):
        log_model(client, run_id, folder)
        tags = client.get_run(run_id).data.tags
        contents.append((tags, sorted(file.path for file in client.list_artifacts(run_id, "model"))))
    assert contents[0] == contents[1]
    (told,) = json.loads(contents[0][0]["mlflow.log-model.history"])
    assert (told["artifact_path"], told["run_id"]) == ("model", run_id)
    assert not client.search_logged_models([client.get_run(run_id).info.experiment_id])


# --- hostile and damaged models --------------------------------------------------------------------------------------


def test_a_hostile_archive_in_a_model_is_refused_and_runs_nothing(
    folder: Path, studied: Studied, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    archive = Archive.from_bytes(studied.members["S02"])
    system = replace(archive, parts={"predictor": replace(archive.part("predictor"), kind="os:system")})
    victim = folder / "data" / "predictors" / "001.archive"
    for hostile in (system.to_bytes(), pickle.dumps(Touch(made)), studied.members["S02"][:-9], b""):
        victim.write_bytes(hostile)
        with pytest.raises(ResultsError, match="001.archive"):
            mlflow.pyfunc.load_model(str(folder))
    assert not made.exists()


@dataclass
class Touch:
    """Makes a file when it is unpickled."""

    path: Path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_card_or_an_archive_that_is_missing_or_made_up_is_told(folder: Path) -> None:
    data = folder / "data" / "predictors"
    card = json.loads((data / "card.json").read_text())
    one_more = [*card["subjects"], "S05"]
    for made_up in ({}, {**card, "subjects": []}, {**card, "subjects": one_more}, {**card, "form": 3}):
        (data / "card.json").write_text(json.dumps(made_up))
        with pytest.raises(ResultsError, match="model at"):
            HeldOutModel.read(data)
    (data / "card.json").unlink()
    with pytest.raises(ResultsError, match="No model at"):
        mlflow.pyfunc.load_model(str(folder))


OWN = """
from dataclasses import dataclass
from torch import nn
from clients.encoders.contract import Encoder

@dataclass(frozen=True)
class Net(Encoder):
    def build(self, shape, outputs):
        return nn.Linear(shape[0], outputs)
"""


def test_a_network_of_the_users_own_loads_where_its_user_trusts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_encoder.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    import own_encoder

    small = study(pooled(TrainingStatistics(), own_encoder.Net()), cohort_of(VECTORS, "vector"))
    save_model(tmp_path / "model", small.card, small.members)
    with pytest.raises(ResultsError, match="own_encoder:Net.*you trust it"):
        mlflow.pyfunc.load_model(str(tmp_path / "model"))
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"), model_config={"trusted": ["own_encoder:Net"]})
    found = model.predict(windows_of(small, "S02"), params={"subject": "S02"})
    assert isinstance(found, pd.DataFrame)
    assert found.to_numpy().tobytes() == small.predictions["S02"].tobytes()
