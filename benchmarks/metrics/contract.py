"""What a metric is: a function of true classes and predicted probabilities."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.windows import FloatArray, IntArray

Metric = Callable[[IntArray, FloatArray], float]
"""``metric(y, probabilities) -> float``, with y of shape (n,) in 0..K-1, probabilities of shape (n, K), n at least 1.

It raises `Undefined` where the data leave it without a value.
"""


class Undefined(Exception):  # noqa: N818 - no error of anybody: the answer of a metric that has no value here
    """A metric has no value on these data; the message is the reason."""
