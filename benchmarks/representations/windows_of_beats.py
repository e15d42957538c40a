"""What the clean beats in each window tell, where the pulse wave is sound and there are enough of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.representations.beats import Beats
from benchmarks.representations.contract import Represented, Signal
from benchmarks.representations.flaws import flaws
from benchmarks.windows import FloatArray


def of_windows(
    beats: Beats,
    bvp: Signal,
    onsets_s: FloatArray,
    length_s: float,
    share: float,
    features: int,
    describe: Callable[[Beats], Sequence[float]],
) -> Represented:
    """Features of the beats in each window, (n, p), or NaN with the reason.

    Parameters
    ----------
    beats : Beats
        Of the whole recording.
    bvp : Signal
        Blood volume pulse as recorded: a window in which it is constant or lacks samples is missing for ``"bvp flat"``
        or ``"bvp nan"``.
    onsets_s : ndarray, shape (n,)
        Start of each window, seconds from the start of the recording.
    length_s : float
        Length of a window, seconds.
    share : float
        Of a window that clean intervals must cover. One whose beats do not suffice (`Beats.suffice`) is missing for
        ``"too few beats"``.
    features : int
        Number p of features.
    describe : callable
        Features (p,) of the beats that lie wholly in a window; some may be NaN.
    """
    missing = flaws("bvp", bvp, onsets_s, length_s)
    x = np.full((len(onsets_s), features), np.nan)
    few = np.zeros(len(onsets_s), dtype=bool)
    for row in np.flatnonzero(~np.any(list(missing.values()), axis=0)):
        window = beats.within(float(onsets_s[row]), length_s)
        few[row] = not window.suffice(length_s, share)
        if not few[row]:
            x[row] = describe(window)
    return Represented(x, {**missing, "too few beats": few})
