"""What MLflow imports when it loads a model of ours: the predictors of one configuration, read from their archives."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError

from benchmarks.errors import DataError, ResultsError
from benchmarks.parts import nearest
from benchmarks.windows import FloatArray, Windows
from experiments.cell import Anonymous
from experiments.header import Header
from strategies.archives import WindowForm, form_of, unpacked
from strategies.contract import Predictor
from strategies.ensemble import Ensemble

_CARD, _SUFFIX = "card.json", ".archive"


@dataclass(frozen=True)
class ModelCard:
    """What a model's user must know of it.

    Parameters
    ----------
    study, dataset, task, configuration : str
        Names.
    classes : tuple of str
        Names of the classes, in the order of the columns of what it predicts.
    representation, normalization, encoder, objective, strategy : str
        What was chosen.
    transductive : bool
        Whether the windows of a person are normalised by each other, so that all of them belong in one call.
    seed, stream : int
        Of the cells that its predictors come from.
    simulated : bool
        True where no person ever was in the cohort.
    form : WindowForm
        What a window looks like.
    recipe : mapping
        How windows were made of recordings, as plain data; empty where the data set brings its own features.
    features : tuple of str
        Names of the features, where they have names.
    subjects : tuple of str
        The study's people: for each there is a predictor that never saw that person.
    """

    study: str
    dataset: str
    task: str
    configuration: str
    classes: tuple[str, ...]
    representation: str
    normalization: str
    encoder: str
    objective: str
    strategy: str
    transductive: bool
    seed: int
    stream: int
    simulated: bool
    form: WindowForm
    recipe: Mapping[str, Any] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()

    @classmethod
    def of(cls, header: Header, cell: Mapping[str, Any], members: Mapping[str, bytes]) -> ModelCard:
        """Card of the predictors of one configuration, seed and order.

        Parameters
        ----------
        header : Header
            What the study asks.
        cell : mapping
            One of their cells, a row of `Results.cells`.
        members : mapping of str to bytes
            By held-out subject, what `strategies.archives.packed` made of the predictor that never saw that subject.

        Raises
        ------
        ResultsError
            There is no predictor, one is damaged, or they take windows of several forms.
        """
        forms = {form_of(content) for content in members.values()}
        if len(forms) != 1:
            raise ResultsError(
                f"{cell['configuration']}: a model needs predictors that all take the same windows, found "
                f"{', '.join(sorted(map(str, forms))) or 'no predictor'}. Run the study again."
            )
        provenance = json.loads(cell["provenance"])
        chosen = ("configuration", "representation", "normalization", "encoder", "objective", "strategy")
        return cls(
            study=header.study,
            dataset=header.dataset,
            task=header.task,
            classes=header.classes,
            **{name: str(cell[name]) for name in chosen},
            transductive=bool(cell["transductive"]),
            seed=int(cell["seed"]),
            stream=int(cell["stream"]),
            simulated=bool(cell["simulated"]),
            form=forms.pop(),
            recipe=provenance.get("recipe") or {},
            features=tuple(map(str, provenance.get("features") or ())),
            subjects=tuple(members),
        )

    @property
    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        plain: dict[str, Any] = _CARDS.dump_python(self, mode="json")
        return plain


_CARDS = TypeAdapter(ModelCard)


@dataclass(frozen=True, eq=False)
class HeldOutModel:
    """The predictors of one configuration, each fitted without one person of the study.

    Parameters
    ----------
    card : ModelCard
        What they are.
    members : mapping of str to Predictor
        By the subject that was held out.
    """

    card: ModelCard
    members: Mapping[str, Predictor]

    @classmethod
    def read(cls, folder: Path, trusted: AbstractSet[str] = frozenset()) -> HeldOutModel:
        """Model in a folder that `write` has filled, safe for one from anywhere.

        `mlflow.pyfunc.load_model` reads models with this, but what MLflow itself does follows the file ``MLmodel``,
        which may name any code. So open a model from somebody you do not trust with this alone: it is the folder
        ``data/predictors`` of the MLflow model.

        Parameters
        ----------
        folder : Path
            With a card and archives.
        trusted : set of str
            Your own encoders and objectives, ``package.module:Name``, that may be imported.

        Raises
        ------
        ResultsError
            Something is missing, damaged, or names what is neither the project's nor trusted.
        """
        try:
            card: ModelCard = _CARDS.validate_json((folder / _CARD).read_bytes())
            contents = [_path(folder, number).read_bytes() for number in range(len(card.subjects))]
        except (OSError, ValidationError) as error:
            raise ResultsError(f"No model at {folder}, or a damaged one: {error}") from error
        if not contents:
            raise ResultsError(f"The model at {folder} has no predictor.")
        members = {}
        for number, subject in enumerate(card.subjects):
            try:
                members[subject] = unpacked(contents[number], trusted)
            except ResultsError as error:
                raise ResultsError(f"{_path(folder, number)}: {error}") from error
        return cls(card, members)

    def predict(self, x: FloatArray, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Class probabilities (n, K) of windows of one person, a column a class.

        They are computed as the study computed them, in one thread and in the order that only the windows' content
        determines. So the windows of a person of the study, all of them and in the study's order, get the study's
        predictions to the bit on the same machine.

        Parameters
        ----------
        x : ndarray, shape (n, ...)
            Windows as the configuration's representation makes them. A transductive normalisation takes its
            statistics from them, so all windows of the person are handed over in one call.
        params : mapping
            ``subject``: a person of the study, for whom the predictor answers that never saw that person; anybody
            else is ``""``, for whom the answer is the mean of all predictors.

        Raises
        ------
        DataError
            Windows of another shape, or a name that is not in the study.
        """
        predictor = self._of(str((params or {}).get("subject", "")))
        x = np.ascontiguousarray(x, dtype=self.card.form.dtype)
        if x.shape[1:] != self.card.form.shape or not len(x):
            raise DataError(
                f"Windows of shape {x.shape}, expected (n, {', '.join(map(str, self.card.form.shape))}): those of "
                f"{self.card.representation} in the study {self.card.study}."
            )
        nameless = np.full(len(x), "")
        hidden = Anonymous.of(Windows(x, subject=nameless, session=nameless, trial=nameless))
        with _as_in_a_cell():
            said = hidden.in_order(predictor.predict(hidden.windows))
        return pd.DataFrame(said.probabilities, columns=list(self.card.classes))

    def _of(self, subject: str) -> Predictor:
        if not subject:
            return Ensemble(self.members)
        if subject not in self.members:
            # A misspelt person of the study would be answered by predictors that learned from that very person.
            raise DataError(
                f"{subject!r} is nobody whom the study {self.card.study} held out. For a person who was not in it "
                f"leave params['subject'] empty. {nearest(subject, self.members)}"
            )
        return self.members[subject]


def write(folder: Path, card: ModelCard, members: Mapping[str, bytes]) -> None:
    """Fill a new folder with a card and the archives of its subjects, for `HeldOutModel.read`."""
    folder.mkdir()
    (folder / _CARD).write_text(json.dumps(card.plain, indent=2), encoding="utf-8")
    for number, subject in enumerate(card.subjects):
        _path(folder, number).write_bytes(members[subject])


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> HeldOutModel:
    """MLflow calls this, by this name, when it loads a model; its user may say ``model_config={"trusted": [...]}``."""
    return HeldOutModel.read(Path(path), frozenset((model_config or {}).get("trusted", ())))


@contextmanager
def _as_in_a_cell() -> Iterator[None]:
    """One thread, as in a cell: sums then have the same order."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(before)


def _path(folder: Path, number: int) -> Path:
    # The subject's name might be none for a file, or for an address.
    return folder / f"{number:03d}{_SUFFIX}"
