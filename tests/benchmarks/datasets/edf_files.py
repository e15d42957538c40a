"""A minimal writer of EDF files, so that tests need no recording and no further package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.datasets.eegmat import EEG_CHANNELS

UV_PER_STEP = 0.05
LABELS = (*(f"EEG {name}" for name in EEG_CHANNELS), "EEG A2-A1", "ECG ECG")


def edf_bytes(signals: Mapping[str, np.ndarray], sfreq: int) -> bytes:
    """EDF file with records of one second; signals in microvolts, by label."""

    def field(value: str | float, width: int) -> bytes:
        return f"{value:{width}}".encode("ascii") if isinstance(value, str) else f"{value:<{width}g}".encode("ascii")

    labels, values = list(signals), np.stack(list(signals.values()))
    n = len(labels)
    records = values.shape[1] // sfreq
    fixed = [
        ("0", 8), ("X X X X", 80), ("Startdate X X X X", 80), ("01.01.85", 8), ("00.00.00", 8),
        (256 * (n + 1), 8), ("", 44), (records, 8), ("1", 8), (n, 4),
    ]  # fmt: skip
    per_signal = [
        (labels, 16), ([""] * n, 80), (["uV"] * n, 8), ([-32768 * UV_PER_STEP] * n, 8), ([32767 * UV_PER_STEP] * n, 8),
        ([-32768] * n, 8), ([32767] * n, 8), ([""] * n, 80), ([sfreq] * n, 8), ([""] * n, 32),
    ]  # fmt: skip
    header = b"".join(field(value, width) for value, width in fixed)
    header += b"".join(field(value, width) for column, width in per_signal for value in column)
    steps = np.round(values[:, : records * sfreq] / UV_PER_STEP).astype("<i2")
    return header + steps.reshape(n, records, sfreq).transpose(1, 0, 2).tobytes()


def sines(sfreq: int, seconds: float) -> dict[str, np.ndarray]:
    """A sine of its own for each of the published channels: channel k has (k + 1) Hz and (k + 1) * 5 microvolts."""
    time = np.arange(round(seconds * sfreq)) / sfreq
    return {label: 5.0 * (k + 1) * np.sin(2 * np.pi * (k + 1) * time) for k, label in enumerate(LABELS)}


def write_eegmat_subject(folder: Path, subject: str, sfreq: int = 128, rest_s: int = 8, arithmetic_s: int = 4) -> None:
    """Both files of one subject, under their published names."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, seconds in ((1, rest_s), (2, arithmetic_s)):
        (folder / f"{subject}_{number}.edf").write_bytes(edf_bytes(sines(sfreq, seconds), sfreq))
