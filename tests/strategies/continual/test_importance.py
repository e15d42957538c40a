"""Importance of weights against closed forms, and against gradients taken window by window."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from clients.encoders.mlp import MLP
from clients.objectives.cross_entropy import CrossEntropy
from clients.training import seeded, torch_generator
from strategies.continual import importance
from strategies.continual.importance import FisherKind, fisher, mas_importance, trainable
from tests.strategies.learnings import draws

OBJECTIVE = CrossEntropy()
KINDS: tuple[FisherKind, ...] = ("true", "empirical")

Measure = Callable[[nn.Module, Tensor, Tensor], list[Tensor]]
MEASURES: dict[str, Measure] = {
    "true": lambda network, x, y: fisher(network, OBJECTIVE, x, y, "true"),
    "empirical": lambda network, x, y: fisher(network, OBJECTIVE, x, y, "empirical"),
    "mas": lambda network, x, y: mas_importance(network, x),
}
every_measure = pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES.keys())


def windows(n: int = 30, features: int = 5, classes: int = 3) -> tuple[Tensor, Tensor]:
    source = torch_generator("windows", n, features)
    return torch.randn(n, features, generator=source), torch.randint(classes, (n,), generator=source)


def built(encoder: MLP, features: int = 5, classes: int = 3) -> nn.Module:
    with seeded("built"):
        return encoder.build((features,), classes)


def assert_close(found: list[Tensor], expected: list[Tensor]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs.to(ours.dtype), rtol=1e-4, atol=1e-7)


def terms(outputs: Tensor, label: Tensor, kind: str) -> list[tuple[float, Tensor]]:
    """Of one window: the numbers whose gradients count, and by how much."""
    logs = functional.log_softmax(outputs, dim=0)
    if kind == "true":
        return [(float(log.detach().exp()), log) for log in logs]
    return [(1.0, logs[label] if kind == "empirical" else outputs.square().sum())]


def by_hand(network: nn.Module, x: Tensor, y: Tensor, kind: str) -> list[Tensor]:
    """Window by window and class by class, from the definitions; the network is in eval mode."""
    parameters = trainable(network)
    totals = [torch.zeros_like(parameter) for parameter in parameters]
    for window, label in zip(x, y, strict=True):
        for share, value in terms(network(window[None])[0], label, kind):
            found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
            for total, gradient in zip(totals, found, strict=True):
                if gradient is not None:
                    total += share * (gradient.abs() if kind == "mas" else gradient.square()) / len(x)
    return totals


# Known answers


def test_fisher_of_a_softmax_regression_in_closed_form() -> None:
    """With z = W x + b, d log p_k / d W_cj = (1[c = k] - p_c) x_j; its mean square over k is p_c (1 - p_c) x_j^2."""
    network, (x, y) = built(MLP(hidden=())), windows()
    p = torch.softmax(network(x), dim=1).detach()
    expected = p * (1 - p)
    assert_close(fisher(network, OBJECTIVE, x, y, "true"), [expected.T @ x.square() / len(x), expected.mean(0)])
    observed = (functional.one_hot(y, 3) - p).square()
    assert_close(fisher(network, OBJECTIVE, x, y, "empirical"), [observed.T @ x.square() / len(x), observed.mean(0)])


def test_mas_of_a_linear_network_in_closed_form() -> None:
    """With F = W x + b, d ||F||^2 / d W_cj = 2 F_c x_j."""
    network, (x, _) = built(MLP(hidden=())), windows()
    outputs = network(x).detach().abs()
    assert_close(mas_importance(network, x), [2 * outputs.T @ x.abs() / len(x), 2 * outputs.mean(0)])


def test_fisher_by_numbers() -> None:
    """One weight each for two classes, both zero: p = 1/2, so F = x^2 / 4, whatever the label."""
    network = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(network.weight)
    for kind in KINDS:
        (found,) = fisher(network, OBJECTIVE, torch.tensor([[2.0], [4.0]]), torch.tensor([0, 1]), kind)
        assert found.flatten().tolist() == pytest.approx([2.5, 2.5])


class Recurrent(nn.Module):
    """A recurrent layer, which cannot be vmapped."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(5, 4, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.layer(x[:, None])[0][:, -1])
        return outputs


