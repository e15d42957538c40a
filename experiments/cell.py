"""One cell: what a strategy may see of a fold, its fit, and the scores of what it predicts."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.cohort import Cohort
from benchmarks.errors import UnseenError
from benchmarks.metrics.contract import Metric
from benchmarks.metrics.scoring import score, trial_level
from benchmarks.predictions import Predictions
from benchmarks.protocols.contract import Fold
from benchmarks.protocols.within_subject import Grouping, early_and_late
from benchmarks.randomness import derive, generator
from benchmarks.windows import FloatArray, IntArray, Windows, concatenate
from clients.training import seeded
from experiments.records import Level, Outcome, PredictionRecord, ScoreRecord
from strategies.archives import packed
from strategies.contract import Learning, Predictor, Strategy, Target

_LARGEST_MODEL = 64 * 2**20
"""Bytes of a fitted predictor that is kept: a results file is no store for large networks, one a fold."""


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
    curve_metrics : mapping of str to callable
        Window-level metrics at every step.
    keep_model : bool
        Whether the fitted predictor is kept with the results.
    """

    strategy: Strategy
    fold: Fold
    seed: int
    stream: int
    validation_subjects: int
    metrics: Mapping[Level, Mapping[str, Metric]]
    curve_metrics: Mapping[str, Metric]
    keep_model: bool = False


@dataclass(frozen=True, eq=False)
class Split:
    """Windows of a cell: those that a strategy may learn from, and those that it is scored on.

    Parameters
    ----------
    learners : Windows
        Of the fold's learners; of the scored subject itself where the strategy learns from a seen person.
    scored : Windows
        Of the scored subjects, none of them among the learners' windows.
    target : {"unseen", "seen"}
        Whether the scored subjects were learned from in other windows.
    grouping : {"trial", "block"}
        What was held out as a whole.
    """

    learners: Windows
    scored: Windows
    target: Target
    grouping: Grouping

    @classmethod
    def of(cls, cohort: Cohort, job: Job) -> Split:
        """Split of a fold as the strategy needs it.

        Raises
        ------
        DataError
            A subject's windows cannot be split into earlier and later ones.
        """
        scored = cohort.windows.of(job.fold.scored)
        if job.strategy.target == "unseen":
            return cls(cohort.windows.of(job.fold.learners), scored, "unseen", "trial")
        parts = [(mine, early_and_late(mine, cohort.length_s)) for _, mine in scored.by_subject()]
        groupings = {part.grouping for _, part in parts}
        return cls(
            learners=concatenate([mine.select(part.learned) for mine, part in parts]),
            scored=concatenate([mine.select(part.scored) for mine, part in parts]),
            target="seen",
            grouping="block" if "block" in groupings else "trial",
        )


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
    """Observer that keeps what it is shown, for scoring after the fit: it has no window, and moves nothing."""

    def __init__(self) -> None:
        self.predictors: dict[int, Predictor] = {}

    def __call__(self, step: int, predictor: Predictor) -> None:
        """Keep a copy: a strategy may go on learning in what it shows."""
        with seeded("witness"):
            self.predictors[step] = deepcopy(predictor)


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
    return Learning(
        training=windows.of(training),
        validation=windows.of(held_back) if held_back else None,
        classes=cohort.classes,
        geometry=cohort.geometry,
        seed=derive(fold.name, job.seed),
        target=_target(split.scored, strategy) if strategy.needs_target else None,
    )


def _target(scored: Windows, strategy: Strategy) -> Windows:
    return concatenate([Anonymous.of(mine, onset=strategy.needs_onset).windows for _, mine in scored.by_subject()])


def compute(cohort: Cohort, job: Job) -> Outcome:
    """Fit and score one cell; a failure is an outcome too, with its cause."""
    started = time.process_time()
    try:
        witness = Witness()
        split = Split.of(cohort, job)
        learning = learning_of(cohort, job, split)
        with seeded("cell", learning.seed):
            final = job.strategy.fit(learning, witness)
        compute_s = time.process_time() - started
        scores, predictions = _scored(split, final, witness, job)
        model = packed(final, learning.training) if job.keep_model else None
        if model is not None and len(model) > _LARGEST_MODEL:
            model = None
    except UnseenError as error:
        return Outcome((), (), time.process_time() - started, cause=str(error))
    except Exception as error:
        # Whatever a part throws, the other cells go on; the place in the code is what its author needs.
        frames = traceback.extract_tb(error.__traceback__)
        where = next((frame for frame in reversed(frames) if "site-packages" not in frame.filename), frames[-1])
        cause = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
        return Outcome((), (), time.process_time() - started, cause=cause)
    return Outcome(scores, predictions, compute_s, model=model)


def _scored(
    split: Split, final: Predictor, witness: Witness, job: Job
) -> tuple[list[ScoreRecord], list[PredictionRecord]]:
    scores: list[ScoreRecord] = []
    records: list[PredictionRecord] = []
    last = max(witness.predictors, default=0)
    for subject, mine in split.scored.by_subject():
        about = _About(subject, split.target, split.grouping)
        hidden = Anonymous.of(mine, onset=job.strategy.needs_onset)
        for step, predictor in witness.predictors.items():
            said = _said(predictor, hidden, about)
            scores += _records(about, step, False, "window", mine.labels, said.probabilities, job.curve_metrics)
        said = _said(final, hidden, about)
        levels: Mapping[Level, tuple[IntArray, FloatArray]] = {
            "window": (mine.labels, said.probabilities),
            "trial": trial_level(said, mine),
        }
        for level, metrics in job.metrics.items():
            scores += _records(about, last, True, level, *levels[level], metrics)
        records.append(_prediction(about, said, mine))
    return scores, records


@dataclass(frozen=True)
class _About:
    """Who is scored, and what of."""

    subject: str
    target: Target
    grouping: Grouping


def _said(predictor: Predictor, hidden: Anonymous, about: _About) -> Predictions:
    """Predictions of all windows of a subject in one call, put back in their order; no random state moves."""
    known = about.subject if about.target == "seen" else None
    with seeded("predictions"):
        return hidden.in_order(predictor.predict(hidden.windows, known))


def _records(
    about: _About, step: int, final: bool, level: Level, y: IntArray, said: FloatArray, metrics: Mapping[str, Metric]
) -> list[ScoreRecord]:
    return [
        ScoreRecord(step, final, about.subject, about.target, about.grouping, level, name, value.value, value.reason)
        for name, value in score(y, said, metrics).items()
    ]


def _prediction(about: _About, predictions: Predictions, mine: Windows) -> PredictionRecord:
    trial = np.char.add(np.char.add(mine.session, "/"), mine.trial)
    onset = np.full(len(mine), np.nan) if mine.onset is None else mine.onset
    return PredictionRecord(about.subject, about.target, predictions.probabilities, mine.labels, trial, onset)
