"""Metrics by name, and what is known of each without computing it."""

from __future__ import annotations

from collections.abc import Callable

METRICS = {
    "accuracy": "benchmarks.metrics.classification:accuracy",
    "balanced_accuracy": "benchmarks.metrics.classification:balanced_accuracy",
    "macro_f1_present": "benchmarks.metrics.classification:macro_f1_present",
    "macro_f1": "benchmarks.metrics.classification:macro_f1",
    "cohen_kappa": "benchmarks.metrics.classification:cohen_kappa",
    "auroc": "benchmarks.metrics.classification:auroc",
    "brier": "benchmarks.metrics.calibration:brier",
    "ece": "benchmarks.metrics.calibration:ece",
}

CURVE_METRICS = ("accuracy", "balanced_accuracy", "macro_f1")
"""Cheap ones, scored at every step of a learning curve; the final predictor is scored with all."""

WINDOW_ONLY = frozenset({"ece"})
"""Not scored on trials: a subject has too few of them to fill the bins."""

LOWER_IS_BETTER = frozenset({"brier", "ece"})
"""Their worst subject is the one with the highest value."""

_CHANCE: dict[str, Callable[[int], float]] = {
    "balanced_accuracy": lambda classes: 1 / classes,
    "cohen_kappa": lambda _: 0.0,
    "auroc": lambda _: 0.5,
}


def chance_level(metric: str, classes: int) -> float | None:
    """Expected value for a predictor that knows nothing of the windows, whatever the frequencies of the classes.

    Parameters
    ----------
    metric : str
        Name of a metric.
    classes : int
        Number of classes K, all of them present in what is scored.

    Returns
    -------
    float or None
        None where it depends on the frequencies, or where the metric is not one of ours.
    """
    level = _CHANCE.get(metric)
    return None if level is None else level(classes)
