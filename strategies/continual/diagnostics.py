"""What a penalty does to learning: whether importance is reliable, interferes with a new subject, and stiffens.

Nothing here changes a number of the learning. Names and definitions are in `Reliability` (F1), `Interference` (F2) and
`Stiffness` (F3); another of F3, ``f3_step``, is told for every continual strategy, see `Continual`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from avalanche.core import SupervisedPlugin
from scipy.stats import rankdata
from torch import Tensor

from benchmarks.quality import BoolArray
from benchmarks.windows import Windows
from clients.objectives.contract import Objective
from clients.training import torch_generator
from strategies.continual.contract import Tell
from strategies.continual.importance import fisher
from strategies.continual.quadratic import Measure, QuadraticPenalty
from strategies.continual.seat import AtSubjects, Seat

Pair = tuple[Tensor, Tensor]
"""Importance of all weights (P,), twice: by either half of a subject."""

Split = Callable[[Any], Mapping[str, Pair]]
"""Pairs by the suffix of their names, of the subject that the template has just met."""

_TOP = 0.1
"""Share of the weights that count as important."""

_DECIBELS = {"": math.inf, "_20db": 20.0, "_10db": 10.0, "_0db": 0.0}
"""Signal-to-noise ratio of the windows by the suffix of what is measured on them."""


def diagnosed(
    penalty: QuadraticPenalty, objective: Objective, split: Split, tell: Tell
) -> tuple[SupervisedPlugin, ...]:
    """The penalty among the plugins that watch it, in an order in which each sees what it has to.

    Parameters
    ----------
    penalty : QuadraticPenalty
        What is watched.
    objective : Objective
        Reads probabilities from outputs.
    split : callable
        Importance by either half of a subject.
    tell : callable
        Takes the measurements of each subject.
    """
    return (
        Interference(penalty, tell),
        penalty,
        Reliability(penalty, split, tell),
        Stiffness(penalty, objective, tell),
    )


class Reliability(AtSubjects):
    """F1, whether importance is more than noise.

    ``f1_spearman`` and ``f1_overlap`` are the rank correlation of the importances by either half of a subject, and the
    size of the intersection of their tops over that of the union (Jaccard); with a suffix ``_20db``, ``_10db`` or
    ``_0db``, of its windows with white noise of that signal-to-noise ratio. ``f1_previous_spearman`` is the rank
    correlation of the importance for the subject with that for the one before. All are NaN where they are not defined.

    Parameters
    ----------
    penalty : QuadraticPenalty
        What is watched; it stands before this plugin.
    split : callable
        Importance by either half of a subject.
    tell : callable
        Takes the measurements of each subject.
    """

    def __init__(self, penalty: QuadraticPenalty, split: Split, tell: Tell) -> None:
        super().__init__()
        self._penalty = penalty
        self._split = split
        self._tell = tell
        self._previous: Tensor | None = None

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Compare the halves with each other, and the subject with the one before."""
        del kwargs
        values: dict[str, float] = {}
        for suffix, pair in self._split(strategy).items():
            values[f"f1_spearman{suffix}"] = spearman(*pair)
            values[f"f1_overlap{suffix}"] = overlap(*pair)
        latest = flat(self._penalty.latest)
        if self._previous is not None:
            values["f1_previous_spearman"] = spearman(self._previous, latest)
        self._previous = latest
        self._tell(_step(strategy), values)


