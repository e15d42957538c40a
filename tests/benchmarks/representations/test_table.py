"""Every representation of the table goes through the same checks; a new one needs no line here."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.normalization import STATISTICS
from benchmarks.parts import build, find
from benchmarks.representations.contract import Representation
from benchmarks.representations.table import REPRESENTATIONS
from tests.benchmarks.recordings import noise

EVERY = pytest.mark.parametrize("name", sorted(REPRESENTATIONS))
STARTS = np.array([0, 128, 700, 1700])


def made(name: str) -> Representation:
    part = build(find(name, REPRESENTATIONS, "representation"), {}, {}, "representation")
    assert isinstance(part, Representation)
    return part


@EVERY
def test_one_finite_value_a_window_that_its_geometry_can_normalise(name: str) -> None:
    part = made(name)
    x = part(noise(4, 2000), 128.0, STARTS, 256)
    assert len(x) == len(STARTS)
    assert np.isfinite(x).all()
    normal = STATISTICS[part.geometry](x).transform()(x)
    assert normal.shape == x.shape


@EVERY
def test_windows_do_not_depend_on_which_others_are_asked_for(name: str) -> None:
    signal = noise(4, 2000)
    whole = made(name)(signal, 128.0, STARTS, 256)
    np.testing.assert_allclose(made(name)(signal, 128.0, STARTS[[3, 1]], 256), whole[[3, 1]], rtol=1e-12)


@EVERY
def test_the_signal_is_left_as_it_is(name: str) -> None:
    signal = noise(4, 2000)
    before = signal.copy()
    x = made(name)(signal, 128.0, STARTS, 256)
    x[:] = 0
    np.testing.assert_array_equal(signal, before)


@EVERY
def test_equal_parts_are_equal(name: str) -> None:
    assert made(name) == made(name)
