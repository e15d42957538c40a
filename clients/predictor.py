"""A trained network as a predictor."""

from __future__ import annotations

import copy
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import torch
from torch import nn

from benchmarks.archive import Archive, Unarchivable, archived, described, rebuilt, restored
from benchmarks.normalization import NORMALIZERS, Normalizer
from benchmarks.predictions import Predictions
from benchmarks.windows import Windows
from clients.network import Blueprint
from clients.objectives.contract import Objective
from clients.objectives.table import OBJECTIVES
from clients.training import dtype_of


@dataclass(frozen=True, eq=False)
class NetworkPredictor:
    """Network with the normaliser of its inputs and the objective that reads its outputs.

    It refers to the network, so what it predicts follows the network's weights: a strategy that goes on learning
    hands out a `snapshot`.
    """

    network: nn.Module
    normalizer: Normalizer
    objective: Objective

    def snapshot(self) -> NetworkPredictor:
        """Predictor with a copy of the network as it is now, in eval mode; a small one takes a quarter of a ms."""
        return replace(self, network=copy.deepcopy(self.network).eval())

    def predict(self, windows: Windows, subject: str | None = None) -> Predictions:
        """Class probabilities (n, K); the network's mode is as before when it returns."""
        del subject
        x = torch.tensor(self.normalizer(windows), dtype=dtype_of(self.network))
        # Setting modes takes as long as a small network does.
        training = [module for module in self.network.modules() if module.training]
        if training:
            self.network.eval()
        try:
            with torch.no_grad():
                outputs = self.network(x)
        finally:
            for module in training:
                module.training = True
        return Predictions(self.objective.probabilities(outputs).numpy())

    def archive(self) -> Archive:
        """See `Archivable`; a network that no blueprint describes has none."""
        weights = self.network.state_dict()
        blueprint = Blueprint.of(self.network)
        if blueprint is None or not blueprint.fits(weights):
            raise Unarchivable("A network cannot be built again: it does not come from a blueprint, or has changed.")
        try:
            arrays = {name: tensor.numpy() for name, tensor in weights.items()}
        except TypeError as error:
            raise Unarchivable(f"A network's weights cannot be written: {error}.") from error
        return Archive(
            kind="network",
            arrays=arrays,
            parts={
                "normalizer": archived(self.normalizer, NORMALIZERS),
                "blueprint": blueprint.archive(),
                "objective": described(self.objective, OBJECTIVES),
            },
        )

    @classmethod
    def restore(cls, archive: Archive, trusted: AbstractSet[str]) -> NetworkPredictor:
        """See `Archivable`."""
        blueprint = Blueprint.restore(archive.part("blueprint"), trusted)
        try:
            weights = {name: torch.from_numpy(array) for name, array in archive.arrays.items()}
        except TypeError as error:
            raise archive.refused(f"weights: {error}") from error
        if not blueprint.fits(weights):
            raise archive.refused("its weights are not those of its network")
        return cls(
            network=blueprint.filled(weights),
            normalizer=restored(archive.part("normalizer"), NORMALIZERS, "normaliser", trusted),
            objective=rebuilt(archive.part("objective"), OBJECTIVES, "objective", Objective, trusted),
        )
