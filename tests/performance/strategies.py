"""Continual strategies whose streams are timed, as a study file says them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STRENGTH = 1e-3
"""Of every penalty, ours and Avalanche's: more than none, and too little to change the loss that is reached."""

STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "finetuning": {"name": "finetuning"},
    "ewc_separate": {"name": "ewc", "mode": "separate", "strength": STRENGTH},
    "ewc_online": {"name": "ewc", "mode": "online", "strength": STRENGTH},
    "si": {"name": "si", "strength": STRENGTH},
    "mas": {"name": "mas", "strength": STRENGTH},
    "replay": {"name": "replay"},
}
