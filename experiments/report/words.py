"""Numbers and names as the tables write them."""

from __future__ import annotations

import math

NOTHING = "-"
"""Stands where there is no value."""


def number(value: float, *, signed: bool = False) -> str:
    """Three decimals; the leading zero is left out, as is usual for numbers that are at most one."""
    if math.isnan(value):
        return NOTHING
    text = f"{value:+.3f}" if signed else f"{value:.3f}"
    # A difference that rounds to zero has no sign.
    text = text.lstrip("+-") if float(text) == 0 else text
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


def amount(value: float) -> str:
    """Three digits, or all before the point where there are more."""
    if not math.isfinite(value):
        return NOTHING if math.isnan(value) else str(value)
    if value == 0:
        return "0"
    # What rounds up to 10, 100, ... has a digit more before the point.
    digits = math.floor(math.log10(abs(float(f"{value:.2e}")))) + 1
    return f"{value:.{max(3 - digits, 0)}f}"


def spoken(metric: str) -> str:
    """Name of a metric as people write it; a user's own metric by the name of its function."""
    return metric.rpartition(":")[2].replace("_", " ")


def were(count: int) -> str:
    """Verb of so many."""
    return "was" if count == 1 else "were"


def plural(count: int, noun: str) -> str:
    """So many of them."""
    return f"{count} {noun}{'s' * (count != 1)}"
