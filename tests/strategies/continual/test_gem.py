"""Gradient episodic memory: its projection against every set of active constraints, and steps written out by hand."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from avalanche.training.plugins import GEMPlugin
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import Tensor

from benchmarks.errors import LearningError, StudyError
from benchmarks.normalization import Normalization, Stream, SubjectUnlabelled, Unnormalized
from benchmarks.parts import build, find
from clients.encoders.mlp import MLP
from clients.network import initial_network
from clients.objectives.cross_entropy import CrossEntropy
from clients.training import Training, class_counts, tensors, torch_generator
from strategies.continual import gem
from strategies.continual.finetuning import FineTuning
from strategies.continual.gem import GEM, projected
from strategies.contract import Learning
from strategies.table import STRATEGIES
from tests.strategies.continual.remembering import (
    Gradients,
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
from tests.strategies.learnings import balanced_accuracy, disturb, ignore

# Known answers


def found(gradient: Sequence[float], references: Sequence[Sequence[float]], margin: float = 0.0) -> list[float]:
    pair = torch.tensor(gradient, dtype=torch.float64), torch.tensor(references, dtype=torch.float64)
    return [float(value) for value in projected(*pair, margin)]


@pytest.mark.parametrize(
    ("gradient", "references", "expected"),
    [
        ([1, -1], [[0, 1]], [1, 0]),
        ([1, -1], [[0, 1e-6]], [1, 0]),
        ([1, -1], [[0, 1], [0, 3]], [1, 0]),
        ([-1, -1], [[1, 0], [0, 1]], [0, 0]),
        ([0, -1], [[1, 1], [-1, 1]], [0, 0]),
        ([2, -1], [[1, 1], [-1, 1]], [0.5, 0.5]),
        ([3, 1], [[-1, 0], [1, 0]], [0, 1]),
        ([1, -1], [[0, 1], [0, 0]], [1, 0]),
        ([1, 2], [[0, 1], [1, 0]], [1, 2]),
        ([1, 2], [[0, 0]], [1, 2]),
        ([0, 0], [[0, 1]], [0, 0]),
    ],
)
def test_projections_in_the_plane_by_hand(
    gradient: list[float], references: list[list[float]], expected: list[float]
) -> None:
    assert found(gradient, references) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(("margin", "expected"), [(0.0, [1, 0]), (0.25, [1, 0]), (0.5, [1, 0]), (1.0, [1, 1])])
def test_a_margin_is_the_least_weight_of_a_reference(margin: float, expected: list[float]) -> None:
    """Of g + v r the product with r = (0, 2) is 0 at v = 1/2."""
    assert found([1, -1], [[0, 2]], margin) == pytest.approx(expected, abs=1e-10)


def best_of_all(gradient: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Nearest feasible vector among the projections onto what each set of active constraints leaves."""
    candidates = [gradient]
    for size in range(1, len(references) + 1):
        for active in itertools.combinations(range(len(references)), size):
            normal = references[list(active)]
            candidates.append(gradient - np.linalg.pinv(normal) @ (normal @ gradient))
    tolerance = 1e-9 * (1 + np.abs(references).max())
    feasible = [each for each in candidates if (references @ each >= -tolerance).all()]
    return min(feasible, key=lambda each: float(np.linalg.norm(each - gradient)))


whole = st.integers(-3, 3).map(float)


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """A gradient and references of small whole numbers: many are zero, alike, opposite or depend on each other."""
    size, count = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    return draw(npst.arrays(float, size, elements=whole)), draw(npst.arrays(float, (count, size), elements=whole))


@given(problem=problems())
def test_it_is_the_nearest_that_any_set_of_active_constraints_gives(problem: tuple[np.ndarray, np.ndarray]) -> None:
    gradient, references = problem
    assert found(gradient.tolist(), references.tolist()) == pytest.approx(
        best_of_all(gradient, references).tolist(), abs=1e-6
    )


