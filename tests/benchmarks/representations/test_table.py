"""Every representation of the table goes through the same checks; a new one needs no line here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import pytest

from benchmarks.digest import digest
from benchmarks.errors import SignalError
from benchmarks.normalization import STATISTICS
from benchmarks.parts import build, find
from benchmarks.preprocessing import Preprocessing
from benchmarks.recipe import Recipe, WindowLength
from benchmarks.representations.contract import (
    FeatureRepresentation,
    Intervals,
    Representation,
    Represented,
    Signal,
    Sources,
)
from benchmarks.representations.table import REPRESENTATIONS
from tests.benchmarks.recordings import task_of, worn, wristband

EVERY = pytest.mark.parametrize("name", sorted(REPRESENTATIONS))
ONSETS_S = np.array([0.0, 30.0, 75.25, 240.0])
LENGTH_S = 60.0

recorded = cache(wristband)


def made(name: str) -> Representation:
    part = build(find(name, REPRESENTATIONS, "representation"), {}, {}, "representation")
    assert isinstance(part, Representation)
    return part


def read_by(part: Representation, signals: Mapping[str, Signal] | None = None) -> Sources:
    """What a representation reads of the recording, some signals replaced."""
    names = part.sources("eeg")
    all_signals, events = {**recorded().signals, **(signals or {})}, recorded().events
    assert set(names) <= {*all_signals, *events}
    return Sources(
        {name: all_signals[name] for name in names if name in all_signals},
        {name: events[name] for name in names if name in events},
    )


def lacking(found: Represented) -> np.ndarray:
    """Windows (n,) with a value that could not be computed; each has a reason, and none has one without."""
    finite = np.isfinite(found.x.reshape(len(found.x), -1)).all(axis=1)
    for mask in found.missing.values():
        assert mask.shape == (len(found.x),)
        assert mask.dtype == bool
    told = np.any([np.zeros(len(found.x), dtype=bool), *found.missing.values()], axis=0)
    np.testing.assert_array_equal(~finite, told)
    return told


@EVERY
def test_one_finite_value_a_window_that_its_geometry_can_normalise(name: str) -> None:
    part = made(name)
    found = part.represent(read_by(part), ONSETS_S, LENGTH_S)
    assert len(found.x) == len(ONSETS_S)
    assert not lacking(found).any(), found.missing
    normal = STATISTICS[part.geometry](found.x).transform()(found.x)
    assert normal.shape == found.x.shape


@EVERY
@pytest.mark.parametrize("length_s", [30.0, LENGTH_S])
def test_every_feature_has_a_name_and_a_column(name: str, length_s: float) -> None:
    part = made(name)
    if not isinstance(part, FeatureRepresentation):
        return
    assert (part.geometry, part.as_recorded) == ("vector", True)
    names = part.features(length_s)
    assert len(set(names)) == len(names)
    assert part.represent(read_by(part), ONSETS_S, length_s).x.shape == (len(ONSETS_S), len(names))


@EVERY
def test_windows_do_not_depend_on_which_others_are_asked_for(name: str) -> None:
    part = made(name)
    whole = part.represent(read_by(part), ONSETS_S, LENGTH_S).x
    some = part.represent(read_by(part), ONSETS_S[[3, 1]], LENGTH_S).x
    np.testing.assert_allclose(some, whole[[3, 1]], rtol=1e-12)


@EVERY
def test_the_signals_are_left_as_they_are(name: str) -> None:
    part = made(name)
    sources = read_by(part)
    before = {key: signal.data.copy() for key, signal in sources.signals.items()}
    x = part.represent(sources, ONSETS_S, LENGTH_S).x
    x[:] = 0
    for key, signal in sources.signals.items():
        np.testing.assert_array_equal(signal.data, before[key])


@EVERY
def test_equal_parts_are_equal(name: str) -> None:
    assert made(name) == made(name)
    assert digest(made(name)) == digest(made(name))


@EVERY
def test_signals_without_a_sample_take_windows_away_and_stop_nothing(name: str) -> None:
    part = made(name)
    read = read_by(part)
    empty = {key: Signal(np.full_like(one.data, np.nan), one.sfreq) for key, one in read.signals.items()}
    nothing = Sources(empty, {key: Intervals(np.empty(0), np.empty(0)) for key in read.events})
    if part.as_recorded:
        for key, signal in empty.items():
            lacking(part.represent(read_by(part, {key: signal}), ONSETS_S, LENGTH_S))
        assert lacking(part.represent(nothing, ONSETS_S, LENGTH_S)).all()
    with pytest.raises(SignalError, match="no usable window"):
        Recipe("eeg", Preprocessing(), WindowLength(LENGTH_S), part)([worn(nothing)], task_of((0.0, 300.0, 0)))


def test_movement_is_the_control() -> None:
    assert {name for name in REPRESENTATIONS if made(name).control} == {"movement"}
