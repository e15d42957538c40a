"""Several representations side by side: what all of them tell of a window, as one vector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field

from benchmarks.parts import build, find
from benchmarks.quality import BoolArray
from benchmarks.representations.contract import FeatureRepresentation, Represented, Sources
from benchmarks.representations.table import REPRESENTATIONS
from benchmarks.windows import FloatArray

_DEFAULT = ("electrodermal", "cardiac", "respiration", "temperature", "movement")


def _built(part: object) -> object:
    """A part that a study file names, built; what is built already is left as it is."""
    if isinstance(part, FeatureRepresentation):
        return part
    told = {"name": part} if isinstance(part, str) else part
    if not isinstance(told, Mapping) or not isinstance(told.get("name"), str):
        raise ValueError("a part is its name, or a mapping with a 'name' and its values")
    name, values = told["name"], {key: value for key, value in told.items() if key != "name"}
    kind = find(name, REPRESENTATIONS, "part of a joined representation", FeatureRepresentation)
    return build(kind, {}, values, name)


def _defaults() -> tuple[Any, ...]:
    return tuple(_built(name) for name in _DEFAULT)


@dataclass(frozen=True)
class Joined(FeatureRepresentation):
    """Features of several representations, (n, p): the columns of the first part, then those of the next.

    Parameters
    ----------
    parts : tuple of FeatureRepresentation
        In a study file each is a name, or a mapping with a name and values, as in
        ``parts: [electrodermal, {name: cardiac, beats: ibi}]``.

    Raises
    ------
    ValueError
        A part is joined itself, or two parts are equal.
    """

    parts: Annotated[tuple[Annotated[FeatureRepresentation, BeforeValidator(_built)], ...], Field(min_length=1)] = (
        field(default_factory=_defaults)
    )

    def __post_init__(self) -> None:
        for index, part in enumerate(self.parts):
            if isinstance(part, Joined):
                raise ValueError("parts: a joined representation cannot be part of another. Name its parts instead.")
            if part in self.parts[:index]:
                raise ValueError(f"parts: {_name(part)} stands twice with the same values. Remove one.")

    @property
    def control(self) -> bool:
        """Whether all parts are controls."""
        return all(part.control for part in self.parts)

    @property
    def modules(self) -> tuple[str, ...]:
        """Its own module, and those of its parts."""
        return (*super().modules, *(module for part in self.parts for module in part.modules))

    def sources(self, signal: str) -> tuple[str, ...]:
        """Signals and events of all parts, each once."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.sources(signal)))

    def features(self, length_s: float) -> tuple[str, ...]:
        """Names of all parts; one that two parts use stands behind its part's name, ``"cardiac.mean"``."""
        told = [(label, name) for label, part in self._labelled() for name in part.features(length_s)]
        uses = Counter(name for _, name in told)
        return tuple(name if uses[name] == 1 else f"{label}.{name}" for label, name in told)

    def represent(self, sources: Sources, onsets_s: FloatArray, length_s: float) -> Represented:
        """See `Representation`; each part finds its signals by name among those of all."""
        made = [part.represent(sources, onsets_s, length_s) for part in self.parts]
        missing: dict[str, BoolArray] = {}
        for one in made:
            for reason, mask in one.missing.items():
                missing[reason] = mask | missing.get(reason, False)
        return Represented(np.concatenate([one.x for one in made], axis=1), missing)

    def _labelled(self) -> list[tuple[str, FeatureRepresentation]]:
        """Parts with a name each; parts of one name are numbered."""
        names = [_name(part) for part in self.parts]
        numbered = [
            name if names.count(name) == 1 else f"{name}{names[: index + 1].count(name)}"
            for index, name in enumerate(names)
        ]
        return list(zip(numbered, self.parts, strict=True))


def _name(part: FeatureRepresentation) -> str:
    """Name of a part in the table, or else of its class."""
    place = f"{type(part).__module__}:{type(part).__qualname__}"
    names = {place: name for name, place in REPRESENTATIONS.items()}
    return names.get(place, type(part).__qualname__)
