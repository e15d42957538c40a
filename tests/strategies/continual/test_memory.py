"""Which windows a memory holds, and how it shows them."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.core import SupervisedPlugin
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from benchmarks.normalization import Normalization, Stream, SubjectUnlabelled, Unnormalized
from benchmarks.randomness import generator
from benchmarks.windows import IntArray, StrArray, Windows
from clients.training import Training, seeded, tensors, torch_generator
from strategies.continual.agem import AGEM
from strategies.continual.memory import BUFFERS, Choice, Memory, each_subject, reservoir, subject_balanced
from strategies.continual.replay import ExperienceReplay
from strategies.contract import Learning
from tests.strategies.continual.remembering import run
from tests.strategies.continual.streams import made, stream, validated
from tests.strategies.learnings import covariance_windows, learning


def names(counts: list[int]) -> StrArray:
    """So many windows of subject after subject."""
    return np.repeat([f"s{place:02}" for place in range(len(counts))], counts)


def held(choice: Choice, counts: list[int], size: int, rng: Any) -> list[IntArray]:
    """What stays after each subject, as numbers of windows of the whole stream."""
    subject, kept, steps = names(counts), np.arange(0), []
    for met, new in zip(np.cumsum([0, *counts]), counts, strict=False):
        known = np.concatenate([kept, np.arange(met, met + new)])
        kept = known[choice(subject[known], int(met), size, rng)]
        steps.append(kept)
    return steps


# Known answers


@dataclass
class Scripted:
    """A source that says what it is told to, to go through all that might be drawn."""

    numbers: list[int]

    def integers(self, below: IntArray) -> IntArray:
        said, self.numbers = self.numbers[: len(below)], self.numbers[len(below) :]
        assert all(number < high for number, high in zip(said, below, strict=True))
        return np.array(said)


@pytest.mark.parametrize("counts", [[6], [1, 2, 3], [4, 2]])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_over_all_draws_a_reservoir_holds_every_set_of_windows_equally_often(counts: list[int], size: int) -> None:
    drawn = itertools.product(*(range(number + 1) for number in range(6)))
    sets = Counter(frozenset(held(reservoir, counts, size, Scripted(list(numbers)))[-1]) for numbers in drawn)
    assert len(sets) == math.comb(6, size)
    assert set(sets.values()) == {math.factorial(6) // math.comb(6, size)}


def test_a_slot_that_is_drawn_twice_holds_the_later_window() -> None:
    (last,) = held(reservoir, [5], 2, Scripted([0, 0, 1, 1, 4]))
    assert last.tolist() == [0, 3]


def test_a_reservoir_of_a_real_source_is_even_over_the_stream() -> None:
    counts, size, repeats = [7, 1, 20, 12], 8, 3000
    rng = generator("even")
    seen = np.concatenate([held(reservoir, counts, size, rng)[-1] for _ in range(repeats)])
    assert chisquare(np.bincount(seen, minlength=40)).pvalue > 0.01


@pytest.mark.parametrize(
    ("counts", "size", "expected"),
    [
        ([100, 100, 100], 9, [3, 3, 3]),
        ([100, 100, 100], 10, [3, 3, 4]),
        ([2, 100, 100], 10, [2, 4, 4]),
        ([100, 2, 100], 10, [4, 2, 4]),
        ([100, 100, 1], 2, [0, 1, 1]),
        ([3, 4], 50, [3, 4]),
    ],
)
def test_shares_of_a_balanced_memory_by_hand(counts: list[int], size: int, expected: list[int]) -> None:
    last = held(subject_balanced, counts, size, generator("shares"))[-1]
    assert np.bincount(np.repeat(np.arange(len(counts)), counts)[last], minlength=len(counts)).tolist() == expected


def test_within_a_subject_a_balanced_memory_is_even() -> None:
    rng = generator("within")
    runs = [held(subject_balanced, [12, 9, 15], 9, rng)[-1] for _ in range(3000)]
    met = np.bincount(np.concatenate(runs), minlength=36)
    for windows in (met[:12], met[12:21], met[21:]):
        assert windows.sum() == 3 * 3000
        assert chisquare(windows).pvalue > 0.01


sizes = st.integers(1, 60)
streams = st.lists(st.integers(1, 40), min_size=1, max_size=12)


@given(counts=streams, size=sizes, seed=st.integers(0, 2**32))
def test_a_balanced_memory_is_full_and_nobody_is_more_than_one_ahead_of_who_has_more(
    counts: list[int], size: int, seed: int
) -> None:
    for step, kept in enumerate(held(subject_balanced, counts, size, np.random.default_rng(seed)), start=1):
        met = counts[:step]
        assert len(set(kept)) == len(kept) == min(size, sum(met))
        shares = np.bincount(np.repeat(np.arange(step), met)[kept], minlength=step)
        for share, count in zip(shares, met, strict=True):
            assert share == count or share >= shares.max() - 1


@given(counts=streams, size=sizes, seed=st.integers(0, 2**32))
def test_a_reservoir_is_full_and_holds_no_window_twice(counts: list[int], size: int, seed: int) -> None:
    for step, kept in enumerate(held(reservoir, counts, size, np.random.default_rng(seed)), start=1):
        assert len(set(kept)) == len(kept) == min(size, sum(counts[:step]))


@given(counts=streams, size=sizes, seed=st.integers(0, 2**32))
def test_a_part_for_each_subject_is_drawn_once(counts: list[int], size: int, seed: int) -> None:
    before: set[int] = set()
    for step, kept in enumerate(held(each_subject, counts, size, np.random.default_rng(seed)), start=1):
        met = counts[:step]
        shares = np.bincount(np.repeat(np.arange(step), met)[kept], minlength=step)
        assert shares.tolist() == [min(size, count) for count in met]
        assert before <= set(kept)
        before = set(kept)


# Behaviour


class Probe(SupervisedPlugin):  # type: ignore[misc]  # Avalanche is untyped
    """Keeps what a memory shows during each subject, what it would be by the normaliser known then, and all windows."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[dict[str, Any]] = []
        self.met: dict[str, torch.Tensor] = {}

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        memory = next(plugin for plugin in strategy.plugins if isinstance(plugin, Memory))
        self.met[strategy.experience.subject] = strategy.experience.tensors[0]
        if len(memory):
            anew = strategy.experience.normalizer(memory.windows)
            self.shown.append({"x": memory.x, "y": memory.y, "windows": memory.windows, "anew": anew})


