from __future__ import annotations

import mne
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.datasets.phases import Phase, annotated, cut_phases, overlapping
from benchmarks.recording import Recording, Trial

PHASES = [Phase("talk", 20, 35.5), Phase("rest", 5, 20), Phase("walk", 40, 50), Phase("rest", 50, 60)]


def recording(phases: list[Phase]) -> Recording:
    return Recording("S1", "1", {}, annotated(phases))


def test_annotations_are_in_the_order_of_time() -> None:
    told = annotated(PHASES)
    assert told.onset.tolist() == [5, 20, 40, 50]
    assert told.duration.tolist() == [15, 15.5, 10, 10]
    assert list(told.description) == ["rest", "talk", "walk", "rest"]
    assert annotated([]) == mne.Annotations([], [], [])


def test_phases_of_each_class_become_trials() -> None:
    classes = {"active": ("walk", "talk"), "rest": ("rest",)}
    assert cut_phases(recording(PHASES), classes) == [
        Trial("00_rest", 1, 5, 20),
        Trial("01_talk", 0, 20, 35.5),
        Trial("02_walk", 0, 40, 50),
        Trial("03_rest", 1, 50, 60),
    ]
    assert cut_phases(recording(PHASES), {"talk": ["talk"], "none": []}) == [Trial("01_talk", 0, 20, 35.5)]


def test_trials_may_have_names_of_their_own() -> None:
    found = cut_phases(recording(PHASES), {"talk": ["talk"], "rest": ["rest"]}, ["a", "b", "c", "d"])
    assert [trial.name for trial in found] == ["a", "b", "d"]


stretches = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 5)).map(lambda span: (float(span[0]), float(sum(span)))), max_size=6
)


@given(stretches)
def test_a_pair_is_found_if_and_only_if_one_overlaps(spans: list[tuple[float, float]]) -> None:
    def overlap(one: int, other: int) -> bool:
        return max(spans[one][0], spans[other][0]) < min(spans[one][1], spans[other][1])

    found = overlapping(spans)
    if found is None:
        assert not any(overlap(one, other) for one in range(len(spans)) for other in range(one))
    else:
        assert found[0] != found[1]
        assert overlap(*found)


@pytest.mark.parametrize("spans", [[], [(1, 2)], [(2, 3), (1, 2)]])
def test_stretches_may_touch(spans: list[tuple[float, float]]) -> None:
    assert overlapping(spans) is None
