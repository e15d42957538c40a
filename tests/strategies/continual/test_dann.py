"""Domain-adversarial training, against a loop written out by hand, and what its critic can and cannot tell."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.errors import LearningError, StudyError
from benchmarks.normalization import Normalization, Stream, SubjectUnlabelled, Unnormalized
from benchmarks.normalization import Training as TrainingStatistics
from benchmarks.parts import build, find
from benchmarks.windows import Windows, concatenate
from clients.encoders.contract import Encoder
from clients.encoders.mlp import MLP
from clients.network import initial_network
from clients.objectives.cross_entropy import CrossEntropy
from clients.training import Training, class_counts, seeded, tensors, torch_generator, torch_seeded
from strategies.continual.adversary import entering, last_layer
from strategies.continual.dann import SCHEDULES, Adversarial, DomainAdversarial, DomainAdversarialTarget
from strategies.continual.finetuning import FineTuning
from strategies.contract import Learning
from strategies.table import STRATEGIES
from tests.strategies.continual.streams import (
    BATCH,
    EPOCHS,
    REGULAR,
    SUBJECTS,
    late,
    made,
    of_one_class,
    predictors,
    same,
    state,
    stream,
    validated,
)
from tests.strategies.learnings import Recorder, balanced_accuracy, disturb, gaussian_windows, ignore, learning

MODES = [Unnormalized(), Stream(), SubjectUnlabelled()]
VARIANTS = [DomainAdversarial, DomainAdversarialTarget]

every_variant = pytest.mark.parametrize("kind", VARIANTS)


def targeted(problem: Learning, shift: float = 1.0) -> Learning:
    """The same stream, with unlabelled windows of a person who is held out."""
    return replace(problem, target=gaussian_windows(["new"], shift=shift).without(labels=True))


# Known answers


def test_lambda_is_a_hyperbolic_tangent_or_one() -> None:
    """2 / (1 + exp(-2 a)) - 1 is tanh a."""
    logistic, constant = SCHEDULES["logistic"], SCHEDULES["constant"]
    assert logistic(0.0) == 0.0
    assert logistic(1.0) == pytest.approx(0.9999092)
    for progress in (0.0, 0.1, 0.25, 0.5, 0.9, 1.0):
        assert logistic(progress) == pytest.approx(math.tanh(5 * progress), abs=1e-12)
        assert constant(progress) == 1.0


def test_features_are_those_of_a_network_in_use() -> None:
    problem = stream()
    network = initial_network(REGULAR, CrossEntropy(), (4,), 2, 0).train()
    x, _ = tensors(problem.training.x, problem.labels)
    network(x)  # moves the running statistics from where they start
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with seeded("before"):
        expected_draw = torch.rand(())
    head = last_layer(network, 2)
    with seeded("before"):
        found = entering(head, network, x)
        assert torch.equal(torch.rand(()), expected_draw)
    assert network.training
    assert not head._forward_pre_hooks
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert isinstance(network, nn.Sequential)
    assert torch.equal(found, network[:-1].eval()(x))


Opponents = Callable[[int], tuple[Tensor, Tensor, int, int] | None]
"""From a subject's place: windows of others, their domains, the subject's own, and how many there are."""


def by_hand(
    strategy: Adversarial, problem: Learning, opponents: Opponents, domains: int
) -> tuple[nn.Module, nn.Module]:
    """The strategy with two losses and two gradients, and no gradient that is turned round."""
    network = initial_network(strategy.encoder, strategy.objective, (4,), len(problem.classes), problem.seed)
    assert isinstance(network, nn.Sequential)
    with torch_seeded(problem.seed, "critic"):
        hidden = strategy.critic_hidden
        critic = nn.Sequential(nn.Linear(8, hidden), nn.ReLU(), nn.Linear(hidden, domains))
    learning_critic = strategy.training.optimizer_of(critic.parameters())
    for place, (subject, windows) in enumerate(problem.training.by_subject()):
        x, y = tensors(windows.x, windows.labels)
        loss = strategy.objective.loss(class_counts(windows.labels, len(problem.classes)))
        optimizer = strategy.training.optimizer_of(network.parameters())
        shuffling = torch_generator(problem.seed, "subject", subject)
        drawing = torch_generator(problem.seed, "critic", subject)
        others = opponents(place)
        for epoch in range(strategy.epochs):
            progress = (place + epoch / strategy.epochs) / len(problem.training.subjects)
            strength = strategy.strength * (math.tanh(5 * progress) if strategy.schedule == "logistic" else 1)
            for batch in torch.split(torch.randperm(len(x), generator=shuffling), BATCH):
                wanted = list(torch.autograd.grad(loss(network(x[batch]), y[batch]), list(network.parameters())))
                if others is not None:
                    theirs, domain, mine, known = others
                    drawn = torch.randperm(len(theirs), generator=drawing)[: len(batch)]
                    features = network[:-1](torch.cat([x[batch], theirs[drawn]]))
                    whose = torch.cat([torch.full((len(batch),), mine), domain[drawn]])
                    told = functional.cross_entropy(critic(features)[:, :known], whose)
                    before_head = list(network[:-1].parameters())
                    gradients = torch.autograd.grad(told, [*before_head, *critic.parameters()])
                    for own, unwanted in zip(wanted, gradients, strict=False):
                        if own is not wanted[-1] and own is not wanted[-2]:
                            own -= strength * unwanted
                    for parameter, gradient in zip(critic.parameters(), gradients[len(before_head) :], strict=True):
                        parameter.grad = gradient
                    learning_critic.step()
                for parameter, gradient in zip(network.parameters(), wanted, strict=True):
                    parameter.grad = gradient
                optimizer.step()
    return network, critic


PLAIN = Training(optimizer="sgd", learning_rate=0.1, batch_size=BATCH)


@pytest.mark.parametrize("schedule", ["logistic", "constant"])
@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_against_earlier_subjects_it_is_a_loop_with_two_gradients(schedule: str, strength: float) -> None:
    problem = stream(("a", "b", "c"), seed=4)
    x, _ = tensors(problem.training.x, problem.labels)

    def opponents(place: int) -> tuple[Tensor, Tensor, int, int] | None:
        # The memory is larger than the cohort, so it holds everybody so far.
        domain = torch.arange(place).repeat_interleave(40)
        return (x[: 40 * place], domain, place, place + 1) if place else None

    strategy = made(
        DomainAdversarial, strength=strength, schedule=schedule, training=PLAIN, memory=1000, critic_hidden=6
    )
    expected, _ = by_hand(strategy, problem, opponents, domains=3)
    found = strategy.fit(problem, ignore).network
    for ours, theirs in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_against_held_out_people_it_is_a_loop_with_two_gradients() -> None:
    problem = targeted(stream(("a", "b"), seed=4))
    assert problem.target is not None
    theirs = torch.tensor(problem.target.x, dtype=torch.float32)
    domain = torch.ones(len(theirs), dtype=torch.int64)
    strategy = made(DomainAdversarialTarget, strength=0.5, training=PLAIN, critic_hidden=6)
    expected, _ = by_hand(strategy, problem, lambda place: (theirs, domain, 0, 2), domains=2)
    found = strategy.fit(problem, ignore).network
    for ours, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-3, atol=1e-5)


# Behaviour


def only_shifted(subjects: tuple[str, ...]) -> Windows:
    """Subjects who differ by where they lie on an axis that tells no class."""
    axis = np.array([0.0, 0.0, 0.0, 3.0])
    alike = [gaussian_windows([name], per_class=40) for name in subjects]
    return concatenate([replace(windows, x=windows.x + place * axis) for place, windows in enumerate(alike)])


@every_variant
def test_the_critic_is_at_chance_and_the_classes_are_told_all_the_same(kind: type[Adversarial]) -> None:
    """The network's own critic, whom it evades: one that is trained afterwards tells more, see `Adversarial`."""
    windows = only_shifted(("a", "b", "c", "new"))
    known = windows.of(["a", "b", "c"])
    problem = replace(learning(known), target=windows.of("new").without(labels=True))
    parts = {"encoder": MLP(hidden=(16, 16)), "training": Training(learning_rate=3e-3, batch_size=16), "epochs": 20}
    told = []
    for strength in (0.0, 1.0):
        record = Recorder(known)
        predictor = made(kind, strength=strength, critic_hidden=32, **parts).fit(problem, record)
        told.append(record.measures)
        assert min(balanced_accuracy(predictor, known.of(name)) for name in known.subjects) > 0.9
    idle, at_work = ([step["dann_critic_accuracy"] for step in run.values() if len(step) > 1] for run in told)
    assert len(idle) >= 2
    assert all(after < before - 0.1 for before, after in zip(idle, at_work, strict=True))
    assert at_work[-1] == pytest.approx(told[1][3]["dann_chance_accuracy"], abs=0.1)