def remembered(normalization: Normalization, problem: Learning, size: int = 30) -> Probe:
    probe = Probe()
    run(made(ExperienceReplay, normalization=normalization, memory=size, epochs=1), problem, after=[probe])
    return probe


def rows(x: torch.Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in x}


def told_apart(windows: Windows) -> list[tuple[bytes, int, str]]:
    """Each window as it is shown, its label and its subject."""
    x = windows.x.astype(np.float32)
    return [(*one, str(who)) for *one, who in zip(map(bytes, x), windows.labels.tolist(), windows.subject, strict=True)]


PROBLEMS = {
    "vector": stream(("a", "b", "c", "d")),
    "spd": learning(covariance_windows(("a", "b", "c", "d"), shift=0.3), geometry="spd"),
}


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_where_statistics_are_shared_what_was_recorded_is_shown_by_those_known_now(problem: Learning) -> None:
    probe = remembered(Stream(), problem)
    recorded = rows(torch.from_numpy(problem.training.x))
    for step, shown in enumerate(probe.shown, start=1):
        assert rows(torch.from_numpy(shown["windows"].x)) < recorded
        assert torch.equal(shown["x"], tensors(shown["anew"], shown["windows"].labels)[0])
        assert set(shown["windows"].subjects) <= set("abcd"[:step])
    # Of the first subject, nothing is shown as it was met: others have come.
    assert not rows(probe.shown[-1]["x"]) & rows(probe.met["a"])


@pytest.mark.parametrize("normalization", [SubjectUnlabelled(), Unnormalized()])
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_where_they_are_not_windows_are_shown_as_they_were_met(normalization: Normalization, problem: Learning) -> None:
    probe = remembered(normalization, problem)
    for shown in probe.shown:
        for subject in shown["windows"].subjects:
            assert rows(shown["x"][shown["windows"].subject == subject]) < rows(probe.met[subject])


def test_a_few_windows_of_a_subject_are_not_scored_by_themselves() -> None:
    probe = remembered(SubjectUnlabelled(), stream(("a", "b")), size=6)
    (shown,) = probe.shown
    assert len(shown["x"]) == 6
    assert abs(shown["x"].mean(dim=0)).max() > 0.05
    assert abs(shown["anew"].mean(axis=0)).max() < 1e-6


@pytest.mark.parametrize("buffer", BUFFERS)
def test_labels_and_subjects_stay_with_their_windows(buffer: str) -> None:
    problem = stream(("a", "b", "c", "d"))
    memory = run(made(ExperienceReplay, memory=50, buffer=buffer), problem).memory
    assert len(memory) == 50
    assert set(told_apart(memory.windows)) < set(told_apart(problem.training))


