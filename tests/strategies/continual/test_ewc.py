"""EWC against sums of quadratics, recursions and training written out by hand."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmarks.errors import StudyError
from benchmarks.normalization import Training as TrainingStatistics
from benchmarks.normalization import Unnormalized
from benchmarks.parts import build
from clients.encoders.mlp import MLP
from clients.predictor import NetworkPredictor
from clients.training import Training
from strategies.continual.ewc import EWC, add
from strategies.continual.importance import FisherKind, fisher
from strategies.continual.quadratic import MeasuredPenalty, Quadratic
from strategies.contract import Learning
from tests.strategies.continual.opposed import DESCENT, data, learned, opposed, trained_by_hand, vector
from tests.strategies.continual.streams import made, predictors, same

SUBJECTS = ("a", "b", "c", "d")


def fishers(handed: list[NetworkPredictor], problem: Learning, kind: FisherKind = "true") -> list[list[Tensor]]:
    """Of each subject, on its own windows, with the network that it left."""
    subjects = problem.training.subjects
    return [
        fisher(predictor.network, predictor.objective, *data(problem.training.of(subject)), kind)
        for predictor, subject in zip(handed[1:], subjects, strict=True)
    ]


def memory_of(strategy: EWC, problem: Learning) -> Quadratic:
    _, (penalty,) = learned(strategy, problem)
    assert isinstance(penalty, MeasuredPenalty)
    assert penalty.memory is not None
    return penalty.memory


def parameters(predictor: NetworkPredictor) -> list[Tensor]:
    return [parameter.detach() for parameter in predictor.network.parameters()]


# Known answers

numbers = st.floats(-10, 10, width=32)
weights_of_a_subject = st.lists(
    st.tuples(st.just(0.0) | st.floats(2**-10, 10, width=32), numbers), min_size=3, max_size=3
)


@given(st.lists(weights_of_a_subject, min_size=1, max_size=6), st.lists(numbers, min_size=3, max_size=3))
@settings(deadline=None)
def test_one_quadratic_is_the_sum_of_all_but_for_a_constant(
    subjects: list[list[tuple[float, float]]], at: list[float]
) -> None:
    terms = [tuple(torch.tensor(subject, dtype=torch.float64).T) for subject in subjects]
    whole, *rest = (Quadratic([importance], [anchor]) for importance, anchor in terms)
    for each in rest:
        whole = add(whole, each)
    theta = torch.tensor(at, dtype=torch.float64)
    gradient = torch.stack([importance * (theta - anchor) for importance, anchor in terms]).sum(0)
    torch.testing.assert_close(whole.importance[0] * (theta - whole.anchor[0]), gradient, rtol=1e-9, atol=1e-9)

    def naive(at: Tensor) -> Tensor:
        return torch.stack([importance * (at - anchor).square() for importance, anchor in terms]).sum()

    def one(at: Tensor) -> Tensor:
        return (whole.importance[0] * (at - whole.anchor[0]).square()).sum()

    origin = torch.zeros_like(theta)
    torch.testing.assert_close(one(theta) - one(origin), naive(theta) - naive(origin), rtol=1e-9, atol=1e-8)


def test_what_is_remembered_of_a_stream_is_the_sum_of_the_subjects_quadratics() -> None:
    problem, strategy = opposed(SUBJECTS), made(EWC, strength=5.0)
    handed = predictors(strategy, problem)
    memory = memory_of(strategy, problem)
    importances, anchors = fishers(handed, problem), [parameters(predictor) for predictor in handed[1:]]
    for i, at in enumerate(parameters(handed[0])):
        terms = list(zip([each[i] for each in importances], [each[i] for each in anchors], strict=True))
        torch.testing.assert_close(memory.importance[i], sum(f for f, _ in terms), rtol=1e-4, atol=1e-9)
        pull = sum(f * (at - anchor) for f, anchor in terms)
        torch.testing.assert_close(memory.importance[i] * (at - memory.anchor[i]), pull, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["true", "empirical"])
def test_the_online_recursion_by_hand(kind: FisherKind, gamma: float) -> None:
    problem, strategy = opposed(SUBJECTS), made(EWC, strength=5.0, mode="online", decay=gamma, fisher=kind)
    handed = predictors(strategy, problem)
    memory = memory_of(strategy, problem)
    expected = [torch.zeros_like(each) for each in memory.importance]
    for met in fishers(handed, problem, kind):
        expected = [gamma * old + new for old, new in zip(expected, met, strict=True)]
    torch.testing.assert_close(memory.importance, expected, rtol=1e-6, atol=1e-12)
    assert torch.equal(vector(memory.anchor), vector(parameters(handed[-1])))


TRAININGS = [DESCENT, Training(learning_rate=1e-2, batch_size=16)]


@pytest.mark.parametrize("training", TRAININGS, ids=["sgd", "adam"])
@pytest.mark.parametrize("mode", ["separate", "online"])
def test_it_is_training_with_the_papers_penalty_in_the_loss(mode: str, training: Training) -> None:
    """With lambda / 2 sum F (theta - theta*)^2, one term a subject or one in all."""
    problem, strength, gamma = opposed(("a", "b", "c")), 20.0, 0.7
    own = {"decay": gamma} if mode == "online" else {}
    strategy = made(EWC, strength=strength, mode=mode, training=training, **own)
    handed = predictors(strategy, problem)
    network, terms = copy.deepcopy(handed[0].network), list[tuple[list[Tensor], list[Tensor]]]()

    def penalty(weights: list[nn.Parameter]) -> Tensor:
        each = [
            (f * (weight - anchor).square()).sum()
            for importance, anchors in terms
            for f, anchor, weight in zip(importance, anchors, weights, strict=True)
        ]
        return strength / 2 * torch.stack([torch.zeros(()), *each]).sum()

    for subject, reached in zip(("a", "b", "c"), handed[1:], strict=True):
        windows = problem.training.of(subject)
        trained_by_hand(network, strategy, windows, penalty)
        torch.testing.assert_close(
            vector(parameters(reached)), vector(list(network.parameters())), rtol=1e-3, atol=1e-5
        )
        met = fisher(network, strategy.objective, *data(windows), "true")
        if mode == "online" and terms:
            met = [gamma * old + new for old, new in zip(terms[0][0], met, strict=True)]
            terms.clear()
        terms.append((met, [weight.detach().clone() for weight in network.parameters()]))


# Behaviour


def test_importance_depends_on_the_windows_and_not_on_the_minibatches() -> None:
    """Stood beside a network that does not move, minibatches of any size find the same."""
    still = {"learning_rate": 1e-30, "optimizer": "sgd"}
    found = [
        memory_of(made(EWC, strength=1.0, training=Training(batch_size=size, **still)), opposed(("a",)))  # type: ignore[arg-type]
        for size in (1, 7, 1000)
    ]
    for other in found[1:]:
        assert torch.equal(vector(found[0].importance), vector(other.importance))


def test_modes_and_kinds_of_fisher_information_differ() -> None:
    problem = opposed(SUBJECTS)
    variants: list[dict[str, Any]] = [
        {},
        {"mode": "online"},
        {"fisher": "empirical"},
        {"mode": "online", "accumulation": "sum"},
        {"mode": "online", "accumulation": "max"},
        {"mode": "online", "accumulation": "reset"},
    ]
    fits = [predictors(made(EWC, strength=20.0, **values), problem)[-1] for values in variants]
    assert not any(same(one, other) for i, one in enumerate(fits) for other in fits[:i])


def test_a_decay_that_is_not_given_is_nine_tenths() -> None:
    problem = opposed(SUBJECTS)
    default = predictors(made(EWC, strength=20.0, mode="online"), problem)[-1]
    given_it = predictors(made(EWC, strength=20.0, mode="online", accumulation="decay", decay=0.9), problem)[-1]
    assert same(default, given_it)


def test_a_subject_of_one_class_alone_is_remembered_too() -> None:
    problem = opposed(("a", "b"))
    kept = (problem.training.subject != "a") | (problem.labels == 0)
    one_class = Learning(problem.training.select(np.flatnonzero(kept)), None, problem.classes, "vector", 0)
    memory = memory_of(made(EWC, strength=1.0, encoder=MLP(hidden=())), one_class)
    assert all(each.isfinite().all() and (each > 0).any() for each in memory.importance)


# Bad input


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"accumulation": "sum"}, "accumulation"),
        ({"decay": 0.5}, "decay"),
        ({"accumulation": "decay", "decay": 0.5}, "accumulation and decay"),
    ],
)
def test_separate_quadratics_have_no_rule_of_accumulation(values: dict[str, object], named: str) -> None:
    with pytest.raises(StudyError, match=rf"mode is separate.* {named} would change nothing.*mode: online"):
        made(EWC, strength=1.0, **values)
    assert made(EWC, strength=1.0, mode="online", **values).mode == "online"


def test_a_bare_true_in_a_study_file_is_the_word() -> None:
    given_parts = {name: getattr(made(EWC, strength=1.0), name) for name in ("encoder", "objective", "training")}
    given_parts["normalization"] = Unnormalized()
    built = build(EWC, given_parts, {"strength": 1, "fisher": True}, "strategy")
    assert built == made(EWC, strength=1.0, fisher="true", epochs=20)
    for value in (False, "exact", 1):
        with pytest.raises(StudyError, match=r"strategy\.fisher: input should be 'true' or 'empirical'"):
            build(EWC, given_parts, {"strength": 1, "fisher": value}, "strategy")


def test_a_normalisation_that_looks_ahead_is_refused_as_ever() -> None:
    with pytest.raises(StudyError, match="EWC meets them one after another"):
        made(EWC, strength=1.0, normalization=TrainingStatistics())
