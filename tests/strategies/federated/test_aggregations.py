"""Every aggregation of the table through the same checks; an entry without a case fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from benchmarks.errors import LearningError
from benchmarks.normalization import SubjectUnlabelled
from benchmarks.parts import build, find
from benchmarks.windows import Windows, concatenate
from clients.encoders.mlp import MLP
from clients.objectives.cross_entropy import CrossEntropy
from clients.training import Training, seeded
from strategies.contract import Learning, Predictor
from strategies.federated.contract import Aggregation
from strategies.federated.federation import Federation
from strategies.federated.table import AGGREGATIONS
from strategies.grids.in_process import InProcess
from tests.strategies.learnings import Recorder, balanced_accuracy, draws, gaussian_windows, ignore, learning


@dataclass(frozen=True)
class Case:
    """Values of a study file, and what is known beforehand of the aggregation.

    Parameters
    ----------
    values : dict
        Of the study file, with which it does what it is for.
    as_fedavg : dict or None
        Values with which it is federated averaging, of clients with as many windows each; None where there are none.
    clients : int
        With so many it is.
    exactly : bool
        Whether to the bit.
    fewest : int
        Clients that it needs with `values`.
    encoder : dict
        Values of the multilayer perceptron.
    personal : bool
        Whether its clients keep weights to themselves.
    measures : tuple of str
        What it tells of each round besides its costs.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    as_fedavg: Mapping[str, Any] | None = None
    clients: int = 4
    exactly: bool = False
    fewest: int = 1
    encoder: Mapping[str, Any] = field(default_factory=dict)
    personal: bool = False
    measures: tuple[str, ...] = ()


NO_NOISE = {"noise_multiplier": 0.0}
# With a step that is all but a multiple of the mean update, since sqrt(v) is nothing beside tau.
PLAIN_STEP = {"eta": 1e6, "tau": 1e6}
NO_MEMORY = {"beta_1": 0.0, "beta_2": 0.0}
RATE = 0.2

CASES = {
    "fedavg": Case(as_fedavg={}, exactly=True),
    "fedavgm": Case(
        {"server_momentum": 0.5}, as_fedavg={"server_momentum": 0.0, "server_learning_rate": 1.0}, exactly=True
    ),
    "fedprox": Case({"mu": 0.5}, as_fedavg={"mu": 0.0}, exactly=True),
    "qfedavg": Case({"q": 0.2, "client_learning_rate": RATE}, as_fedavg={"q": 0.0, "client_learning_rate": RATE}),
    "fedadam": Case(as_fedavg={**PLAIN_STEP, **NO_MEMORY}),
    "fedyogi": Case({"eta": 0.1}, as_fedavg={**PLAIN_STEP, **NO_MEMORY}),
    "fedadagrad": Case(as_fedavg=PLAIN_STEP),
    "fedmedian": Case(as_fedavg={}, clients=2),
    "fedtrimmedavg": Case({"beta": 0.2}, as_fedavg={"beta": 0.0}, fewest=5),
    "krum": Case({"malicious": 1}, fewest=5),
    "multikrum": Case({"malicious": 1, "selected": 3}, as_fedavg={"selected": 4}, fewest=5),
    "bulyan": Case({"malicious": 1}, as_fedavg={"malicious": 0}, fewest=7),
    "dp_server_fixed": Case(
        {"noise_multiplier": 0.1, "clipping_norm": 2.0},
        as_fedavg={**NO_NOISE, "clipping_norm": 1e9},
        fewest=2,
        measures=("epsilon",),
    ),
    "dp_server_adaptive": Case(
        {"noise_multiplier": 0.1, "initial_clipping_norm": 1.0},
        as_fedavg={**NO_NOISE, "initial_clipping_norm": 1e9},
        fewest=3,
        measures=("epsilon",),
    ),
    "dp_client_fixed": Case(
        {"noise_multiplier": 0.1, "clipping_norm": 2.0},
        as_fedavg={**NO_NOISE, "clipping_norm": 1e9},
        fewest=2,
        measures=("epsilon",),
    ),
    "dp_client_adaptive": Case(
        {"noise_multiplier": 0.1, "initial_clipping_norm": 1.0},
        as_fedavg={**NO_NOISE, "initial_clipping_norm": 1e9},
        fewest=3,
        measures=("epsilon",),
    ),
    "flower": Case(
        {"strategy": "flwr.serverapp.strategy:FedMedian"},
        as_fedavg={"strategy": "flwr.serverapp.strategy:FedAvg"},
        exactly=True,
        fewest=2,
    ),
    "scaffold": Case(as_fedavg={"strength": 0.0}, exactly=True),
    "fedbn": Case(encoder={"batch_norm": True}, personal=True),
    "fedper": Case(encoder={"hidden": (32, 32), "dropout": 0.0}, personal=True),
}
every_aggregation = pytest.mark.parametrize("name", CASES)

SUBJECTS = tuple("abcdefgh")
COHORT = gaussian_windows([*SUBJECTS, "new"], per_class=8, shift=0.3, distance=4.0, classes=3)


def built(name: str, values: Mapping[str, Any] | None = None) -> Aggregation:
    made = build(find(name, AGGREGATIONS, "aggregator", Aggregation), {}, values or CASES[name].values, "aggregator")
    assert isinstance(made, Aggregation)
    return made


def federation(aggregator: Aggregation, encoder: Mapping[str, Any], rounds: int = 6) -> Federation:
    return Federation(
        normalization=SubjectUnlabelled(),
        encoder=MLP(**{"hidden": (8,), "dropout": 0.2, **encoder}),
        objective=CrossEntropy(),
        training=Training(optimizer="sgd", learning_rate=RATE, batch_size=12),
        aggregator=aggregator,
        grid=InProcess(),
        rounds=rounds,
        local_epochs=2,
    )


