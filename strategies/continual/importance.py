"""How much each weight matters to what a network says: means over windows of each window's own gradient."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from clients.objectives.contract import Objective
from clients.training import seeded
from strategies.continual.by_layers import summed_by_layers

FisherKind = Literal["true", "empirical"]
"""Whose labels the Fisher information is about: those that the network itself expects, or those observed."""

_BUDGET = 64 * 2**20
"""Bytes of gradients that are held at a time, about; what the network computes on the way comes on top.

With 10,498 weights and two classes, passes of 8 to 16 MB took half as long as those of 2 MB (one core of an AMD EPYC).
"""

_WINDOWS = 128
"""Windows that are summed in the dtype of the weights, at most: rounding stays far below what windows differ by."""

_TINY = torch.finfo(torch.float64).tiny
"""A probability below it has rounded to zero: its gradient is told as 0, not as what 0 / 0 gives."""


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """Parameters that require a gradient, in the order of the network; a shared one is listed once."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def fisher(network: nn.Module, objective: Objective, x: Tensor, y: Tensor, kind: FisherKind) -> list[Tensor]:
    """Diagonal of the Fisher information of the weights.

    F_i is the mean over windows of the expectation of (d log p(k | x) / d theta_i)^2 over classes k: over those that
    the network expects, p(k | x), computed in full, or over the observed label alone. The first is the Fisher
    information and, at a softmax, the curvature of the loss in the Gauss-Newton sense; the second is neither where the
    network does not fit the labels (Kunstner et al. 2019, arXiv:1905.12558). Gradients are squared window by window:
    the square of a minibatch's mean gradient would be smaller, and depend on the minibatch.

    Parameters
    ----------
    network : torch.nn.Module
        Looked at in eval mode, and left as it was: modes, buffers, gradients and all random sources.
    objective : Objective
        Reads probabilities from outputs; the weights of classes in its loss play no part.
    x, y : Tensor, shapes (n, ...) and (n,)
        Normalised windows and their labels; ``"true"`` does not look at labels.
    kind : {"true", "empirical"}
        Which expectation is taken.

    Returns
    -------
    list of Tensor
        Of the shape of each trainable parameter, in order; not negative.

    Raises
    ------
    ValueError
        No window.
    """
    scores = _SCORES[kind]
    return _mean_over_windows(network, x, y, lambda out, label: scores(objective.probabilities(out), label), _squared)


def mas_importance(network: nn.Module, x: Tensor) -> list[Tensor]:
    """Sensitivity of the squared length of the outputs F(x): mean over windows of abs(d ||F(x)||^2 / d theta_i).

    The measure of MAS (Aljundi et al. 2018, arXiv:1711.09601, section 4.1). No label is needed.

    Parameters
    ----------
    network : torch.nn.Module
        As in `fisher`.
    x : Tensor, shape (n, ...)
        Normalised windows.

    Returns
    -------
    list of Tensor
        As in `fisher`.

    Raises
    ------
    ValueError
        No window.
    """
    return _mean_over_windows(network, x, torch.zeros(len(x), dtype=torch.int64), _squared_length, torch.abs)


def _squared(gradient: Tensor) -> Tensor:
    return gradient.square()


def _squared_length(outputs: Tensor, label: Tensor) -> Tensor:
    del label
    return outputs.square().sum(dim=1)


def _expected(probabilities: Tensor, label: Tensor) -> Tensor:
    """Twice the root of p(k) for each class: the square of its gradient is p(k) (d log p(k))^2."""
    del label
    return 2 * probabilities[0].clamp(min=_TINY).sqrt()


def _observed(probabilities: Tensor, label: Tensor) -> Tensor:
    return probabilities.gather(1, label[:, None])[0].clamp(min=_TINY).log()


_Scores = Callable[[Tensor, Tensor], Tensor]
"""From outputs (1, ...) and label (1,) of a window to the numbers (m,) whose gradients count."""

_SCORES: Mapping[FisherKind, _Scores] = {"true": _expected, "empirical": _observed}