@pytest.mark.parametrize("normalization", MODES)
@pytest.mark.parametrize("problem", [stream(), validated(stream())], ids=["fixed", "validated"])
@every_variant
def test_without_strength_it_is_fine_tuning_to_the_bit(
    kind: type[Adversarial], problem: Learning, normalization: Normalization
) -> None:
    parts = {"normalization": normalization, "encoder": REGULAR, "patience": 1}
    ours = predictors(made(kind, strength=0.0, **parts), targeted(problem))
    for mine, other in zip(ours, predictors(made(FineTuning, **parts), problem), strict=True):
        assert same(mine, other)


def test_against_earlier_subjects_it_matters_from_the_second_one_on() -> None:
    ours, theirs = predictors(made(DomainAdversarial), stream()), predictors(made(FineTuning), stream())
    assert [same(*pair) for pair in zip(ours, theirs, strict=True)] == [True, True, False, False]


def test_against_held_out_people_it_matters_from_the_first_one_on() -> None:
    strategy = made(DomainAdversarialTarget)
    ours, theirs = predictors(strategy, targeted(stream())), predictors(made(FineTuning), stream())
    assert [same(*pair) for pair in zip(ours, theirs, strict=True)] == [True, False, False, False]
    assert not same(ours[-1], strategy.fit(targeted(stream(), shift=5.0), ignore))


