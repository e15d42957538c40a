"""How far predicted probabilities can be believed."""

from __future__ import annotations

import numpy as np

from benchmarks.windows import FloatArray, IntArray

_BINS = 15


def brier(y: IntArray, probabilities: FloatArray) -> float:
    """Mean over windows of the squared distance between the probabilities and the truth, summed over *all* classes.

    This is Brier's own form (1950, Mon. Weather Rev. 78:1), from 0 to 2, the same for any number of classes: with two
    classes it is twice the form that squares the error of class 1 only. Uniform probabilities give 1 - 1/K.

    Parameters
    ----------
    y : ndarray of int, shape (n,)
        True classes, 0..K-1.
    probabilities : ndarray, shape (n, K)
        Predicted probabilities.
    """
    truth = np.eye(probabilities.shape[1])[y]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def ece(y: IntArray, probabilities: FloatArray) -> float:
    """Expected calibration error of the predicted class (Guo et al. 2017, ICML, eq. 3); parameters as in `brier`.

    Windows are put into 15 bins of equal width by the probability of their predicted class, each bin open below and
    closed above; the gaps between accuracy and mean confidence are averaged over the bins, weighted by their windows.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == y
    inner_edges = np.arange(1, _BINS) / _BINS
    bins = np.digitize(confidence, inner_edges, right=True)
    # A bin's share of windows times its gap is |sum of (correct - confidence)| / n: no division by an empty bin.
    return float(np.abs(np.bincount(bins, weights=correct - confidence)).sum() / len(y))