class Convolutional(nn.Module):
    """Convolution, batch norm and dropout, the usual encoder of signals."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.ELU(), nn.Dropout(0.5), nn.Flatten())
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.body(x[:, None]))
        return outputs


class Attentive(nn.Module):
    """Self-attention over features."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.into, self.head = nn.Linear(1, 4), nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.layer(self.into(x[:, :, None])).flatten(1))
        return outputs


class Branching(nn.Module):
    """Looks at its values in Python."""

    def __init__(self) -> None:
        super().__init__()
        self.positive, self.negative = nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.positive(x) if float(x.sum()) > 0 else self.negative(x)
        return outputs


class Tied(nn.Module):
    """One weight at two places, and one that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.second.weight = self.first.weight
        self.spare = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))
        return outputs


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: MLP(hidden=(6, 4), dropout=0.4, batch_norm=True).build((5,), 3),
    "recurrent": Recurrent,
    "convolutional": Convolutional,
    "attentive": Attentive,
    "branching": Branching,
    "tied": Tied,
}


@pytest.mark.filterwarnings("ignore:.*enable_nested_tensor")
@pytest.mark.parametrize("kind", MEASURES)
@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_against_gradients_taken_window_by_window(name: str, kind: str) -> None:
    with seeded("network"):
        network = NETWORKS[name]()
    x, y = windows(12)
    network(x)  # statistics of batch norm that are not those it starts with
    found = MEASURES[kind](network, x, y)
    assert_close(found, by_hand(network.eval(), x, y, kind))
    assert [each.shape for each in found] == [parameter.shape for parameter in network.parameters()]
    assert any((each > 0).any() for each in found)


def test_the_true_fisher_is_the_empirical_one_over_labels_that_the_network_draws() -> None:
    network, (x, _) = built(MLP(hidden=(6,))), windows(8)
    p = OBJECTIVE.probabilities(network(x)).detach()
    totals = [torch.zeros_like(parameter) for parameter in network.parameters()]
    for row, window in enumerate(x):
        for label in range(3):
            mine = fisher(network, OBJECTIVE, window[None], torch.tensor([label]), "empirical")
            for total, each in zip(totals, mine, strict=True):
                total += float(p[row, label]) * each / len(x)
    assert_close(fisher(network, OBJECTIVE, x, torch.zeros(8, dtype=torch.int64), "true"), totals)


# Behaviour


@every_measure
def test_it_does_not_depend_on_how_many_windows_are_taken_at_a_time(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, (x, y) = built(MLP(hidden=(6,))), windows()
    at_once = measure(network, x, y)
    a_window = sum(parameter.nbytes for parameter in network.parameters())
    for budget in (0, 7 * a_window, 100 * a_window):
        monkeypatch.setattr(importance, "_BUDGET", budget)
        for one, other in zip(measure(network, x, y), at_once, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-9)


@every_measure
def test_it_is_a_mean_over_windows(measure: Measure) -> None:
    network, (x, y) = built(MLP(hidden=(6,))), windows()
    whole, turned = measure(network, x, y), measure(network, x.flip(0), y.flip(0))
    twice = measure(network, torch.cat([x, x]), torch.cat([y, y]))
    parts = zip(measure(network, x[:10], y[:10]), measure(network, x[10:], y[10:]), strict=True)
    joined = [(10 * one + 20 * other) / 30 for one, other in parts]
    for other in (turned, twice, joined):
        assert_close(other, whole)


def test_labels_matter_to_the_empirical_fisher_alone() -> None:
    network, (x, y) = built(MLP(hidden=(6,))), windows()
    other = y.roll(1)
    for kind, measure in MEASURES.items():
        alike = [torch.equal(a, b) for a, b in zip(measure(network, x, y), measure(network, x, other), strict=True)]
        assert all(alike) is (kind != "empirical")


def test_class_weights_of_the_loss_play_no_part() -> None:
    network, (x, y) = built(MLP(hidden=(6,))), windows()
    for kind in KINDS:
        balanced = fisher(network, CrossEntropy("balanced"), x, y, kind)
        assert_close(fisher(network, CrossEntropy("none", 0.2), x, y, kind), balanced)


class Restless(nn.Module):
    """Draws numbers from every source, and counts its calls in a buffer, in eval mode too."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        scale = 1 + 0.1 * random.random() + 0.1 * float(np.random.random())
        return scale * functional.dropout(self.layer(x), 0.5, training=True)


