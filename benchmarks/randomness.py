"""Every random source comes from named seeds, so that a number never depends on what ran before it."""

from __future__ import annotations

import hashlib
import json

import numpy as np


def derive(*names: str | int) -> int:
    """Seed in [0, 2**63) that is a function of the names alone (SHA-256), the same on every machine."""
    digest = hashlib.sha256(json.dumps(names).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*names: str | int) -> np.random.Generator:
    """NumPy generator seeded by `derive`."""
    return np.random.default_rng(derive(*names))
