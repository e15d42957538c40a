"""How well classes are told apart.

The predicted class is the most probable one; of equals, the one with the lowest index. All that rests on it comes from
one confusion matrix in plain NumPy: learning curves score thousands of sets of a few dozen windows, and on those the
input checks of a general library cost a hundred times more than the arithmetic.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.metrics.contract import Undefined
from benchmarks.windows import FloatArray, IntArray


def confusion(y: IntArray, probabilities: FloatArray) -> IntArray:
    """Counts of windows by true class (row) and predicted class (column).

    Parameters
    ----------
    y : ndarray of int, shape (n,)
        True classes, 0..K-1.
    probabilities : ndarray, shape (n, K)
        Predicted probabilities.

    Returns
    -------
    ndarray of int, shape (K, K)
    """
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    return np.bincount(y * classes + predicted, minlength=classes**2).reshape(classes, classes)


def accuracy(y: IntArray, probabilities: FloatArray) -> float:
    """Share of windows whose predicted class is the true one; parameters as in `confusion`."""
    return float((probabilities.argmax(axis=1) == y).mean())


def balanced_accuracy(y: IntArray, probabilities: FloatArray) -> float:
    """Mean recall over the classes that are present in `y`; parameters as in `confusion`."""
    counts = confusion(y, probabilities)
    windows = counts.sum(axis=1)
    present = windows > 0
    return float((counts.diagonal()[present] / windows[present]).mean())


def macro_f1(y: IntArray, probabilities: FloatArray) -> float:
    """Mean F1 over all K classes; parameters as in `confusion`.

    A class that is neither present nor predicted counts as 0, so the best value of a subject that lacks one of K
    classes is (K - 1) / K: compare such subjects by `macro_f1_present`.
    """
    return float(_f1(confusion(y, probabilities)).mean())


def macro_f1_present(y: IntArray, probabilities: FloatArray) -> float:
    """Mean F1 over the classes that are present in `y`; parameters as in `confusion`.

    Windows predicted as an absent class still cost recall, and so F1, of their true class.
    """
    counts = confusion(y, probabilities)
    return float(_f1(counts)[counts.sum(axis=1) > 0].mean())


def cohen_kappa(y: IntArray, probabilities: FloatArray) -> float:
    """Agreement beyond chance (Cohen 1960, Educ. Psychol. Meas. 20:37); parameters as in `confusion`.

    Raises
    ------
    Undefined
        Truth and prediction are one and the same class throughout, so chance agreement is complete.
    """
    counts = confusion(y, probabilities)
    n = int(counts.sum())
    agreed = n * int(counts.trace())
    by_chance = int(counts.sum(axis=0) @ counts.sum(axis=1))
    if by_chance == n**2:
        raise Undefined("only one class is present, and it alone is predicted")
    return (agreed - by_chance) / (n**2 - by_chance)


def auroc(y: IntArray, probabilities: FloatArray) -> float:
    """Area under the receiver operating characteristic; parameters as in `confusion`.

    With two classes that of class 1; with more, the unweighted mean of each class against the rest.

    Raises
    ------
    Undefined
        A class is absent from `y`.
    """
    classes = probabilities.shape[1]
    absent = sorted(set(range(classes)) - set(y.tolist()))
    if absent:
        raise Undefined(f"absent: class {', '.join(map(str, absent))}")
    scored = [1] if classes == 2 else range(classes)
    return float(np.mean([roc_auc_score(y == c, probabilities[:, c]) for c in scored]))


def _f1(counts: IntArray) -> FloatArray:
    """F1 of each class, shape (K,); 0 for one that is neither present nor predicted."""
    windows = counts.sum(axis=0) + counts.sum(axis=1)
    # Wherever a class is neither present nor predicted its hits are 0 too, so any divisor gives the 0.
    f1: FloatArray = 2 * counts.diagonal() / np.maximum(windows, 1)
    return f1
