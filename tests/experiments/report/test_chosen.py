"""Remarks on values that were chosen: edges and equals."""

from __future__ import annotations

import math

import pytest

from experiments.choosing import Chosen
from experiments.report.chosen import remarks

LOWEST, HIGHEST = "strength is the lowest of those offered", "strength is the highest of those offered"


def remarks_of(chosen: str | None, scores: dict[str, float]) -> list[str]:
    return list(remarks(Chosen("ewc", chosen, scores, {})))


@pytest.mark.parametrize(
    ("chosen", "offered", "expected"),
    [
        ("1", ["1", "10", "100"], [LOWEST]),
        ("10", ["1", "10", "100"], []),
        ("100", ["1", "10", "100"], [HIGHEST]),
        ("10", ["10", "1", "100"], []),  # Whatever the order in which they are offered.
        ("0.01", ["1.0", "0.01", "0.1"], [LOWEST]),
        ("1", ["1"], []),  # Nothing was to be chosen.
        ("true", ["true", "false"], []),
    ],
)
def test_the_lowest_and_the_highest_of_several_numbers_are_at_an_edge(chosen, offered, expected):
    scores = {f"strength={value}": place / 8 for place, value in enumerate(offered)}
    assert remarks_of(f"strength={chosen}", scores) == expected


def test_each_of_several_open_values_has_edges_of_its_own():
    scores = {f"strength={a}, decay={b}": a + b for a in (1, 2, 3) for b in (0.1, 0.5)}
    assert remarks_of("strength=2, decay=0.5", scores) == ["decay is the highest of those offered"]
    assert remarks_of("strength=1, decay=0.1", scores) == [LOWEST, "decay is the lowest of those offered"]


def test_candidates_whose_score_is_told_by_the_same_number_are_equals():
    scores = {"strength=1": 0.5071, "strength=10": 0.5074, "strength=100": 0.5076, "strength=1000": 0.4}
    assert remarks_of("strength=10", scores) == ["as good to three decimals: strength=1"]


def test_what_could_not_be_learned_was_offered_and_equals_nothing():
    assert remarks_of("strength=10", {"strength=10": 0.5, "strength=100": math.nan}) == [LOWEST]
    assert remarks_of(None, {"strength=10": math.nan, "strength=100": math.nan}) == []
