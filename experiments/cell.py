"""Cells: what a strategy may see of a fold, its fit, and the scores of what it predicts."""

from __future__ import annotations

import hashlib
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.cohort import Cohort
from benchmarks.errors import LearningError, UnseenError
from benchmarks.metrics.contract import Metric
from benchmarks.metrics.scoring import score, trial_level
from benchmarks.predictions import Predictions
from benchmarks.protocols.contract import Fold
from benchmarks.protocols.within_subject import Grouping, early_and_late, in_three
from benchmarks.randomness import derive, generator
from benchmarks.windows import FloatArray, IntArray, Windows, concatenate
from clients.training import seed_globally, seeded
from experiments.records import Level, MeasurementRecord, Model, Outcome, PredictionRecord, ScoreRecord
from strategies.archives import packed
from strategies.contract import Learning, Predictor, Strategy, Target

_ANSWERS = "predictions"
"""Seeds what a predictor draws, the same for each subject."""

_LARGEST_MODEL = 64 * 2**20
"""Bytes of a fitted predictor that is kept: a results file is no store for large networks, one a fold."""

_TOGETHER_BYTES = 2**30
"""Bytes of windows that folds learning side by side are handed together. A constant, since which folds share a stack
may show in the last digits: it must not depend on the machine.
"""


_NEVER = sys.maxsize
"""A step that no strategy reaches: when one that learns from nobody meets people."""


@dataclass(frozen=True)
class Job:
    """All that determines a cell besides its cohort.

    Parameters
    ----------
    strategy : Strategy
        Built, with its normalisation, encoder and objective.
    fold : Fold
        Who is learned from and who is scored.
    seed, stream : int
        Number of the seed, and of the order in which subjects are met.
    validation_subjects : int
        How many learners are set aside, if the strategy chooses on them.
    metrics : mapping of str to dict
        Metrics of the final predictor by level (``"window"``, ``"trial"``) and name.
    curve_metrics : mapping of str to dict
        Metrics at every step by level and name; those of trials are left out where parts of trials are scored.
    keep_model : bool
        Whether the fitted predictor is kept with the results.
    """

    strategy: Strategy
    fold: Fold
    seed: int
    stream: int
    validation_subjects: int
    metrics: Mapping[Level, Mapping[str, Metric]]
    curve_metrics: Mapping[Level, Mapping[str, Metric]]
    keep_model: bool = False


@dataclass(frozen=True, eq=False)
class Scored:
    """Held-out windows of one person, as a strategy is scored on them.

    Parameters
    ----------
    windows : Windows
        Labelled.
    target : {"unseen", "seen"}
        Whether the person is learned from in other windows.
    grouping : {"trial", "block"}
        What was held out as a whole.
    met : int or None
        The step from which on the person has been learned from, where a seen person is scored at every step.
    in_parts : bool
        Whether these are parts of trials, which are then not scored as trials.
    """

    windows: Windows
    target: Target
    grouping: Grouping
    met: int | None = None
    in_parts: bool = False

    @property
    def subject(self) -> str:
        """Whose windows they are."""
        (subject,) = self.windows.subjects
        return subject

    @property
    def tracked(self) -> bool:
        """Whether it is a learner that is scored at every step."""
        return self.met is not None

    def target_at(self, step: int) -> Target:
        """Whether the person has been learned from by then, on a learning curve."""
        return "unseen" if self.met is not None and step < self.met else self.target


@dataclass(frozen=True, eq=False)
class Split:
    """Windows of a cell: those that a strategy may learn from, and those that it is scored on.

    Parameters
    ----------
    learners : Windows
        Of the fold's learners; of the scored subject itself where the strategy learns from a seen person.
    scored : tuple of Scored
        The fold's scored subjects, none of their windows among those of the learners.
    later : tuple of Scored
        Held-out windows of the learners, which nobody learns from; none where the fold does not ask for them.
    validation : Windows or None
        Windows of the learners to choose on, where the fold tracks them.
    """

    learners: Windows
    scored: tuple[Scored, ...]
    later: tuple[Scored, ...] = ()
    validation: Windows | None = None

    @classmethod
    def of(cls, cohort: Cohort, job: Job) -> Split:
        """Split of a fold as the strategy needs it.

        Raises
        ------
        DataError
            A subject's windows cannot be split into earlier and later ones.
        """
        fold = job.fold
        if job.strategy.target == "seen":
            return cls(*_cut(cohort, fold.scored))
        scored = tuple(Scored(cohort.windows.of(subject), "unseen", "trial") for subject in fold.scored)
        if fold.tracked:
            return cls.tracking(cohort, fold.learners, scored)
        if not fold.seen:
            return cls(cohort.windows.of(fold.learners), scored)
        earlier, later = _cut(cohort, fold.learners)
        return cls(earlier, scored, later)

    @classmethod
    def tracking(cls, cohort: Cohort, learners: Sequence[str], scored: tuple[Scored, ...]) -> Split:
        """Split in which each learner has windows to learn from, to choose on, and to be scored on."""
        parts = [(mine, in_three(mine, cohort.length_s)) for _, mine in cohort.windows.of(learners).by_subject()]
        return cls(
            learners=concatenate([mine.select(part.learned) for mine, part in parts]),
            scored=scored,
            later=tuple(
                Scored(mine.select(part.scored), "seen", part.grouping, in_parts=part.grouping == "block")
                for mine, part in parts
            ),
            validation=concatenate([mine.select(part.validation) for mine, part in parts]),
        )