class Origins(SupervisedPlugin):  # type: ignore[misc]
    """Keeps what was held before and after each subject, and the subject's windows."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Windows] = []
        self.new: list[Windows] = []
        self.origins: list[IntArray] = []

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        memory = next(plugin for plugin in strategy.plugins if isinstance(plugin, Memory))
        self.held.append(memory.windows)
        self.new.append(strategy.experience.windows)
        self.origins.append(memory.origin)


@pytest.mark.parametrize("buffer", BUFFERS)
def test_it_tells_where_each_window_came_from(buffer: str) -> None:
    seen = Origins()
    run(made(ExperienceReplay, normalization=Stream(), memory=25, buffer=buffer), stream(), after=[seen])
    for step, (now, new, origin) in enumerate(zip(seen.held, seen.new, seen.origins, strict=True)):
        known = np.concatenate([seen.held[step - 1].x, new.x]) if step else new.x
        np.testing.assert_array_equal(known[origin], now.x)


@pytest.mark.parametrize("buffer", BUFFERS)
def test_one_seed_and_stream_remember_the_same_windows_whatever_is_done_with_them(buffer: str) -> None:
    def kept(strategy: Any, seed: int = 0) -> np.ndarray:
        return run(strategy, stream(seed=seed)).memory.windows.x

    one = kept(made(ExperienceReplay, memory=20, buffer=buffer))
    other = Training(learning_rate=0.1, batch_size=7)
    np.testing.assert_array_equal(kept(made(AGEM, memory=20, buffer=buffer, epochs=1, training=other)), one)
    assert not np.array_equal(kept(made(ExperienceReplay, memory=20, buffer=buffer), seed=1), one)


def test_only_windows_that_were_learned_from_are_remembered() -> None:
    problem = validated(stream())
    memory = run(made(ExperienceReplay, memory=1000), problem).memory
    assert sorted(told_apart(memory.windows)) == sorted(told_apart(problem.training))


def test_it_draws_different_windows_each_as_often_as_any_other() -> None:
    memory = run(made(ExperienceReplay, memory=10), stream()).memory
    source = torch_generator("draw")
    drawn = [memory.draw(4, source).tolist() for _ in range(3000)]
    assert all(len(set(each)) == 4 for each in drawn)
    assert chisquare(np.bincount(np.concatenate(drawn), minlength=10)).pvalue > 0.01
    assert sorted(memory.draw(64, source).tolist()) == list(range(10))


def test_choosing_and_drawing_leave_the_global_sources_alone() -> None:
    memory = Memory(3, reservoir, Unnormalized(), seed=0)
    experience = type("Met", (), {"windows": stream().training, "tensors": (torch.zeros(120, 4),)})
    strategy = type("Template", (), {"experience": experience})
    with seeded("before"):
        before = np.random.random(), float(torch.rand(()))
    with seeded("before"):
        memory.after_training_exp(strategy)
        memory.draw(2, torch_generator("own"))
        assert (np.random.random(), float(torch.rand(()))) == before


def test_it_shares_no_memory_with_the_windows_that_were_learned_from() -> None:
    problem = stream()
    for normalization in (Stream(), Unnormalized()):
        memory = run(made(ExperienceReplay, normalization=normalization, memory=1000), problem).memory
        assert not np.shares_memory(memory.windows.x, problem.training.x)


# Bad input


@pytest.mark.parametrize("buffer", BUFFERS)
def test_a_memory_larger_than_all_windows_holds_each_once(buffer: str) -> None:
    problem = stream()
    memory = run(made(ExperienceReplay, normalization=Stream(), memory=10_000, buffer=buffer), problem).memory
    assert sorted(told_apart(memory.windows)) == sorted(told_apart(problem.training))


@pytest.mark.parametrize("buffer", BUFFERS)
def test_a_memory_of_one_window_holds_one(buffer: str) -> None:
    memory = run(made(ExperienceReplay, memory=1, buffer=buffer), stream()).memory
    assert len(memory) == 1


def test_before_the_first_subject_is_over_it_is_empty() -> None:
    assert len(Memory(5, reservoir, Unnormalized(), seed=0)) == 0


def test_missing_features_are_remembered_as_missing_and_shown_as_the_mean() -> None:
    problem = stream(("a", "b"))
    problem.training.x[problem.training.subject == "a", 0] = np.nan
    probe = remembered(Stream(), problem, size=1000)
    (shown,) = probe.shown
    assert np.isnan(shown["windows"].x[:, 0]).all()
    assert (shown["x"][:, 0] == 0).all()
