"""A writer of small E4 exports, and of a small Stress-Predict made of them, in the layouts of the real ones."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import openpyxl

FILES = ("ACC.csv", "BVP.csv", "EDA.csv", "TEMP.csv", "IBI.csv", "HR.csv")
START = 1_644_228_000
"""2022-02-07, 10:00:00 UTC."""

BEAT_S = 0.8125

LOGGED = {
    "baseline": (0, 5),
    "stroop": (6, 8),
    "relax_1": (8, 11),
    "interview": (11, 14),
    "relax_2": (14, 17),
    "hyperventilation": (17, 19),
    "relax_3": (19, 22),
    "questionnaire": (22, 25),
    "final_relax": (25, 28),
}
"""Minutes after the start at which the time log has the phases of `write_stress_predict`."""

LABELLED = ((370, 487), (655, 835), (1025, 1145))
"""Seconds after the start at which its label file has the stressors."""

SECONDS = 1700
TITLES = (
    "Baseline/Questionniare", "Stroop Test", "Relax", "Interview", "Relax", "Hyperventilation", "Relax",
    "Questionniare", "Relax/Baseline",
)  # fmt: skip


def e4_contents(seconds: float = 60.0, start: float = START, seed: int = 0) -> dict[str, str]:
    """Text of all files of a person at rest, by name: heart beats every `BEAT_S`, 2 uS, 33 degrees, 1 g downwards."""
    random = np.random.default_rng(seed)
    acc, bvp, eda, temp = (np.arange(round(seconds * rate)) / rate for rate in (32, 64, 4, 4))
    arm = np.round(np.array([0, 10, 62]) + random.normal(0, 1.5, (len(acc), 3))).astype(int)
    pulse = 60 * np.sin(2 * np.pi * bvp / BEAT_S) + random.normal(0, 2, len(bvp))
    skin = 2 + 0.3 * np.sin(2 * np.pi * eda / 15) + random.normal(0, 0.01, len(eda))
    skin[:1] = 0
    warmth = 33 + 0.5 * np.sin(2 * np.pi * temp / 300) + random.normal(0, 0.01, len(temp))
    beats = BEAT_S * np.arange(2, int(seconds / BEAT_S))
    rows = {
        "ACC.csv": [
            ", ".join([f"{start:.6f}"] * 3),
            ", ".join(["32.000000"] * 3),
            *(",".join(map(str, r)) for r in arm),
        ],
        "BVP.csv": [f"{start:.2f}", "64.000000", *(f"{value:.2f}" for value in pulse)],
        "EDA.csv": [f"{start:.6f}", "4.000000", *(f"{value:.6f}" for value in skin)],
        "TEMP.csv": [f"{start:.6f}", "4.000000", *(f"{value:.2f}" for value in warmth)],
        "IBI.csv": [f"{start:.6f}, IBI", *(f"{beat:.6f},{BEAT_S:.6f}" for beat in beats)],
        "HR.csv": [f"{start + 10:.6f}", "1.000000", *(["73.85"] * max(int(seconds) - 10, 0))],
    }
    return {name: "\n".join(lines) + "\n" for name, lines in rows.items()}


def write_e4(
    folder: Path, seconds: float = 60.0, start: float = START, seed: int = 0, files: Collection[str] = FILES
) -> Path:
    """Folder with the export of one session, or some of its files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in e4_contents(seconds, start, seed).items():
        if name in files:
            (folder / name).write_text(text)
    return folder


def write_e4_archive(archive: Path, seconds: float = 60.0, start: float = START, top: str = "") -> Path:
    """The same as a zip archive, perhaps under a top folder."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as opened:
        for name, text in e4_contents(seconds, start).items():
            opened.writestr(top + name, text)
    return archive


def write_stress_predict(root: Path, starts: Mapping[str, int] | None = None, files: Collection[str] = FILES) -> Path:
    """Stress-Predict of the subjects of `starts`, by default S02 and S03, all with the phases `LOGGED` and `LABELLED`.

    S01 has its phases in the time log only.
    """
    starts = starts or {"S02": START, "S03": START + 2040}
    for seed, (subject, start) in enumerate(starts.items()):
        folder = write_e4(root / "Raw_data" / subject, SECONDS, start, seed, files)
        presses = [start + edge for run in LABELLED for edge in run]
        (folder / f"tags_{subject}.csv").write_text("".join(f"{press}\n" for press in presses))
    (root / "Processed_data").mkdir(exist_ok=True)
    write_labels(root, {subject: start for subject, start in starts.items() if subject != "S01"})
    write_log(root, starts)
    return root


def write_labels(root: Path, starts: Mapping[str, int]) -> None:
    """The label file, from the ninth second of each recording on."""
    rows = ["Participant,HR,respr,Time(sec),Label"]
    for subject, start in starts.items():
        for second in range(9, SECONDS):
            label = int(any(first <= second < stop for first, stop in LABELLED))
            rows.append(f"{int(subject[1:])},{'' if second % 500 == 0 else 70.5},12.1,{start + second},{label}")
    (root / "Processed_data" / "Improved_All_Combined_hr_rsp_binary.csv").write_text("\n".join(rows) + "\n")


def write_log(root: Path, starts: Mapping[str, int]) -> None:
    """The time log, with a clock of 12 hours."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append([
        "S. ID.", "Start Time", "End Time", "Session ID", "Consent", None,
        *(cell for title in TITLES for cell in (title, None)), None, "Date",
    ])  # fmt: skip
    sheet.append([None] * 4 + ["Start", "End"] * 10)
    for subject, start in starts.items():
        times = [_twelve_hours(start + 60 * minute) for span in LOGGED.values() for minute in span]
        sheet.append([subject, times[0], times[-1], 1, times[0], times[0], *times, "Day 1", datetime.date(2022, 2, 7)])
    book.save(root / "Processed_data" / "Time_logs.xlsx")


def _twelve_hours(unix_s: int) -> datetime.time:
    time = datetime.datetime.fromtimestamp(unix_s // 60 * 60, datetime.UTC).time()
    return time.replace(hour=(time.hour - 1) % 12 + 1)