@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 60),
    count=st.integers(1, 30),
    likeness=st.floats(0, 1),
    scale=st.floats(-12, 6),
)
def test_the_conditions_of_an_optimum_hold_at_any_scale(
    seed: int, size: int, count: int, likeness: float, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    references = likeness * rng.standard_normal(size) + (1.01 - likeness) * rng.standard_normal((count, size))
    references *= 10 ** rng.uniform(-2, 2, (count, 1))
    gradient = 10**scale * rng.standard_normal(size)
    z = projected(torch.from_numpy(gradient), torch.from_numpy(references)).numpy()
    length = np.linalg.norm(gradient)
    units = references / np.linalg.norm(references, axis=1, keepdims=True)
    assert (units @ z).min() >= -1e-9 * length
    # Moreau's decomposition: what is taken away is orthogonal to z, and in the polar of the cone of what is feasible.
    assert abs(z @ (gradient - z)) <= 1e-8 * length**2
    for other in rng.standard_normal((5, size)):
        feasible = projected(torch.from_numpy(other), torch.from_numpy(references)).numpy()
        assert (units @ feasible).min() >= -1e-9 * np.linalg.norm(other)
        assert (gradient - z) @ feasible <= 1e-8 * length * np.linalg.norm(other)


@given(problem=problems(), scale=st.floats(1e-3, 1e3), lengths=st.lists(st.floats(1e-3, 1e3), min_size=5, max_size=5))
def test_the_length_of_references_does_not_matter_and_that_of_the_gradient_goes_through(
    problem: tuple[np.ndarray, np.ndarray], scale: float, lengths: list[float]
) -> None:
    gradient, references = problem
    assume(gradient.any())
    longer = references * np.array(lengths)[: len(references), None]
    expected = [scale * value for value in found(gradient.tolist(), references.tolist())]
    assert found((scale * gradient).tolist(), longer.tolist()) == pytest.approx(expected, abs=1e-7 * scale)


@pytest.mark.parametrize("margin", [0.0, 0.5, 2.0])
def test_avalanches_solution_is_the_same_where_gradients_are_long(margin: float) -> None:
    """It adds 0.001 to the diagonal of the products of references, which are in the thousands here."""
    generator = torch_generator("avalanche")
    for _ in range(20):
        references = 10 * torch.randn(6, 40, generator=generator, dtype=torch.float64)
        gradient = 10 * torch.randn(40, generator=generator, dtype=torch.float64) - references.sum(dim=0) / 10
        plugin = GEMPlugin(patterns_per_experience=1, memory_strength=margin)
        plugin.G = references
        theirs = plugin.solve_quadprog(gradient).double()
        torch.testing.assert_close(projected(gradient, references, margin), theirs, rtol=1e-4, atol=1e-3)


def by_hand(problem: Learning, encoder: MLP, rate: float) -> tuple[Tensor, list[float]]:
    """One step of gradient descent a subject, on all its windows, with all windows of all subjects remembered."""
    network = initial_network(encoder, CrossEntropy(), problem.training.x.shape[1:], 2, problem.seed)
    parameters = list(network.parameters())

    def slope(subject: str) -> Tensor:
        windows = problem.training.of(subject)
        x, y = tensors(windows.x, windows.labels)
        loss = CrossEntropy().loss(class_counts(windows.labels, 2))(network(x), y)
        return torch.cat([each.flatten() for each in torch.autograd.grad(loss, parameters)]).double()

    lowest = []
    for place, subject in enumerate(problem.training.subjects):
        step = slope(subject)
        if place:
            references = torch.stack([slope(earlier) for earlier in problem.training.subjects[:place]])
            lowest.append(float((references @ step).min()))
            step = torch.from_numpy(best_of_all(step.numpy(), references.numpy()))
        parts = torch.split(step, [parameter.numel() for parameter in parameters])
        with torch.no_grad():
            for parameter, part in zip(parameters, parts, strict=True):
                parameter.sub_(rate * part.view_as(parameter))
    return torch.nn.utils.parameters_to_vector(parameters).detach(), lowest


def test_a_step_is_one_along_the_projected_gradient() -> None:
    problem = stream(("a", "b", "c", "d"))
    problem.labels[:] = np.where(problem.training.subject == "c", 1 - problem.labels, problem.labels)
    descent = Training(optimizer="sgd", learning_rate=0.5, batch_size=1000)
    predictor = made(GEM, training=descent, epochs=1, per_subject=1000).fit(problem, ignore)
    expected, lowest = by_hand(problem, MLP(hidden=(8,)), 0.5)
    assert min(lowest) < 0 < max(lowest)
    ours = torch.nn.utils.parameters_to_vector(predictor.network.parameters()).detach()
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


# Behaviour


@pytest.mark.parametrize("normalization", [Unnormalized(), Stream(), SubjectUnlabelled()])
def test_a_gradient_is_changed_where_it_works_against_somebody_and_then_does_no_more(
    normalization: Normalization,
) -> None:
    before, after = Gradients(), Gradients()
    # Without dropout, for which the probes would draw other numbers than the strategy.
    strategy = made(GEM, encoder=MLP(hidden=(8,), batch_norm=True), normalization=normalization, per_subject=10)
    finished = run(strategy, stream(("a", "b", "c", "d")), before=[before], after=[after])
    changed = []
    for one, other, was, became in zip(before.seen, after.seen, before.cosines, after.cosines, strict=True):
        assert became.min() >= -1e-6
        assert torch.equal(one, other) is bool((was >= 0).all())
        changed.append(not torch.equal(one, other))
    assert 0 < sum(changed) < len(changed)
    shares = np.reshape(changed, (3, -1)).mean(axis=1)
    assert finished.told == {
        step: {"projected_share": pytest.approx(share)} for step, share in enumerate(shares, start=2)
    }


@pytest.mark.parametrize("encoder", [MLP(hidden=(8,)), REGULAR], ids=["plain", "regular"])
def test_where_nothing_works_against_anybody_it_is_fine_tuning_to_the_bit(encoder: MLP) -> None:
    problem = twins(("a", "b", "c", "d"))
    parts = {"encoder": encoder, "training": Training(learning_rate=1e-3, batch_size=1000), "epochs": 10}
    finished = run(made(GEM, per_subject=1000, margin=0.5, **parts), problem)
    assert finished.told == {step: {"projected_share": 0.0} for step in (2, 3, 4)}
    assert same(finished.predictor, made(FineTuning, **parts).fit(problem, ignore))


@pytest.mark.parametrize("encoder", [MLP(hidden=(8,)), REGULAR], ids=["plain", "regular"])
def test_where_somebody_is_worked_against_it_is_not(encoder: MLP) -> None:
    finished = run(made(GEM, encoder=encoder), apart())
    assert finished.told[2]["projected_share"] > 0
    assert not same(finished.predictor, made(FineTuning, encoder=encoder).fit(apart(), ignore))


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_the_first_subject_is_forgotten_less(margin: float) -> None:
    assert accuracy_of_the_first(GEM, per_subject=20, margin=margin) > accuracy_of_the_first(FineTuning) + 0.3


def test_margin_and_size_matter() -> None:
    fits = [
        made(GEM, **values).fit(apart(), ignore)
        for values in ({"per_subject": 10}, {"per_subject": 10, "margin": 0.5}, {"per_subject": 11})
    ]
    assert not any(same(one, other) for place, one in enumerate(fits) for other in fits[:place])


def test_a_step_looks_at_every_earlier_subject() -> None:
    passes = Passes()
    run(made(GEM, per_subject=10), stream(("a", "b", "c", "d")), after=[passes])
    for earlier, subject in enumerate("abcd"):
        assert passes.sizes[subject] == [size for batch in [16, 16, 8] * EPOCHS for size in (batch, *[10] * earlier)]


@pytest.mark.parametrize("encoder", [MLP(hidden=(8,)), REGULAR], ids=["plain", "regular"])
def test_the_observer_changes_nothing_and_the_seed_decides(encoder: MLP) -> None:
    strategy = made(GEM, encoder=encoder, normalization=Stream(), per_subject=10)
    assert same(strategy.fit(stream(), ignore), strategy.fit(stream(), disturb))
    assert not same(strategy.fit(stream(seed=1), ignore), strategy.fit(stream(seed=2), ignore))


@pytest.mark.parametrize("problem", [stream(("a", "b", "c", "d")), validated(stream(("a", "b", "c", "d")))])
def test_what_a_step_hands_over_does_not_depend_on_the_subjects_still_to_come(problem: Learning) -> None:
    strategy = made(GEM, normalization=Stream(), epochs=10, patience=2)
    *_, short = predictors(strategy, replace(problem, training=problem.training.of(("a", "b"))))
    assert same(predictors(strategy, problem)[2], short)


def test_a_study_builds_it_by_its_name() -> None:
    given = {"normalization": Stream(), "encoder": MLP(), "objective": CrossEntropy(), "training": Training()}
    part = find("gem", STRATEGIES, "strategy")
    values = {"per_subject": 7, "margin": 0.5}
    assert build(part, given, values, "strategy") == GEM(**given, **values)  # type: ignore[arg-type]
    for wrong, told in (
        ({"per_subject": 0}, "greater than 0"),
        ({"per_subject": -5}, "greater than 0"),
        ({"margin": -1}, "greater than or equal to 0"),
        ({"margin": float("inf")}, "finite"),
    ):
        with pytest.raises(StudyError, match=rf"strategy\.{next(iter(wrong))}: .*{told}"):
            build(part, given, wrong, "strategy")
    with pytest.raises(StudyError, match=r"strategy\.memory: no such key"):
        build(part, given, {"memory": 5}, "strategy")


# Bad input


def test_a_stream_of_one_subject_is_fine_tuning() -> None:
    finished = run(made(GEM), stream(("a",)))
    assert same(finished.predictor, made(FineTuning).fit(stream(("a",)), ignore))
    assert finished.told == {}


@pytest.mark.parametrize("size", [1, 10_000])
def test_a_part_of_one_window_and_one_larger_than_a_subject_are_held(size: int) -> None:
    problem = stream()
    memory = run(made(GEM, per_subject=size), problem).memory
    assert len(memory) == min(size, 40) * 3
    assert memory.windows.subjects == SUBJECTS


def test_a_subject_of_one_class_and_a_class_that_comes_late_are_learned_with() -> None:
    strategy = made(GEM, epochs=30, per_subject=10)
    for problem in (of_one_class(stream(), SUBJECTS[0], 1), late(stream(classes=3), 2)):
        predictor = strategy.fit(problem, ignore)
        assert torch.isfinite(torch.cat([value.flatten() for value in predictor.network.state_dict().values()])).all()
        assert balanced_accuracy(predictor, problem.training.of(SUBJECTS[-1])) > 0.6


def test_weights_that_no_loss_reaches_stay_where_they_are() -> None:
    initial, *_, last = predictors(made(GEM, encoder=Unreached(hidden=(8,))), apart())
    was, became = initial.network.state_dict(), last.network.state_dict()
    for name in was:
        assert torch.equal(was[name], became[name]) is not name.startswith("network.")


def test_more_earlier_subjects_than_weights_are_no_trouble() -> None:
    problem = stream([f"s{number:02}" for number in range(20)])
    predictor = made(GEM, encoder=MLP(hidden=()), per_subject=4, epochs=2).fit(problem, ignore)
    assert sum(parameter.numel() for parameter in predictor.network.parameters()) == 10
    assert torch.isfinite(torch.cat([parameter.flatten() for parameter in predictor.network.parameters()])).all()


def test_a_solution_is_found_where_constraints_leave_no_direction() -> None:
    """Rounding makes some of these look inconsistent, which constraints that zero meets never are."""
    rng = np.random.default_rng(0)
    for _ in range(1000):
        alike = rng.standard_normal(10) * rng.uniform()
        references = (alike + rng.standard_normal((30, 10))) * 10 ** rng.uniform(-2, 2, 10)
        gradient = rng.standard_normal(10)
        z = projected(torch.from_numpy(gradient), torch.from_numpy(references)).numpy()
        units = references / np.linalg.norm(references, axis=1, keepdims=True)
        assert (units @ z).min() >= -1e-9 * np.linalg.norm(gradient)


def test_divergence_is_told_as_such() -> None:
    problem = stream()
    problem.training.x[problem.training.subject == SUBJECTS[1]] *= 1e38
    with pytest.raises(LearningError, match=f"diverged at subject {SUBJECTS[1]}, number 2 "):
        made(GEM).fit(problem, ignore)


def test_without_a_solution_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gem, "solve_qp", lambda **kwargs: None)
    with pytest.raises(LearningError, match=r"constraints of 1 subjects.*learning_rate, or agem"):
        found([1, -1], [[0, 1]])
