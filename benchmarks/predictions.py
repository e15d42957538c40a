"""What a predictor says of windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.errors import LearningError
from benchmarks.windows import FloatArray


@dataclass(frozen=True, eq=False)
class Predictions:
    """Class probabilities of n windows.

    Parameters
    ----------
    probabilities : ndarray, shape (n, K)
        One row a window, each summing to one.

    Raises
    ------
    LearningError
        Values that are no probabilities: not finite, negative, or rows that do not sum to one.
    """

    probabilities: FloatArray

    def __post_init__(self) -> None:
        p = np.asarray(self.probabilities, dtype=np.float64)
        object.__setattr__(self, "probabilities", p)
        if p.ndim != 2:
            raise LearningError(f"Probabilities must be (windows, classes), found shape {p.shape}.")
        if not np.isfinite(p).all():
            raise LearningError("The predictor returned NaN or infinite probabilities: did its training diverge?")
        if (p < -1e-9).any() or (np.abs(p.sum(axis=1) - 1) > 1e-4).any():
            raise LearningError("The predictor's rows are no probabilities: negative, or not summing to one.")

    def __len__(self) -> int:
        return len(self.probabilities)
