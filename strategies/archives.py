"""Fitted predictors as bytes that can be read without running code."""

from __future__ import annotations

from strategies.contract import Predictor


def packed(predictor: Predictor) -> bytes | None:
    """A predictor as bytes, or None where it is of a kind that cannot be written so."""
    del predictor
    return None


def unpacked(content: bytes) -> Predictor:
    """Reverse of `packed`."""
    raise NotImplementedError
