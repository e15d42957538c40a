"""How many networks are trained in one stack: as many as pays, and as memory is meant for."""

from __future__ import annotations

FEWEST = 4
"""Networks that are worth a stack of streams: two took 1.2 to 1.3 times as long as one by one, four .7 to .95."""

_LARGEST = 256
"""Networks in a stack, at most: from 112 to 224 networks of 987 parameters the time fell by a tenth."""

_CACHED = 6 * 2**20
"""Bytes of a stack's weights, about: with 130 kB a network, 29 MB were a quarter slower than 4 to 15, and with 330 kB a
network, 37 MB a tenth slower than 5 (one core of an AMD EPYC with 1 MiB of L2)."""

_BUDGET = 256 * 2**20
"""Bytes of a stack, about: its weights, their gradients and what the optimiser remembers, and its minibatches."""


def stack_size(weights: int, minibatch: int) -> int:
    """Networks in a stack, at most, and at least one.

    Parameters
    ----------
    weights, minibatch : int
        Bytes of one network's weights, and of one minibatch of its windows.
    """
    # Weights, start, gradients and two moments; inputs, and about as much again in each of a few layers.
    return max(1, min(_LARGEST, _CACHED // max(1, weights), _BUDGET // (5 * weights + 4 * minibatch)))
