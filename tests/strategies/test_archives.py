"""Fitted predictors as bytes: they say the same to the bit afterwards, and bytes from anywhere run nothing."""

from __future__ import annotations

import importlib
import io
import json
import pickle
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier

from benchmarks.archive import Archive
from benchmarks.errors import ResultsError, UnseenError
from benchmarks.normalization import (
    NORMALIZERS,
    TRANSFORMS,
    Geometry,
    Identity,
    Moments,
    Normalization,
    Normalizer,
    Own,
    Shared,
    Stream,
    SubjectUnlabelled,
    Unnormalized,
)
from benchmarks.normalization import Training as TrainingStatistics
from benchmarks.parts import build, find
from benchmarks.predictions import Predictions
from benchmarks.windows import Windows
from clients.encoders.braindecode import Braindecode
from clients.encoders.mlp import MLP
from clients.encoders.table import ENCODERS
from clients.network import initial_network
from clients.objectives.cross_entropy import CrossEntropy
from clients.objectives.table import OBJECTIVES
from clients.predictor import NetworkPredictor
from clients.training import Training, seeded
from strategies.archives import PREDICTORS, WindowForm, form_of, packed, unpacked
from strategies.baselines import Constant, Majority
from strategies.classical import CLASSIFIERS, LDA, ClassifierPredictor, TangentSpace
from strategies.continual.finetuning import FineTuning
from strategies.contract import Predictor, Strategy
from strategies.ensemble import Ensemble
from strategies.federated.averaging import FedAvg
from strategies.federated.fedbn import FedBN
from strategies.federated.federation import Federation
from strategies.federated.fedper import FedPer
from strategies.grids.in_process import InProcess
from strategies.pooled import Pooled
from tests.benchmarks.archive_files import HEAD, members_of, sealed
from tests.strategies.learnings import covariance_windows, gaussian_windows, ignore, learning

SUBJECTS = ["a", "b", "c", "d"]
VECTORS = gaussian_windows([*SUBJECTS, "new"], shift=1.0, classes=3)
PAIRS = gaussian_windows([*SUBJECTS, "new"], shift=1.0, classes=2)
MATRICES = covariance_windows([*SUBJECTS, "new"], shift=0.3)
RAW = replace(PAIRS, x=np.repeat(PAIRS.x[:, :, None], 32, axis=2).astype(np.float32))


def learned(strategy: Strategy, cohort: Windows, geometry: Geometry | None = None) -> Predictor:
    apart = ["d"] if strategy.uses_validation else []
    problem = learning(cohort.of(SUBJECTS), validation=apart, geometry=geometry or strategy.geometries[0])
    return strategy.fit(problem, ignore)


def network(kind: Callable[..., Strategy], mode: Normalization, **values: Any) -> Strategy:
    return kind(
        normalization=mode, encoder=MLP(hidden=(8, 5), dropout=0.3), objective=CrossEntropy(label_smoothing=0.1),
        training=Training(learning_rate=0.02, batch_size=16), **values,
    )  # fmt: skip


def said(predictor: Predictor, cohort: Windows) -> np.ndarray:
    return predictor.predict(cohort.of("new").without(labels=True)).probabilities


def assert_same(predictor: Predictor, cohort: Windows) -> None:
    content = packed(predictor)
    assert content is not None
    again = unpacked(content)
    assert said(again, cohort).tobytes() == said(predictor, cohort).tobytes()
    assert packed(again) == content, "what was read can be written again"


FITTED: dict[str, tuple[Strategy, Windows]] = {
    "majority": (Majority(), VECTORS),
    "lda/training": (LDA(TrainingStatistics()), VECTORS),
    "lda/subject_unlabelled": (LDA(SubjectUnlabelled()), VECTORS),
    "lda of two classes/none": (LDA(Unnormalized()), PAIRS),
    "lda of channels": (LDA(TrainingStatistics()), replace(PAIRS, x=PAIRS.x.reshape(-1, 2, 2))),
    "tangent_space/training": (TangentSpace(TrainingStatistics()), MATRICES),
    "tangent_space/subject_unlabelled": (TangentSpace(SubjectUnlabelled()), MATRICES),
    "tangent_space/none": (TangentSpace(Unnormalized()), MATRICES),
    "pooled/training": (network(Pooled, TrainingStatistics(), epochs=3), VECTORS),
    "pooled/subject_unlabelled": (network(Pooled, SubjectUnlabelled(), epochs=3), VECTORS),
    "federated/training": (
        network(Federation, TrainingStatistics(), aggregator=FedAvg(), grid=InProcess(), rounds=2),
        PAIRS,
    ),
    "fedper/training": (
        network(Federation, TrainingStatistics(), aggregator=FedPer(), grid=InProcess(), rounds=2),
        VECTORS,
    ),
    "fedbn/training": (
        replace(  # type: ignore[type-var]
            network(Federation, TrainingStatistics(), aggregator=FedBN(), grid=InProcess(), rounds=2),
            encoder=MLP((8,), batch_norm=True),
        ),
        VECTORS,
    ),
    "finetuning/stream": (network(FineTuning, Stream(), epochs=2), PAIRS),
    "pooled convolutions/training": (
        replace(network(Pooled, TrainingStatistics(), epochs=1), encoder=Braindecode("EEGNet", values={"F1": 2})),  # type: ignore[type-var]
        RAW,
    ),
}


