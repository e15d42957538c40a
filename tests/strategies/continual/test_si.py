"""SI against the fall of the loss, and against its sums written out by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.errors import StudyError
from benchmarks.normalization import Unnormalized
from benchmarks.parts import build
from benchmarks.windows import IntArray
from clients.encoders.mlp import MLP
from clients.objectives.contract import Objective
from clients.optimizers import OPTIMIZERS, OptimizerName
from clients.training import Training
from strategies.continual.quadratic import Quadratic
from strategies.continual.si import SI, AlternatePaths, Path, PathPenalty
from strategies.contract import Learning
from tests.strategies.continual.opposed import DESCENT, Best, data, learned, opposed, trained_by_hand, vector
from tests.strategies.continual.streams import made, predictors, validated

SUBJECTS = ("a", "b", "c")


def penalty_of(strategy: SI, problem: Learning) -> PathPenalty:
    _, (penalty,) = learned(strategy, problem)
    assert isinstance(penalty, PathPenalty)
    return penalty


def memory_of(strategy: SI, problem: Learning) -> Quadratic:
    memory = penalty_of(strategy, problem).memory
    assert memory is not None
    return memory


# Known answers


@dataclass(frozen=True)
class Squares(Objective):
    """Half the squared distance of the outputs from the label's indicator: quadratic in the weights of a linear map."""

    def outputs(self, classes: int) -> int:
        return classes

    def constants(self, counts: IntArray) -> Tensor:
        return torch.zeros(len(counts))

    def losses(self, outputs: Tensor, labels: Tensor, constants: Tensor) -> Tensor:
        return (outputs - functional.one_hot(labels, outputs.shape[-1])).square().sum(dim=-1) / 2

    def probabilities(self, outputs: Tensor) -> Tensor:
        return torch.softmax(outputs.double(), dim=1)


@pytest.mark.parametrize(("rate", "steps", "tolerance"), [(1e-2, 20, 0.1), (1e-3, 200, 0.01)])
def test_contributions_sum_to_the_fall_of_a_quadratic_loss(rate: float, steps: int, tolerance: float) -> None:
    """In whole batches and small steps; what is left over is of second order in the step."""
    problem = opposed(("a",))
    training = Training(optimizer="sgd", learning_rate=rate, batch_size=1000)
    strategy = made(SI, strength=1.0, encoder=MLP(hidden=()), objective=Squares(), training=training, epochs=steps)
    first, last = predictors(strategy, problem)
    x, y = data(problem.training)
    losses = [float(Squares().losses(each.network(x), y, x).detach().mean()) for each in (first, last)]
    fall = losses[0] - losses[1]
    omega = vector(penalty_of(strategy, problem).path.omega)
    assert fall > 0.05
    assert float(omega.sum()) == pytest.approx(fall, rel=tolerance)
    assert (omega >= 0).all()  # plain descent in whole batches: each weight goes where its own gradient says


def test_a_way_of_two_steps_by_numbers() -> None:
    weight = nn.Parameter(torch.tensor([1.0, 1.0]))
    path = Path([weight])
    for gradient, to in (([2.0, -1.0], [0.5, 1.5]), ([1.0, 3.0], [0.0, 2.0])):
        weight.grad = torch.tensor(gradient)
        path.before_step()
        weight.grad += 100.0
        weight.data.copy_(torch.tensor(to))
        path.after_step()
    assert path.omega[0].tolist() == [2 * 0.5 + 1 * 0.5, 1 * 0.5 - 3 * 0.5]
    assert path.importance(0.5)[0].tolist() == [1.5 / (1 + 0.5), 0.0]


def test_a_way_that_ended_at_a_mark_and_one_without_a_gradient() -> None:
    moved, left = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    path = Path([moved, left])
    for step in range(3):
        moved.grad = torch.tensor([-1.0])
        path.before_step()
        moved.data += 1
        path.after_step()
        if step == 1:
            path.mark()
    moved.data.fill_(2.0)
    assert [omega.tolist() for omega in path.omega] == [[3.0], [0.0]]
    assert vector(path.importance(1.0)).tolist() == pytest.approx([2.0 / (4 + 1), 0.0])


