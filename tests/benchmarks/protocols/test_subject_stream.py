"""The stream of subjects: who is in which part, by hand, and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.errors import DataError, StudyError
from benchmarks.parts import build
from benchmarks.protocols.contract import Fold
from benchmarks.protocols.subject_stream import SubjectStream

SUBJECTS = tuple("ABCDEFGHIJ")


def stream_of(protocol: SubjectStream, subjects: tuple[str, ...] = SUBJECTS) -> Fold:
    (fold,) = protocol.folds(subjects)
    return fold


def test_the_first_subjects_are_set_aside_and_the_others_are_met_or_held_out() -> None:
    protocol = SubjectStream(held_out=2, choosing_subjects=3)
    fold = stream_of(protocol)
    assert (fold.name, fold.tracked, fold.seen) == ("stream", True, False)
    assert len(fold.scored) == 2
    assert len(fold.learners) == 5
    assert sorted((*fold.scored, *fold.learners)) == list("DEFGHIJ")
    assert protocol.choosing(SUBJECTS) == Fold("choosing", (), ("A", "B", "C"), tracked=True)


def test_the_first_subjects_are_those_of_the_cohort_not_of_the_alphabet() -> None:
    choosing = SubjectStream(held_out=1, choosing_subjects=2).choosing(SUBJECTS[::-1])
    assert choosing is not None
    assert choosing.learners == ("J", "I")


def test_both_sides_keep_the_order_of_the_cohort() -> None:
    fold = stream_of(SubjectStream(held_out=4), SUBJECTS[::-1])
    for side in (fold.scored, fold.learners):
        assert side == tuple(sorted(side, reverse=True))


def test_without_subjects_to_choose_on_there_is_no_such_fold_and_everybody_is_in_the_stream() -> None:
    protocol = SubjectStream(held_out=1)
    assert protocol.choosing(SUBJECTS) is None
    fold = stream_of(protocol)
    assert sorted((*fold.scored, *fold.learners)) == sorted(SUBJECTS)


@given(st.integers(2, 40), st.integers(1, 5), st.sampled_from([0, 2, 3]))
def test_the_parts_are_disjoint_and_hold_everybody(met: int, held_out: int, aside: int) -> None:
    subjects = tuple(f"S{number:02d}" for number in range(met + held_out + aside))
    protocol = SubjectStream(held_out=held_out, choosing_subjects=aside)
    fold, choosing = stream_of(protocol, subjects), protocol.choosing(subjects)
    assert (len(fold.learners), len(fold.scored)) == (met, held_out)
    assert (choosing.learners if choosing else ()) == subjects[:aside]
    assert {*fold.scored, *fold.learners} == set(subjects[aside:])


def test_who_is_held_out_is_drawn_the_same_each_time_and_from_everywhere() -> None:
    protocol = SubjectStream(held_out=1)
    assert stream_of(protocol) == stream_of(protocol)
    # Of cohorts of different sizes another one is drawn: not always the first or the last.
    places = {SUBJECTS.index(stream_of(protocol, SUBJECTS[:size]).scored[0]) / (size - 1) for size in range(3, 11)}
    assert len(places) > 3


def test_names_do_not_move_the_draw() -> None:
    renamed = {name: f"person {name}" for name in SUBJECTS}
    fold = stream_of(SubjectStream(held_out=3))
    again = stream_of(SubjectStream(held_out=3), tuple(renamed.values()))
    assert again.scored == tuple(renamed[name] for name in fold.scored)


def test_orders_that_are_chosen_on_and_orders_of_the_study_share_nobody() -> None:
    # As many in either fold: the same places are drawn, of other people.
    protocol = SubjectStream(held_out=1, choosing_subjects=5)
    fold, choosing = stream_of(protocol), protocol.choosing(SUBJECTS)
    assert choosing is not None
    for number in range(20):
        chosen_on = choosing.order(choosing.learners, number)
        assert sorted(chosen_on) == sorted(SUBJECTS[:5])
        assert not set(chosen_on) & set(fold.order(fold.learners, number))


def test_the_fold_to_choose_on_stays_when_more_are_held_out() -> None:
    few, many = (SubjectStream(held_out=count, choosing_subjects=3) for count in (1, 4))
    assert few.choosing(SUBJECTS) == many.choosing(SUBJECTS)


def test_nobody_validates() -> None:
    protocol = SubjectStream(held_out=1)
    assert protocol.validation_subjects == 0
    assert stream_of(protocol).validation(protocol.validation_subjects, 0) == ()


def test_a_study_gives_its_numbers() -> None:
    values = {"held_out": 2, "choosing_subjects": 4, "choosing_orders": 3}
    protocol = build(SubjectStream, {}, values, "protocol")
    assert protocol == SubjectStream(2, 4, 3)
    assert SubjectStream(2) == SubjectStream(held_out=2, choosing_subjects=0, choosing_orders=5)


@pytest.mark.parametrize(
    ("subjects", "held_out", "aside", "words"),
    [
        ("ABC", 2, 0, r"Of 3 subjects \(A, B, C\), .* sets 0 aside, protocol\.held_out 2, and 1 are left"),
        ("ABCDE", 2, 2, "sets 2 aside, .* 2, and 1 are left"),
        ("ABC", 2, 4, "sets 4 aside, .* 2, and 0 are left"),
        ("", 1, 0, r"Of 0 subjects \(none\)"),
    ],
)
def test_a_stream_of_fewer_than_two_is_refused(subjects: str, held_out: int, aside: int, words: str) -> None:
    protocol = SubjectStream(held_out=held_out, choosing_subjects=aside)
    with pytest.raises(DataError, match=words):
        next(protocol.folds(subjects))
    with pytest.raises(DataError, match=words):
        protocol.choosing(subjects)


def test_choosing_on_one_subject_is_refused() -> None:
    protocol = SubjectStream(held_out=1, choosing_subjects=1)
    with pytest.raises(DataError, match=r"protocol\.choosing_subjects is 1: .*Set aside 2 or more, or 0"):
        next(protocol.folds(SUBJECTS))
    with pytest.raises(DataError, match="choosing_subjects is 1"):
        protocol.choosing(SUBJECTS)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"held_out": 0}, r"protocol\.held_out: .*greater than or equal to 1"),
        ({"held_out": 1, "choosing_subjects": -1}, r"protocol\.choosing_subjects: .*greater than or equal to 0"),
        ({"held_out": 1, "choosing_orders": 0}, r"protocol\.choosing_orders: .*greater than or equal to 1"),
        ({"held_out": 1, "validation_subjects": 4}, r"protocol\.validation_subjects: no such key"),
        ({}, "held_out must be given"),
    ],
)
def test_wrong_values_are_refused_with_their_field(values: dict[str, int], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        build(SubjectStream, {}, values, "protocol")