# --- there and back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FITTED)
def test_a_fitted_predictor_says_the_same_to_the_bit(name: str) -> None:
    strategy, cohort = FITTED[name]
    assert_same(learned(strategy, cohort), cohort)


@pytest.mark.parametrize("mode", [TrainingStatistics(), SubjectUnlabelled(), Unnormalized()])
def test_a_network_of_raw_windows_says_the_same_to_the_bit(mode: Normalization) -> None:
    assert_same(learned(network(Pooled, mode, epochs=2), RAW, "channels"), RAW)


def test_an_ensemble_answers_as_before_for_members_and_for_others() -> None:
    first, second = learned(LDA(Unnormalized()), VECTORS), learned(LDA(SubjectUnlabelled()), VECTORS)
    ensemble = Ensemble({"a": first, "b/ü": second, "c": Constant(np.array([0.2, 0.3, 0.5]))})
    assert_same(ensemble, VECTORS)
    again = unpacked(packed(ensemble) or b"")
    windows = VECTORS.of("new").without(labels=True)
    for subject in ("a", "b/ü", "c", "nobody", None):
        expected = ensemble.predict(windows, subject).probabilities
        assert np.array_equal(again.predict(windows, subject).probabilities, expected)


def test_a_missing_feature_takes_the_mean_afterwards_too() -> None:
    holed = replace(VECTORS, x=np.where(np.random.default_rng(0).random(VECTORS.x.shape) < 0.1, np.nan, VECTORS.x))
    assert_same(learned(LDA(TrainingStatistics()), holed), holed)


def test_every_kind_is_tried_here() -> None:
    kinds: set[str] = set()

    def walk(archive: Archive) -> None:
        kinds.add(archive.kind)
        for part in archive.parts.values():
            walk(part)

    whole = Ensemble({name: learned(*case) for name, case in FITTED.items()})
    walk(Archive.from_bytes(packed(whole) or b""))
    assert kinds >= {*PREDICTORS, *NORMALIZERS, *TRANSFORMS, *CLASSIFIERS, *ENCODERS, *OBJECTIVES}


ENCODED: dict[str, tuple[dict[str, Any], Windows]] = {
    "braindecode": ({"model": "ShallowFBCSPNet", "values": {"filter_time_length": 5, "pool_time_length": 10}}, RAW),
    "mlp": ({}, VECTORS),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_can_be_built_again(name: str) -> None:
    values, cohort = ENCODED[name]
    encoder = build(find(name, ENCODERS, "encoder"), {}, values, "encoder")
    start = initial_network(encoder, CrossEntropy(), cohort.x.shape[1:], 3, seed=0)
    assert_same(NetworkPredictor(start, Identity(), CrossEntropy()), cohort)


def test_reading_moves_no_random_state() -> None:
    content = packed(learned(network(Pooled, SubjectUnlabelled(), epochs=1), PAIRS))
    assert content is not None
    with seeded("reading"):
        expected = torch.rand(2), np.random.random(2)
    with seeded("reading"):
        unpacked(content)
        found = torch.rand(2), np.random.random(2)
    assert torch.equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])


def test_of_covariance_matrices_only_the_whitener_is_kept() -> None:
    sizes = []
    for per_class in (10, 40):
        cohort = covariance_windows([*SUBJECTS, "new"], per_class, shift=0.3)
        sizes.append(len(packed(learned(TangentSpace(TrainingStatistics()), cohort)) or b""))
    assert sizes[0] == sizes[1]


@dataclass(frozen=True)
class Mine:
    """A predictor of the user's own."""

    def predict(self, windows: Windows, subject: str | None = None) -> Predictions:
        return Predictions(np.full((len(windows), 2), 0.5))


class Careful(Constant):
    """Does something else than what it inherits tells."""


class OwnMode(Normalizer):
    def __call__(self, windows: Windows) -> np.ndarray:
        return windows.x


def forest() -> ClassifierPredictor:
    model = RandomForestClassifier(3).fit(VECTORS.x, VECTORS.labels)
    return ClassifierPredictor(Identity(), lambda x: x, model)


def network_without_blueprint() -> NetworkPredictor:
    return NetworkPredictor(torch.nn.Linear(4, 3), Identity(), CrossEntropy())


