"""Every objective of the table through the same checks; an entry without a case fails."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.parts import build, find
from clients.objectives.contract import Objective
from clients.objectives.table import OBJECTIVES

CASES: dict[str, dict[str, object]] = {
    "cross_entropy": {"label_smoothing": 0.1},
}
every_objective = pytest.mark.parametrize(("name", "classes"), [(n, k) for n in CASES for k in (2, 3, 7)])


def objective(name: str) -> Objective:
    mine = build(find(name, OBJECTIVES, "objective"), {}, CASES[name], "objective")
    assert isinstance(mine, Objective)
    return mine


def outputs(mine: Objective, classes: int) -> tuple[Tensor, Tensor, np.ndarray]:
    """Outputs of 20 windows, their labels and the class counts, which differ."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.cat([torch.arange(classes), torch.zeros(20 - classes, dtype=torch.int64)])
    out = torch.randn((20, mine.outputs(classes)), generator=generator, requires_grad=True)
    return out, labels, np.bincount(labels, minlength=classes)


def test_every_entry_has_a_case() -> None:
    assert set(CASES) == set(OBJECTIVES)


@every_objective
def test_probabilities_are_probabilities(name: str, classes: int) -> None:
    mine = objective(name)
    out, _, _ = outputs(mine, classes)
    for scale in (0.0, 1.0, 1e4):
        p = mine.probabilities(out.detach() * scale)
        assert (p.shape, p.dtype) == ((20, classes), torch.float64)
        assert (p >= 0).all()
        torch.testing.assert_close(p.sum(dim=1), torch.ones(20, dtype=torch.float64))


@every_objective
def test_loss_is_finite_and_positive_and_has_a_gradient(name: str, classes: int) -> None:
    mine = objective(name)
    out, labels, counts = outputs(mine, classes)
    value = mine.loss(counts)(out, labels)
    assert value.shape == ()
    assert 0 < value.item() < float("inf")
    (gradient,) = torch.autograd.grad(value, out)
    assert torch.isfinite(gradient).all()
    assert (gradient.abs().sum(dim=1) > 0).all()


@every_objective
def test_descending_the_loss_makes_the_true_classes_likelier(name: str, classes: int) -> None:
    mine = objective(name)
    out, labels, counts = outputs(mine, classes)
    loss = mine.loss(counts)
    (gradient,) = torch.autograd.grad(loss(out, labels), out)
    rows = torch.arange(20)
    before = mine.probabilities(out.detach())[rows, labels]
    after = mine.probabilities((out - gradient).detach())[rows, labels]
    assert (after > before).all()


@every_objective
def test_a_client_that_lacks_a_class_has_a_finite_loss(name: str, classes: int) -> None:
    mine = objective(name)
    out, labels, _ = outputs(mine, classes)
    value = mine.loss(np.array([20] + [0] * (classes - 1)))(out, torch.zeros_like(labels))
    assert torch.isfinite(value)
