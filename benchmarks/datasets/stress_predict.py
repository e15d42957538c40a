"""Stress-Predict: an Empatica E4 wristband on 35 volunteers through three stressors and the rests between them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

from benchmarks.datasets import storage
from benchmarks.datasets.contract import Card, Places, RecordingDataset
from benchmarks.datasets.e4 import export_files, read_e4, recorded_by_all
from benchmarks.datasets.phases import Phase, annotated, cut_phases, overlapping
from benchmarks.datasets.sources import PublishedArchive
from benchmarks.datasets.stress_predict_tables import STRESSORS, LabelFile, TimeLog
from benchmarks.digest import digest
from benchmarks.errors import DataError
from benchmarks.parts import nearest
from benchmarks.recording import Recording, Task, Trial

_PAGE = "https://github.com/italha-d/Stress-Predict-Dataset"
_COMMIT = "f49d2eae603f90c3f0140fbbbae7c0480d651023"
"""The state of the repository that this reader was checked against; a later one may differ."""

_MARKER = "Raw_data/S*/*.csv"
_SUBJECT = re.compile(r"S\d+")
_LABELS = Path("Processed_data", "Improved_All_Combined_hr_rsp_binary.csv")
_LOG = Path("Processed_data", "Time_logs.xlsx")

_MARGIN_S = 60.0
"""What is left out at either side of a boundary that is known from the time log only."""
_FARTHEST_S = 300.0
"""Boundaries of the label file and of the time log that lie farther apart are not of the same session."""
_PRESSED_S = 1.0
"""The label file has the time of a press of the button rounded to the second."""
_SAME_S = 0.5
"""Times nearer than this are the same second, rounding of a recording's start included."""

_UNLABELLED = "S01"
_EXCLUDED = {
    _UNLABELLED: "its Stroop task came before its baseline, and the label file has none of its seconds, so that its "
    "phases are known to the minute only"
}
_BETWEEN = {"relax_1": ("stroop", "interview"), "relax_2": ("interview", "hyperventilation")}
"""Stressors before and after a rest."""

_REST = ("baseline", "relax_1", "relax_2")
_CLASSES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "interview_vs_flanking_rests": {"rest": ("relax_1", "relax_2"), "interview": ("interview",)},
    "stress_vs_rest": {"rest": _REST, "stress": STRESSORS},
    "four_classes": {"rest": _REST, **{stressor: (stressor,) for stressor in STRESSORS}},
}
"""Phases of each class of the tasks that compare phases."""


