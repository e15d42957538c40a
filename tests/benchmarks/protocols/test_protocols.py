"""Protocols: what each entry of the table must keep, and leave-one-subject-out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.errors import DataError, StudyError
from benchmarks.parts import build, find
from benchmarks.protocols.contract import Fold, Protocol
from benchmarks.protocols.leave_one_subject_out import LeaveOneSubjectOut
from benchmarks.protocols.subject_stream import SubjectStream
from benchmarks.protocols.table import PROTOCOLS

SUBJECTS = tuple("ABCDE")
NAMES = st.text(min_size=1, max_size=3)
COHORTS = st.lists(NAMES, min_size=2, max_size=12, unique=True)

CASES = {
    "loso": LeaveOneSubjectOut(validation_subjects=1),
    "stream": SubjectStream(held_out=2, choosing_subjects=3),
}
LEAST = {"loso": 2, "stream": 7}
"""Subjects that the case needs."""


def test_every_protocol_has_a_case() -> None:
    assert CASES.keys() == LEAST.keys() == PROTOCOLS.keys()


@pytest.mark.parametrize("name", PROTOCOLS)
@given(data=st.data())
def test_folds_have_names_of_their_own_and_nobody_is_on_both_sides_or_scored_twice(
    name: str, data: st.DataObject
) -> None:
    subjects = data.draw(st.lists(NAMES, min_size=LEAST[name], max_size=12, unique=True))
    folds = list(CASES[name].folds(subjects))
    assert folds
    assert len({fold.name for fold in folds}) == len(folds)
    scored = [subject for fold in folds for subject in fold.scored]
    assert len(set(scored)) == len(scored)
    for fold in folds:
        assert fold.scored
        assert fold.learners
        assert not set(fold.scored) & set(fold.learners)
        assert {*fold.scored, *fold.learners} <= set(subjects)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_nobody_on_whom_values_are_chosen_is_in_a_fold(name: str) -> None:
    subjects = [f"S{number}" for number in range(LEAST[name])]
    choosing = CASES[name].choosing(subjects)
    used = {subject for fold in CASES[name].folds(subjects) for subject in (*fold.scored, *fold.learners)}
    aside = set() if choosing is None else {*choosing.scored, *choosing.learners}
    assert not used & aside
    assert used | aside == set(subjects)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_one_subject_fewer_than_a_protocol_needs_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="at least"):
        list(CASES[name].folds([f"S{number}" for number in range(LEAST[name] - 1)]))


@given(subjects=COHORTS)
def test_leave_one_subject_out_scores_everybody_once(subjects: list[str]) -> None:
    folds = list(LeaveOneSubjectOut().folds(subjects))
    assert [fold.scored for fold in folds] == [(subject,) for subject in subjects]
    assert all({*fold.scored, *fold.learners} == set(subjects) for fold in folds)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_name_in_the_table_leads_to_the_case(name: str) -> None:
    assert isinstance(CASES[name], find(name, PROTOCOLS, "protocol"))
    assert isinstance(CASES[name], Protocol)


def test_leave_one_subject_out_of_three() -> None:
    assert list(LeaveOneSubjectOut().folds("ABC")) == [
        Fold("A", ("A",), ("B", "C")),
        Fold("B", ("B",), ("A", "C")),
        Fold("C", ("C",), ("A", "B")),
    ]


@pytest.mark.parametrize("seen", [False, True])
def test_whether_seen_people_are_scored_is_told_by_every_fold(seen: bool) -> None:
    protocol = build(LeaveOneSubjectOut, {}, {"seen": seen}, "protocol")
    assert [fold.seen for fold in protocol.folds("ABC")] == [seen] * 3
    plain = [replace(fold, seen=False) for fold in protocol.folds("ABC")]
    assert plain == list(LeaveOneSubjectOut().folds("ABC"))


def test_folds_score_no_seen_people_unless_they_are_asked_to() -> None:
    assert not any(fold.seen or fold.tracked for fold in LeaveOneSubjectOut().folds("ABC"))


def test_leave_one_subject_out_sets_nobody_aside() -> None:
    assert LeaveOneSubjectOut().choosing("ABC") is None


def test_validation_subjects_are_learners_and_depend_on_fold_and_seed_alone() -> None:
    fold = Fold("A", ("A",), SUBJECTS[1:])
    draws = {fold.validation(2, seed) for seed in range(50)}
    assert all(set(draw) < set(fold.learners) and len(draw) == 2 for draw in draws)
    assert len(draws) == 6, "all pairs of four learners come up"
    assert fold.validation(2, 3) == Fold("A", ("A",), SUBJECTS[1:]).validation(2, 3)
    assert fold.validation(0, 3) == ()


def test_an_order_is_a_permutation_that_its_number_determines() -> None:
    fold = Fold("A", ("A",), SUBJECTS[1:])
    orders = [fold.order(fold.learners, stream) for stream in range(fold.orders)]
    assert all(sorted(order) == sorted(fold.learners) for order in orders)
    assert len(set(orders)) == 24, "all orders of four subjects come up, each once"
    assert fold.order(fold.learners, 5) == orders[5]


def test_an_order_that_there_is_not_is_refused() -> None:
    fold = Fold("A", ("A",), SUBJECTS[1:])
    with pytest.raises(DataError, match="4 subjects to learn from, .* in 24 orders, and order number 25 is asked for"):
        fold.order(fold.learners, 24)


def test_who_is_left_out_of_an_order_changes_no_order_of_the_others() -> None:
    fold = Fold("A", ("A",), SUBJECTS[1:])
    for stream in range(fold.orders):
        order = fold.order(fold.learners, stream)
        assert fold.order(fold.learners[1:], stream) == tuple(one for one in order if one != fold.learners[0])


def test_a_cohort_of_one_is_refused() -> None:
    with pytest.raises(DataError, match=r"at least two subjects, found 1 \(A\)"):
        next(LeaveOneSubjectOut().folds(["A"]))


def test_validation_that_leaves_nobody_to_learn_from_is_refused() -> None:
    with pytest.raises(DataError, match="has 2 subjects to learn from, and 2 of .*validation_subjects"):
        Fold("A", ("A",), ("B", "C")).validation(2, 0)


def test_a_subject_on_both_sides_is_refused() -> None:
    with pytest.raises(ValueError, match="B on both sides"):
        Fold("A", ("A", "B"), ("B", "C"))


def test_what_is_neither_true_nor_false_is_refused_with_its_field() -> None:
    with pytest.raises(StudyError, match=r"protocol\.seen: .*"):
        build(LeaveOneSubjectOut, {}, {"seen": "later"}, "protocol")


def test_a_negative_number_of_validation_subjects_is_refused_with_its_field() -> None:
    with pytest.raises(StudyError, match=r"protocol\.validation_subjects: .*greater than or equal to 0"):
        build(LeaveOneSubjectOut, {}, {"validation_subjects": -1}, "protocol")
