"""From predictions to scores, of windows and of trials."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.errors import DataError, LearningError
from benchmarks.metrics.contract import Metric, Undefined
from benchmarks.predictions import Predictions
from benchmarks.windows import FloatArray, IntArray, Windows


@dataclass(frozen=True)
class Score:
    """Value of a metric.

    Parameters
    ----------
    value : float
        NaN where the metric is undefined.
    reason : str or None
        Why it is; None where it has a value.
    """

    value: float
    reason: str | None = None


def trial_level(predictions: Predictions, windows: Windows) -> tuple[IntArray, FloatArray]:
    """Label and mean probability of each trial, over its windows.

    Parameters
    ----------
    predictions : Predictions, n rows
        What was predicted for `windows`.
    windows : Windows, n of them
        Labelled windows of any number of subjects.

    Returns
    -------
    y : ndarray of int, shape (m,)
        Label of each trial, a trial being what shares subject, session and trial, in order of first appearance.
    probabilities : ndarray, shape (m, K)
        Mean over the trial's windows.

    Raises
    ------
    DataError
        Windows of one trial carry different labels.
    LearningError
        Predictions do not fit the windows: another number of them, or fewer classes than there are labels.
    ValueError
        The windows' labels are withheld.
    """
    truth = windows.labels
    _check_fit(truth, predictions.probabilities)
    keys = list(zip(*(column.tolist() for column in (windows.subject, windows.session, windows.trial)), strict=True))
    trials = {key: row for row, key in enumerate(dict.fromkeys(keys))}
    trial_of = np.array([trials[key] for key in keys], dtype=np.int64)

    _, first = np.unique(trial_of, return_index=True)
    y = truth[first]
    odd = np.flatnonzero(truth != y[trial_of])
    if len(odd):
        subject, session, trial = keys[odd[0]]
        labels = np.unique(truth[trial_of == trial_of[odd[0]]]).tolist()
        raise DataError(
            f"Subject {subject}, session {session}, trial {trial}: its windows carry the labels {labels}, "
            "expected one. A trial is a stretch of one condition: give each stretch its own trial name."
        )
    sums = np.zeros((len(trials), predictions.probabilities.shape[1]))
    np.add.at(sums, trial_of, predictions.probabilities)
    return y, sums / np.bincount(trial_of, minlength=len(trials))[:, None]


def score(y: IntArray, probabilities: FloatArray, metrics: Mapping[str, Metric]) -> dict[str, Score]:
    """Value of every metric, those that have none included.

    Parameters
    ----------
    y : ndarray of int, shape (n,)
        True classes, 0..K-1.
    probabilities : ndarray, shape (n, K)
        Predicted probabilities of the same windows or trials.
    metrics : mapping of str to Metric
        Functions by name.

    Returns
    -------
    dict of str to Score
        In the order of `metrics`; a metric that is undefined, or that returns no finite number, is NaN with its
        reason.

    Raises
    ------
    LearningError
        Predictions do not fit the labels: another number of them, or fewer classes than there are labels.
    """
    _check_fit(y, probabilities)
    if not len(y):
        return {name: Score(math.nan, "nothing to score") for name in metrics}
    return {name: _score(y, probabilities, metric) for name, metric in metrics.items()}


def _score(y: IntArray, probabilities: FloatArray, metric: Metric) -> Score:
    try:
        value = float(metric(y, probabilities))
    except Undefined as undefined:
        return Score(math.nan, str(undefined))
    return Score(value) if math.isfinite(value) else Score(math.nan, f"the metric returned {value}")


def _check_fit(y: IntArray, probabilities: FloatArray) -> None:
    if len(y) != len(probabilities):
        raise LearningError(f"The predictor returned {len(probabilities)} rows for {len(y)} windows.")
    if len(y) and y.max() >= probabilities.shape[1]:
        raise LearningError(
            f"The predictor returned probabilities of {probabilities.shape[1]} classes, "
            f"but the windows carry class {y.max()}: expected one column for every class of the task."
        )