class StressPredict(RecordingDataset):
    """The published set: one recording a subject, with its phases as annotations.

    Signals and events are those of `benchmarks.datasets.e4`. The phases are baseline, stroop, relax_1, interview,
    relax_2, hyperventilation, relax_3, questionnaire and final_relax. They do not overlap, and each holds only what is
    safely of it:

    - A stressor is a run of label 1 in the label file, which has the presses of the wristband's button, rounded to a
      second.
    - relax_1 and relax_2 are what lies between two stressors, and relax_3 begins where hyperventilation ends.
    - All other boundaries are known from the time log only, in minutes of another clock. At the 193 boundaries that
      both sources have of their own (S02 to S35), label file minus log has a median of -7 s; 92 % are within a minute,
      the extremes are -97 and 163 s. So a minute is left out at either side of such a boundary. A phase of which
      nothing is left (final_relax of S28) is not annotated.
    - A boundary that the label file has at the log's minute, without a press of the button, was copied from the log:
      all six of S06, three of S17, one of S18 and of S30. The stressor stays as labelled, but a rest keeps a minute
      away from such a boundary, and from the one that the log has of the rest itself.
    - S01 is not in the label file: all of its phases are from the log, with a minute left out at either side.

    In S09 and S19 the interview has label 1 only 109 and 163 s after the log has it begin, as if the button had been
    pressed late; the end of their relax_1 may hold some of it.

    Rest, as a class, is the baseline and what lies between stressors. All that comes after the last stressor is left
    out of the tasks: it holds a questionnaire, and no stressor follows it.

    Parameters
    ----------
    places : Places
        Where the set lies, as the folder ``stress_predict`` or the archive ``stress_predict.zip``.
    """

    card = Card(
        name="stress_predict",
        title="Stress-Predict",
        subjects="35, of whom S01 is left out of all tasks",
        signals="acc 3 axes 32 Hz, bvp 64 Hz, eda 4 Hz, temp 4 Hz, ibi (intervals between heart beats); Empatica E4",
        labels="interview_vs_flanking_rests: interview, or the rests just before and after it; "
        "stress_vs_rest: Stroop, interview and hyperventilation, or baseline and rests (the clock alone tells them "
        "apart); four_classes: rest and each stressor; first_vs_second_half_of_baseline: control for drift",
        licence="MIT",
        page=_PAGE,
        citation="Iqbal et al., Sensors 2022, 22(21):8135, doi:10.3390/s22218135",
        source=PublishedArchive(url=f"{_PAGE}/archive/{_COMMIT}.zip", size="about 25 MB", marker=_MARKER),
    )
    default_signal = "eda"
    default_representation = "joined"

    def __init__(self, places: Places) -> None:
        self._places = places

    @classmethod
    def present(cls, places: Places) -> Path | None:
        """Folder or archive with the recordings, or None."""
        return storage.locate(cls.card.name, _MARKER, places.data)

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The contrast that the clock does not tell, two that it does, and a control in which only time differs."""
        contrasts = {
            name: Task(tuple(classes), partial(cut_phases, classes=classes), _EXCLUDED)
            for name, classes in _CLASSES.items()
        }
        control = Task(("first_half", "second_half"), _halves_of_baseline, _EXCLUDED)
        return {**contrasts, "first_vs_second_half_of_baseline": control}

    def signals_of(self, subjects: Sequence[str]) -> tuple[str, ...]:
        """What the folder of each of them has a file of: in the published set, all that the wristband records."""
        return recorded_by_all(map(self._folder, subjects))

    def subjects(self) -> tuple[str, ...]:
        """Subjects with a folder, sorted."""
        folders = (self._root / "Raw_data").iterdir()
        return tuple(sorted(folder.name for folder in folders if folder.is_dir() and _SUBJECT.fullmatch(folder.name)))

    def fingerprint(self, subject: str) -> str:
        """SHA-256 of the subject's files that are read, and of its own rows of the label file and the time log."""
        folder = self._folder(subject)
        tags = [file for file in (_tags(folder),) if file.is_file()]
        labelled = [] if subject == _UNLABELLED else [column.tolist() for column in self._labels.rows(subject)]
        logged = [str(cell) for cell in self._log.row(subject)]
        return digest([storage.fingerprint([*export_files(folder), *tags]), labelled, logged])

    def read(self, subject: str) -> Sequence[Recording]:
        """The one recording of a subject."""
        folder = self._folder(subject)
        export = read_e4(folder)
        start_s, duration_s = export.start_unix_s, export.duration_s
        phases = logged = self._log.phases(subject, start_s, start_s + duration_s / 2)
        if subject == _UNLABELLED:
            phases = {name: _safe(phase) for name, phase in logged.items()}
        else:
            stressors = self._labels.stressors(subject, start_s)
            _refuse_other_session(subject, stressors, logged, duration_s)
            phases = _settled(stressors, logged, _presses(_tags(folder), start_s))
        return [Recording(subject, "1", export.signals, annotated(_kept(subject, phases, duration_s)), export.events)]

    @cached_property
    def _root(self) -> Path:
        return storage.find_root(self.card, _MARKER, self._places)

    @cached_property
    def _labels(self) -> LabelFile:
        return LabelFile(self._root / _LABELS)

    @cached_property
    def _log(self) -> TimeLog:
        return TimeLog(self._root / _LOG)

    def _folder(self, subject: str) -> Path:
        if subject not in self.subjects():
            raise DataError(
                f"No folder of subject {subject!r} in {self._root / 'Raw_data'}. {nearest(subject, self.subjects())}"
            )
        return self._root / "Raw_data" / subject


def _tags(folder: Path) -> Path:
    return folder / f"tags_{folder.name}.csv"


