from __future__ import annotations

import numpy as np

from benchmarks.representations.raw import RawWindows
from tests.benchmarks.recordings import noise


def test_the_samples_themselves() -> None:
    signal = noise(3, 50)
    out = RawWindows()(signal, 10.0, np.array([0, 7, 40]), 10)
    assert out.dtype == np.float32
    assert out.shape == (3, 3, 10)
    np.testing.assert_array_equal(out[1], signal[:, 7:17].astype(np.float32))
    np.testing.assert_array_equal(out[2], signal[:, 40:].astype(np.float32))
