"""Federated averaging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flwr.serverapp.strategy import FedAvg as FlowerFedAvg
from flwr.serverapp.strategy import Strategy as Aggregator
from pydantic import Field

from strategies.federated.federation import Federation


@dataclass(frozen=True)
class FedAvg(Federation):
    """Mean of the clients' weights, weighted by their numbers of windows (McMahan et al. 2017, arXiv:1602.05629).

    Parameters
    ----------
    fraction : float
        Share of the clients that train in a round, rounded down, at least one; the summaries are told by all.
    """

    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0

    def aggregator(self) -> Aggregator:
        """See `Federation`."""
        return FlowerFedAvg(
            fraction_train=self.fraction, fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1
        )