def _presses(file: Path, start_s: float) -> list[float]:
    """When the wristband's button was pressed, seconds from the start of the recording; some are of another time."""
    if not file.is_file():
        return []
    try:
        return [float(line) - start_s for line in file.read_text(encoding="utf-8").split()]
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}). Expected one time in unix seconds in each row.") from error


def _safe(phase: Phase) -> Phase:
    return replace(phase, start_s=phase.start_s + _MARGIN_S, stop_s=phase.stop_s - _MARGIN_S)


def _settled(stressors: Mapping[str, Phase], logged: Mapping[str, Phase], presses: Sequence[float]) -> dict[str, Phase]:
    """What is safely of each phase, as the class says, by name."""

    def copied(label_s: float, log_s: float) -> bool:
        return abs(label_s - log_s) < _SAME_S and not any(abs(press - label_s) <= _PRESSED_S for press in presses)

    def from_end_of(stressor: str, rest: Phase) -> float:
        stop_s = stressors[stressor].stop_s
        return max(stop_s + _MARGIN_S, rest.start_s) if copied(stop_s, logged[stressor].stop_s) else stop_s

    def to_start_of(stressor: str, rest: Phase) -> float:
        start_s = stressors[stressor].start_s
        return min(start_s - _MARGIN_S, rest.stop_s) if copied(start_s, logged[stressor].start_s) else start_s

    safe = {name: _safe(phase) for name, phase in logged.items()}
    baseline, last = safe["baseline"], safe["relax_3"]
    rests = {
        name: Phase(name, from_end_of(before, safe[name]), to_start_of(after, safe[name]))
        for name, (before, after) in _BETWEEN.items()
    }
    return {
        **safe,
        **stressors,
        **rests,
        "baseline": replace(baseline, stop_s=min(baseline.stop_s, to_start_of("stroop", baseline))),
        "relax_3": replace(last, start_s=from_end_of("hyperventilation", last)),
    }


def _kept(subject: str, phases: Mapping[str, Phase], duration_s: float) -> list[Phase]:
    """Phases of which something is left, as far as the recording goes."""
    kept = []
    for phase in phases.values():
        if phase.start_s >= phase.stop_s:
            continue
        inside = replace(phase, start_s=max(phase.start_s, 0.0), stop_s=min(phase.stop_s, duration_s))
        if inside.start_s >= inside.stop_s:
            raise DataError(
                f"{subject}: {phase.name}, at {phase.start_s:.0f} to {phase.stop_s:.0f} s, lies outside the recording "
                f"of {duration_s:.0f} s. Are {_LOG} and the files of {subject} of the same session?"
            )
        kept.append(inside)
    both = overlapping([(phase.start_s, phase.stop_s) for phase in kept])
    if both is not None:
        one, other = (kept[position] for position in both)
        raise DataError(
            f"{subject}: {other.name} begins at {other.start_s:.0f} s, before the end of {one.name} at "
            f"{one.stop_s:.0f} s. Are {_LOG} and the files of {subject} as published?"
        )
    return kept


def _refuse_other_session(
    subject: str, stressors: Mapping[str, Phase], logged: Mapping[str, Phase], duration_s: float
) -> None:
    for name, phase in stressors.items():
        if phase.start_s < 0 or phase.stop_s > duration_s:
            raise DataError(
                f"{subject}: {name}, at {phase.start_s:.0f} to {phase.stop_s:.0f} s, lies outside the recording of "
                f"{duration_s:.0f} s. Are {_LABELS} and the files of {subject} of the same session?"
            )
        apart = max(abs(phase.start_s - logged[name].start_s), abs(phase.stop_s - logged[name].stop_s))
        if apart > _FARTHEST_S:
            raise DataError(
                f"{subject}: {name} is {apart:.0f} s apart in {_LABELS.name} and in {_LOG.name}. Expected at most "
                f"{_FARTHEST_S:.0f} s: are their rows of {subject} of the same session?"
            )


def _halves_of_baseline(recording: Recording) -> list[Trial]:
    return [
        trial
        for whole in cut_phases(recording, {"baseline": ("baseline",)})
        for middle_s in [(whole.start_s + whole.stop_s) / 2]
        for trial in (
            Trial("first_half", 0, whole.start_s, middle_s),
            Trial("second_half", 1, middle_s, whole.stop_s),
        )
    ]
