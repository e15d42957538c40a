"""The fitted predictors of one configuration as an MLflow model: archives and plain text, without code or pickle."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.errors import ResultsError
from benchmarks.versions import installed
from experiments.model_code import HeldOutModel, ModelCard, write

if TYPE_CHECKING:
    from mlflow import MlflowClient

NAME = "model"
"""Folder of the model among the files of its run."""

_MODELS_OF_A_RUN = "mlflow.log-model.history"
"""Tag by which MLflow's pages know a model among the files of a run, show its schema and let it be registered."""

_LIBRARIES = (
    "mlflow", "numpy", "scipy", "scikit-learn", "pyriemann", "torch", "pandas", "pydantic", "threadpoolctl",
)  # fmt: skip
"""What reads a model and predicts, besides this project."""


def save_model(folder: Path, card: ModelCard, members: Mapping[str, bytes]) -> None:
    """Write an MLflow model; no run, server or setting of MLflow is touched.

    It has no code in it: ``MLmodel`` names `experiments.model_code`, so unseen must be installed where the model is
    loaded. A person of the study is named by a parameter: ``predict(x, params={"subject": "S02"})``.

    Parameters
    ----------
    folder : Path
        Not there yet, or empty.
    card : ModelCard
        Of the members.
    members : mapping of str to bytes
        As in `ModelCard.of`.

    Raises
    ------
    ResultsError
        The folder cannot be written.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    card = replace(card, subjects=tuple(members))
    try:
        with tempfile.TemporaryDirectory(prefix="unseen-model-") as temporary:
            data = Path(temporary) / "predictors"
            write(data, card, members)
            mlflow.pyfunc.save_model(
                path=str(folder),
                loader_module=HeldOutModel.__module__,
                data_path=str(data),
                # Handed over to `save_model` itself, a signature without an example window is warned about.
                mlflow_model=Model(signature=_signature(card), metadata=card.plain),
                pip_requirements=[f"{name}=={version}" for name, version in installed(_LIBRARIES).items()],
                model_config={"trusted": []},
                # MLflow would copy uv.lock and pyproject.toml of the folder that the command happens to run in.
                uv_project_path=temporary,
            )
        requirements = folder / "requirements.txt"
        requirements.write_text(f"{_UNSEEN}\n{requirements.read_text(encoding='utf-8')}\n", encoding="utf-8")
        (folder / "README.md").write_text(_readme(card), encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"Cannot write the model to {folder}: {error}") from error


def log_model(client: MlflowClient, run_id: str, folder: Path) -> str:
    """Put a saved model among the files of a run, as ``model``; returns the address that MLflow loads it by.

    The files belong to the run, and go with it; logging twice equals logging once. MLflow's ``LoggedModel`` would be an
    object of its own, that servers before version 3 do not know and that stays when the run is deleted.

    Parameters
    ----------
    client : MlflowClient
        Of the store.
    run_id : str
        Of the run; it may be finished.
    folder : Path
        What `save_model` wrote.
    """
    from mlflow.models import Model

    told = {**Model.load(str(folder)).get_tags_dict(), "run_id": run_id, "artifact_path": NAME}
    client.log_artifacts(run_id, str(folder), NAME)
    client.set_tag(run_id, _MODELS_OF_A_RUN, json.dumps([told]))
    return f"runs:/{run_id}/{NAME}"


def _signature(card: ModelCard) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(card.form.dtype), (-1, *card.form.shape))]),
        outputs=Schema([ColSpec("double", name) for name in card.classes]),
        params=ParamSchema([ParamSpec("subject", "string", "")]),
    )


def _readme(card: ModelCard) -> str:
    people = len(card.subjects)
    told = {
        "Data set and task": f"{card.dataset}, {card.task}",
        "Classes, in the order of the columns": ", ".join(card.classes),
        "A window": f"{card.form.shape}, {card.form.dtype}: {card.representation}",
        "Features": ", ".join(card.features),
        "How windows were made": json.dumps(card.recipe) if card.recipe else "",
        "Normalisation, inside the model": card.normalization,
        "Strategy": f"{card.strategy}, encoder {card.encoder}, objective {card.objective}",
        "Predictors": f"one for each of {people} people, of seed {card.seed} and order {card.stream}",
    }
    marks = ["Simulated people.\n"] if card.simulated else []
    lines = [f"- {name}: {text}" for name, text in told.items() if text]
    together = "all of them in one call, since they are normalised by each other" if card.transductive else "any number"
    return "\n".join([
        f"# {card.configuration} of the study {card.study}\n",
        *marks,
        *lines,
        "",
        "```python",
        "mlflow.set_tracking_uri(URI)  # of the store, or the server, that this model lies in",
        'model = mlflow.pyfunc.load_model("runs:/RUN_ID/model")  # unseen must be installed',
        f"model.predict(x)  # windows of one new person, {together}",
        f'model.predict(x, params={{"subject": "{card.subjects[0]}"}})  # of a person of the study',
        "```",
        "",
        f"For each of the study's {people} people there is a predictor that never saw that person. It answers for that "
        f"person, so that the study's own predictions come out again; for anybody else the answer is the mean "
        f"probability over all {people}.",
        "",
        "There is no code and no pickle in this folder. Yet MLflow runs what the file `MLmodel` names, so open a "
        "folder from somebody you do not trust with `experiments.model_code.HeldOutModel.read`, which reads "
        "`data/predictors` alone.",
        "",
    ])  # fmt: skip


_UNSEEN = f"# unseen {installed(['unseen']).get('unseen', '')} itself: install it from where you have it"
"""A comment: to install a package by that name from an index could be to install somebody else's."""
