"""Small recordings that tests make."""

from __future__ import annotations

from collections.abc import Sequence

import mne
import numpy as np

from benchmarks.recording import Recording, Task, Trial
from benchmarks.representations.contract import Intervals, Signal, Sources


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


def wristband(duration_s: float = 300.0, seed: int = 0) -> Sources:
    """What a wristband and an EEG cap record of a person who sits still: clean, and alive in every signal.

    Heart beats come every 0.85 s, sooner and later with the breath (0.25 Hz) and slowly (0.1 Hz); skin responses every
    12 s; the skin warms by a millikelvin a second.
    """
    random = np.random.default_rng(seed)
    beats = _beats(duration_s, random)
    bvp, eda, temp, acc = (np.arange(round(duration_s * rate)) / rate for rate in (64.0, 4.0, 4.0, 32.0))
    breath = np.sin(2 * np.pi * 0.25 * bvp)
    beat = np.searchsorted(beats, bvp, side="right").clip(1, len(beats) - 1) - 1
    phase = 2 * np.pi * (bvp - beats[beat]) / np.diff(beats)[beat]
    pulse = 50 * (np.sin(phase - np.pi / 2) + 0.4 * np.sin(2 * phase - np.pi / 2))
    responses = np.arange(5.0, duration_s, 12.0)
    since = (eda[:, None] - responses).clip(0)
    skin = 2.0 + 0.1 * np.sin(2 * np.pi * eda / 200) + 0.6 * (np.exp(-since / 2.0) - np.exp(-since / 0.75)).sum(axis=1)
    arm = np.stack([0.3 * np.sin(2 * np.pi * 0.25 * acc), np.ones(len(acc)), np.full(len(acc), 9.7)])
    return Sources(
        {
            "eeg": Signal(noise(4, round(duration_s * 128), seed), 128.0),
            "bvp": Signal(((1 + 0.2 * breath) * pulse + 5 * breath + random.normal(0, 0.5, len(bvp)))[None], 64.0),
            "eda": Signal(1e-6 * (skin + random.normal(0, 0.002, len(eda)))[None], 4.0),
            "temp": Signal(np.round(33 + 1e-3 * temp + random.normal(0, 0.02, len(temp)), 2)[None], 4.0),
            "acc": Signal(arm + random.normal(0, 0.05, arm.shape), 32.0),
        },
        {"ibi": Intervals(beats[:-1], np.diff(beats))},
    )


def worn(sources: Sources) -> Recording:
    """Recording that holds these signals and events."""
    signals = {
        name: raw_of(one.data, one.sfreq, kind="misc", start_s=one.begin_s) for name, one in sources.signals.items()
    }
    events = {name: mne.Annotations(one.start_s, one.length_s, name) for name, one in sources.events.items()}
    return Recording("S1", "1", signals, mne.Annotations([], [], []), events)


def _beats(duration_s: float, random: np.random.Generator) -> np.ndarray:
    """Times of heart beats, s."""
    beats = [0.4]
    while beats[-1] < duration_s - 1.2:
        time = beats[-1]
        varied = 0.04 * np.sin(2 * np.pi * 0.25 * time) + 0.03 * np.sin(2 * np.pi * 0.1 * time)
        beats.append(time + 0.85 + varied + random.normal(0, 0.01))
    return np.array(beats)
