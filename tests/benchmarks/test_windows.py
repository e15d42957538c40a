from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.windows import Windows, concatenate


def windows_of(subjects: str, *, onset: bool = True, y: bool = True) -> Windows:
    """One window for each letter, a subject's name."""
    n = len(subjects)
    return Windows(
        x=np.arange(2.0 * n).reshape(n, 2),
        subject=np.array(list(subjects), dtype=np.str_),
        session=np.full(n, "1"),
        trial=np.array([f"t{index}" for index in range(n)], dtype=np.str_),
        onset=np.arange(float(n)) if onset else None,
        y=np.arange(n) % 2 if y else None,
    )


def test_subjects_stand_in_the_order_of_first_appearance() -> None:
    windows = windows_of("cacbba")
    assert windows.subjects == ("c", "a", "b")
    assert [(name, part.trial.tolist()) for name, part in windows.by_subject()] == [
        ("c", ["t0", "t2"]),
        ("a", ["t1", "t5"]),
        ("b", ["t3", "t4"]),
    ]


def test_windows_of_several_subjects_follow_the_order_asked_for() -> None:
    part = windows_of("cacbba").of(["b", "c"])
    assert part.trial.tolist() == ["t3", "t4", "t0", "t2"]
    assert part.onset is not None
    assert part.y is not None
    assert part.onset.tolist() == [3, 4, 0, 2]
    assert part.y.tolist() == [1, 0, 0, 0]
    assert part.x.tolist() == [[6, 7], [8, 9], [0, 1], [4, 5]]


@given(st.text("abc", min_size=1, max_size=12))
def test_subjects_part_the_windows(subjects: str) -> None:
    windows = windows_of(subjects)
    joined = concatenate([part for _, part in windows.by_subject()])
    assert sorted(joined.trial) == sorted(windows.trial)
    assert all(set(part.subject) == {name} for name, part in windows.by_subject())


def test_subjects_whose_windows_stand_together_are_not_copied() -> None:
    windows = windows_of("aabbcb")
    shared = {name: np.shares_memory(part.x, windows.x) for name, part in windows.by_subject()}
    assert shared == {"a": True, "b": False, "c": True}
    assert {name: part.x[:, 0].tolist() for name, part in windows.by_subject()} == {
        "a": [0, 2],
        "b": [4, 6, 10],
        "c": [8],
    }


@pytest.mark.parametrize("index", [np.array([True, False, True]), np.array([0, 2])])
def test_a_selection_shares_no_memory(index: np.ndarray) -> None:
    windows = windows_of("abc")
    part = windows.select(index)
    part.x[:] = -1
    part.subject[:] = "z"
    assert windows.x.min() == 0
    assert windows.subjects == ("a", "b", "c")
    assert part.trial.tolist() == ["t0", "t2"]


def test_labels_and_onsets_can_be_withheld() -> None:
    windows = windows_of("ab")
    assert windows.without(labels=True).y is None
    assert windows.without(labels=True).onset is not None
    assert windows.without(onset=True).onset is None
    assert windows.without(onset=True).y is not None
    assert windows.y is not None
    assert windows.without(labels=True).select(np.array([1])).y is None


def test_joining_keeps_the_order_and_what_all_parts_have() -> None:
    joined = concatenate([windows_of("ab"), windows_of("c", onset=False)])
    assert joined.subject.tolist() == ["a", "b", "c"]
    assert joined.onset is None
    assert joined.y is not None
    assert len(joined) == 3


def test_columns_of_another_length() -> None:
    with pytest.raises(ValueError, match=r"trial has shape \(2,\), expected \(3,\)"):
        Windows(np.zeros((3, 1)), np.full(3, "a"), np.full(3, "1"), np.full(2, "t"))


def test_a_subject_that_is_not_there() -> None:
    with pytest.raises(KeyError, match="no window of subject 'z'"):
        windows_of("ab").of(["a", "z"])


def test_nothing_to_join() -> None:
    with pytest.raises(ValueError, match="nothing to concatenate"):
        concatenate([])
