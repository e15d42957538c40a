from __future__ import annotations

import numpy as np
import pytest

from benchmarks.errors import DataError
from benchmarks.representations.contract import Signal
from benchmarks.representations.flaws import check_channels, flaws
from tests.benchmarks.recordings import noise


def test_reasons_name_the_signal_and_windows_are_found_by_time() -> None:
    data = noise(1, 60)
    data[0, 10:20], data[0, 45] = 3e-6, np.nan
    # At 5 Hz from 1 s on: the constant run is at 3-5 s, the missing sample at 10 s.
    signal = Signal(data, 5.0, begin_s=1.0)
    found = flaws("eda", signal, np.array([1.0, 3.0, 5.0, 9.0, 10.0]), 2.0)
    assert {reason: mask.tolist() for reason, mask in found.items()} == {
        "eda flat": [False, True, False, False, False],
        "eda nan": [False, False, False, True, True],
    }


def test_only_the_kinds_that_are_asked_for() -> None:
    signal = Signal(np.zeros((1, 20)), 4.0)
    assert flaws("temp", signal, np.array([0.0]), 2.0, ("nan",)).keys() == {"temp nan"}


def test_another_number_of_channels() -> None:
    signal = Signal(noise(2, 20), 4.0)
    check_channels("acc", signal, 2)
    with pytest.raises(DataError, match=r"Signal 'acc' has 2 channels, expected 3\. Check how it was read\."):
        check_channels("acc", signal, 3)
