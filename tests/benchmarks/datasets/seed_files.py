"""A writer of small folders in the layout of SEED."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.datasets.matlab_files import write_mat

LABELS = (1, 0, -1, -1, 0, 1, -1, 0, 1, 1, 0, -1, 0, 1, -1)
"""As published: 1 is positive."""

DAYS = {1: ("20131027", "20131030", "20131107"), 2: ("20140404", "20140413", "20140419")}
"""Days of the published sessions of the first two subjects."""

INITIALS = {1: "djc", 2: "jl"}
ROWS = {"de": 62, "psd": 62, "dasm": 27, "rasm": 27, "asm": 54, "dcau": 23}


def eeg_of(seed: int, samples: int, label: int = 0) -> np.ndarray:
    """EEG (62, n) in microvolts: noise and a rhythm of 10 Hz that is the stronger, the gladder the film."""
    random = np.random.default_rng(seed)
    rhythm = (12 + 8 * label) * np.sin(2 * np.pi * (10 * np.arange(samples) / 200 + random.random()))
    return np.asarray(np.round(random.normal(0, 5, (62, samples)) + rhythm, 2))


def raw_of(subject: int, session: int, samples: int) -> dict[str, np.ndarray]:
    """All films of one session, by the name of their variable."""
    seeds = (10_000 * subject + 100 * session + film for film in range(1, 16))
    films = [eeg_of(seed, samples, label) for seed, label in zip(seeds, LABELS, strict=True)]
    return {f"{INITIALS[subject]}_eeg{film}": values for film, values in enumerate(films, 1)}


def features_of(subject: int, session: int, windows: int, kinds: Sequence[str] = ("de",)) -> dict[str, np.ndarray]:
    """Features of all films of one session: each value tells where it stands, and the film's label."""
    random = np.random.default_rng(100 * subject + session)
    return {
        f"{kind}_{smoothing}{film}": label + random.normal(0, 0.3, (ROWS[kind], windows, 5))
        for kind in kinds
        for smoothing in ("movingAve", "LDS")
        for film, label in enumerate(LABELS, 1)
    }


def write_labels(folder: Path, labels: Sequence[int] = LABELS, key: str = "label") -> Path:
    """``label.mat``."""
    return write_mat(folder / "label.mat", {key: np.array([labels], dtype=np.int16)})


def write_session(folder: Path, subject: int, session: int, films: Mapping[str, Any]) -> Path:
    """The file of one session."""
    return write_mat(folder / f"{subject}_{DAYS[subject][session - 1]}.mat", films, compressed=False)


def write_seed(root: Path, seconds: float = 2.0, subjects: Sequence[int] = (1, 2)) -> Path:
    """``Preprocessed_EEG`` with three sessions of each subject; films of the first last `seconds`, of others 0.1 s."""
    folder = root / "Preprocessed_EEG"
    for subject in subjects:
        for session, samples in ((1, round(200 * seconds)), (2, 20), (3, 20)):
            write_session(folder, subject, session, raw_of(subject, session, samples))
    write_labels(folder)
    (folder / "readme.txt").write_text("The EEG of the films.")
    return folder


def write_seed_features(root: Path, windows: int = 4, subjects: Sequence[int] = (1, 2)) -> Path:
    """``ExtractedFeatures`` with three sessions of each subject, of differential entropy alone."""
    folder = root / "ExtractedFeatures"
    for subject in subjects:
        for session in (1, 2, 3):
            write_session(folder, subject, session, features_of(subject, session, windows))
    write_labels(folder)
    return folder
