"""What a reader should know of a value that was chosen: whether it is at an edge of those offered, or one of equals."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.choosing import Chosen
from experiments.report.words import number


def remarks(one: Chosen) -> Iterator[str]:
    """Edges and equals of what was chosen, in words; equals are those whose score is told by the same number."""
    if one.value is None:
        return
    yield from _edges(one.value, list(one.scores))
    told = number(one.scores[one.value])
    equals = [value for value, score in one.scores.items() if value != one.value and number(score) == told]
    if equals:
        yield f"as good to three decimals: {', '.join(equals)}"


def _edges(chosen: str, offered: list[str]) -> Iterator[str]:
    """Of each open number of several; a candidate that could not be learned was offered too."""
    values = [_numbers(candidate) for candidate in offered]
    for key, value in _numbers(chosen).items():
        of = {found[key] for found in values if key in found}
        if len(of) > 1 and value in (min(of), max(of)):
            yield f"{key} is the {'lowest' if value == min(of) else 'highest'} of those offered"


def _numbers(candidate: str) -> dict[str, float]:
    """Values of a candidate that are numbers, as in ``strength=1, decay=0.5``."""
    found = {}
    for part in candidate.split(", "):
        key, _, value = part.partition("=")
        try:
            found[key] = float(value)
        except ValueError:
            continue
    return found