class Interference(SupervisedPlugin):
    """F2, whether the penalty works against what a new subject asks for, from the second subject on.

    Over the steps of a subject, those after its best epoch included: ``f2_cosine``, the mean cosine of the loss's and
    the penalty's gradient on the most important weights; ``f2_cosine_all``, the same on all weights; ``f2_opposing``,
    the share of steps at which their dot product on the most important weights is negative; ``f2_task_norm`` and
    ``f2_penalty_norm``, the mean lengths of both gradients on all weights. Steps at which one of the two gradients is
    zero on these weights, as the penalty's at the first step after a subject with its one anchor, have neither a cosine
    nor a sign: they are not part of the mean, nor of the share; without any other step it is NaN.

    Parameters
    ----------
    penalty : QuadraticPenalty
        What is watched; it stands after this plugin, which sees the gradient of the loss alone.
    tell : callable
        Takes the measurements of each subject.
    """

    def __init__(self, penalty: QuadraticPenalty, tell: Tell) -> None:
        super().__init__()
        self._penalty = penalty
        self._tell = tell

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Look up the most important weights."""
        del strategy, kwargs
        memory = self._penalty.memory
        self._important = None if memory is None else top(flat(memory.importance))
        self._seen: list[Mapping[str, float]] = []

    def take_seat(self, seat: Seat) -> None:
        """Look at every minibatch that a stack takes."""
        seat.watch(self)

    def after_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Compare the two gradients."""
        del strategy, kwargs
        if self._important is None:
            return
        # A weight that the loss does not reach is left alone by the penalty too.
        reached = [
            (parameter.grad, pull)
            for parameter, pull in zip(self._penalty.parameters, self._penalty.pull(), strict=True)
        ]
        task = flat([torch.zeros_like(pull) if gradient is None else gradient for gradient, pull in reached])
        pull = flat([torch.zeros_like(pull) if gradient is None else pull for gradient, pull in reached])
        self._seen.append(interference(task, pull, self._important))

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Tell the means over steps."""
        del kwargs
        if self._seen:
            self._tell(_step(strategy), {name: _mean([each[name] for each in self._seen]) for name in self._seen[0]})


class Stiffness(AtSubjects):
    """F3, whether accumulated importance leaves weights free to move.

    ``f3_importance`` is the sum of the importance that is remembered, this subject's included. ``f3_rigidity``, from
    the second subject on, is the mean over weights of the share that the penalty during this subject has in the
    curvature of the whole, see `rigidity`; that of the loss is the true Fisher information of this subject's windows.

    Parameters
    ----------
    penalty : QuadraticPenalty
        What is watched; it stands before this plugin.
    objective : Objective
        Reads probabilities from outputs.
    tell : callable
        Takes the measurements of each subject.
    """

    def __init__(self, penalty: QuadraticPenalty, objective: Objective, tell: Tell) -> None:
        super().__init__()
        self._penalty = penalty
        self._objective = objective
        self._tell = tell

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Tell what is remembered, and how much of the curvature was the penalty's."""
        del kwargs
        assert self._penalty.memory is not None
        values = {"f3_importance": float(flat(self._penalty.memory.importance).sum(dtype=torch.float64))}
        if self._penalty.curvature:
            x, y, _ = strategy.experience.tensors
            loss = fisher(strategy.model, self._objective, x, y, "true")
            values["f3_rigidity"] = rigidity(flat(self._penalty.curvature), flat(loss))
        self._tell(_step(strategy), values)


def of_windows(measure: Measure, seed: int) -> Split:
    """Pairs of an importance that is a function of windows: by two halves of the subject's windows, see `halves`.

    Noise is white, with a variance of the mean square of the subject's normalised windows over the ratio, and is drawn
    once for a subject, from ``(seed, "diagnostics", subject)``: with more of it, windows differ in its size alone.

    Parameters
    ----------
    measure : callable
        Importance for windows and their labels.
    seed : int
        Root seed of the cell.
    """

    def pairs(strategy: Any) -> Mapping[str, Pair]:
        x, y, _ = strategy.experience.tensors
        second = torch.from_numpy(halves(strategy.experience.windows))
        source = torch_generator(seed, "diagnostics", strategy.experience.subject)
        noise = x.square().mean().sqrt() * torch.randn(x.shape, generator=source, dtype=x.dtype)

        def half(shown: Tensor, mask: Tensor) -> Tensor:
            # Where all windows are in the first half, as of a subject of one window, there is nothing to compare.
            return flat(measure(strategy.model, shown[mask], y[mask])) if second.any() else torch.empty(0)

        noisy = {suffix: x + 10 ** (-decibels / 20) * noise for suffix, decibels in _DECIBELS.items()}
        return {suffix: (half(shown, ~second), half(shown, second)) for suffix, shown in noisy.items()}

    return pairs