def _mean_over_windows(
    network: nn.Module, x: Tensor, y: Tensor, scores: _Scores, size: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    """Mean over windows of the sum over a window's scores of the size of their gradients, entry by entry."""
    if not len(x):
        raise ValueError("importance of weights for no window")
    weights = {name: parameter.detach() for name, parameter in network.named_parameters() if parameter.requires_grad}
    # Copies, so that not even a network that writes to its buffers in eval mode is changed.
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}

    def scored(weights: Mapping[str, Tensor], window: Tensor, label: Tensor) -> Tensor:
        return scores(functional_call(network, (dict(weights), buffers), (window[None],)), label[None])

    with seeded("importance"), _evaluated(network), torch.enable_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")  # of layers that vmap takes one by one
        try:
            totals = _summed_at_once(network, scores, size, x, y) or _summed(scored, size, weights, x, y)
        except Exception:  # Whatever cannot be vmapped; what is wrong in itself is raised again.
            totals = _summed_one_by_one(scored, size, weights, x, y)
    return [(total / len(x)).to(weights[name].dtype) for name, total in totals.items()]


def _summed_at_once(
    network: nn.Module, scores: _Scores, size: Callable[[Tensor], Tensor], x: Tensor, y: Tensor
) -> dict[str, Tensor] | None:
    """As `_summed`, of networks that allow for it: see `summed_by_layers`; None of all others."""

    def of_one(label: Tensor, outputs: Tensor) -> Tensor:
        return scores(outputs[None], label[None])

    totals: dict[str, Tensor] = {}
    for windows, labels in zip(torch.split(x, _WINDOWS), torch.split(y, _WINDOWS), strict=True):
        found = summed_by_layers(network, partial(vmap(of_one), labels), size, windows)
        if found is None:
            return None
        totals = {name: totals.get(name, 0) + each.double() for name, each in found.items()}
    return totals


_Scored = Callable[[Mapping[str, Tensor], Tensor, Tensor], Tensor]
"""Scores (m,) of a window and its label as a function of the weights."""


def _summed(
    scored: _Scored, size: Callable[[Tensor], Tensor], weights: Mapping[str, Tensor], x: Tensor, y: Tensor
) -> dict[str, Tensor]:
    """Few windows are summed at a time, and their sums in float64: summing all in float64 took longer than the rest."""
    picks = torch.eye(len(scored(weights, x[0], y[0]).detach()))

    def picked(weights: Mapping[str, Tensor], window: Tensor, label: Tensor, pick: Tensor) -> Tensor:
        return (scored(weights, window, label) * pick).sum()

    # The inner one is over the scores of a window: the forward pass, in which they are one, is not repeated.
    gradients = vmap(vmap(grad(picked), (None, None, None, 0)), (None, 0, 0, None))
    a_window = len(picks) * sum(weight.nbytes for weight in weights.values())
    at_a_time = max(1, min(_WINDOWS, _BUDGET // max(1, a_window)))
    totals = _zeros(weights)
    for windows, labels in zip(torch.split(x, at_a_time), torch.split(y, at_a_time), strict=True):
        for name, each in gradients(weights, windows, labels, picks).items():
            totals[name] += size(each).sum(dim=(0, 1))
    return totals


def _summed_one_by_one(
    scored: _Scored, size: Callable[[Tensor], Tensor], weights: Mapping[str, Tensor], x: Tensor, y: Tensor
) -> dict[str, Tensor]:
    """As `_summed`, with a backward pass for each score of each window."""
    leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    totals = _zeros(weights)
    for window, label in zip(x, y, strict=True):
        values = scored(leaves, window, label)
        for value in values:
            found = torch.autograd.grad(
                value, list(leaves.values()), retain_graph=True, allow_unused=True, materialize_grads=True
            )
            for name, gradient in zip(leaves, found, strict=True):
                totals[name] += size(gradient)
    return totals


def _zeros(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in weights.items()}


@contextmanager
def _evaluated(network: nn.Module) -> Iterator[None]:
    """Inside, every module is in eval mode; outside, in its own."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
