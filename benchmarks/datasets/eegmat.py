"""EEG During Mental Arithmetic Tasks (PhysioNet eegmat): rest and serial subtraction of 36 subjects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

from benchmarks.datasets import storage
from benchmarks.datasets.conditions import cut_conditions
from benchmarks.datasets.contract import Card, Places, RecordingDataset
from benchmarks.datasets.edf import read_edf
from benchmarks.datasets.sources import PublishedFiles
from benchmarks.errors import DataError
from benchmarks.parts import nearest
from benchmarks.recording import Recording, Task, Trial

# fmt: off
EEG_CHANNELS = (
    "Fp1", "Fp2", "F3", "F4", "F7", "F8", "T3", "T4", "C3", "C4", "T5", "T6", "P3", "P4", "O1", "O2", "Fz", "Cz", "Pz",
)
# fmt: on
"""The scalp electrodes of the 10-20 system; the files also hold ``A2-A1``, between the ears, which is none of them."""

_CONDITIONS = {"1": "rest", "2": "arithmetic"}
"""From the number at the end of a file's name to what the subject was doing."""

_CLASSES = tuple(_CONDITIONS.values())
_MARKER = "Subject*_1.edf"
_FILE = re.compile(r"(Subject\d+)_[12]\.edf")
_MINUTE_S = 60.0


class Eegmat(RecordingDataset):
    """The publisher's 500 Hz files, or copies at another rate, under their published names.

    Signals are ``"eeg"`` (`EEG_CHANNELS`, in this order) and ``"ecg"`` (channel ``ECG``), in volts and not loaded
    before they are asked for. Each file is one recording under one condition.

    Parameters
    ----------
    places : Places
        Where the set lies, as the folder ``eegmat`` or the archive ``eegmat.zip``.
    """

    card = Card(
        name="eegmat",
        title="EEG During Mental Arithmetic Tasks",
        subjects="36",
        signals="eeg 19 channels 500 Hz, ecg 500 Hz (copies at other rates load too)",
        labels="rest_vs_arithmetic: rest or serial subtraction (workload, not emotion); "
        "first_vs_last_minute_of_rest: control for drift",
        licence="Open Data Commons Attribution 1.0 (ODC-By)",
        page="https://physionet.org/content/eegmat/1.0.0/",
        citation="Zyma et al., Data 2019, 4(1):14, doi:10.3390/data4010014; "
        "Goldberger et al., Circulation 2000, 101(23):e215",
        source=PublishedFiles(url="https://physionet.org/files/eegmat/1.0.0/", size="about 180 MB"),
    )
    default_signal = "eeg"

    def __init__(self, places: Places) -> None:
        self._places = places

    @classmethod
    def present(cls, places: Places) -> Path | None:
        """Folder or archive with the recordings, or None."""
        return storage.locate(cls.card.name, _MARKER, places.data)

    @property
    def tasks(self) -> Mapping[str, Task]:
        """Rest against arithmetic, and a control in which only time differs."""
        return {
            "rest_vs_arithmetic": Task(_CLASSES, partial(cut_conditions, classes=_CLASSES)),
            "first_vs_last_minute_of_rest": Task(
                ("first_minute", "last_minute"),
                _first_and_last_minute_of_rest,
                excluded={"Subject31": "its rest of 80 s has no two separate minutes"},
            ),
        }

    @property
    def one_clock(self) -> bool:
        """False: each condition is a file with a clock of its own, which would tell how long the files are."""
        return False

    def signals_of(self, subjects: Sequence[str]) -> tuple[str, ...]:  # noqa: ARG002 - a file without them is refused
        """Scalp and heart."""
        return ("eeg", "ecg")

    def subjects(self) -> tuple[str, ...]:
        """Subjects with at least one file, sorted."""
        names = (_FILE.fullmatch(file.name) for file in self._root.iterdir())
        return tuple(sorted({name[1] for name in names if name}))

    def fingerprint(self, subject: str) -> str:
        """SHA-256 of the names and contents of the subject's files."""
        return storage.fingerprint(self._files(subject).values())

    def read(self, subject: str) -> Sequence[Recording]:
        """The recording of rest, then the one of arithmetic."""
        return [_recording(subject, condition, file) for condition, file in self._files(subject).items()]

    @cached_property
    def _root(self) -> Path:
        return storage.find_root(self.card, _MARKER, self._places)

    def _files(self, subject: str) -> dict[str, Path]:
        if subject not in self.subjects():
            raise DataError(f"No file of subject {subject!r} in {self._root}. {nearest(subject, self.subjects())}")
        files = {condition: self._root / f"{subject}_{number}.edf" for number, condition in _CONDITIONS.items()}
        for condition, file in files.items():
            if not file.is_file():
                raise DataError(
                    f"{subject}: {file.name}, the recording of {condition}, is missing in {self._root}. "
                    f"Get it from {self.card.page}, or remove the subject's other file to leave the subject out."
                )
        return files


def _recording(subject: str, condition: str, file: Path) -> Recording:
    import mne

    raw = read_edf(file)
    # The published labels are a kind and a name: "EEG Fp1", "ECG ECG".
    raw.rename_channels(lambda label: label.strip().split(" ")[-1], verbose="error")
    missing = [name for name in (*EEG_CHANNELS, "ECG") if name not in raw.ch_names]
    if missing:
        raise DataError(
            f"{file}: no channel {', '.join(missing)}; it has {', '.join(raw.ch_names)}. "
            "Expected the channels of the published files."
        )
    raw.set_channel_types({"ECG": "ecg"}, verbose="error")
    return Recording(
        subject=subject,
        session="1",
        signals={"eeg": raw.copy().pick(list(EEG_CHANNELS)), "ecg": raw.copy().pick(["ECG"])},
        annotations=mne.Annotations(onset=0.0, duration=raw.n_times / raw.info["sfreq"], description=condition),
    )


def _first_and_last_minute_of_rest(recording: Recording) -> list[Trial]:
    return [
        trial
        for rest in cut_conditions(recording, ("rest",))
        for trial in (
            Trial("first_minute", 0, rest.start_s, rest.start_s + _MINUTE_S),
            Trial("last_minute", 1, _last_minute(recording.subject, rest), rest.stop_s),
        )
    ]


def _last_minute(subject: str, rest: Trial) -> float:
    duration = rest.stop_s - rest.start_s
    if duration < 2 * _MINUTE_S:
        raise DataError(
            f"{subject}: its rest lasts {duration:.0f} s, too short for a first and a last minute that do not overlap."
        )
    return rest.stop_s - _MINUTE_S