def of(name: str, values: Mapping[str, Any] | None = None, rounds: int = 6) -> Federation:
    return federation(built(name, values), CASES[name].encoder, rounds)


def problem(clients: int = len(SUBJECTS)) -> Learning:
    return learning(COHORT.of(SUBJECTS[:clients]), seed=3)


def said(predictor: Predictor, windows: Windows, subject: str | None = None) -> np.ndarray:
    return predictor.predict(windows.without(labels=True), subject).probabilities


class Listening(Recorder):
    """Recorder that hears the measurements too."""

    def __init__(self, windows: Windows) -> None:
        super().__init__(windows)
        self.heard: list[tuple[int, Mapping[str, float]]] = []

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        self.heard.append((step, values))


def test_every_entry_has_a_case() -> None:
    assert set(CASES) == set(AGGREGATIONS)


@every_aggregation
def test_it_says_of_itself_what_is_so(name: str) -> None:
    made = built(name)
    assert type(made).__dataclass_params__.frozen
    assert made.fewest == CASES[name].fewest
    assert not made.transductive
    assert all(isinstance(module, str) for module in made.modules)


@every_aggregation
def test_it_learns_an_easy_cohort(name: str) -> None:
    record = Recorder(COHORT.of("new"))
    found = of(name).fit(problem(), record)
    assert balanced_accuracy(record.predictors[0], COHORT.of("new")) < 0.7
    assert balanced_accuracy(found, COHORT.of("new")) > 0.85
    assert record.steps == list(range(7))


@every_aggregation
def test_two_fits_agree_to_the_bit_whatever_ran_before_and_leave_no_trace(name: str) -> None:
    with seeded("one"):
        first = said(of(name, rounds=3).fit(problem(), ignore), COHORT)
    with seeded("two"):
        before = draws()
    with seeded("two"):
        np.testing.assert_array_equal(said(of(name, rounds=3).fit(problem(), ignore), COHORT), first)
        assert draws() == before


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.as_fedavg is not None])
def test_there_are_values_that_make_it_federated_averaging(name: str) -> None:
    case = CASES[name]
    few = problem(case.clients)
    records = [Recorder(COHORT), Recorder(COHORT)]
    of("fedavg", rounds=3).fit(few, records[0])
    of(name, case.as_fedavg, rounds=3).fit(few, records[1])
    for averaged, found in zip(*(record.probabilities for record in records), strict=True):
        np.testing.assert_allclose(found, averaged, rtol=0, atol=0 if case.exactly else 2e-5)


@pytest.mark.parametrize("name", [name for name in CASES if name != "fedavg"])
def test_with_its_own_values_it_is_something_else(name: str) -> None:
    averaged = federation(built("fedavg"), CASES[name].encoder, rounds=3).fit(problem(), ignore)
    found = of(name, rounds=3).fit(problem(), ignore)
    assert np.abs(said(found, COHORT) - said(averaged, COHORT)).max() > 1e-4


@every_aggregation
def test_too_few_clients_are_an_error_at_once(name: str) -> None:
    fewest = CASES[name].fewest
    of(name, rounds=1).fit(problem(fewest), ignore)
    if fewest > 1:
        told = rf"{type(built(name)).__name__} needs {fewest} clients, and there are {fewest - 1} training subjects"
        with pytest.raises(LearningError, match=told):
            of(name).fit(problem(fewest - 1), ignore)


@pytest.mark.parametrize("name", [name for name in CASES if name != "flower"])
def test_in_each_round_as_many_clients_train_as_it_says(name: str) -> None:
    sampled = built(name, {**CASES[name].values, "fraction": 0.9})
    listening = Listening(COHORT)
    federation(sampled, CASES[name].encoder, rounds=3).fit(problem(), listening)
    rounds = [values["client_rounds"] for _, values in listening.heard if "client_rounds" in values]
    assert rounds == [0, 7, 7, 7]
    assert sampled.sampled(len(SUBJECTS)) == 7


@every_aggregation
def test_it_measures_what_it_says_after_each_round_and_nothing_before(name: str) -> None:
    listening = Listening(COHORT)
    of(name, rounds=2).fit(problem(), listening)
    for measure in CASES[name].measures:
        told = [(step, values[measure]) for step, values in listening.heard if measure in values]
        assert [step for step, _ in told] == [1, 2]
        assert 0 < told[0][1] < told[1][1]
    assert set(built(name).measures(1, len(SUBJECTS))) == set(CASES[name].measures)


@every_aggregation
def test_clients_of_very_unequal_size_are_joined(name: str) -> None:
    sizes = dict.fromkeys(SUBJECTS, 8) | {"a": 1, "b": 25}
    windows = concatenate(
        [gaussian_windows([name], size, shift=0.3, distance=4.0, classes=3) for name, size in sizes.items()]
    )
    found = of(name).fit(learning(windows), ignore)
    assert balanced_accuracy(found, COHORT.of("new")) > 0.8


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.personal])
def test_its_clients_have_models_of_their_own(name: str) -> None:
    found = of(name).fit(problem(), ignore)
    assert found.personal_subjects == frozenset(SUBJECTS)
    assert not np.array_equal(said(found, COHORT, "a"), said(found, COHORT))
    np.testing.assert_array_equal(said(found, COHORT, "nobody"), said(found, COHORT))
    for subject in SUBJECTS:
        own = COHORT.of(subject)
        guess = said(found, own, subject).argmax(axis=1)
        assert (guess == own.y).mean() > 0.8
