"""Fixtures of the tests of grids."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from strategies.grids.contract import Place


@pytest.fixture(scope="package")
def ray_of_two() -> Iterator[None]:
    """Ray on this machine with two processors, for all tests of grids."""
    import ray

    # Ray's sockets need a short path, which those of pytest are not.
    short = "/tmp" if Path("/tmp").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="ray-", dir=short, ignore_cleanup_errors=True) as folder:
        ray.init(
            address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
            _temp_dir=folder,
        )  # fmt: skip
        try:
            yield
        finally:
            ray.shutdown()


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    """The place that a test is about, with Ray up where it is one of Ray."""
    made = request.param
    assert isinstance(made, Place)
    if type(made).__name__ == "RayActors":
        request.getfixturevalue("ray_of_two")
    return made
