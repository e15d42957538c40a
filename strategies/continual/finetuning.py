"""Sequential fine-tuning: nothing is done against forgetting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from strategies.continual.contract import Continual


@dataclass(frozen=True, kw_only=True)
class FineTuning(Continual):
    """One network, trained on one subject after another; what it knew of earlier ones may be overwritten.

    It is the baseline that continual learning has to beat.
    """

    seatable: ClassVar[bool] = True
