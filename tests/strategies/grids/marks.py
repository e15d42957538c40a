"""Marks of tests of grids."""

from __future__ import annotations

import pytest

WITH_RAY = pytest.mark.xdist_group("ray")
"""Where tests run in several processes, those with Ray run in one, which starts Ray once."""

STARTS_ACTORS = (pytest.mark.slow, WITH_RAY)
"""An actor takes seconds to come up."""