def network_that_changed() -> NetworkPredictor:
    changed = initial_network(MLP(hidden=()), CrossEntropy(), (4,), 3, 0)
    changed[-1] = torch.nn.Linear(4, 5)  # type: ignore[operator]
    return NetworkPredictor(changed, Identity(), CrossEntropy())


@pytest.mark.parametrize(
    "predictor",
    [
        Mine(),
        Careful(np.array([0.5, 0.5])),
        forest(),
        network_without_blueprint(),
        network_that_changed(),
        Ensemble({"a": Mine()}),
        replace(learned(LDA(Unnormalized()), VECTORS), features=lambda x: x),  # type: ignore[type-var]
        replace(learned(LDA(Unnormalized()), VECTORS), normalizer=OwnMode()),  # type: ignore[type-var]
        replace(learned(LDA(Unnormalized()), VECTORS), normalizer=Shared()),  # type: ignore[type-var]
    ],
    ids=lambda predictor: type(predictor).__name__,
)
def test_what_cannot_be_told_as_plain_values_is_not_packed(predictor: Predictor) -> None:
    assert packed(predictor) is None


def test_the_form_of_the_windows_is_kept_beside_the_predictor() -> None:
    content = packed(Constant(np.array([1.0])), RAW)
    assert form_of(content or b"") == WindowForm((4, 32), "float32")
    with pytest.raises(ResultsError, match="no value 'windows'"):
        form_of(packed(Constant(np.array([1.0]))) or b"")


# --- bytes from anywhere ---------------------------------------------------------------------------------------------


NETWORK = packed(learned(network(Pooled, TrainingStatistics(), epochs=1), PAIRS)) or b""
LINEAR = packed(learned(TangentSpace(TrainingStatistics()), MATRICES)) or b""

