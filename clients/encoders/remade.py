"""Networks that torch itself cannot pickle."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from clients.encoders.contract import Encoder
from clients.training import torch_seeded


class Remade(nn.Module):
    """A network that is pickled as what it was made from, and its weights: it is made again, and they are put in.

    Torch refuses to pickle layers whose weights are parametrised, as by a largest norm. Copies are real ones.

    Parameters
    ----------
    network : torch.nn.Module
        What does the work.
    encoder : Encoder
        Whose `build` has made this, and makes it again.
    shape : tuple of int
        Shape of one window's representation, without the batch axis.
    outputs : int
        Size of the last layer.
    """

    def __init__(self, network: nn.Module, encoder: Encoder, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.network = network
        self._made = (encoder, shape, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (n, outputs) of windows (n, *shape)."""
        outputs: Tensor = self.network(x)
        return outputs

    def __deepcopy__(self, memo: dict[int, Any]) -> Remade:
        # Otherwise it would be made again, without what has been changed in its layers since.
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        vars(copied).update(copy.deepcopy(vars(self), memo))
        return copied

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        beside = {name: value for name, value in vars(self).items() if name != "_modules"}
        return _made_again, (*self._made, self.state_dict(), beside)


def _made_again(
    encoder: Encoder, shape: tuple[int, ...], outputs: int, weights: Mapping[str, Tensor], beside: Mapping[str, Any]
) -> nn.Module:
    with torch_seeded("overwritten"):
        network = encoder.build(shape, outputs)
    # Assigned rather than copied, so that weights keep their dtype.
    network.load_state_dict(weights, assign=True)
    vars(network).update(beside)
    return network.train(network.training)
