"""Study files that ask the same of several data sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.errors import StudyError
from experiments.study import read_studies, read_study

CONTENT = """
study: limits
dataset: simulated
windows: {length_s: 4}
orders: 2
configurations:
  raw: {strategy: pooled, representation: raw}
across:
  first: {dataset: {name: simulated, subjects: 4}}
  second:
    windows: {length_s: 2, step_s: 1}
    orders: 3
    configurations:
      raw: {representation: multirate}
"""


def written(folder: Path, content: str = CONTENT) -> Path:
    path = folder / "limits.yaml"
    path.write_text(content, encoding="utf-8")
    return path


def test_each_data_set_is_a_study_of_its_own_with_its_values_before_the_common_ones(tmp_path: Path) -> None:
    first, second = read_studies(written(tmp_path))
    assert (first.study, second.study) == ("limits.first", "limits.second")
    assert (first.dataset.values, second.dataset.values) == ({"subjects": 4}, {})
    assert (first.windows, second.windows) == ({"length_s": 4}, {"length_s": 2, "step_s": 1})
    assert (first.orders, second.orders) == (2, 3)
    shown = [one.configurations["raw"].representation for one in (first, second)]
    assert [alternatives[0].name for alternatives in shown if alternatives] == ["raw", "multirate"]
    assert [one.configurations["raw"].strategy[0].name for one in (first, second)] == ["pooled", "pooled"]


def test_changes_are_made_in_each_and_some_can_be_chosen(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert [one.orders for one in read_studies(path, ["orders=7"])] == [7, 7]
    (second,) = read_studies(path, across=["second"])
    assert second.study == "limits.second"


def test_a_study_of_one_data_set_is_read_as_before(tmp_path: Path) -> None:
    path = written(tmp_path, CONTENT.partition("across")[0])
    assert read_studies(path) == [read_study(path)]
    assert read_study(path).study == "limits"


def test_a_mapping_can_take_over_the_keys_of_another_and_change_some(tmp_path: Path) -> None:
    content = """
study: s
dataset: simulated
windows: {length_s: 4}
configurations:
  one: {strategy: &kept {name: pooled, epochs: 3, patience: 2}}
  two: {strategy: {<<: *kept, epochs: 4}}
"""
    (study,) = read_studies(written(tmp_path, content))
    assert [entry.strategy[0].values for entry in study.configurations.values()] == [
        {"epochs": 3, "patience": 2},
        {"epochs": 4, "patience": 2},
    ]


@pytest.mark.parametrize(
    ("content", "across", "message"),
    [
        (CONTENT, ["third"], "no such part of the study. Legal: first, second"),
        (CONTENT.partition("across")[0], ["first"], "one data set"),
        (CONTENT.replace("first: {dataset: {name: simulated, subjects: 4}}", "first: eegmat"), None, "expected names"),
        (CONTENT.replace("orders: 3", "ordres: 3"), None, "ordres: no such key"),
    ],
)
def test_bad_parts_are_told(tmp_path: Path, content: str, across: list[str] | None, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        read_studies(written(tmp_path, content), across=across)


def test_one_study_is_not_read_from_a_file_of_several(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"several data sets \(limits.first, limits.second\)"):
        read_study(written(tmp_path))