def _cut(cohort: Cohort, subjects: Sequence[str]) -> tuple[Windows, tuple[Scored, ...]]:
    """Earlier windows of all these people, and later ones of each."""
    parts = [(mine, early_and_late(mine, cohort.length_s)) for _, mine in cohort.windows.of(subjects).by_subject()]
    earlier = concatenate([mine.select(part.learned) for mine, part in parts])
    return earlier, tuple(Scored(mine.select(part.scored), "seen", part.grouping) for mine, part in parts)


@dataclass(frozen=True, eq=False)
class Anonymous:
    """Windows of one subject as a strategy may see them: without labels, and without anything that tells them.

    The names of trial and session and a window's place often give the condition away (rest is always recorded first),
    so they are withheld here, and the windows come in a random order that only their own content determines.

    Parameters
    ----------
    windows : Windows
        Of one subject, shuffled.
    order : ndarray of int, shape (n,)
        Where each of them stood.
    """

    windows: Windows
    order: IntArray

    @classmethod
    def of(cls, windows: Windows, *, onset: bool = False) -> Anonymous:
        """Anonymous form of a subject's windows, the same each time; the onset is kept only where it is asked for."""
        content = hashlib.sha256(windows.x.tobytes()).hexdigest()
        order = generator("anonymous", content).permutation(len(windows))
        shuffled = windows.select(order).without(labels=True, onset=not onset)
        nameless = np.full(len(order), "")
        return cls(replace(shuffled, trial=nameless, session=nameless), order)

    def in_order(self, predictions: Predictions) -> Predictions:
        """Predictions of the shuffled windows, put back to where the windows stood."""
        probabilities = np.empty_like(predictions.probabilities)
        probabilities[self.order] = predictions.probabilities
        return Predictions(probabilities)


class Witness:
    """Observer that keeps what it is shown and told, for after the fit: it has no window, and moves nothing."""

    def __init__(self) -> None:
        self.predictors: dict[int, Predictor] = {}
        self.measurements: dict[tuple[int, str], float] = {}

    def __call__(self, step: int, predictor: Predictor) -> None:
        """Keep a copy: a strategy may go on learning in what it shows."""
        with seeded("witness"):
            self.predictors[step] = deepcopy(predictor)

    @property
    def elsewhere_s(self) -> float:
        """Processor seconds that the strategy has spent in other processes, as far as it tells."""
        return sum(value for (_, name), value in self.measurements.items() if name == "elsewhere_s")

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        """Keep what a step cost or showed; of a name that is told twice, the last value."""
        self.measurements |= {(step, name): float(value) for name, value in values.items()}


def learning_of(cohort: Cohort, job: Job, split: Split) -> Learning:
    """Copy of what the strategy of a cell may learn from: nothing in it is, or refers to, a scored window.

    Raises
    ------
    DataError
        Nobody would be left to learn from.
    """
    strategy, fold = job.strategy, job.fold
    held_back = fold.validation(job.validation_subjects, job.seed) if strategy.uses_validation else ()
    training = [subject for subject in split.learners.subjects if subject not in held_back]
    if strategy.sequential:
        training = list(fold.order(training, job.stream))
    # The onset is withheld, so that no strategy can learn what time it was.
    windows = split.learners.without(onset=not strategy.needs_onset)
    validation = windows.of(held_back) if held_back else None
    if split.validation is not None:
        validation = split.validation.without(onset=not strategy.needs_onset).of(training)
    return Learning(
        training=windows.of(training),
        validation=validation,
        classes=cohort.classes,
        geometry=cohort.geometry,
        seed=derive(fold.name, job.seed),
        target=_target(split.scored, strategy) if strategy.needs_target else None,
    )


def _target(scored: Sequence[Scored], strategy: Strategy) -> Windows:
    return concatenate([Anonymous.of(one.windows, onset=strategy.needs_onset).windows for one in scored])


