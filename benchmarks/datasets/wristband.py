"""A user's own recordings with an Empatica E4 wristband, and a table of the phases in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field

from benchmarks.datasets import storage
from benchmarks.datasets.contract import Card, Places, RecordingDataset
from benchmarks.datasets.e4 import E4Export, export_files, is_export, read_e4, recorded_by_all
from benchmarks.datasets.phase_table import PhaseTable
from benchmarks.datasets.phases import Phase, annotated, cut_phases
from benchmarks.digest import digest
from benchmarks.errors import DataError, StudyError
from benchmarks.parts import nearest
from benchmarks.recording import Recording, Task, Trial

_ONLY_SESSION = "1"


class Wristband(RecordingDataset):
    """Exports of the wristband, as `benchmarks.datasets.e4` reads them, cut into the phases of a table.

    Parameters
    ----------
    places : Places
        Relative paths start in the study's folder.
    path : Path
        Folder with the export of each subject, named after the subject: a folder of CSV files, or a zip archive of
        them. A subject with several sessions has a folder of such exports, named after the sessions; their order is
        that of their starts, whatever their names.
    phases : Path
        CSV file with a row for each phase, as `PhaseTable` reads it: ``subject``, ``phase``, ``start`` and ``stop``,
        perhaps ``session`` and ``trial``. Times are seconds from the start of the recording; if all of them are from
        1e9 on, they are unix seconds. Phases of one recording may touch, but not overlap.
    classes : mapping of str to list of str, optional
        Phases of each class, in the order of the labels; phases of no class are not used. Without it, each phase is a
        class of its own, sorted by name.
    """

    card = Card(
        name="e4",
        title="Your own recordings with an Empatica E4 wristband, and a table of their phases",
        subjects="yours",
        signals="acc 3 axes 32 Hz, bvp 64 Hz, eda 4 Hz, temp 4 Hz, ibi (intervals between heart beats)",
        labels="phases: classes that you make of your phases",
        licence="yours",
        page="README.md of this program",
        citation="yours",
    )
    default_signal = "eda"
    default_representation = "joined"

    def __init__(
        self,
        places: Places,
        path: Path,
        phases: Path,
        classes: Annotated[dict[str, Annotated[list[str], Field(min_length=1)]], Field(min_length=2)] | None = None,
    ) -> None:
        self._folder = places.study / path.expanduser()
        self._table_path = places.study / phases.expanduser()
        self._chosen = classes

    @classmethod
    def present(cls, places: Places) -> Path | None:  # noqa: ARG003
        """Where this reader is; the recordings themselves are named by each study."""
        return Path(__file__)

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The one task: to tell the classes of phases apart."""
        return {"phases": Task(tuple(self._classes), self._cut)}

    def signals_of(self, subjects: Sequence[str]) -> tuple[str, ...]:
        """What the export of each of their sessions that has a phase has a file of."""
        return recorded_by_all(place for subject in subjects for _, place in self._sessions(subject))

    def subjects(self) -> tuple[str, ...]:
        """Subjects with an export, sorted."""
        return tuple(self._exports)

    def fingerprint(self, subject: str) -> str:
        """SHA-256 of the files of the subject's sessions, of its rows of the table, and of the classes."""
        files = [[session, storage.fingerprint(export_files(place))] for session, place in self._sessions(subject)]
        told = [astuple(replace(row, number=0)) for row in self._table.of(subject)]
        return digest([files, told, self._classes])

    def read(self, subject: str) -> Sequence[Recording]:
        """A recording of each session that has a phase, in the order in which they were recorded."""
        exports = [(session, read_e4(place)) for session, place in self._sessions(subject)]
        exports.sort(key=lambda told: told[1].start_unix_s)
        return [self._recording(subject, session, export) for session, export in exports]

    def _recording(self, subject: str, session: str, export: E4Export) -> Recording:
        zero = export.start_unix_s if self._table.unix else 0.0
        phases = []
        for row in self._table.of(subject, session):
            phase = Phase(row.phase, row.start - zero, row.stop - zero)
            if phase.start_s < 0 or phase.stop_s > export.duration_s:
                raise DataError(
                    f"{self._table.path}, data row {row.number}: {row.phase} of {subject}, session {session}, at "
                    f"{phase.start_s:.10g} to {phase.stop_s:.10g} s, lies outside the recording of "
                    f"{export.duration_s:.10g} s, which starts at unix second {export.start_unix_s:.10g}. Correct the "
                    f"row, or is it of another session?"
                )
            phases.append(phase)
        return Recording(subject, session, export.signals, annotated(phases), export.events)

    def _cut(self, recording: Recording) -> list[Trial]:
        names = [row.trial for row in self._table.of(recording.subject, recording.session)]
        return cut_phases(recording, self._classes, names if all(names) else None)

    def _sessions(self, subject: str) -> list[tuple[str, Path]]:
        """Sessions of a subject that have a phase, sorted by name, with their exports."""
        if subject not in self._exports:
            raise DataError(f"No export of subject {subject!r} in {self._folder}. {nearest(subject, self._exports)}")
        used = {row.session for row in self._table.of(subject)}
        return [(session, place) for session, place in self._exports[subject].items() if session in used]

    @cached_property
    def _table(self) -> PhaseTable:
        return PhaseTable(self._table_path, self._exports)

    @cached_property
    def _exports(self) -> Mapping[str, Mapping[str, Path]]:
        """Exports by subject and session, sorted."""
        if not self._folder.is_dir():
            raise DataError(
                f"No folder {self._folder}. dataset.path starts in the folder of the study file, or is absolute."
            )
        exports = {
            subject: {_ONLY_SESSION: place} if is_export(place) else _named(filter(is_export, place.iterdir()))
            for subject, place in _named(self._folder.iterdir()).items()
        }
        found = {subject: sessions for subject, sessions in exports.items() if sessions}
        if not found:
            raise DataError(
                f"{self._folder} holds no export of an E4 wristband. Expected, for each subject, a folder of CSV files "
                f"(ACC.csv, BVP.csv, ...), a zip archive of them, or a folder with one of these for each session."
            )
        return found

    @cached_property
    def _classes(self) -> Mapping[str, Sequence[str]]:
        known = self._table.phases
        if self._chosen is None:
            if len(known) < 2:
                raise DataError(
                    f"{self._table.path} has only the phase {known[0]!r}. At least two are needed to tell apart."
                )
            return {phase: [phase] for phase in known}
        chosen = [phase for phases in self._chosen.values() for phase in phases]
        for phase in chosen:
            if phase not in known:
                raise StudyError(f"dataset.classes: no phase {phase!r} in {self._table.path}. {nearest(phase, known)}")
            if chosen.count(phase) > 1:
                raise StudyError(f"dataset.classes: phase {phase!r} stands there twice. It can be of one class only.")
        return self._chosen


def _named(places: Iterable[Path]) -> dict[str, Path]:
    """Folders and zip archives by their names, sorted; what is hidden is passed over."""
    named: dict[str, Path] = {}
    for place in (place for place in places if place.is_dir() or is_export(place)):
        name = place.name if place.is_dir() else place.stem
        if name.startswith("."):
            continue
        if name in named:
            raise DataError(f"{named[name]} and {place} have the same name. Keep only one of them.")
        named[name] = place
    return dict(sorted(named.items()))
