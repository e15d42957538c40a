"""Which of the networks met while training is kept: the one that does best on the validation subjects."""

from __future__ import annotations

import copy
import math
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.errors import LearningError
from benchmarks.predictions import Predictions
from benchmarks.windows import FloatArray, Windows
from clients.objectives.contract import Objective

M = TypeVar("M")

_SMALLEST = 1e-15  # A probability that rounds to zero must not make one window outweigh all others.


class Predicts(Protocol):
    """Whatever gives class probabilities of windows."""

    def predict(self, windows: Windows, subject: str | None = None) -> Predictions:
        """Class probabilities (n, K)."""
        ...


def validation_score(predictor: Predicts, windows: Windows) -> float:
    """Mean log-likelihood of labelled windows; higher is better, 0 is perfect, -log K is a guess.

    Each class that a subject shows weighs the same, and so does each subject, as in the balanced accuracy over
    subjects that studies report. That accuracy itself is not used: over a few validation subjects it moves in
    coarse steps and ties often, so its best epoch is partly luck, while the likelihood is a smooth and proper score
    (Gneiting and Raftery 2007, doi:10.1198/016214506000001437). Scores of EEGMAT's held-out subjects were compared once
    (the likelihood's choice was better by .002 to .009), so studies of EEGMAT are no independent evidence for it.

    Parameters
    ----------
    predictor : Predicts
        What is scored.
    windows : Windows
        Labelled windows of the validation subjects.

    Raises
    ------
    ValueError
        The windows have no labels.
    """
    p = predictor.predict(windows.without(labels=True)).probabilities
    likelihood = np.log(np.maximum(p[np.arange(len(p)), windows.labels], _SMALLEST))
    return float(likelihood_weights(windows) @ likelihood)


def likelihood_weights(windows: Windows) -> FloatArray:
    """Weight of each window in `validation_score`, shape (n,): they sum to one.

    Raises
    ------
    ValueError
        The windows have no labels.
    """
    y, weights = windows.labels, np.zeros(len(windows))
    for subject in windows.subjects:
        mine = windows.subject == subject
        classes, of_class, counts = np.unique(y[mine], return_inverse=True, return_counts=True)
        weights[mine] = 1 / (len(windows.subjects) * len(classes) * counts[of_class])
    return weights


def network_score(network: nn.Module, objective: Objective, x: Tensor, y: Tensor, weights: Tensor) -> float:
    """As `validation_score`, of a network and windows that are tensors already: for what is scored at every epoch.

    Parameters
    ----------
    network : torch.nn.Module
        Scored in eval mode, and put back into train mode.
    objective : Objective
        What reads its outputs.
    x, y : Tensor, shapes (n, ...) and (n,)
        Normalised windows and their labels.
    weights : Tensor of float64, shape (n,)
        See `likelihood_weights`.
    """
    network.eval()
    with torch.no_grad():
        likelihoods = log_likelihoods(objective, network(x), y)
    network.train()
    return float(weights @ likelihoods)


def log_likelihoods(objective: Objective, outputs: Tensor, y: Tensor) -> Tensor:
    """What `network_score` averages, (n,) in float64, of a network's outputs (n, ...) for windows with labels (n,)."""
    return objective.probabilities(outputs).gather(1, y[:, None])[:, 0].clamp(min=_SMALLEST).log()


class BestModel(Generic[M]):
    """Keeps a copy of the best model it is offered, a network or a predictor; of equals, the first.

    Attributes
    ----------
    step : int
        When the best model was offered; 0 before the first offer.
    score : float
        Its score; minus infinity before the first offer.
    """

    def __init__(self) -> None:
        self.step = 0
        self.score = -math.inf
        self._model: M | None = None

    def offer(self, step: int, score: float, model: M) -> bool:
        """Keep a copy of the model if its score is the best so far; returns whether it was."""
        if not score > self.score:
            return False
        self.step, self.score, self._model = step, score, copy.deepcopy(model)
        return True

    @property
    def model(self) -> M:
        """The best model.

        Raises
        ------
        LearningError
            None was ever offered with a score that is a number.
        """
        if self._model is None:
            raise LearningError("No network had a finite validation score: did its training diverge?")
        return self._model
