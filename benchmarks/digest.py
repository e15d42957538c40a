"""Digests of values: equal for equal descriptions, on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from benchmarks.errors import StudyError


def plain(value: Any) -> Any:
    """Value as JSON holds it, with all that tells it from another.

    A dataclass keeps the name of its class, a mapping the order of its keys (differential entropy orders its bands
    by it).

    Raises
    ------
    StudyError
        A value that is none of: dataclass, mapping, list, tuple, string, number, bool, None.
    """
    if is_dataclass(value) and not isinstance(value, type):
        kind = f"{type(value).__module__}:{type(value).__qualname__}"
        return [kind, *([field.name, plain(getattr(value, field.name))] for field in fields(value))]
    if isinstance(value, Mapping):
        return [[plain(key), plain(inner)] for key, inner in value.items()]
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise StudyError(
        f"{value!r} is of class {type(value).__qualname__}, whose values cannot be told from outside, so no result "
        f"can be kept under them. Make it a frozen dataclass."
    )


def digest(value: Any) -> str:
    """SHA-256, in hex, of a value's plain description; raises as `plain`."""
    return hashlib.sha256(json.dumps(plain(value)).encode()).hexdigest()
