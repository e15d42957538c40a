"""The network that a cell starts from, and the blueprint that it can be built from again."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.archive import Archive, described, rebuilt
from clients.encoders.contract import Encoder
from clients.encoders.table import ENCODERS
from clients.objectives.contract import Objective
from clients.training import seeded, torch_seeded

_NOTE = "unseen_blueprint"
"""Attribute of a network that holds its blueprint, so that copies of the network carry it."""


@dataclass(frozen=True)
class Blueprint:
    """All that a network's shape follows from; its weights are not in it.

    Parameters
    ----------
    encoder : Encoder
        Description of the network.
    shape : tuple of int
        Shape of one window's representation, without the batch axis.
    outputs : int
        Size of the last layer.
    """

    encoder: Encoder
    shape: tuple[int, ...]
    outputs: int

    @classmethod
    def of(cls, network: nn.Module) -> Blueprint | None:
        """Blueprint of a network that `build` has made, or of a copy of one; None for any other."""
        blueprint: Blueprint | None = getattr(network, _NOTE, None)
        return blueprint

    def build(self) -> nn.Module:
        """Network with weights drawn from torch's current random state; raises as `Encoder.build`."""
        network = self.encoder.build(self.shape, self.outputs)
        setattr(network, _NOTE, self)
        return network

    def fits(self, weights: Mapping[str, Tensor]) -> bool:
        """Whether these are the names, shapes and dtypes of the parameters and buffers of what is built from it."""
        try:
            # On the meta device nothing takes memory, whatever sizes a made-up blueprint asks for.
            with torch_seeded("layout"), torch.device("meta"):
                return _layout(self.build().state_dict()) == _layout(weights)
        # A user's encoder, or one with made-up values, may fail in any way.
        except Exception:
            return False

    def filled(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """Network with these parameters and buffers, which have to fit; torch's random state is left as it was."""
        with torch_seeded("overwritten"):
            network = self.build()
        network.load_state_dict(weights)
        return network

    def archive(self) -> Archive:
        """See `Archivable`."""
        values = {"shape": self.shape, "outputs": self.outputs}
        return Archive("blueprint", values, parts={"encoder": described(self.encoder, ENCODERS)})

    @classmethod
    def restore(cls, archive: Archive, trusted: AbstractSet[str]) -> Blueprint:
        """See `Archivable`."""
        return cls(
            encoder=rebuilt(archive.part("encoder"), ENCODERS, "encoder", Encoder, trusted),
            shape=archive.value("shape", tuple[int, ...]),
            outputs=archive.value("outputs", int),
        )


def initial_network(
    encoder: Encoder, objective: Objective, shape: tuple[int, ...], classes: int, seed: int
) -> nn.Module:
    """Network before any learning, so that strategies of one cell are compared from the same start.

    Parameters
    ----------
    encoder : Encoder
        Description of the network.
    objective : Objective
        Says how many outputs the network needs.
    shape : tuple of int
        Shape of one window's representation, without the batch axis.
    classes : int
        Number of classes, K.
    seed : int
        Root seed of the cell; the weights are drawn from ``(seed, "init")``.

    Raises
    ------
    StudyError
        The encoder cannot take that shape.
    """
    with seeded(seed, "init"):
        return Blueprint(encoder, shape, objective.outputs(classes)).build()


def _layout(weights: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in weights.items()}
