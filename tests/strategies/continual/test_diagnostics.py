"""What is told of a penalty, against cases worked out by hand; and that learning is the same with it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import Tensor, nn

from benchmarks.windows import Windows
from clients.training import Training, torch_generator
from strategies.continual.contract import Continual
from strategies.continual.diagnostics import (
    Interference,
    Reliability,
    halves,
    interference,
    of_windows,
    overlap,
    rigidity,
    spearman,
    top,
)
from strategies.continual.ewc import EWC
from strategies.continual.finetuning import FineTuning
from strategies.continual.importance import fisher
from strategies.continual.mas import MAS
from strategies.continual.quadratic import MeasuredPenalty, Quadratic, QuadraticPenalty, Regularised
from strategies.continual.si import SI
from strategies.contract import Learning
from tests.strategies.continual.opposed import DESCENT, data, opposed, vector, weights
from tests.strategies.continual.streams import REGULAR, made, predictors, same, validated
from tests.strategies.learnings import Recorder, labelled

KINDS: dict[str, tuple[type[Continual], dict[str, object]]] = {
    "finetuning": (FineTuning, {}),
    "ewc": (EWC, {"strength": 5.0}),
    "ewc online": (EWC, {"strength": 5.0, "mode": "online"}),
    "si": (SI, {"strength": 0.5}),
    "mas": (MAS, {"strength": 0.3}),
}
SUBJECTS = ("a", "b", "c")


def strategy(name: str, **values: object) -> Continual:
    kind, own = KINDS[name]
    return made(kind, **{**own, "diagnostics": True, **values})


def told(name: str, problem: Learning, **values: object) -> Mapping[int, Mapping[str, float]]:
    """What the observer hears, by step."""
    recorder = Recorder(problem.training)
    strategy(name, **values).fit(problem, recorder)
    return recorder.measures


# Known answers


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 40], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 0], -1.0),
        ([1, 2, 3, 4], [2, 1, 4, 3], 0.6),
        ([0, 0, 1, 1], [0, 1, 0, 1], 0.0),
        ([1, 1, 1, 1], [1, 2, 3, 4], math.nan),
        ([3], [5], math.nan),
        ([], [], math.nan),
    ],
)
def test_rank_correlation_by_hand(one: list[float], other: list[float], expected: float) -> None:
    found = spearman(torch.tensor(one, dtype=torch.float32), torch.tensor(other, dtype=torch.float32))
    assert found == pytest.approx(expected, nan_ok=True)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=30))
@settings(deadline=None)
@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_rank_correlation_is_scipys_ties_and_all(pairs: list[tuple[int, int]]) -> None:
    one, other = torch.tensor(pairs, dtype=torch.float32).T
    expected = float(spearmanr(one.numpy(), other.numpy()).statistic)
    assert spearman(one, other) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_the_top_is_a_tenth_and_nothing_without_importance() -> None:
    assert top(torch.arange(20.0)).nonzero().flatten().tolist() == [18, 19]
    assert top(torch.ones(20)).nonzero().flatten().tolist() == [0, 1]
    assert top(torch.tensor([0.0, 0.0, 3.0])).tolist() == [False, False, True]
    sparse = torch.zeros(30)
    sparse[7] = 1.0
    assert top(sparse).nonzero().flatten().tolist() == [7]
    assert not top(torch.zeros(30)).any()


def test_overlap_of_tops_by_hand() -> None:
    one = torch.arange(30.0)
    assert overlap(one, one) == 1.0
    assert overlap(one, -one + 30) == 0.0
    other = one.clone()
    other[29] = 0.5  # of 27, 28, 29 and 26, 27, 28 two are in both
    assert overlap(one, other) == pytest.approx(2 / 4)
    assert math.isnan(overlap(torch.zeros(30), torch.zeros(30)))
    assert overlap(torch.zeros(30), one) == 0.0


def test_interference_by_hand() -> None:
    important = torch.tensor([True, True, False])
    task, pull = torch.tensor([3.0, 4.0, 0.0]), torch.tensor([-4.0, -3.0, 12.0])
    assert interference(task, pull, important) == pytest.approx(
        {
            "f2_cosine": -24 / 25,
            "f2_cosine_all": -24 / (5 * 13),
            "f2_opposing": 1.0,
            "f2_task_norm": 5.0,
            "f2_penalty_norm": 13.0,
        }
    )
    along = interference(task, task, important)
    assert along["f2_cosine"] == pytest.approx(1.0)
    assert along["f2_opposing"] == 0.0
    across = interference(torch.tensor([1.0, 0, 5]), torch.tensor([0.0, 1, -5]), important)
    assert (across["f2_cosine"], across["f2_opposing"]) == (0.0, 0.0)
    assert across["f2_cosine_all"] < 0


def test_a_gradient_that_is_zero_opposes_nothing_and_is_counted_in_no_share() -> None:
    important = torch.tensor([True, True, False])
    task, nothing = torch.tensor([3.0, 4.0, 5.0]), torch.zeros(3)
    for found in (interference(task, nothing, important), interference(nothing, task, important)):
        assert all(math.isnan(found[name]) for name in ("f2_cosine", "f2_cosine_all", "f2_opposing"))
    elsewhere = torch.tensor([0.0, 0.0, -1.0])
    for found in (interference(task, elsewhere, important), interference(elsewhere, task, important)):
        assert math.isnan(found["f2_cosine"])
        assert math.isnan(found["f2_opposing"])
        assert found["f2_cosine_all"] == pytest.approx(-5 / math.sqrt(50))
    assert math.isnan(interference(task, task, torch.zeros(3, dtype=torch.bool))["f2_opposing"])


def test_the_share_of_opposing_steps_is_of_those_at_which_both_gradients_act() -> None:
    network = nn.Linear(1, 2, bias=False)
    heard: dict[str, float] = {}
    step, penalty = Step(of_trials((0, "t", 1)), network), Even(2.0, lambda old, new: new)
    penalty.memory = Quadratic([torch.ones(2, 1)], [torch.zeros(2, 1)])
    watching = Interference(penalty, lambda step, values: heard.update(values))
    watching.before_training_exp(step)
    penalty.before_training_exp(step)
    # At the anchor, against the penalty twice, with it once, and where the loss is flat: 2 of 3.
    for weight, gradient in ((0.0, 1.0), (1.0, -1.0), (2.0, -1.0), (1.0, 1.0), (1.0, 0.0)):
        with torch.no_grad():
            network.weight.fill_(weight)
        network.weight.grad = torch.full((2, 1), gradient)
        watching.after_backward(step)
    watching.after_training_exp(step)
    assert heard["f2_opposing"] == pytest.approx(2 / 3)
    assert heard["f2_cosine"] == pytest.approx(-1 / 3)


def test_rigidity_by_hand() -> None:
    assert rigidity(torch.tensor([1.0, 3.0, 0.0, 0.0]), torch.tensor([1.0, 1.0, 2.0, 0.0])) == (0.5 + 0.75) / 4
    assert rigidity(torch.ones(5), torch.zeros(5)) == 1.0
    assert rigidity(torch.zeros(5), torch.ones(5)) == 0.0


def of_trials(*trials: tuple[int, str, int]) -> Windows:
    """Windows of one subject: label, trial and number of windows of each trial in turn."""
    y = np.repeat([label for label, _, _ in trials], [count for *_, count in trials])
    windows = labelled(np.arange(len(y), dtype=float)[:, None], y, "s")
    names = np.repeat([name for _, name, _ in trials], [count for *_, count in trials])
    return Windows(windows.x, windows.subject, windows.session, names, None, windows.y)


def test_halves_share_no_trial_where_every_class_has_two() -> None:
    windows = of_trials((0, "t1", 2), (1, "t2", 3), (0, "t3", 1), (1, "t4", 2), (0, "t5", 1))
    second = halves(windows)
    assert sorted(set(windows.trial[second])) == ["t3", "t4"]
    assert sorted(set(windows.trial[~second])) == ["t1", "t2", "t5"]


def test_halves_are_halves_of_each_trial_where_a_class_has_one() -> None:
    windows = of_trials((0, "t1", 4), (1, "t2", 3), (1, "t3", 2))
    assert halves(windows).tolist() == [False, False, True, True, False, False, True, False, True]
    assert halves(of_trials((0, "t1", 1))).tolist() == [False]


def test_a_trial_of_another_session_is_another_trial() -> None:
    windows = of_trials((0, "t", 4), (1, "u", 4))
    sessions = np.tile(["1", "1", "2", "2"], 2)
    again = Windows(windows.x, windows.subject, sessions, windows.trial, None, windows.y)
    assert halves(again).tolist() == [False, False, True, True] * 2
    assert halves(again).tolist() == halves(windows).tolist()
    lasting = Windows(windows.x, windows.subject, np.tile(["1", "2", "1", "2"], 2), windows.trial, None, windows.y)
    assert halves(lasting).tolist() == [False, True] * 4


class Step:
    """Of a template, what is read of it."""

    def __init__(self, windows: Windows, network: nn.Module) -> None:
        self.model = network
        self.experience = self
        self.subject, self.current_experience, self.windows = "s", 0, windows
        self.tensors = (*data(windows), torch.zeros(len(windows)))


def test_identical_halves_agree_wholly() -> None:
    """Windows of two trials that are the same; the noise is not."""
    rng = np.random.default_rng(0)
    once = rng.standard_normal((6, 4))
    y = np.array([0, 0, 0, 1, 1, 1] * 2)
    windows = labelled(np.concatenate([once, once]), y, "s")
    trials = np.array([f"{half}{label}" for half in "ab" for label in (0, 0, 0, 1, 1, 1)])
    windows = Windows(windows.x, windows.subject, windows.session, trials, None, windows.y)
    network = nn.Linear(4, 2)
    objective = strategy("ewc").objective

    def measure(network: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
        return fisher(network, objective, x, y, "true")

    penalty = MeasuredPenalty(1.0, lambda old, new: new, measure)
    penalty.latest = measure(network, *data(windows))
    heard: dict[str, float] = {}
    Reliability(penalty, of_windows(measure, seed=0), lambda step, values: heard.update(values)).after_training_exp(
        Step(windows, network)
    )
    assert heard["f1_spearman"] == pytest.approx(1.0)
    assert heard["f1_overlap"] == 1.0
    assert heard["f1_spearman_0db"] < 1.0
    assert set(heard) == {f"f1_{name}{suffix}" for name in ("spearman", "overlap") for suffix in SUFFIXES}


SUFFIXES = ("", "_20db", "_10db", "_0db")


def test_noise_has_the_ratio_that_its_name_says_and_is_the_subjects_own() -> None:
    shown: dict[str, Tensor] = {}

    def measure(network: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
        shown[str(len(shown))] = x
        return [x.sum(0)]

    rng = np.random.default_rng(1)
    windows = labelled(3 * rng.standard_normal((4000, 5)), np.repeat([0, 1], 2000), "s")
    of_windows(measure, seed=7)(Step(windows, nn.Linear(5, 2)))
    clean, *noisy = (torch.cat([shown[str(2 * i)], shown[str(2 * i + 1)]]) for i in range(4))
    order = np.argsort(halves(windows), kind="stable")
    torch.testing.assert_close(clean, data(windows)[0][torch.from_numpy(order)])
    for decibels, each in zip((20, 10, 0), noisy, strict=True):
        ratio = clean.square().mean() / (each - clean).square().mean()
        assert 10 * math.log10(float(ratio)) == pytest.approx(decibels, abs=0.1)
    expected = torch.randn(4000, 5, generator=torch_generator(7, "diagnostics", "s"))[torch.from_numpy(order)]
    torch.testing.assert_close(noisy[2] - clean, clean.square().mean().sqrt() * expected, rtol=1e-4, atol=1e-4)


class Even(QuadraticPenalty):
    """A penalty to which all weights matter the same."""

    def importance(self, strategy: object) -> list[Tensor]:
        return [torch.ones_like(parameter) for parameter in self.parameters]


def test_what_the_loss_does_not_reach_is_part_of_neither_gradient() -> None:
    network = nn.Linear(1, 2)
    heard: dict[str, float] = {}
    step, penalty = Step(of_trials((0, "t", 1)), network), Even(2.0, lambda old, new: new)
    penalty.memory = Quadratic([torch.ones(2, 1), torch.ones(2)], [torch.zeros(2, 1), torch.zeros(2)])
    watching = Interference(penalty, lambda step, values: heard.update(values))
    watching.before_training_exp(step)
    penalty.before_training_exp(step)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[3.0], [4.0]]))
        network.bias.fill_(100.0)
    network.weight.grad = torch.tensor([[-1.0], [0.0]])
    watching.after_backward(step)
    watching.after_training_exp(step)
    assert heard == {
        "f2_cosine": -1.0,  # the top of four weights is the first
        "f2_cosine_all": pytest.approx(-3 / 5),
        "f2_opposing": 1.0,
        "f2_task_norm": 1.0,
        "f2_penalty_norm": 10.0,
    }


# On a stream


@pytest.mark.parametrize("name", KINDS)
def test_learning_is_the_same_to_the_bit(name: str) -> None:
    for problem in (opposed(SUBJECTS), validated(opposed(SUBJECTS))):
        with_them = predictors(strategy(name, encoder=REGULAR), problem)
        without = predictors(strategy(name, encoder=REGULAR, diagnostics=False), problem)
        assert all(same(*both) for both in zip(with_them, without, strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_told_unless_it_is_asked_for(name: str) -> None:
    assert told(name, opposed(SUBJECTS), diagnostics=False) == {}


F1 = {f"f1_{name}{suffix}" for name in ("spearman", "overlap") for suffix in SUFFIXES}
F2 = {"f2_cosine", "f2_cosine_all", "f2_opposing", "f2_task_norm", "f2_penalty_norm"}
F3 = {"f3_importance", "f3_step"}
LATER = {"f1_previous_spearman", "f3_rigidity"} | F2
FIRST = {
    "finetuning": {"f3_step"},
    "ewc": F1 | F3,
    "ewc online": F1 | F3,
    "mas": F1 | F3,
    "si": {"f1_spearman", "f1_overlap"} | F3,
}


@pytest.mark.parametrize("name", KINDS)
def test_names_and_ranges_of_what_is_told(name: str) -> None:
    heard = told(name, validated(opposed(SUBJECTS)))
    later = set() if name == "finetuning" else LATER
    assert {step: set(values) for step, values in heard.items()} == {
        1: FIRST[name],
        2: FIRST[name] | later,
        3: FIRST[name] | later,
    }
    for values in heard.values():
        assert all(math.isfinite(value) for value in values.values())
        for measure, value in values.items():
            low = -1.0 if "spearman" in measure or "cosine" in measure else 0.0
            high = math.inf if "norm" in measure or measure in F3 else 1.0
            assert low - 1e-9 <= value <= high + 1e-9, (measure, value)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_told_is_the_same_again(name: str) -> None:
    assert told(name, opposed(SUBJECTS)) == told(name, opposed(SUBJECTS))


@pytest.mark.parametrize("name", KINDS)
def test_the_step_is_the_distance_between_weights_that_are_kept(name: str) -> None:
    problem = validated(opposed(SUBJECTS))
    handed = [weights(predictor) for predictor in predictors(strategy(name), problem)]
    heard = told(name, problem)
    for step in (1, 2, 3):
        expected = float((handed[step] - handed[step - 1]).norm())
        assert heard[step]["f3_step"] == pytest.approx(expected, rel=1e-6)


def test_importance_and_rigidity_of_a_stream_by_hand() -> None:
    """Online EWC with a decay of 1: importance sums up, and its share at a subject is what was there before."""
    problem = opposed(SUBJECTS)
    mine = strategy("ewc online", strength=5.0, decay=1.0)
    heard, handed = told("ewc online", problem, decay=1.0), predictors(mine, problem)
    met = [
        vector(fisher(predictor.network, mine.objective, *data(problem.training.of(subject)), "true"))
        for predictor, subject in zip(handed[1:], SUBJECTS, strict=True)
    ]
    for step in (1, 2, 3):
        assert heard[step]["f3_importance"] == pytest.approx(float(torch.stack(met[:step]).sum()), rel=1e-5)
    for step in (2, 3):
        before = 5.0 * torch.stack(met[: step - 1]).sum(0)
        share = float(torch.where(before > 0, before / (before + met[step - 1]), 0.0).mean())
        assert heard[step]["f3_rigidity"] == pytest.approx(share, rel=1e-5)
        assert heard[step]["f1_previous_spearman"] == pytest.approx(spearman(met[step - 2], met[step - 1]), abs=1e-6)


def test_without_strength_there_is_no_pull_and_nothing_is_rigid() -> None:
    later = told("ewc", opposed(), strength=0.0)[2]
    assert (later["f2_penalty_norm"], later["f3_rigidity"]) == (0.0, 0.0)
    assert all(math.isnan(later[name]) for name in ("f2_cosine", "f2_cosine_all", "f2_opposing"))
    assert later["f2_task_norm"] > 0


@pytest.mark.parametrize("name", ["ewc", "ewc online", "si", "mas"])
def test_a_subject_who_asks_for_the_opposite_meets_a_pull_against_it(name: str) -> None:
    later = told(name, opposed(("a", "b")), training=DESCENT, epochs=10)[2]
    assert later["f2_cosine"] < -0.1
    assert later["f2_cosine_all"] < -0.5
    assert later["f2_opposing"] > 0.4


def test_the_first_step_of_a_subject_has_no_cosine_where_there_is_one_anchor() -> None:
    """One minibatch a subject, so that it is the only step: weights are still at the anchor."""
    alone = told("mas", opposed(), epochs=1, training=Training(batch_size=1000))[2]
    assert math.isnan(alone["f2_cosine"])
    assert math.isnan(alone["f2_opposing"])
    assert alone["f2_penalty_norm"] == 0.0
    assert alone["f2_task_norm"] > 0


def test_a_subject_of_one_window_has_no_halves() -> None:
    problem = opposed(("a", "b"))
    kept = (problem.training.subject == "a") | (np.arange(len(problem.training)) == len(problem.training) - 1)
    alone = Learning(problem.training.select(kept), None, problem.classes, "vector", 0)
    heard = told("ewc", alone)[2]
    assert all(math.isnan(heard[name]) for name in F1)
    assert math.isfinite(heard["f1_previous_spearman"])


def test_plugins_without_diagnostics_are_the_penalty_alone() -> None:
    for name in ("ewc", "si", "mas"):
        mine = strategy(name, diagnostics=False)
        assert isinstance(mine, Regularised)
        assert len(mine.plugins(opposed(), lambda step, values: None)) == 1
        assert len(strategy(name).plugins(opposed(), lambda step, values: None)) > 1
