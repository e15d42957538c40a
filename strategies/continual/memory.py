"""A memory of windows: which of those of earlier subjects stay, and how they are shown again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor

from benchmarks.normalization import Normalization
from benchmarks.randomness import generator
from benchmarks.windows import IntArray, StrArray, Windows, concatenate
from clients.training import tensors

Choice = Callable[[StrArray, int, int, np.random.Generator], IntArray]
"""Which windows stay, as an index: from the subjects of those that are held, followed by those of the subject that has
just been learned from; from how many were met before it; from a size; and by chance."""


def reservoir(subject: StrArray, met: int, size: int, rng: np.random.Generator) -> IntArray:
    """Every window met so far is held with the same probability (Vitter 1985, doi:10.1145/3147.3165, algorithm R).

    The n-th window replaces that in a slot drawn at random with probability size / n. So a subject has a share of the
    memory that is, in expectation, its share of the windows.

    Parameters
    ----------
    subject : ndarray of str, shape (held + new,)
        Whose the windows are.
    met : int
        Windows that were met before the new ones.
    size : int
        Windows that can be held.
    rng : numpy.random.Generator
        Source of the slots.
    """
    held = min(met, size)
    new = len(subject) - held
    number = np.arange(met, met + new)
    # Drawn for all, free slots or not, so that how many numbers are drawn does not depend on the size.
    slot = np.where(number < size, number, rng.integers(number + 1))
    stays = np.arange(min(met + new, size))
    taken = slot < size
    # Of several windows that take a slot one after another, the last stays: that is how NumPy assigns.
    stays[slot[taken]] = held + np.flatnonzero(taken)
    return stays


def subject_balanced(subject: StrArray, met: int, size: int, rng: np.random.Generator) -> IntArray:
    """Each subject has as many windows as the others, give or take one, drawn at random from all of its windows.

    A subject that has fewer is held whole, and the others share its places. (Elsewhere this is an experience-balanced
    buffer.)

    Parameters
    ----------
    subject, met, size, rng
        As in `reservoir`.
    """
    del met
    return _drawn(subject, lambda counts: _even_shares(counts, size), rng)


def each_subject(subject: StrArray, met: int, size: int, rng: np.random.Generator) -> IntArray:
    """Each subject has `size` windows, drawn at random, so that the memory grows with the number of subjects.

    Parameters
    ----------
    subject, met, size, rng
        As in `reservoir`, but the size is that of a subject's part.
    """
    del met
    return _drawn(subject, lambda counts: np.minimum(counts, size), rng)


def _drawn(subject: StrArray, shares: Callable[[IntArray], IntArray], rng: np.random.Generator) -> IntArray:
    """So many windows of each subject, in the order in which they stand."""
    _, number, counts = np.unique(subject, return_inverse=True, return_counts=True)
    parts = [
        rng.choice(np.flatnonzero(number == place), share, replace=False) for place, share in enumerate(shares(counts))
    ]
    return np.sort(np.concatenate(parts))


def _even_shares(counts: IntArray, size: int) -> IntArray:
    """`size` places for groups of so many: who has least is asked first, and takes no more than an even part."""
    shares = np.zeros_like(counts)
    left = size
    for done, group in enumerate(np.argsort(counts, kind="stable")):
        shares[group] = min(counts[group], left // (len(counts) - done))
        left -= shares[group]
    return shares


BufferName = Literal["reservoir", "subject_balanced"]

BUFFERS: Mapping[BufferName, Choice] = {"reservoir": reservoir, "subject_balanced": subject_balanced}
"""Memories of a fixed size, by name."""


class Memory(SupervisedPlugin):
    """Keeps windows of the subjects that were learned from, for other plugins, before which it stands.

    Windows enter when their subject is over, and only those that were learned from do. Where subjects share their
    statistics, windows are held as they were recorded, and at the start of each subject normalised by the statistics
    that are known then, as its own windows are. Elsewhere they are held as they were learned from: the few of a subject
    that are left have other statistics than all of its windows.

    Which windows stay depends on the seed and the stream alone, not on the network, the minibatches or what is done
    with the memory: strategies of one seed and buffer remember the same windows.

    Parameters
    ----------
    size : int
        Windows; what it bounds is said by `choice`.
    choice : callable
        Which windows stay.
    normalization : Normalization
        Whether subjects share their statistics.
    seed : int
        Root seed of the cell; what stays is drawn from ``(seed, "memory")``.

    Attributes
    ----------
    windows : Windows
        What is held. There is none before the first subject is over.
    origin : ndarray of int, shape (held,)
        Where each window stood when the last subject was over: among those held before, followed by the subject's.
    x, y : Tensor, shapes (held, ...) and (held,)
        The windows as they are shown during the subject in turn, and their labels.
    """

    windows: Windows
    origin: IntArray
    x: Tensor
    y: Tensor

    def __init__(self, size: int, choice: Choice, normalization: Normalization, seed: int) -> None:
        super().__init__()
        self._size = size
        self._choice = choice
        self._shares = normalization.shares
        self._rng = generator(seed, "memory")
        self._met = 0

    def __len__(self) -> int:
        """Windows that are held."""
        return len(self.windows) if self._met else 0

    def draw(self, size: int, source: torch.Generator) -> Tensor:
        """Index of so many different windows, or of all, each as likely as any other."""
        return torch.randperm(len(self), generator=source)[:size]

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Normalise what is held for the subject in turn."""
        del kwargs
        if self._met:
            shown = strategy.experience.normalizer(self.windows) if self._shares else self.windows.x
            self.x, self.y = tensors(shown, self.windows.labels)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Choose again, now among the subject's windows too."""
        del kwargs
        experience = strategy.experience
        new = experience.windows
        if not self._shares:
            new = replace(new, x=experience.tensors[0].numpy())
        known = concatenate([self.windows, new]) if self._met else new
        self.origin = self._choice(known.subject, self._met, self._size, self._rng)
        self.windows = known.select(self.origin)
        self._met += len(new)
