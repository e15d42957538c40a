"""Sums of the sizes of all windows' gradients where every weight is that of a linear layer: one product a layer.

The gradient of a window's score is the outer product of what comes back to the layer's output and what entered it. A
size of products that is the product of sizes, as the square or the absolute value, then sums up over windows as the
product of two matrices, and no window's own gradient is ever written down (Goodfellow 2015, arXiv:1510.01799).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_ROUNDING = 1e-4
"""Two ways to the gradient of a weight may differ by this part of what it is summed of."""


def summed_by_layers(
    network: nn.Module, scored: Callable[[Tensor], Tensor], size: Callable[[Tensor], Tensor], x: Tensor
) -> dict[str, Tensor] | None:
    """Sum over windows and scores of the size of the gradient of each trainable weight, by its name.

    Parameters
    ----------
    network : torch.nn.Module
        In eval mode, in which no window changes what is said of another.
    scored : callable
        From outputs (n, ...) to the numbers (n, m) of each window whose gradients count.
    size : callable
        Of each entry of a tensor; that of a product is the product of the sizes.
    x : Tensor, shape (n, ...)
        Windows.

    Returns
    -------
    dict of str to Tensor or None
        None where it cannot be had so: a weight of another layer, a layer that is used twice, or not at all, or for
        something else than vectors, a weight that is also used elsewhere, or buffers, which a network may write to.
    """
    layers = _linear_layers(network)
    if not layers or any(True for _ in network.buffers()):
        return None
    with _watched(layers.values()) as passed:
        outputs = network(x)
    if any(len(passed[layer]) != 1 or passed[layer][0][0].shape[:-1] != x.shape[:1] for layer in layers.values()):
        return None
    entered = {name: _with_one(passed[layer][0][0].detach()) for name, layer in layers.items()}
    left = {name: output for name, layer in layers.items() if (output := passed[layer][0][1]).requires_grad}
    weights = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    totals = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    asked = [*left.values(), *weights.values()]
    for score in scored(outputs).unbind(dim=1):
        found = torch.autograd.grad(score.sum(), asked, retain_graph=True, allow_unused=True, materialize_grads=True)
        whole = dict(zip(weights, found[len(left) :], strict=True))
        for layer, back in zip(left, found, strict=False):
            sizes, gradient = size(back).T @ size(entered[layer]), back.T @ entered[layer]
            rounding = _ROUNDING * (back.abs().T @ entered[layer].abs()).max()
            for name, column in ((f"{layer}weight", slice(None, -1)), (f"{layer}bias", -1)):
                if name not in weights:
                    continue
                if (gradient[:, column] - whole[name]).abs().max() > rounding:
                    return None
                totals[name] += sizes[:, column]
    return totals


def _linear_layers(network: nn.Module) -> Mapping[str, nn.Module]:
    """Linear layers by what their weights' names begin with; none where a weight is of another layer, or of two."""
    layers = {f"{name}." * bool(name): each for name, each in network.named_modules() if type(each) is nn.Linear}
    theirs = Counter(weight for layer in layers.values() for weight in layer.parameters())
    every = Counter(weight for _, weight in network.named_parameters(remove_duplicate=False))
    return layers if theirs == every and set(theirs.values()) == {1} else {}


@contextmanager
def _watched(layers: Iterable[nn.Module]) -> Iterator[Mapping[nn.Module, list[tuple[Tensor, Tensor]]]]:
    """Inside, what enters and leaves each layer is noted."""
    passed: defaultdict[nn.Module, list[tuple[Tensor, Tensor]]] = defaultdict(list)

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        passed[layer].append((inputs[0], output))

    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        yield passed
    finally:
        for hook in hooks:
            hook.remove()


def _with_one(entered: Tensor) -> Tensor:
    """Vectors (n, d) with an entry that is one: what a bias multiplies."""
    return torch.cat([entered, entered.new_ones(len(entered), 1)], dim=1)