@every_measure
@pytest.mark.parametrize("name", ["mlp", "recurrent", "restless"])
def test_it_leaves_everything_as_it_was(name: str, measure: Measure) -> None:
    with seeded("network"):
        network = {**NETWORKS, "restless": Restless}[name]()
    x, y = windows(6)
    network.train()
    list(network.children())[-1].eval()
    first, *rest = network.parameters()
    first.requires_grad_(False)
    rest[0].grad = torch.ones_like(rest[0])
    before = copy.deepcopy(network)
    with seeded("before"):
        drawn = draws()
    with seeded("before"):
        measure(network, x, y)
        assert draws() == drawn
    assert [module.training for module in network.modules()] == [module.training for module in before.modules()]
    for ours, theirs in zip(network.state_dict().values(), before.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    for parameter, was in zip(network.parameters(), before.parameters(), strict=True):
        assert parameter.requires_grad is was.requires_grad
        assert (parameter.grad is None) is (parameter is not rest[0])
    assert rest[0].grad is not None
    assert torch.equal(rest[0].grad, torch.ones_like(rest[0]))


@every_measure
def test_it_is_the_same_whatever_ran_before(measure: Measure) -> None:
    with seeded("network"):
        network = Restless()
    x, y = windows(6)
    with seeded("one"):
        first = measure(network, x, y)
    with seeded("two"), torch.no_grad():
        second = measure(network, x, y)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_parameters_that_are_not_trained_have_none() -> None:
    network, (x, y) = built(MLP(hidden=(6,))), windows()
    whole = fisher(network, OBJECTIVE, x, y, "true")
    first, *rest = network.parameters()
    first.requires_grad_(False)
    assert [id(each) for each in trainable(network)] == [id(each) for each in rest]
    assert_close(fisher(network, OBJECTIVE, x, y, "true"), whole[1:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gap", [50.0, 5000.0])
def test_a_network_that_is_all_too_sure_has_finite_importance(gap: float, kind: FisherKind) -> None:
    """With logits 0 and g, d log p_0 / d g = -p_1 and d log p_1 / d g = p_0."""
    network = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[0.0], [gap]]))
    (found,) = fisher(network, OBJECTIVE, torch.ones(1, 1), torch.tensor([1]), kind)
    p = np.exp(-gap)
    torch.testing.assert_close(found[1, 0], torch.tensor(p if kind == "true" else p**2, dtype=torch.float32))
    assert found.isfinite().all()


def test_nobody_is_warned_of_what_torch_does_slowly() -> None:
    x, y = windows(4)
    for name in ("recurrent", "attentive"):
        network = NETWORKS[name]()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fisher(network, OBJECTIVE, x, y, "true")


# Bad input


@every_measure
def test_no_window_has_no_importance(measure: Measure) -> None:
    x, y = windows()
    with pytest.raises(ValueError, match="no window"):
        measure(built(MLP()), x[:0], y[:0])


@every_measure
def test_what_is_wrong_with_a_network_is_raised_and_its_mode_put_back(measure: Measure) -> None:
    network, (x, y) = built(MLP(), features=4), windows()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied|size mismatch"):
        measure(network.train(), x, y)
    assert all(module.training for module in network.modules())
