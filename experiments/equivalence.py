"""Whether two configurations are as good as equal: a large p of a test for a difference does not say so."""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import nan

from benchmarks.windows import FloatArray
from experiments.statistics import hodges_lehmann, paired_differences, rounded, signed_rank

_ALPHA = 0.05


@dataclass(frozen=True)
class Equivalence:
    """Whether the difference of two configurations lies within a margin.

    Parameters
    ----------
    margin : float
        Largest difference, either way, that is as good as none; in units of the score.
    p : float
        p of the hypothesis that the difference is the margin or more, either way.
    shift, low, high : float
        Hodges-Lehmann estimate of the difference, first minus second, and its 90 % interval.
    n : int
        Pairs with both scores.
    """

    margin: float
    p: float
    shift: float
    low: float
    high: float
    n: int

    def equivalent(self, alpha: float = _ALPHA) -> bool:
        """Whether equivalence is shown at level `alpha`; what is not shown may still be so, and is not a difference."""
        return self.p <= alpha


def equivalence(a: FloatArray, b: FloatArray, margin: float) -> Equivalence:
    """Test that two configurations differ by less than a margin: two one-sided signed-rank tests.

    **p**: the larger of the p's of two exact signed-rank tests, that the differences lie above -margin and that they
    lie below margin (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15:657; with ranks, Meier 2010, Pharm. Stat. 9:142).
    Like every signed-rank test it takes the differences to be symmetric around what it is about, their median.

    **Interval**: at 90 %, because two tests at 5 % both reject where it lies within the margins. That holds to the
    letter without ties; with ties it covers more than it says, and p decides.

    Below five pairs no test can show equivalence at 5 %, and the interval is NaN: the smallest p is 1 / 2^n.

    Parameters
    ----------
    a, b : ndarray, shape (pairs,)
        Scores of the same units in the same order: of subjects, or of orders of a stream, seeds averaged. A unit that
        is NaN in either is left out.
    margin : float
        Chosen before the scores are seen, above 0: 0.02 takes two points of accuracy for nothing.

    Returns
    -------
    Equivalence
        p and estimates NaN where no unit has both scores.

    Raises
    ------
    ValueError
        Arrays of different shapes, or a margin that is no positive number.
    """
    if not (math.isfinite(margin) and margin > 0):
        raise ValueError(f"a margin above 0 in units of the score expected, found {margin}")
    differences = paired_differences(a, b)
    if not len(differences):
        return Equivalence(margin, nan, nan, nan, nan, 0)
    above = signed_rank(rounded(differences + margin)).greater
    below = signed_rank(rounded(differences - margin)).less
    shift, low, high = hodges_lehmann(differences, confidence=1 - 2 * _ALPHA)
    return Equivalence(margin, max(above, below), shift, low, high, len(differences))
