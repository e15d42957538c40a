"""Which of the networks met while training is kept: the one that does best on the validation subjects."""

from __future__ import annotations

import copy
import math

import numpy as np
from torch import nn

from benchmarks.errors import LearningError
from benchmarks.windows import Windows
from clients.predictor import NetworkPredictor

_SMALLEST = 1e-15  # A probability that rounds to zero must not make one window outweigh all others.


def validation_score(predictor: NetworkPredictor, windows: Windows) -> float:
    """Mean log-likelihood of labelled windows; higher is better, 0 is perfect, -log K is a guess.

    Each class that a subject shows weighs the same, and so does each subject, as in the balanced accuracy over
    subjects that studies report. That accuracy itself is not used: over a few validation subjects it moves in
    coarse steps and ties often, so its best epoch is partly luck, while the likelihood is a smooth and proper score
    (Gneiting and Raftery 2007, doi:10.1198/016214506000001437). Scores of EEGMAT's held-out subjects were compared once
    (the likelihood's choice was better by .002 to .009), so studies of EEGMAT are no independent evidence for it.

    Parameters
    ----------
    predictor : NetworkPredictor
        What is scored.
    windows : Windows
        Labelled windows of the validation subjects.

    Raises
    ------
    ValueError
        The windows have no labels.
    """
    y = windows.labels
    p = predictor.predict(windows.without(labels=True)).probabilities
    likelihood = np.log(np.maximum(p[np.arange(len(p)), y], _SMALLEST))
    subjects = []
    for subject in windows.subjects:
        mine = windows.subject == subject
        classes = np.unique(y[mine])
        subjects.append(np.mean([likelihood[mine & (y == label)].mean() for label in classes]))
    return float(np.mean(subjects))


class BestModel:
    """Keeps a copy of the best network it is offered; of equals, the first.

    Attributes
    ----------
    step : int
        When the best network was offered; 0 before the first offer.
    score : float
        Its score; minus infinity before the first offer.
    """

    def __init__(self) -> None:
        self.step = 0
        self.score = -math.inf
        self._network: nn.Module | None = None

    def offer(self, step: int, score: float, network: nn.Module) -> bool:
        """Keep a copy of the network if its score is the best so far; returns whether it was."""
        if not score > self.score:
            return False
        self.step, self.score, self._network = step, score, copy.deepcopy(network)
        return True

    @property
    def network(self) -> nn.Module:
        """The best network.

        Raises
        ------
        LearningError
            None was ever offered with a score that is a number.
        """
        if self._network is None:
            raise LearningError("No network had a finite validation score: did its training diverge?")
        return self._network
