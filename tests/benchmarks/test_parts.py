from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from benchmarks.errors import StudyError
from benchmarks.parts import build, find, locate, nearest

TABLE = {"decimal": "decimal:Decimal", "fraction": "fractions:Fraction"}


@dataclass(frozen=True)
class Part:
    places: object
    count: Annotated[int, Field(gt=0)]
    bands: dict[str, tuple[float, float]]
    kind: Literal["a", "b"] = "a"

    def __post_init__(self) -> None:
        if self.count == 13:
            raise ValueError("count: 13 brings bad luck")


def open_ended(**values: int) -> dict[str, int]:
    return values


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "own_part.py").write_text("class Mine:\n    pass\n")
    (tmp_path / "own_broken.py").write_text("import not_installed_anywhere\n")
    return tmp_path


def test_a_name_of_the_table_and_a_place_of_the_user() -> None:
    from fractions import Fraction

    assert locate("fraction", TABLE, "number") == "fractions:Fraction"
    assert find("fraction", TABLE, "number") is Fraction
    assert find("fractions:Fraction", {}, "number") is Fraction


def test_a_part_of_the_users_own(own_module: Path) -> None:
    assert find("own_part:Mine", TABLE, "number").__name__ == "Mine"


def test_values_are_checked_and_converted() -> None:
    made = build(Part, {"places": "here"}, {"count": "3", "bands": {"alpha": [8, 13]}}, "configurations.x")
    assert made == Part("here", 3, {"alpha": (8.0, 13.0)}, "a")


def test_what_a_part_has_no_parameter_for_is_not_given() -> None:
    assert build(Part, {"places": 1, "seed": 2}, {"count": 1, "bands": {}}, "x").places == 1
    assert build(open_ended, {}, {"any": 1}, "x") == {"any": 1}


def test_an_unknown_name_lists_the_legal_ones_and_suggests_the_nearest() -> None:
    with pytest.raises(StudyError) as told:
        locate("fractoin", TABLE, "number")
    assert str(told.value) == (
        "Unknown number 'fractoin'. Legal: decimal, fraction. Did you mean 'fraction'? Your own: package.module:Name."
    )
    assert nearest("zzz", TABLE) == "Legal: decimal, fraction."


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no_such_module:Mine", "No module 'no_such_module' for number"),
        ("own_part.deeper:Mine", "No module 'own_part.deeper' for number"),
        ("own_part:Nine", "Module 'own_part' has no 'Nine'"),
    ],
)
def test_a_place_that_is_not_there(own_module: Path, name: str, told: str) -> None:
    with pytest.raises(StudyError, match=told):
        find(name, TABLE, "number")


def test_a_dependency_that_a_part_misses_is_not_taken_for_a_typing_error(own_module: Path) -> None:
    with pytest.raises(
        StudyError, match="'own_broken'.*cannot be imported: ModuleNotFoundError.*not_installed_anywhere"
    ):
        find("own_broken:Mine", TABLE, "number")


def test_a_module_with_a_mistake_in_it_is_told_with_its_place(own_module: Path) -> None:
    (own_module / "own_typo.py").write_text("x = 1\nclass Mine\n")
    with pytest.raises(StudyError, match=r"'own_typo'.*SyntaxError.*own_typo\.py, line 2"):
        find("own_typo:Mine", TABLE, "number")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"cuont": 1}, r"x\.cuont: no such key\. Legal: bands, count, kind\. Did you mean 'count'"),
        ({"places": 1, "count": 1, "bands": {}}, r"x\.places: no such key"),
        ({"count": 0, "bands": {}}, r"x\.count: input should be greater than 0, found 0"),
        ({"count": "many", "bands": {}}, r"x\.count: .*found 'many'"),
        ({"count": 1, "bands": {"alpha": [8, "x"]}}, r"x\.bands\.alpha\.1: .*found 'x'"),
        ({"count": 1, "bands": {}, "kind": "c"}, r"x\.kind: input should be 'a' or 'b', found 'c'"),
        ({"count": 13, "bands": {}}, "x: count: 13 brings bad luck"),
        ({"count": 1}, "x: bands must be given"),
    ],
)
def test_values_that_cannot_be(values: dict[str, object], told: str) -> None:
    with pytest.raises(StudyError, match=told):
        build(Part, {"places": None}, values, "x")


def test_a_part_that_takes_nothing() -> None:
    with pytest.raises(StudyError, match=r"x\.any: no such key\. It takes none\."):
        build(lambda: None, {}, {"any": 1}, "x")