def test_a_gradient_that_is_gone_is_not_remembered_from_the_step_before() -> None:
    weight = nn.Parameter(torch.zeros(1))
    path = Path([weight])
    for gradient in (torch.tensor([-1.0]), None):
        weight.grad = gradient
        path.before_step()
        weight.data += 1
        path.after_step()
    assert path.omega[0].tolist() == [1.0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("xi", [1e-3, 0.1])
def test_it_is_training_with_the_papers_penalty_in_the_loss(optimizer: OptimizerName, xi: float) -> None:
    """c sum Omega (theta - theta*)^2, Omega from the gradient of the loss without it, whatever the optimiser."""
    problem, strength = opposed(SUBJECTS), 0.5
    training = Training(optimizer=optimizer, learning_rate=1e-2, batch_size=16, weight_decay=0.01)
    strategy = made(SI, strength=strength, xi=xi, training=training)
    handed, memory = predictors(strategy, problem), memory_of(strategy, problem)
    network = copy.deepcopy(handed[0].network)
    big_omega = [torch.zeros_like(weight) for weight in network.parameters()]
    anchor = [weight.detach().clone() for weight in network.parameters()]

    def penalty(weights: list[nn.Parameter]) -> Tensor:
        terms = zip(big_omega, weights, anchor, strict=True)
        return strength * torch.stack([(o * (w - a).square()).sum() for o, w, a in terms]).sum()

    for subject, reached in zip(SUBJECTS, handed[1:], strict=True):
        omega = [torch.zeros_like(weight) for weight in network.parameters()]
        trained_by_hand(network, strategy, problem.training.of(subject), penalty, after_step=_adding_to(omega))
        now = [weight.detach().clone() for weight in network.parameters()]
        torch.testing.assert_close(vector(list(reached.network.parameters())), vector(now), rtol=1e-3, atol=1e-5)
        parts = zip(big_omega, omega, now, anchor, strict=True)
        big_omega = [big + small.clamp(min=0) / ((end - start) ** 2 + xi) for big, small, end, start in parts]
        anchor = now
    torch.testing.assert_close(vector(memory.importance), vector(big_omega), rtol=1e-2, atol=1e-4)


def _adding_to(omega: list[Tensor]) -> Callable[[list[Tensor], list[Tensor], list[Tensor]], None]:
    def add(gradients: list[Tensor], before: list[Tensor], after: list[Tensor]) -> None:
        for total, gradient, was, now in zip(omega, gradients, before, after, strict=True):
            total -= gradient * (now - was)

    return add


# Behaviour


def test_importance_is_never_negative_though_contributions_are() -> None:
    restless = Training(learning_rate=0.1, batch_size=4)
    penalty = penalty_of(made(SI, strength=1.0, training=restless, epochs=10), opposed(SUBJECTS))
    assert (vector(penalty.path.omega) < 0).any()
    assert penalty.memory is not None
    assert (vector(penalty.memory.importance) >= 0).all()
    assert (vector(penalty.latest) == 0).any()


def test_a_larger_xi_makes_all_importance_smaller() -> None:
    problem = opposed(("a",))
    small, large = (vector(memory_of(made(SI, strength=1.0, xi=xi), problem).importance) for xi in (1e-4, 1e-1))
    positive = small > 0
    assert (large[positive] < small[positive]).all()
    assert (large <= 2.0 / 1e-1).all()


def test_both_halves_of_a_way_sum_to_the_whole() -> None:
    problem, halves = opposed(SUBJECTS), AlternatePaths(xi=1e-3)
    strategy = made(SI, strength=0.0, training=DESCENT)
    _, (penalty,) = learned(strategy, problem, halves)
    assert isinstance(penalty, PathPenalty)
    one, other = (vector(path.omega) for path in halves.paths)
    torch.testing.assert_close(one + other, vector(penalty.path.omega), rtol=1e-5, atol=1e-9)
    assert not torch.allclose(one, other)


def test_both_halves_end_at_the_epoch_that_is_kept() -> None:
    problem = opposed(("a",))
    halves, ended_there, best = AlternatePaths(xi=1e-3), AlternatePaths(xi=1e-3), Best()
    learned(made(SI, strength=0.0, epochs=40, patience=3), validated(problem), halves, best)
    assert 1 < best.epoch < best.met < 40
    learned(made(SI, strength=0.0, epochs=best.epoch), problem, ended_there)
    for ours, theirs in zip(halves.pairs(None)[""], ended_there.pairs(None)[""], strict=True):
        assert torch.equal(ours, theirs)
        assert not torch.equal(ours, torch.zeros_like(ours))


# Bad input


@pytest.mark.parametrize(
    ("xi", "said"),
    [(0.0, "greater than 0"), (-1.0, "greater than 0"), (float("inf"), "finite")],
)
def test_a_xi_that_bounds_nothing_is_refused(xi: float, said: str) -> None:
    given = {name: getattr(made(SI, strength=1.0), name) for name in ("encoder", "objective", "training")}
    with pytest.raises(StudyError, match=rf"strategy\.xi: .*{said}"):
        build(SI, {**given, "normalization": Unnormalized()}, {"strength": 1.0, "xi": xi}, "strategy")