def halves(windows: Windows) -> BoolArray:
    """Which windows of a subject are in the second of two halves that have as little in common as its trials allow.

    Where every class has two trials or more, the halves share no trial: they take the trials of each class in turns.
    Where a class has one trial alone, every trial is cut in the middle, so that both halves hold every class: windows
    of a trial that follow each other stay together, and of an odd number the first half has one more.

    Parameters
    ----------
    windows : Windows
        Labelled windows of one subject, those of a trial in the order of time.

    Returns
    -------
    ndarray of bool, shape (n,)
        False where a window is in the first half.
    """
    trials: defaultdict[tuple[int, str, str], list[int]] = defaultdict(list)
    for place, trial in enumerate(zip(windows.labels, windows.session, windows.trial, strict=True)):
        trials[trial].append(place)
    of_classes: defaultdict[int, list[list[int]]] = defaultdict(list)
    for (label, *_), places in trials.items():
        of_classes[label].append(places)
    whole = all(len(of_class) > 1 for of_class in of_classes.values())
    second = np.zeros(len(windows), dtype=bool)
    for of_class in of_classes.values():
        for places in of_class[1::2] if whole else [places[-(-len(places) // 2) :] for places in of_class]:
            second[places] = True
    return second


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """All entries one after another, (P,)."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def top(importance: Tensor) -> Tensor:
    """The tenth of the weights with the largest importance, at least one, as a mask; those without any are never in it.

    Of equals, the first.
    """
    ranked = torch.argsort(importance, descending=True, stable=True)
    chosen = torch.zeros(len(importance), dtype=torch.bool)
    chosen[ranked[: max(1, round(_TOP * len(importance)))]] = True
    return chosen & (importance > 0)


def spearman(one: Tensor, other: Tensor) -> float:
    """Correlation of the ranks, of which equals share their mean; NaN where the ranks of one are all the same."""
    a, b = (rankdata(values.numpy()) - (len(values) + 1) / 2 for values in (one, other))
    return _ratio(float(a @ b), math.sqrt(float(a @ a) * float(b @ b)))


def overlap(one: Tensor, other: Tensor) -> float:
    """Size of the intersection of the two tops over that of their union; NaN where both are empty."""
    a, b = top(one), top(other)
    return _ratio(int((a & b).sum()), int((a | b).sum()))


def interference(task: Tensor, pull: Tensor, important: Tensor) -> dict[str, float]:
    """What `Interference` tells, of one step; NaN where one of the gradients is zero on the weights in question.

    Parameters
    ----------
    task, pull : Tensor, shape (P,)
        Gradients of the loss and of the penalty.
    important : Tensor of bool, shape (P,)
        The most important weights.
    """
    task, pull = task.double(), pull.double()
    on_top = float(task[important] @ pull[important])
    lengths = float(task.norm()), float(pull.norm())
    lengths_on_top = float(task[important].norm() * pull[important].norm())
    return {
        "f2_cosine": _ratio(on_top, lengths_on_top),
        "f2_cosine_all": _ratio(float(task @ pull), lengths[0] * lengths[1]),
        "f2_opposing": float(on_top < 0) if lengths_on_top else math.nan,
        "f2_task_norm": lengths[0],
        "f2_penalty_norm": lengths[1],
    }


def rigidity(penalty: Tensor, loss: Tensor) -> float:
    """Mean over weights of the penalty's share in the sum of both curvatures, (P,) each; 0 / 0 counts as 0."""
    penalty, loss = penalty.double(), loss.double()
    return float(torch.where(penalty > 0, penalty / (penalty + loss), 0.0).mean())


def _step(strategy: Any) -> int:
    """Subjects learned from, the one just met included."""
    return int(strategy.experience.current_experience) + 1


def _ratio(over: float, under: float) -> float:
    return over / under if under else math.nan


def _mean(values: Sequence[float]) -> float:
    """Of those that are defined."""
    defined = [value for value in values if not math.isnan(value)]
    return _ratio(math.fsum(defined), len(defined))
