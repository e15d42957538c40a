"""A network as a function of its weights and of the noise of its dropout, so that copies of it can be stacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.errors import LearningError


@dataclass(frozen=True)
class Dropped:
    """One call of a dropout layer in a network's forward pass.

    Parameters
    ----------
    p : float
        Probability with which an entry is dropped.
    shape : tuple of int
        Of its input, without the batch axis.
    """

    p: float
    shape: tuple[int, ...]

    def draw(self, factors: Tensor, generator: torch.Generator) -> None:
        """Fill in factors of some windows, (n, ...), as torch's own dropout draws them on a CPU from the same state."""
        kept = 1 - self.p
        factors.bernoulli_(kept, generator=generator).div_(kept)


class _Given(nn.Module):
    """A dropout layer whose factors are given to it."""

    def __init__(self, factors: list[Tensor]) -> None:
        super().__init__()
        self._factors = factors

    def forward(self, x: Tensor) -> Tensor:
        """The input times the next of the factors.

        Raises
        ------
        LearningError
            The input does not begin with the windows, as it did when the layer was watched.
        """
        factors = self._factors.pop(0)
        if factors.shape != x.shape:
            raise LearningError(
                "A dropout layer whose input is not one row a window cannot be stacked: use in_process, or put the "
                "windows first."
            )
        return x * factors


class _Linear(nn.Linear):
    """The same layer with windows in columns, so that weights come first in its products, forward and backward.

    Batched products of MKL, 64 windows of 160 features by 6 units, were measured to be 2 to 7 times as fast in this
    order, and by 64 units as fast. The gradient lies in memory as the weight does, and the outputs column by column.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (n, out) of inputs (n, in), and of inputs of any other shape as ever."""
        if x.dim() != 2:
            return super().forward(x)
        columns = self.weight @ x.mT
        if self.bias is not None:
            columns = columns + self.bias[:, None]
        return columns.mT


@dataclass(frozen=True, eq=False)
class Stackable:
    """A network that reads its weights and its dropout from outside.

    Parameters
    ----------
    network : torch.nn.Module
        Copy in train mode, its dropout layers replaced, and its linear layers by those that stack well.
    dropout : tuple of Dropped
        Calls of dropout layers in one forward pass, in their order.
    mixing : bool
        Whether what comes of a window depends on the other windows of its minibatch, as with batch norm.
    """

    network: nn.Module
    dropout: tuple[Dropped, ...]
    mixing: bool
    _factors: list[Tensor]

    @classmethod
    def of(cls, network: nn.Module, x: Tensor) -> Stackable:
        """From a network and some windows of its input.

        Raises
        ------
        LearningError
            Layers share a weight, so that its copies would drift apart.
        """
        copied = deepcopy(network).train()
        own = {name for name, _ in (*copied.named_parameters(), *copied.named_buffers())}
        tied = [name for name in copied.state_dict() if name not in own]
        if tied:
            raise LearningError(f"Weight {tied[0]} belongs to several layers and cannot be stacked: use in_process.")
        factors: list[Tensor] = []
        _turn(copied, nn.Linear, _Linear)
        try:
            calls = _calls(copied, x)
        except RuntimeError:  # A view of outputs that takes them to lie row by row.
            _turn(copied, _Linear, nn.Linear)
            calls = _calls(copied, x)
        for parent in list(copied.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Dropout) and child.p:
                    setattr(parent, name, _Given(factors))
        return cls(copied, calls, _mixes(network, x), factors)

    def __call__(self, weights: Mapping[str, Tensor], factors: Sequence[Tensor], x: Tensor) -> Tensor:
        """Outputs of the network with these weights and these factors of its dropout."""
        self._factors[:] = factors
        outputs: Tensor = functional_call(self.network, dict(weights), (x,))
        return outputs


def _turn(network: nn.Module, kind: type[nn.Module], into: type[nn.Module]) -> None:
    """Make all layers of just this kind into the other."""
    for module in network.modules():
        if type(module) is kind:
            module.__class__ = into


def _mixes(network: nn.Module, x: Tensor) -> bool:
    """Run a copy of the network on windows alone and in the company of another, in train mode but for its dropout."""
    source = torch.Generator().manual_seed(0)
    windows = torch.randn((3, *x.shape[1:]), generator=source, dtype=x.dtype)
    tried = deepcopy(network).train()
    for module in tried.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    try:
        with torch.no_grad():
            alone, together = tried(windows[:2].clone()), tried(windows)[:2]
    except Exception:
        # Whatever is wrong with it will be told when it is trained.
        return True
    return not torch.allclose(alone, together, rtol=1e-3, atol=1e-5)


def _calls(network: nn.Module, x: Tensor) -> tuple[Dropped, ...]:
    """Run a copy of the network once, as in use, so that nothing is drawn, and watch its dropout layers."""
    seen: list[Dropped] = []

    def watch(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.Dropout)
        seen.append(Dropped(module.p, tuple(inputs[0].shape[1:])))

    tried = deepcopy(network).eval()
    for module in tried.modules():
        if isinstance(module, nn.Dropout) and module.p:
            module.register_forward_pre_hook(watch)
    with torch.no_grad():
        # A copy, since a layer may work in place; of two, since rows of one are columns too.
        tried(torch.cat([x[:1], x[:1]]))
    return tuple(seen)