def test_labels_of_held_out_people_are_never_looked_at() -> None:
    problem, strategy = targeted(stream()), made(DomainAdversarialTarget)
    expected = strategy.fit(problem, ignore)
    assert problem.target is not None
    for label in (0, 1):
        labelled = replace(problem.target, y=np.full(len(problem.target), label))
        assert same(strategy.fit(replace(problem, target=labelled), ignore), expected)


def test_it_tells_how_many_domains_there_are_and_how_the_critic_did() -> None:
    problem = targeted(stream())
    earlier, held_out = Recorder(problem.training), Recorder(problem.training)
    made(DomainAdversarial).fit(problem, earlier)
    made(DomainAdversarialTarget).fit(problem, held_out)
    assert earlier.measures[1] == {"dann_domains": 1.0}
    assert [earlier.measures[step]["dann_domains"] for step in (1, 2, 3)] == [1.0, 2.0, 3.0]
    assert [held_out.measures[step]["dann_domains"] for step in (1, 2, 3)] == [2.0, 2.0, 2.0]
    for step in (2, 3):
        assert 0 < earlier.measures[step]["dann_critic_accuracy"] < 1
        assert earlier.measures[step]["dann_chance_accuracy"] == pytest.approx(0.5)


def test_chance_is_the_share_of_the_most_frequent_domain() -> None:
    """Minibatches of 16, 16 and 8 windows against the 4 that are remembered: shares of 4/5, 4/5 and 2/3."""
    problem = stream(("a", "b"))
    record = Recorder(problem.training)
    made(DomainAdversarial, memory=4).fit(problem, record)
    assert record.measures[2]["dann_chance_accuracy"] == pytest.approx((0.8 + 0.8 + 2 / 3) / 3, rel=1e-6)


@pytest.mark.parametrize("normalization", MODES)
@every_variant
def test_what_a_step_hands_over_does_not_depend_on_who_comes_later(
    kind: type[Adversarial], normalization: Normalization
) -> None:
    """How many will come is known, since lambda grows with the share of the stream that is over."""
    strategy = made(kind, normalization=normalization)
    ours, theirs = (predictors(strategy, targeted(stream(("a", "b", last)))) for last in ("c", "d"))
    assert [same(*pair) for pair in zip(ours, theirs, strict=True)] == [True, True, True, False]


@pytest.mark.parametrize("encoder", [MLP(hidden=(8,)), REGULAR], ids=["plain", "regular"])
@every_variant
def test_the_observer_changes_nothing_and_the_seed_decides(kind: type[Adversarial], encoder: MLP) -> None:
    strategy = made(kind, encoder=encoder, normalization=Stream())
    assert same(strategy.fit(targeted(stream()), ignore), strategy.fit(targeted(stream()), disturb))
    seeds = [strategy.fit(targeted(stream(seed=seed)), ignore) for seed in (1, 2)]
    assert not same(*seeds)


@pytest.mark.parametrize(
    "values", [{"schedule": "constant"}, {"strength": 0.5}, {"critic_hidden": 5}, {"memory": 10}], ids=str
)
def test_every_value_matters(values: dict[str, object]) -> None:
    assert not same(
        made(DomainAdversarial, **values).fit(stream(), ignore), made(DomainAdversarial).fit(stream(), ignore)
    )


def test_networks_that_are_handed_over_carry_no_hook() -> None:
    for predictor in predictors(made(DomainAdversarial), stream()):
        assert not any(module._forward_pre_hooks for module in predictor.network.modules())


