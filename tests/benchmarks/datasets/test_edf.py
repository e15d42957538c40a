from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.datasets.edf import read_edf
from benchmarks.errors import DataError
from tests.benchmarks.datasets.edf_files import UV_PER_STEP, edf_bytes

SFREQ, SECONDS = 100, 3
SIGNALS = {
    "one": np.arange(SFREQ * SECONDS, dtype=float),
    "two": -0.5 * np.arange(SFREQ * SECONDS, dtype=float),
}
WHOLE = edf_bytes(SIGNALS, SFREQ)
HEADER = 256 * 3


def test_signals_are_read_in_volts(tmp_path: Path) -> None:
    path = tmp_path / "ramp.edf"
    path.write_bytes(WHOLE)
    raw = read_edf(path)
    assert raw.ch_names == ["one", "two"]
    assert raw.info["sfreq"] == SFREQ
    assert not raw.preload
    np.testing.assert_allclose(raw.get_data() * 1e6, list(SIGNALS.values()), atol=UV_PER_STEP / 2 + 1e-6)


def test_recorder_that_was_not_stopped_promises_no_length(tmp_path: Path) -> None:
    path = tmp_path / "running.edf"
    path.write_bytes(WHOLE[:236] + b"-1".ljust(8) + WHOLE[244:])
    assert read_edf(path).n_times == SFREQ * SECONDS


@pytest.mark.parametrize("missing", [1, 2 * SFREQ, len(WHOLE) - HEADER - 1])
def test_truncated_file_names_both_sizes(tmp_path: Path, missing: int) -> None:
    path = tmp_path / "short.edf"
    path.write_bytes(WHOLE[:-missing])
    with pytest.raises(DataError) as caught:
        read_edf(path)
    for needed in ("short.edf", "truncated", str(len(WHOLE)), str(len(WHOLE) - missing), "Get this file again"):
        assert needed in str(caught.value)


@pytest.mark.parametrize("content", [b"", WHOLE[:100], WHOLE[: HEADER - 300], b"<html>404</html>" * 100])
def test_what_does_not_begin_with_a_header(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "no.edf"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"no\.edf: its {len(content)} bytes do not begin with an EDF header"):
        read_edf(path)


def test_header_that_contradicts_itself(tmp_path: Path) -> None:
    path = tmp_path / "odd.edf"
    path.write_bytes(WHOLE[:184] + b"512".ljust(8) + WHOLE[192:])
    with pytest.raises(DataError, match="contradicts itself"):
        read_edf(path)


def test_header_that_mne_refuses(tmp_path: Path) -> None:
    path = tmp_path / "odd.edf"
    # Digital minimum and maximum of the first signal that are no numbers.
    at = 256 + 2 * (16 + 80 + 8 + 8 + 8)
    path.write_bytes(WHOLE[:at] + b"low".ljust(8) + WHOLE[at + 8 :])
    with pytest.raises(DataError, match=r"odd\.edf: MNE cannot read"):
        read_edf(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Cannot read .*gone\.edf"):
        read_edf(tmp_path / "gone.edf")
