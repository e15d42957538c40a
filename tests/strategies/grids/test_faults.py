"""Clients that fail, wherever they run: a clear error at once, or a round that goes on without them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from benchmarks.errors import LearningError
from benchmarks.normalization import Training as TrainingMoments
from benchmarks.windows import Windows
from strategies.contract import Learning
from strategies.federated.averaging import FedAvg
from strategies.grids.contract import Place
from strategies.grids.in_process import InProcess
from strategies.grids.ray_actors import RayActors
from strategies.grids.stacked import Stacked
from tests.strategies.grids.federations import (
    RaisesIn,
    Troubled,
    assert_same,
    by_hand,
    federation,
    weights,
    windows_of,
)
from tests.strategies.grids.marks import STARTS_ACTORS
from tests.strategies.learnings import ignore, learning

PLACES = [
    pytest.param(InProcess(), id="in_process"),
    pytest.param(Stacked(), id="stacked"),
    pytest.param(RayActors(actors=1), id="ray_actors", marks=STARTS_ACTORS),
]
every_place = pytest.mark.parametrize("place", PLACES, indirect=True)
in_this_process = pytest.mark.parametrize("place", PLACES[:2], indirect=True)

COHORT = windows_of({"S1": 9, "S2": 30, "S3": 1, "S4": 16})
PROBLEM = learning(COHORT)
SOME = FedAvg()
NOBODY: dict[int, tuple[str, ...]] = {}


def learned(place: Place, problem: Learning = PROBLEM, **changes: Any) -> dict[str, Tensor]:
    return weights(federation(place, **changes).fit(problem, ignore))


def spoilt(windows: Windows, subject: str) -> Windows:
    """The windows of a subject are infinite, so that its loss is no number."""
    return replace(windows, x=np.where((windows.subject == subject)[:, None], np.inf, windows.x))


@dataclass(frozen=True)
class Fault:
    """What goes wrong, from which round on, and what is said of it."""

    aggregator: FedAvg
    said: str
    without: dict[int, tuple[str, ...]]
    problem: Learning = PROBLEM


FAULTS = {
    "raises": Fault(
        Troubled(trouble=RaisesIn(2, ("S2",))), "S2: ZeroDivisionError: S2 divides by zero", {2: ("S2",)}
    ),
    "nan weights": Fault(
        Troubled(spoilt=(("S2", 2),)),
        "S2: LearningError: 1.weight of its reply is not finite",
        {2: ("S2",), 3: ("S2",)},
    ),
    "nan loss": Fault(
        SOME, "S2: LearningError: Training diverged", dict.fromkeys((1, 2, 3), ("S2",)),
        learning(spoilt(COHORT, "S2")),
    ),
}  # fmt: skip
every_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


@in_this_process
@every_fault
def test_a_client_that_fails_ends_the_federation_with_its_name_and_the_cause(place: Place, fault: Fault) -> None:
    with pytest.raises(LearningError) as caught:
        learned(place, fault.problem, aggregator=fault.aggregator)
    assert str(caught.value).startswith(f"3 of 4 clients gave a usable reply, 4 are needed. Failed: {fault.said}")


@every_place
def test_all_that_fail_are_named_and_nobody_is_waited_for(place: Place) -> None:
    trouble = Troubled(trouble=RaisesIn(1, ("S4", "S1")), spoilt=(("S2", 1),))
    with pytest.raises(LearningError) as caught:
        learned(place, aggregator=trouble, min_replies=2)
    assert str(caught.value) == (
        "1 of 4 clients gave a usable reply, 2 are needed. Failed: S1: ZeroDivisionError: S1 divides by zero; "
        "S2: LearningError: 1.weight of its reply is not finite; S4: ZeroDivisionError: S4 divides by zero"
    )


@every_place
@every_fault
def test_a_round_goes_on_without_those_that_fail_as_a_federation_of_the_others(place: Place, fault: Fault) -> None:
    found = learned(place, fault.problem, aggregator=fault.aggregator, min_replies=3)
    expected = by_hand(federation(place), fault.problem, fault.without)
    assert_same(found, expected, 1e-12)
    whole = by_hand(federation(place), PROBLEM, NOBODY)
    assert (whole["1.weight"] - expected["1.weight"]).abs().max() > 1e-3


@every_place
def test_clients_of_very_unequal_size_weigh_as_many_windows_as_they_have(place: Place) -> None:
    problem = learning(windows_of({"S1": 150, "S2": 1, "S3": 9, "S4": 2}))
    assert_same(learned(place, problem), by_hand(federation(place), problem, NOBODY), 1e-12)


@every_place
def test_a_single_window_each_is_enough(place: Place) -> None:
    problem = learning(windows_of({"S1": 1, "S2": 2, "S3": 1}))
    found = learned(place, problem, normalization=TrainingMoments())
    assert_same(found, learned(InProcess(), problem, normalization=TrainingMoments()), 1e-12)


@in_this_process
def test_too_few_clients_for_the_aggregator_are_told_at_once(place: Place) -> None:
    @dataclass(frozen=True)
    class Demanding(FedAvg):
        @property
        def fewest(self) -> int:
            return 5

    with pytest.raises(LearningError, match="Demanding needs 5 clients, and there are 4 training subjects"):
        learned(place, aggregator=Demanding())


@in_this_process
def test_more_replies_than_clients_are_told_at_once(place: Place) -> None:
    with pytest.raises(LearningError, match="federation of 4 clients, at least 5 are needed"):
        learned(place, min_replies=5)


def test_a_fault_that_is_not_there_would_be_seen() -> None:
    """The comparison by hand: a plain federation is what it says of nobody's absence."""
    assert_same(learned(InProcess()), by_hand(federation(InProcess()), PROBLEM, NOBODY), 1e-12)
