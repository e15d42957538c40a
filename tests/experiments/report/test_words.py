"""Numbers as the tables write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.report.words import amount, plural, were


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (0.0412, "0.0412"), (0.546, "0.546"), (0.9996, "1.00"), (1.264, "1.26"), (9.996, "10.0"),
        (11.47, "11.5"), (845.4, "845"), (999.6, "1000"), (12345.6, "12346"), (math.nan, "-"), (math.inf, "inf"),
        (1e-9, "0.00000000100"),
    ],
)  # fmt: skip
def test_three_digits_or_all_before_the_point(value, text):
    assert amount(value) == text


@given(st.floats(1e-6, 1e9))
def test_an_amount_is_right_to_half_a_percent_and_has_no_exponent(value):
    text = amount(value)
    assert float(text) == pytest.approx(value, rel=0.005)
    assert "e" not in text
    assert amount(-value) == f"-{text}"


@pytest.mark.parametrize(("count", "told"), [(0, "0 orders were"), (1, "1 order was"), (2, "2 orders were")])
def test_a_noun_and_its_verb_agree_with_their_number(count, told):
    assert f"{plural(count, 'order')} {were(count)}" == told
