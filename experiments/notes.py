"""Lines under a study's table: all that a reader needs to judge its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.cohort import Cohort
from benchmarks.quality import SignalReport
from clients.training import class_counts
from experiments.controls import left_out
from experiments.plan import Plan
from experiments.report.words import plural

_SUBJECTS_TOLD = 6
"""Up to so many subjects are told one by one."""


def notes_of(plan: Plan, cohorts: tuple[Cohort, ...]) -> tuple[str, ...]:
    """Notes on data, windows, preprocessing, subjects left out, signals, how validation was held, and seen people."""
    return (
        *_data(plan, cohorts[0]),
        *_sizes(cohorts),
        *_left_out(plan),
        *_controls(plan),
        *(line for cohort in _distinct(cohorts) for line in _signals(cohort)),
        *_validation(plan),
        *_seen(plan),
        *_stream(plan),
    )


def _data(plan: Plan, cohort: Cohort) -> Iterator[str]:
    card = plan.dataset.card
    sizes = class_counts(cohort.windows.labels, len(cohort.classes))
    counts = ", ".join(f"{size} {name}" for size, name in zip(sizes, cohort.classes, strict=True))
    yield f"Data: {card.title}. {len(plan.subjects)} subjects, {len(cohort.windows)} windows ({counts})."
    if plan.windows is not None:
        length, step = plan.windows.length_s, plan.windows.every_s
        recorded = {type(one).__name__: None for one in plan.representations if one.as_recorded}
        others = any(not one.as_recorded for one in plan.representations)
        done = [plan.preprocessing.describe()] if others or not recorded else []
        done += [f"{', '.join(recorded)} of signals as recorded"] if recorded else []
        yield f"Windows of {length:g} s every {step:g} s; {'; '.join(done)}."


def _sizes(cohorts: tuple[Cohort, ...]) -> Iterator[str]:
    sizes = {", ".join(cohort.sources) or "the table": len(cohort.windows) for cohort in cohorts}
    if len({len(cohort.windows) for cohort in cohorts}) > 1:
        told = ", ".join(f"{count} of {sources}" for sources, count in sizes.items())
        yield (
            f"Representations have different windows left ({told}): differences between them are of the same people, "
            f"not of the same windows. With quality: impute, feature representations keep all."
        )


def _left_out(plan: Plan) -> Iterator[str]:
    for subject, reason in plan.task.excluded.items():
        yield f"{subject} left out: {reason}"
    if plan.study.exclude:
        yield f"Left out by the study: {', '.join(plan.study.exclude)}."


def _controls(plan: Plan) -> Iterator[str]:
    absent = left_out(plan.study, plan.dataset, plan.subjects)
    # Who has an accelerometer knows that there would be a control of movement; nobody else misses it.
    told = {name: why for name, why in absent.items() if "accelerometer" not in why or _moves(plan)}
    if told:
        reasons: dict[str, list[str]] = {}
        for name, why in told.items():
            reasons.setdefault(why, []).append(name)
        yield (
            "Controls not in this table: " + "; ".join(f"{', '.join(ns)} ({why})" for why, ns in reasons.items()) + "."
        )


def _moves(plan: Plan) -> bool:
    return any("acc" in plan.dataset.signals_of([subject]) for subject in plan.subjects)


def _distinct(cohorts: tuple[Cohort, ...]) -> list[Cohort]:
    """One cohort for each set of reports: representations of one signal mostly share theirs."""
    distinct: list[Cohort] = []
    for cohort in cohorts:
        if all(cohort.reports != other.reports for other in distinct):
            distinct.append(cohort)
    return distinct


def _signals(cohort: Cohort) -> Iterator[str]:
    flawed = [report for report in cohort.reports if report.unusable]
    if flawed:
        dropped = sum(report.dropped for report in flawed)
        imputed = sum(report.imputed for report in flawed)
        more = f", {imputed} with features imputed by the mean that normalises them" if imputed else ""
        of = f" of {', '.join(cohort.sources)}" if cohort.sources else ""
        told = _by_subject(flawed) if len(flawed) <= _SUBJECTS_TOLD else _by_reason(flawed)
        yield f"Unusable windows{of}, {dropped} of them left out{more}: {told}."
        if empty := [report.subject for report in flawed if report.imputed == report.windows]:
            yield f"No window of {', '.join(empty)} has all features."
    for subject, absent in cohort.missing_classes().items():
        yield f"{subject} has no window of {', '.join(absent)}."


def _by_subject(flawed: Sequence[SignalReport]) -> str:
    return ", ".join(
        f"{report.subject} " + " + ".join(f"{count} {reason}" for reason, count in sorted(report.unusable.items()))
        for report in flawed
    )


def _by_reason(flawed: Sequence[SignalReport]) -> str:
    """Counts over all subjects, and who has most."""
    told = []
    for reason in sorted({reason for report in flawed for reason in report.unusable}):
        counts = {report.subject: report.unusable[reason] for report in flawed if reason in report.unusable}
        most = sorted(counts, key=lambda subject: (-counts[subject], subject))[:_SUBJECTS_TOLD]
        named = ", ".join(f"{subject} {counts[subject]}" for subject in most)
        of = f"in {len(counts)} subjects, most in " if len(counts) > len(most) else ""
        told.append(f"{sum(counts.values())} {reason} ({of}{named})")
    return "; ".join(told)


def _validation(plan: Plan) -> Iterator[str]:
    if any(plan.validation_subjects(configuration) for configuration in plan.configurations):
        count = plan.protocol.validation_subjects
        least = min(len(fold.learners) for fold in plan.protocol.folds(plan.subjects))
        yield (
            f"Strategies that choose an epoch or a round do so on {count} of the {least} learning subjects of each "
            f"fold, and learn from the other {least - count}; all others learn from all {least}."
        )


def _seen(plan: Plan) -> Iterator[str]:
    if any(fold.seen for fold in plan.protocol.folds(plan.subjects)):
        yield (
            "Nobody learns from the later windows of the learning subjects, which are kept to score seen people: "
            "scores of unseen people are of models that learned from less."
        )


def _stream(plan: Plan) -> Iterator[str]:
    for fold in plan.protocol.folds(plan.subjects):
        if fold.tracked:
            others = plural(len(fold.scored), "other")
            yield (
                f"Stream of {len(fold.learners)} people; {others}, never learned from, whose scores are told "
                f"({', '.join(fold.scored)}). Of the people in the stream, parts of the windows are kept to stop "
                f"training early and to score them."
            )
    if (aside := plan.protocol.choosing(plan.subjects)) is not None:
        yield f"{', '.join(aside.learners)} are set aside to choose values on, and neither learned from nor scored."
    for one in plan.choices:
        yield f"Chosen for {one.told}." if one.value is not None else f"{one.told}."
