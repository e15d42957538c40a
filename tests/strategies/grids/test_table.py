"""Every grid of the table through the same small federations; an entry without a case fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.normalization import Training as TrainingMoments
from benchmarks.parts import build, find
from clients.encoders.mlp import MLP
from strategies.federated.averaging import FedAvg
from strategies.federated.federation import Federation
from strategies.grids.contract import Place
from strategies.grids.in_process import InProcess
from strategies.grids.table import GRIDS
from tests.strategies.grids.federations import Double, assert_same, federation, weights, windows_of
from tests.strategies.grids.marks import STARTS_ACTORS
from tests.strategies.learnings import ignore, learning


@dataclass(frozen=True)
class Case:
    """Values of a study file, and what is known beforehand of the grid.

    Parameters
    ----------
    values : dict
        Of the study file.
    lockstep : bool
        Whether it trains the clients of several federations together.
    exact : bool
        Whether it computes what one process does, to the bit.
    marks : tuple of pytest.MarkDecorator
        Of its tests.
    """

    values: dict[str, object] = field(default_factory=dict)
    lockstep: bool = False
    exact: bool = True
    marks: tuple[pytest.MarkDecorator, ...] = ()


CASES = {
    "auto": Case(exact=False),
    "in_process": Case(),
    "stacked": Case(lockstep=True, exact=False),
    "ray_actors": Case({"actors": 2}, marks=STARTS_ACTORS),
}
FOLDS = [
    learning(windows_of(dict(zip(("S1", "S2", "S3", "S4", "S5"), sizes, strict=True))), seed=seed)
    for seed, sizes in enumerate([(9, 40, 1, 16, 21), (8, 8, 8, 24, 3), (2, 17, 33, 1, 1)])
]
"""Subjects of unequal size, some with a single window; the last minibatch of most is not full."""

TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-6}
ENCODERS = {torch.float32: MLP((6,), dropout=0.3), torch.float64: Double(dropout=0.3)}


def grid(name: str) -> Place:
    made = build(find(name, GRIDS, "grid"), {}, CASES[name].values, "grid")
    assert isinstance(made, Place)
    return made


def strategy(place: Place, dtype: torch.dtype, **changes: Any) -> Federation:
    return federation(
        place,
        encoder=ENCODERS[dtype],
        aggregator=FedAvg(fraction=0.8),
        normalization=TrainingMoments(),
        local_epochs=2,
        **changes,
    )


def learned(place: Place, fold: int, dtype: torch.dtype, **changes: Any) -> dict[str, Tensor]:
    return weights(strategy(place, dtype, **changes).fit(FOLDS[fold], ignore))


every_grid = pytest.mark.parametrize(
    ("name", "place"),
    [pytest.param(name, grid(name), id=name, marks=case.marks) for name, case in CASES.items()],
    indirect=["place"],
)


def test_every_entry_has_a_case() -> None:
    assert set(CASES) == set(GRIDS)


@pytest.mark.parametrize("name", CASES)
def test_it_says_of_itself_what_is_so(name: str) -> None:
    kind = find(name, GRIDS, "grid", Place)
    assert kind.__dataclass_params__.frozen
    assert kind.lockstep is CASES[name].lockstep
    assert grid(name) == grid(name), "two studies that say the same mean the same"


@every_grid
def test_it_learns_what_one_process_learns_and_the_same_again_to_the_bit(name: str, place: Place) -> None:
    for dtype, tolerance in TOLERANCES.items():
        expected, found = learned(InProcess(), 0, dtype), learned(place, 0, dtype)
        assert found["1.weight"].dtype == dtype
        assert_same(found, expected, 0.0 if CASES[name].exact else tolerance)
        start = learned(InProcess(), 0, dtype, rounds=1)
        assert (start["1.weight"] - expected["1.weight"]).abs().max() > 100 * tolerance
    # An exact one learns the same fold again below, where it is held against the same weights.
    if not CASES[name].exact:
        assert_same(learned(place, 0, dtype), found)


@every_grid
def test_folds_learned_by_one_call_learn_what_each_learns_alone(name: str, place: Place) -> None:
    several = strategy(place, torch.float64)
    together = several.fit_many(FOLDS, [ignore] * len(FOLDS))
    for fold, one in enumerate(together):
        alone = learned(InProcess(), fold, torch.float64)
        assert_same(weights(one), alone, 0.0 if CASES[name].exact else TOLERANCES[torch.float64])
    if CASES[name].lockstep:
        for one, other in zip(together, several.fit_many(FOLDS, [ignore] * len(FOLDS)), strict=True):
            assert_same(weights(one), weights(other))
