"""Installed versions of libraries."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version


def installed(libraries: Iterable[str]) -> dict[str, str]:
    """Version of each library that is installed; the others are left out."""
    found = {name: _version(name) for name in libraries}
    return {name: told for name, told in found.items() if told is not None}


@cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