TABLES = (PREDICTORS, NORMALIZERS, TRANSFORMS, CLASSIFIERS, ENCODERS, OBJECTIVES)
OURS = {place.partition(":")[0] for table in TABLES for place in table.values()}


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the modules that were asked for."""
    asked: list[str] = []
    import_module = importlib.import_module

    def recorded(name: str, package: str | None = None) -> Any:
        asked.append(name)
        return import_module(name, package)

    monkeypatch.setattr(importlib, "import_module", recorded)
    return asked


def with_kind(archive: Archive, place: tuple[str, ...], kind: str) -> Archive:
    if not place:
        return replace(archive, kind=kind)
    first, *rest = place
    return replace(archive, parts={**archive.parts, first: with_kind(archive.parts[first], tuple(rest), kind)})


PLACES = [
    (NETWORK, ("predictor",)),
    (NETWORK, ("predictor", "normalizer")),
    (NETWORK, ("predictor", "normalizer", "transform")),
    (NETWORK, ("predictor", "blueprint", "encoder")),
    (NETWORK, ("predictor", "objective")),
    (LINEAR, ("predictor", "features")),
    (LINEAR, ("predictor", "classifier")),
]


@pytest.mark.parametrize(("content", "place"), PLACES, ids=["/".join(place) for _, place in PLACES])
@pytest.mark.parametrize("kind", ["os:system", "subprocess:Popen", "mine:Net", "archive", ""])
def test_no_part_may_be_something_else(content: bytes, place: tuple[str, ...], kind: str, imported: list[str]) -> None:
    hostile = with_kind(Archive.from_bytes(content), place, kind).to_bytes()
    with pytest.raises(ResultsError, match=repr(kind)):
        unpacked(hostile)
    assert set(imported) <= OURS


@pytest.mark.parametrize(("content", "place"), PLACES[1:], ids=["/".join(place) for _, place in PLACES[1:]])
def test_no_part_may_be_a_predictor(content: bytes, place: tuple[str, ...]) -> None:
    with pytest.raises(ResultsError, match="'constant'"):
        unpacked(with_kind(Archive.from_bytes(content), place, "constant").to_bytes())


def test_nothing_is_unpickled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("unpickled")

    for module in (pickle, torch):
        for name in ("load", "loads", "Unpickler"):
            monkeypatch.setattr(module, name, refuse, raising=False)
    for content in (NETWORK, LINEAR):
        unpacked(content)


def changed(content: bytes, **changes: Any) -> bytes:
    """The same file with a changed predictor."""
    archive = Archive.from_bytes(content)
    return replace(archive, parts={"predictor": replace(archive.part("predictor"), **changes)}).to_bytes()


def test_weights_must_be_those_of_the_network() -> None:
    arrays = Archive.from_bytes(NETWORK).part("predictor").arrays
    first = next(iter(arrays))
    for wrong in (
        {name: array for name, array in arrays.items() if name != first},
        {**arrays, "more": np.zeros(1)},
        {**arrays, first: arrays[first][:-1]},
        {**arrays, first: arrays[first].astype(np.float64)},
        {**arrays, first: arrays[first].astype(np.longdouble)},
    ):
        with pytest.raises(ResultsError, match="weights"):
            unpacked(changed(NETWORK, arrays=wrong))


@pytest.mark.parametrize(
    "values",
    [{"shape": [10**9, 10**9], "outputs": 2}, {"shape": [4], "outputs": 10**12}, {"shape": [-4], "outputs": 2}],
)
def test_a_network_of_made_up_size_takes_no_memory(values: dict[str, Any]) -> None:
    parts = Archive.from_bytes(NETWORK).part("predictor").parts
    blueprint = replace(parts["blueprint"], values=values)
    with pytest.raises(ResultsError, match="weights are not those"):
        unpacked(changed(NETWORK, parts={**parts, "blueprint": blueprint}))


def test_an_ensemble_of_nobody_and_a_classifier_of_no_shape_are_refused() -> None:
    with pytest.raises(ResultsError, match="no member"):
        unpacked(Archive("fitted", parts={"predictor": Archive("ensemble")}).to_bytes())
    parts = Archive.from_bytes(LINEAR).part("predictor").parts
    for arrays, told in (
        ({"weights": np.zeros((2, 6)), "intercept": np.zeros(3)}, "weights of 2 classes and intercepts of 3"),
        ({"weights": np.zeros(6), "intercept": np.zeros(2)}, "expected 2 dimensions"),
        ({"intercept": np.zeros(2)}, "no array 'weights'"),
    ):
        classifier = replace(parts["classifier"], arrays=arrays)
        with pytest.raises(ResultsError, match=told):
            unpacked(changed(LINEAR, parts={**parts, "classifier": classifier}))


def test_an_archive_of_something_else_is_no_predictor() -> None:
    with pytest.raises(ResultsError, match="no fitted predictor"):
        unpacked(Archive("constant", arrays={"probabilities": np.ones(1)}).to_bytes())


def json_places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from json_places(each, (*place, key))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
    | st.sampled_from([*PREDICTORS, *NORMALIZERS, *ENCODERS, *OBJECTIVES, "os:system", "flat", "tangent"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(content=st.sampled_from([NETWORK, LINEAR]), data=st.data())
def test_whatever_a_description_is_changed_to_it_is_a_predictor_or_refused(content: bytes, data: st.DataObject) -> None:
    members = members_of(content)
    told = json.loads(members["archive.json"])
    place = data.draw(st.sampled_from(list(json_places(told))[1:]))
    target = told
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = data.draw(JSON)
    made_up = sealed({**members, "archive.json": json.dumps(told).encode()})
    with suppress(UnseenError):
        assert hasattr(unpacked(made_up), "predict")


# --- the user's own parts --------------------------------------------------------------------------------------------


OWN = """
from dataclasses import dataclass
from torch import nn
from clients.encoders.contract import Encoder
from clients.objectives.cross_entropy import CrossEntropy

@dataclass(frozen=True)
class Net(Encoder):
    width: int = 3

    def build(self, shape, outputs):
        last = nn.Linear(self.width, outputs)
        return nn.Sequential(nn.Linear(shape[0], self.width), nn.BatchNorm1d(self.width), last)

@dataclass(frozen=True)
class Loss(CrossEntropy):
    pass
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "own_network.py").write_text(OWN)
    return importlib.import_module("own_network")


def test_an_encoder_and_an_objective_of_the_users_own_need_trust(own_module: Any, imported: list[str]) -> None:
    mine = Pooled(SubjectUnlabelled(), own_module.Net(5), own_module.Loss(), Training(batch_size=16), epochs=2)
    predictor = learned(mine, PAIRS)
    content = packed(predictor)
    assert content is not None
    for trusted in (set[str](), {"own_network:Net"}, {"own_network:Loss"}):
        with pytest.raises(ResultsError, match="own_network:.*you trust it"):
            unpacked(content, trusted)
    again = unpacked(content, {"own_network:Net", "own_network:Loss"})
    assert said(again, PAIRS).tobytes() == said(predictor, PAIRS).tobytes()


def test_bytes_hold_no_code() -> None:
    for content in (NETWORK, LINEAR):
        with zipfile.ZipFile(io.BytesIO(content[len(HEAD) + 32 :])) as file:
            assert {Path(name).suffix for name in file.namelist()} == {".json", ".npy"}


def test_statistics_are_kept_as_the_map_that_they_make() -> None:
    moments = Moments.over(VECTORS.x, (0,))
    archive = Shared(moments).archive()
    np.testing.assert_array_equal(archive.part("transform").array("mean"), moments.mean)
    assert Own("channels").archive().values == {"geometry": "channels"}
