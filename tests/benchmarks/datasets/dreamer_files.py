"""A writer of small files in the layout of DREAMER.mat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.datasets.dreamer_file import EEG_CHANNELS
from tests.benchmarks.datasets.matlab_files import column, row, write_mat

RATES = {"EEG_SamplingRate": 128.0, "ECG_SamplingRate": 256.0}
OFFSET_UV = 4200.0


def eeg_of(seed: int, seconds: float, alpha_uv: float = 10.0, sfreq: int = 128) -> np.ndarray:
    """EEG (n, 14) in microvolts: noise and a rhythm of 10 Hz, on the headset's offset."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * sfreq)) / sfreq
    rhythm = alpha_uv * np.sin(2 * np.pi * (10 * time + random.random()))
    noise = random.normal(0, 5, (len(time), len(EEG_CHANNELS)))
    return np.round(OFFSET_UV + rhythm[:, None] + noise, 2)


def ecg_of(seed: int, seconds: float, sfreq: int = 256) -> np.ndarray:
    """ECG (m, 2)."""
    return np.round(np.random.default_rng(seed).normal(2000, 100, (round(seconds * sfreq), 2)))


def person(
    eeg: Sequence[np.ndarray], ecg: Sequence[np.ndarray] | None, ratings: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """What the file holds of one subject: EEG and ECG of each film, and ratings (``arousal``, ...) of each."""
    baseline = [np.zeros((128, 14)) for _ in eeg]
    told: dict[str, Any] = {
        "Age": "22",
        "Gender": "male",
        "EEG": {"baseline": column(baseline), "stimuli": column(eeg)},
    }
    if ecg is not None:
        told["ECG"] = {"baseline": column([np.zeros((256, 2)) for _ in ecg]), "stimuli": column(ecg)}
    scores = {f"Score{scale.capitalize()}": np.array(values)[:, None] for scale, values in ratings.items()}
    return told | scores


def viewer(seed: int, seconds: Sequence[float] = (6.0, 5.0, 7.0, 6.0), *, heart: bool = True) -> dict[str, Any]:
    """A subject who rates four films 1, 4, 2 and 5, or a few of them: alpha is strong where arousal is high."""
    arousal = np.resize([1, 4, 2, 5], len(seconds))
    eeg = [eeg_of(100 * seed + n, s, 4.0 * rating) for n, (s, rating) in enumerate(zip(seconds, arousal, strict=True))]
    ecg = [ecg_of(100 * seed + n, s) for n, s in enumerate(seconds)] if heart else None
    ratings = {
        "arousal": arousal.tolist(),
        "valence": np.resize([3, 2, 5, 1], len(seconds)).tolist(),
        "dominance": np.resize([2, 3, 3, 2], len(seconds)).tolist(),
    }
    return person(eeg, ecg, ratings)


def write_dreamer(
    folder: Path, people: Sequence[Mapping[str, Any]], others: Mapping[str, Any] = RATES, *, compressed: bool = True
) -> Path:
    """The file, with the subjects in ``Data`` and what it tells besides them behind it."""
    count = {"noOfSubjects": float(len(people)), "Disclaimer": "While every care has been taken ..."}
    content = {"Data": row(people), **others, **count}
    return write_mat(folder / "DREAMER.mat", {"DREAMER": content}, compressed=compressed)
