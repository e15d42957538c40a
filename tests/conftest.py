"""Fixtures that all tests share."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from experiments.environment import prepare

# How long a test takes says how busy a machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Tests start many processes: each would compile its libraries anew, for seconds, where bytecode is not kept.
if sys.dont_write_bytecode:
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(Path(sys.prefix) / "bytecode")
    os.environ.update(PYTHONDONTWRITEBYTECODE="", PYTHONPYCACHEPREFIX=sys.pycache_prefix)
# Before torch loads: tests run side by side, and threads of one would starve the others.
os.environ["OMP_NUM_THREADS"] = "1"
# Before the engines load: tests send nothing.
prepare()


def _real_data() -> Path | None:
    named = os.environ.get("UNSEEN_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[1].parent / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real recordings; tests that need it are skipped where it is not there."""
    folder = _real_data()
    if folder is None:
        told = "no real recordings: set UNSEEN_DATA, or put them in ../shared/data"
        if os.environ.get("UNSEEN_REQUIRE_DATA"):
            pytest.fail(told)
        pytest.skip(told)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _no_bytecode_of_temporary_modules() -> Iterator[None]:
    """What tests import from temporary folders is kept no longer than these."""
    yield
    if sys.pycache_prefix is not None:
        kept = Path(sys.pycache_prefix) / Path(tempfile.gettempdir()).relative_to(Path(tempfile.gettempdir()).anchor)
        shutil.rmtree(kept, ignore_errors=True)


@pytest.fixture(autouse=True)
def _private_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches and data never touch the user's own folders."""
    monkeypatch.setenv("UNSEEN_CACHE", str(tmp_path_factory.getbasetemp() / "unseen-cache"))
