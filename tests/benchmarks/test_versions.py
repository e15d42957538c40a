"""Versions of installed libraries."""

from __future__ import annotations

import numpy as np

from benchmarks.versions import installed


def test_what_is_installed_is_told_and_what_is_not_is_left_out() -> None:
    assert installed(["numpy", "no-such-library"]) == {"numpy": np.__version__}