@dataclass(frozen=True, eq=False)
class _Case:
    """A cell that is ready to be learned.

    Parameters
    ----------
    job : Job
        What it is.
    learning : Learning
        What its strategy may learn from.
    scored : tuple of Scored
        What its final predictor is scored on: the fold's scored subjects, and of seen people those learned from.
    spent_s : float
        Processor seconds that it took so far.
    """

    job: Job
    learning: Learning
    scored: tuple[Scored, ...]
    spent_s: float


def compute(cohort: Cohort, job: Job) -> Outcome:
    """Fit and score one cell; a failure is an outcome too, with its cause."""
    (outcome,) = compute_many(cohort, [job])
    return outcome


def compute_many(cohort: Cohort, jobs: Sequence[Job]) -> list[Outcome]:
    """Fit and score cells of one configuration, which differ in their folds, seeds or orders.

    A strategy that learns side by side (`Strategy.lockstep`) is handed as many of them together, in their order, as
    memory is meant for; any other learns one after another.

    Parameters
    ----------
    cohort : Cohort
        Of all of them.
    jobs : sequence of Job
        With the same strategy.

    Returns
    -------
    list of Outcome
        In the order of the jobs; a failure is an outcome too, with its cause, and the others go on.

    Raises
    ------
    ValueError
        Jobs of several strategies.
    """
    if any(job.strategy != jobs[0].strategy for job in jobs):
        raise ValueError("cells that are computed together have one strategy")
    outcomes: list[Outcome] = []
    batch: list[_Case | Outcome] = []
    room = _TOGETHER_BYTES
    most = 1
    splits: dict[Fold, Split] = {}
    left = Counter(job.fold for job in jobs)
    for job in jobs:
        one = _prepared(cohort, job, splits)
        left[job.fold] -= 1
        if not left[job.fold]:
            splits.pop(job.fold, None)
        room -= _bytes(one)
        if batch and (room < 0 or len(batch) >= most):
            outcomes += _computed(batch)
            batch, room = [], _TOGETHER_BYTES - _bytes(one)
        if not batch:
            most = _at_once(one, len(jobs))
        batch.append(one)
    return outcomes + _computed(batch)


def _at_once(one: _Case | Outcome, wanted: int) -> int:
    """How many cells are learned together with one, at most."""
    if isinstance(one, Outcome) or not one.job.strategy.lockstep:
        return 1
    try:
        return one.job.strategy.at_once(one.learning, wanted)
    except Exception:  # Whatever a part throws is told when it learns.
        return 1


def _prepared(cohort: Cohort, job: Job, splits: dict[Fold, Split]) -> _Case | Outcome:
    """What a cell learns from and is scored on; a fold is split once, whatever the seed and the order."""
    started = time.process_time()
    try:
        split = splits[job.fold] = splits.get(job.fold) or Split.of(cohort, job)
        learning = learning_of(cohort, job, split)
        met = {subject: step for step, subject in enumerate(learning.training.subjects, start=1)}
        seen = [one for one in split.later if one.subject in met]
        if job.fold.tracked and job.strategy.sequential:
            never = not job.strategy.order_matters
            seen = [replace(one, met=_NEVER if never else met[one.subject]) for one in seen]
        return _Case(job, learning, (*split.scored, *seen), time.process_time() - started)
    except Exception as error:  # Whatever a part throws, the other cells go on.
        return Outcome((), (), time.process_time() - started, cause=_cause(error))


def _bytes(one: _Case | Outcome) -> int:
    """Bytes of the windows that a cell's strategy is handed."""
    if isinstance(one, Outcome):
        return 0
    handed = (one.learning.training, one.learning.validation, one.learning.target)
    return sum(windows.x.nbytes for windows in handed if windows is not None)


def _computed(batch: Sequence[_Case | Outcome]) -> list[Outcome]:
    """Outcomes of cells that are learned together; those that have one already keep it."""
    cases = [one for one in batch if isinstance(one, _Case)]
    witnesses = [Witness() for _ in cases]
    started = time.process_time()
    fitted = _fitted(cases, witnesses)
    share_s = (time.process_time() - started) / max(len(cases), 1)
    learned = zip(cases, fitted, witnesses, strict=True)
    return [one if isinstance(one, Outcome) else _outcome(*next(learned), share_s) for one in batch]


def _fitted(cases: Sequence[_Case], witnesses: Sequence[Witness]) -> Sequence[Predictor | Exception]:
    if not cases:
        return []
    learnings = [case.learning for case in cases]
    try:
        with seeded("cell", *(learning.seed for learning in learnings)):
            fitted = cases[0].job.strategy.fit_many(learnings, witnesses)
        if len(fitted) != len(cases):
            raise LearningError(f"The strategy learned {len(fitted)} folds of {len(cases)} that it was given.")
    except Exception as error:  # What is thrown for all of them is the end of these cells, and of no others.
        return [error] * len(cases)
    return fitted


