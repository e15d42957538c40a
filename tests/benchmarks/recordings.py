"""Small recordings that tests make."""

from __future__ import annotations

from collections.abc import Sequence

import mne
import numpy as np

from benchmarks.recording import Recording, Task, Trial


def raw_of(
    data: np.ndarray, sfreq: float, names: Sequence[str] | None = None, kind: str = "eeg", start_s: float = 0.0
) -> mne.io.RawArray:
    """Signal (C, T), which starts `start_s` after its recording."""
    names = names or [f"E{channel}" for channel in range(len(data))]
    info = mne.create_info(list(names), sfreq, kind)
    return mne.io.RawArray(np.array(data), info, first_samp=round(start_s * sfreq), verbose="error")


def recording_of(raw: mne.io.BaseRaw, subject: str = "S1", session: str = "1") -> Recording:
    """Recording whose one signal is called "eeg"."""
    return Recording(subject, session, {"eeg": raw}, mne.Annotations([], [], []))


def task_of(*trials: tuple[float, float, int]) -> Task:
    """Task that finds the same trials (start_s, stop_s, label) in every recording."""
    cut = [Trial(f"trial{index}", label, start, stop) for index, (start, stop, label) in enumerate(trials)]
    return Task(("rest", "work"), cut=lambda _: cut)


def noise(channels: int, samples: int, seed: int = 0) -> np.ndarray:
    """White Gaussian noise of standard deviation 10 uV, (C, T)."""
    return 1e-5 * np.random.default_rng(seed).standard_normal((channels, samples))
