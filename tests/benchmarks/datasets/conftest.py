"""Folders for data sets that tests write."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.datasets.contract import Places


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Empty places of one test."""
    found = Places(data=tmp_path / "data", cache=tmp_path / "cache", study=tmp_path / "study")
    for folder in (found.data, found.study):
        folder.mkdir()
    return found
