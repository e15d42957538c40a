"""A trained network as a predictor."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.normalization import Normalizer
from benchmarks.predictions import Predictions
from benchmarks.windows import Windows
from clients.objectives.contract import Objective


@dataclass(frozen=True, eq=False)
class NetworkPredictor:
    """Network with the normaliser of its inputs and the objective that reads its outputs.

    It refers to the network, so what it predicts follows the network's weights; a strategy that goes on learning
    hands out a copy of the network when the predictor must stay as it is.
    """

    network: nn.Module
    normalizer: Normalizer
    objective: Objective

    def predict(self, windows: Windows, subject: str | None = None) -> Predictions:
        """Class probabilities (n, K); the network's mode is as before when it returns."""
        del subject
        x = torch.tensor(self.normalizer(windows), dtype=torch.float32)
        modes = {module: module.training for module in self.network.modules()}
        self.network.eval()
        try:
            with torch.no_grad():
                outputs = self.network(x)
        finally:
            for module, training in modes.items():
                module.training = training
        return Predictions(self.objective.probabilities(outputs).numpy())