def _outcome(case: _Case, final: Predictor | Exception, witness: Witness, fit_s: float) -> Outcome:
    started = time.process_time() - case.spent_s - fit_s
    if isinstance(final, Exception):
        return Outcome((), (), time.process_time() - started, cause=_cause(final))
    try:
        with seeded(_ANSWERS):
            scores, predictions = _scores(case, final, witness)
        model = packed(final, case.learning.training) if case.job.keep_model else None
    except Exception as error:  # A predictor is a part too, and may throw what it likes.
        return Outcome((), (), time.process_time() - started, cause=_cause(error))
    return Outcome(
        scores,
        predictions,
        time.process_time() - started + witness.elsewhere_s,
        model=None if model is None or len(model) > _LARGEST_MODEL else model,
        measurements=[MeasurementRecord(*key, value) for key, value in witness.measurements.items()],
    )


def _cause(error: Exception) -> str:
    """What went wrong, for the user; of an error that is none of ours the place in the code, which its author needs."""
    if isinstance(error, UnseenError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    # An error that came from another process, or that nobody raised, has no place.
    where = f" ({ours[-1].filename}:{ours[-1].lineno})" if ours else ""
    return f"{type(error).__name__}: {error}{where}"


def _scores(case: _Case, final: Predictor, witness: Witness) -> tuple[list[ScoreRecord], list[PredictionRecord]]:
    scores: list[ScoreRecord] = []
    records: list[PredictionRecord] = []
    job, last = case.job, max(witness.predictors, default=0)
    personal_of = _personal_subjects(final)
    for one in case.scored:
        hidden = Anonymous.of(one.windows, onset=job.strategy.needs_onset)
        for answering in _answering(one, job.strategy, personal_of):
            about = _About(one, answering)
            if one.tracked or one.target == job.strategy.target:
                for step, predictor in witness.predictors.items():
                    scores += _records(about, step, False, _said(predictor, hidden, about), job.curve_metrics)
            said = _said(final, hidden, about)
            # A learner of a stream is one of many, all scored at every step: one metric of each is enough.
            scores += _records(about, last, True, said, job.curve_metrics if one.tracked else job.metrics)
            if not one.tracked:
                records.append(_prediction(about, said))
    return scores, records


def _personal_subjects(predictor: Predictor) -> frozenset[str]:
    """For whom a predictor has models of their own; one that has none need not say so."""
    subjects: frozenset[str] = getattr(predictor, "personal_subjects", frozenset())
    return subjects


def _answering(one: Scored, strategy: Strategy, personal_of: frozenset[str]) -> Iterator[Model]:
    """Which models are asked about a person: a strategy for seen people is asked for the very person's alone."""
    if strategy.target == "seen":
        yield "personal"
        return
    yield "shared"
    if one.target == "seen" and one.subject in personal_of:
        yield "personal"


@dataclass(frozen=True)
class _About:
    """What is scored, and who answers."""

    scored: Scored
    model: Model


def _said(predictor: Predictor, hidden: Anonymous, about: _About) -> Predictions:
    """Predictions of all windows of a subject in one call, put back in their order; what it draws, it draws anew."""
    known = about.scored.subject if about.model == "personal" else None
    seed_globally(_ANSWERS)
    return hidden.in_order(predictor.predict(hidden.windows, known))


def _records(
    about: _About, step: int, final: bool, said: Predictions, metrics: Mapping[Level, Mapping[str, Metric]]
) -> list[ScoreRecord]:
    one = about.scored
    records = []
    for level, of_level in metrics.items():
        if level == "trial" and one.in_parts:
            continue
        y, probabilities = _LEVELS[level](said, one.windows)
        for name, value in score(y, probabilities, of_level).items():
            target = one.target if final else one.target_at(step)
            place = (step, final, one.subject, target, one.grouping, level, name)
            records.append(ScoreRecord(*place, value.value, value.reason, about.model))
    return records


def _windows_level(said: Predictions, windows: Windows) -> tuple[IntArray, FloatArray]:
    return windows.labels, said.probabilities


_LEVELS: Mapping[Level, Callable[[Predictions, Windows], tuple[IntArray, FloatArray]]] = {
    "window": _windows_level,
    "trial": trial_level,
}
"""Labels and probabilities that a level scores."""


def _prediction(about: _About, predictions: Predictions) -> PredictionRecord:
    one, mine = about.scored, about.scored.windows
    trial = np.char.add(np.char.add(mine.session, "/"), mine.trial)
    onset = np.full(len(mine), np.nan) if mine.onset is None else mine.onset
    return PredictionRecord(one.subject, one.target, predictions.probabilities, mine.labels, trial, onset, about.model)
