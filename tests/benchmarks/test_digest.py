from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import pytest

from benchmarks.digest import digest, plain
from benchmarks.errors import StudyError


@dataclass(frozen=True)
class One:
    value: Any = 1


@dataclass(frozen=True)
class Other:
    value: Any = 1


def test_the_digest_is_that_of_the_description_as_json() -> None:
    assert plain({"bands": (4.0, 8.0), "name": None}) == [["bands", [4.0, 8.0]], ["name", None]]
    assert digest({"a": 1}) == hashlib.sha256(b'[["a", 1]]').hexdigest()


def test_a_dataclass_is_told_by_its_class_and_its_fields() -> None:
    assert plain(One(One(2))) == [f"{__name__}:One", ["value", [f"{__name__}:One", ["value", 2]]]]
    assert len({digest(One()), digest(Other()), digest(One(2)), digest(One("1")), digest(One(True))}) == 5
    assert digest(One()) == digest(One(1))


def test_the_order_of_a_mapping_counts() -> None:
    assert digest({"a": 1, "b": 2}) != digest({"b": 2, "a": 1})


@pytest.mark.parametrize("value", [object(), One, {"a": {1, 2}}, [lambda: None]])
def test_what_cannot_be_told_from_outside(value: object) -> None:
    with pytest.raises(StudyError, match="Make it a frozen dataclass"):
        digest(value)
