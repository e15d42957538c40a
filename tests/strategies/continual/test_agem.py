"""Averaged gradient episodic memory: its projection, and steps written out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import Tensor

from benchmarks.errors import LearningError, StudyError
from benchmarks.normalization import Stream
from benchmarks.parts import build, find
from clients.encoders.mlp import MLP
from clients.network import initial_network
from clients.objectives.cross_entropy import CrossEntropy
from clients.training import Training, class_counts, tensors
from strategies.continual.agem import AGEM, without
from strategies.continual.finetuning import FineTuning
from strategies.continual.gem import GEM, projected
from strategies.continual.memory import BUFFERS
from strategies.contract import Learning
from strategies.table import STRATEGIES
from tests.strategies.continual.remembering import (
    Passes,
    Unreached,
    accuracy_of_the_first,
    apart,
    run,
    twins,
)
from tests.strategies.continual.streams import (
    EPOCHS,
    REGULAR,
    SUBJECTS,
    late,
    made,
    of_one_class,
    predictors,
    same,
    stream,
    validated,
)
from tests.strategies.learnings import balanced_accuracy, disturb, gaussian_windows, ignore

# Known answers


@pytest.mark.parametrize(
    ("gradient", "reference", "expected"),
    [
        ([1.0, -1.0], [0.0, 1.0], [1.0, 0.0]),
        ([1.0, -1.0], [0.0, 1e-100], [1.0, 0.0]),
        ([2.0, -1.0], [-1.0, 1.0], [0.5, 0.5]),
        ([-3.0, 0.0, 4.0], [1.0, 0.0, 0.0], [0.0, 0.0, 4.0]),
        ([-1.0, -2.0], [2.0, 4.0], [0.0, 0.0]),
    ],
)
def test_projections_by_hand(gradient: list[float], reference: list[float], expected: list[float]) -> None:
    pair = (torch.tensor(values, dtype=torch.float64) for values in (gradient, reference))
    assert without(*pair).tolist() == pytest.approx(expected, abs=1e-12)


vectors = npst.arrays(float, 5, elements=st.integers(-1000, 1000).map(lambda number: number / 100))


@given(gradient=vectors, reference=vectors)
def test_it_is_the_projection_of_gem_with_one_reference(gradient: np.ndarray, reference: np.ndarray) -> None:
    assume(gradient @ reference < 0)
    g, r = torch.from_numpy(gradient), torch.from_numpy(reference)
    assert without(g, r).tolist() == pytest.approx(projected(g, r[None]).tolist(), abs=1e-9)
    assert float(without(g, r) @ r) == pytest.approx(0, abs=1e-9)


def by_hand(problem: Learning, rate: float) -> tuple[Tensor, list[float]]:
    """One step of gradient descent a subject, on all its windows, beside all windows of all subjects before."""
    network = initial_network(MLP(hidden=(8,)), CrossEntropy(), problem.training.x.shape[1:], 2, problem.seed)
    parameters = list(network.parameters())

    def slope(subjects: tuple[str, ...]) -> Tensor:
        windows = problem.training.of(subjects)
        x, y = tensors(windows.x, windows.labels)
        loss = CrossEntropy().loss(class_counts(windows.labels, 2))(network(x), y)
        return torch.cat([each.flatten() for each in torch.autograd.grad(loss, parameters)])

    products = []
    for place, subject in enumerate(problem.training.subjects):
        step = slope((subject,))
        if place:
            reference = slope(problem.training.subjects[:place])
            products.append(float(step @ reference))
            if products[-1] < 0:
                step = step - products[-1] / float(reference @ reference) * reference
        parts = torch.split(step, [parameter.numel() for parameter in parameters])
        with torch.no_grad():
            for parameter, part in zip(parameters, parts, strict=True):
                parameter.sub_(rate * part.view_as(parameter))
    return torch.nn.utils.parameters_to_vector(parameters).detach(), products


@pytest.mark.parametrize("buffer", BUFFERS)
def test_a_step_is_one_along_the_projected_gradient(buffer: str) -> None:
    problem = stream(("a", "b", "c", "d"))
    problem.labels[:] = np.where(problem.training.subject == "c", 1 - problem.labels, problem.labels)
    descent = Training(optimizer="sgd", learning_rate=0.5, batch_size=1000)
    strategy = made(AGEM, training=descent, epochs=1, memory=1000, buffer=buffer, sample=1000)
    expected, products = by_hand(problem, 0.5)
    assert min(products) < 0 < max(products)
    finished = run(strategy, problem)
    ours = torch.nn.utils.parameters_to_vector(finished.predictor.network.parameters()).detach()
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)
    assert finished.told == {
        step: {"projected_share": float(product < 0)} for step, product in enumerate(products, start=2)
    }


def test_with_one_earlier_subject_seen_whole_it_is_gem() -> None:
    sample = made(AGEM, memory=1000, sample=1000).fit(apart(), ignore)
    parts = made(GEM, per_subject=1000).fit(apart(), ignore)
    ours, theirs = (torch.nn.utils.parameters_to_vector(fit.network.parameters()) for fit in (sample, parts))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


# Behaviour


@pytest.mark.parametrize("encoder", [MLP(hidden=(8,)), REGULAR], ids=["plain", "regular"])
def test_where_nothing_works_against_anybody_it_is_fine_tuning_to_the_bit(encoder: MLP) -> None:
    problem = twins(("a", "b", "c", "d"))
    parts = {"encoder": encoder, "training": Training(learning_rate=1e-3, batch_size=1000), "epochs": 10}
    finished = run(made(AGEM, memory=1000, **parts), problem)
    assert finished.told == {step: {"projected_share": 0.0} for step in (2, 3, 4)}
    assert same(finished.predictor, made(FineTuning, **parts).fit(problem, ignore))


@pytest.mark.parametrize("encoder", [MLP(hidden=(8,)), REGULAR], ids=["plain", "regular"])
def test_where_somebody_is_worked_against_it_is_not(encoder: MLP) -> None:
    finished = run(made(AGEM, encoder=encoder), apart())
    assert finished.told[2]["projected_share"] > 0
    assert not same(finished.predictor, made(FineTuning, encoder=encoder).fit(apart(), ignore))


@pytest.mark.parametrize("buffer", BUFFERS)
def test_the_first_subject_is_forgotten_less(buffer: str) -> None:
    forgotten = accuracy_of_the_first(FineTuning)
    assert accuracy_of_the_first(AGEM, memory=20, buffer=buffer) > forgotten + 0.3


def test_size_buffer_and_sample_matter() -> None:
    problem = stream()
    problem.labels[:] = np.where(problem.training.subject == "alice", 1 - problem.labels, problem.labels)
    fits = [
        made(AGEM, **values).fit(problem, ignore)
        for values in (
            {"memory": 30, "sample": 10},
            {"memory": 29, "sample": 10},
            {"memory": 30, "sample": 9},
            {"memory": 30, "sample": 10, "buffer": "reservoir"},
        )
    ]
    assert not any(same(one, other) for place, one in enumerate(fits) for other in fits[:place])


def test_a_step_looks_at_one_sample_along_the_stream() -> None:
    passes = Passes()
    run(made(AGEM, memory=25, sample=30), stream(("a", "b", "c", "d")), after=[passes])
    alone = [16, 16, 8] * EPOCHS
    beside = [size for batch in alone for size in (batch, 25)]
    assert list(passes.sizes.values()) == [alone, beside, beside, beside]


def test_with_more_subjects_than_windows_in_a_sample_something_is_drawn_at_every_step() -> None:
    passes = Passes()
    problem = replace(stream(), training=gaussian_windows([f"s{number:02}" for number in range(12)], per_class=2))
    run(made(AGEM, memory=20, sample=5, epochs=1), problem, after=[passes])
    assert list(passes.sizes.values()) == [[4], [4, 4], *[[4, 5]] * 10]


@pytest.mark.parametrize("buffer", BUFFERS)
@pytest.mark.parametrize("encoder", [MLP(hidden=(8,)), REGULAR], ids=["plain", "regular"])
def test_the_observer_changes_nothing_and_the_seed_decides(encoder: MLP, buffer: str) -> None:
    strategy = made(AGEM, encoder=encoder, normalization=Stream(), memory=20, buffer=buffer, sample=8)
    assert same(strategy.fit(stream(), ignore), strategy.fit(stream(), disturb))
    assert not same(strategy.fit(stream(seed=1), ignore), strategy.fit(stream(seed=2), ignore))


@pytest.mark.parametrize("problem", [stream(("a", "b", "c", "d")), validated(stream(("a", "b", "c", "d")))])
def test_what_a_step_hands_over_does_not_depend_on_the_subjects_still_to_come(problem: Learning) -> None:
    strategy = made(AGEM, normalization=Stream(), memory=20, epochs=10, patience=2)
    *_, short = predictors(strategy, replace(problem, training=problem.training.of(("a", "b"))))
    assert same(predictors(strategy, problem)[2], short)


def test_a_study_builds_it_by_its_name() -> None:
    given = {"normalization": Stream(), "encoder": MLP(), "objective": CrossEntropy(), "training": Training()}
    part = find("agem", STRATEGIES, "strategy")
    values = {"memory": 70, "buffer": "reservoir", "sample": 9}
    assert build(part, given, values, "strategy") == AGEM(**given, **values)  # type: ignore[arg-type]
    for wrong, told in (
        ({"memory": 0}, "greater than 0"),
        ({"memory": -5}, "greater than 0"),
        ({"sample": 0}, "greater than 0"),
        ({"buffer": "ring"}, "'reservoir' or 'subject_balanced'"),
    ):
        with pytest.raises(StudyError, match=rf"strategy\.{next(iter(wrong))}: .*{told}"):
            build(part, given, wrong, "strategy")


# Bad input


def test_a_stream_of_one_subject_is_fine_tuning() -> None:
    finished = run(made(AGEM), stream(("a",)))
    assert same(finished.predictor, made(FineTuning).fit(stream(("a",)), ignore))
    assert finished.told == {}


@pytest.mark.parametrize("buffer", BUFFERS)
def test_a_memory_without_a_class_and_a_class_that_comes_late_are_learned_with(buffer: str) -> None:
    strategy = made(AGEM, epochs=30, memory=20, buffer=buffer)
    for problem in (of_one_class(stream(), SUBJECTS[0], 1), late(stream(classes=3), 2)):
        predictor = strategy.fit(problem, ignore)
        assert torch.isfinite(torch.cat([value.flatten() for value in predictor.network.state_dict().values()])).all()
        assert balanced_accuracy(predictor, problem.training.of(SUBJECTS[-1])) > 0.6


@pytest.mark.parametrize("memory", [1, 10_000])
def test_a_memory_of_one_window_and_one_larger_than_all_are_learned_with(memory: int) -> None:
    strategy = made(AGEM, encoder=REGULAR, normalization=Stream(), epochs=20, memory=memory)
    windows = gaussian_windows([f"s{number}" for number in range(4)], shift=0.3)
    predictor = strategy.fit(replace(stream(), training=windows), ignore)
    assert balanced_accuracy(predictor, gaussian_windows(["new"], shift=0.3)) > 0.8


def test_weights_that_no_loss_reaches_stay_where_they_are() -> None:
    initial, *_, last = predictors(made(AGEM, encoder=Unreached(hidden=(8,))), apart())
    was, became = initial.network.state_dict(), last.network.state_dict()
    for name in was:
        assert torch.equal(was[name], became[name]) is not name.startswith("network.")


def test_divergence_is_told_as_such() -> None:
    problem = stream()
    problem.training.x[problem.training.subject == SUBJECTS[1]] *= 1e38
    with pytest.raises(LearningError, match=f"diverged at subject {SUBJECTS[1]}, number 2 "):
        made(AGEM).fit(problem, ignore)
