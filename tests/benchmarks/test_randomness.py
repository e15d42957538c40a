from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.randomness import derive, generator

NAMES = st.lists(st.one_of(st.text(max_size=8), st.integers(-(10**6), 10**6)), max_size=4)


def test_a_seed_is_the_first_63_bits_of_the_digest_of_its_names() -> None:
    digest = hashlib.sha256(b'["fold", 3]').hexdigest()
    assert derive("fold", 3) == int(digest[:16], 16) >> 1


@given(NAMES, NAMES)
def test_other_names_give_another_seed_within_range(one: list[str | int], other: list[str | int]) -> None:
    assert 0 <= derive(*one) < 2**63
    assert (derive(*one) == derive(*other)) == (one == other)


def test_names_are_not_run_together() -> None:
    assert len({derive("a", "b"), derive("ab"), derive("b", "a"), derive("a, b"), derive("1"), derive(1)}) == 6


def test_a_generator_depends_on_its_names_alone() -> None:
    first = generator("x", 1).standard_normal(5)
    generator("y").standard_normal(100)
    assert (generator("x", 1).standard_normal(5) == first).all()
    assert (generator("x", 2).standard_normal(5) != first).all()
