"""Clients that read the same windows hold one copy of them."""

from __future__ import annotations

import torch

from clients.shelf import Shelf

X, Y = torch.arange(6.0).reshape(3, 2), torch.tensor([0, 1, 0])


def test_the_same_windows_of_a_subject_are_held_once() -> None:
    shelf = Shelf()
    first = shelf.shared("S1", X, Y)
    assert first[0] is X
    assert first[1] is Y
    again = shelf.shared("S1", X.clone(), Y.clone())
    assert again[0] is X
    assert again[1] is Y


def test_other_windows_labels_or_subjects_are_their_own() -> None:
    shelf = Shelf()
    shelf.shared("S1", X, Y)
    for subject, x, y in (
        ("S1", X + 1, Y),
        ("S1", X.double(), Y),
        ("S1", X, 1 - Y),
        ("S1", X[:2], Y[:2]),
        ("S2", X.clone(), Y.clone()),
    ):
        found = shelf.shared(subject, x, y)
        assert found[0] is x
        assert found[1] is y


def test_windows_that_are_no_numbers_are_shared_with_nobody() -> None:
    shelf, spoilt = Shelf(), X * float("nan")
    shelf.shared("S1", spoilt, Y)
    other = spoilt.clone()
    assert shelf.shared("S1", other, Y)[0] is other