def test_a_study_builds_both_by_name() -> None:
    given = {"normalization": Stream(), "encoder": MLP(), "objective": CrossEntropy(), "training": Training()}
    for name, kind in (("dann", DomainAdversarial), ("dann_target", DomainAdversarialTarget)):
        part = find(name, STRATEGIES, "strategy")
        assert build(part, given, {"strength": 2}, "strategy") == kind(**given, strength=2.0)  # type: ignore[arg-type]
        assert part.needs_target is (name == "dann_target")
        for values, told in (
            ({"strength": -1}, "greater than or equal to 0"),
            ({"schedule": "linear"}, "'logistic' or 'constant'"),
            ({"critic_hidden": 0}, "greater than 0"),
        ):
            with pytest.raises(StudyError, match=rf"strategy\.{next(iter(values))}: .*{told}"):
                build(part, given, values, "strategy")
    with pytest.raises(StudyError, match="memory"):
        build(find("dann", STRATEGIES, "strategy"), given, {"memory": 0}, "strategy")


# Bad input


def test_a_stream_of_one_subject_is_fine_tuning_and_says_so() -> None:
    problem = stream(("a",))
    record = Recorder(problem.training)
    assert same(made(DomainAdversarial).fit(problem, record), made(FineTuning).fit(problem, ignore))
    assert record.measures == {1: {"dann_domains": 1.0}}


def test_held_out_people_are_needed_where_they_are_compared_with() -> None:
    with pytest.raises(LearningError, match=r"unlabelled windows of the people that are scored.* Use dann"):
        made(DomainAdversarialTarget).fit(stream(), ignore)


@every_variant
def test_a_subject_of_one_class_and_a_class_that_comes_late_are_learned(kind: type[Adversarial]) -> None:
    strategy = made(kind, epochs=30)
    for problem in (of_one_class(stream(), "alice", 1), late(stream(classes=3), 2)):
        predictor = strategy.fit(targeted(problem), ignore)
        last = problem.training.of(problem.training.subjects[-1])
        assert balanced_accuracy(predictor, last) > 0.8


@dataclass(frozen=True)
class EndsIn(Encoder):
    """An encoder with some layers behind a hidden one."""

    layers: Callable[[int], list[nn.Module]]

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        return nn.Sequential(nn.Linear(shape[0], 6), nn.ReLU(), *self.layers(outputs))


class Halves(nn.Module):
    """Adds the two halves of what comes in, and has no weights."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2] + x[:, 2:4]


class Filters(nn.Module):
    """A convolution over the features, whose outputs are as many as there are classes."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.over = nn.Conv1d(1, outputs, kernel_size=6)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.over(x[:, None])[..., 0]
        return found


def test_the_last_layer_may_be_a_convolution_and_something_without_weights_may_follow() -> None:
    ends = EndsIn(lambda outputs: [nn.Linear(6, outputs), nn.Identity()]), EndsIn(lambda outputs: [Filters(outputs)])
    for encoder in ends:
        network = encoder.build((4,), 2)
        x = torch.ones(3, 4)
        assert entering(last_layer(network, 2), network, x).shape == (3, 6)
        ours, theirs = (made(kind, encoder=encoder).fit(stream(), ignore) for kind in (DomainAdversarial, FineTuning))
        assert torch.isfinite(state(ours)).all()
        assert not same(ours, theirs)


def test_a_network_that_does_not_end_in_such_a_layer_is_refused() -> None:
    with pytest.raises(LearningError, match=r"with its 2 outputs, but there is none\. Choose an encoder"):
        last_layer(nn.Sequential(nn.Flatten(), nn.ReLU()), 2)
    other_end = EndsIn(lambda outputs: [Halves()])
    with pytest.raises(LearningError, match=r"with its 2 outputs, but the last one has 6\. Choose an encoder"):
        made(DomainAdversarial, encoder=other_end).fit(stream(), ignore)


def test_a_network_without_features_is_refused() -> None:
    with pytest.raises(LearningError, match=r"no features that could be made alike. Give the encoder a hidden layer"):
        made(DomainAdversarial, encoder=MLP(hidden=())).fit(stream(), ignore)


@every_variant
def test_statistics_of_subjects_still_to_come_are_refused(kind: type[Adversarial]) -> None:
    with pytest.raises(StudyError, match=rf"{kind.__name__} meets them one after another.*use stream"):
        made(kind, normalization=TrainingStatistics())


def test_divergence_names_the_subject() -> None:
    plain = Training(optimizer="sgd", learning_rate=1.0, batch_size=BATCH)
    with pytest.raises(LearningError, match=f"diverged at subject {SUBJECTS[1]}, number 2 .*smaller strength"):
        made(DomainAdversarial, strength=1e30, schedule="constant", training=plain, epochs=EPOCHS).fit(stream(), ignore)
