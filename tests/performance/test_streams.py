"""That all sides of the benchmarks of streams do the same work, and that their clocks tell what they say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor, nn

from benchmarks.cohort import Cohort
from benchmarks.errors import LearningError
from benchmarks.protocols.leave_one_subject_out import LeaveOneSubjectOut
from clients.predictor import NetworkPredictor
from experiments.cell import Job
from strategies.continual.contract import Tell
from strategies.continual.finetuning import FineTuning
from strategies.contract import Learning, Observer, Predictor, Strategy
from tests.performance.__main__ import main
from tests.performance.chart import draw_subjects
from tests.performance.entries.continual_subjects import slope
from tests.performance.measuring import Series, Target
from tests.performance.pace import Pace, steps_with
from tests.performance.problem import Problem
from tests.performance.report import from_json
from tests.performance.sides import our_stream, plain_stream, stock_avalanche, stream_cells, streams
from tests.performance.sides.ours import learning
from tests.performance.sides.plain_loop import fresh_network
from tests.performance.strategies import STRATEGIES, STRENGTH

SMALL = Problem(subjects=3, windows=20, shape=(7,), hidden=5, epochs=2, batch_size=8, learning_rate=1e-2)
# Avalanche says so of a template that logs nothing, and its SI calls NumPy in an old way.
pytestmark = pytest.mark.filterwarnings("ignore:No loggers", "ignore:__array_wrap__")

PENALTIES = ("ewc_separate", "ewc_online", "si", "mas")


def given(problem: Problem = SMALL) -> Learning:
    return learning(problem, problem.everybody, seed=4)


def weights(network: nn.Module) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in network.state_dict().values()])


def by_plain_loop(problem: Problem = SMALL, loss: str = "torch") -> Tensor:
    network = fresh_network(problem, seed=4)
    start = weights(network)
    plain_stream.learn(network, given(problem), problem, Pace(problem), loss)
    assert (weights(network) - start).abs().max() > 1e-2
    return weights(network)


def by_avalanche(problem: Problem, plugin: str, strength: float = 0.0) -> Tensor:
    network = fresh_network(problem, seed=4)
    torch.manual_seed(0)
    plugins = stock_avalanche.PLUGINS[plugin](strength)
    stock_avalanche.learn(network, plain_stream.people(given(problem)), problem, Pace(problem), plugins)
    return weights(network)


def test_the_plain_loop_does_what_fine_tuning_does() -> None:
    predictor = our_stream.continual(SMALL, "finetuning", {}).fit(given(), lambda step, predictor: None)
    assert torch.equal(weights(predictor.network), by_plain_loop(loss="ours"))
    torch.testing.assert_close(weights(predictor.network), by_plain_loop(), rtol=0, atol=1e-4)


def test_avalanche_does_what_the_plain_loop_does() -> None:
    # Where all windows of a subject are one minibatch, there is no order of windows that could differ.
    whole = replace(SMALL, batch_size=SMALL.windows)
    torch.testing.assert_close(by_avalanche(whole, "naive"), by_plain_loop(whole), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("plugin", "idle"), [("ewc_separate", False), ("ewc_online", False), ("mas", False), ("si", True)]
)
def test_of_the_penalties_of_avalanche_one_does_nothing_on_a_cpu(plugin: str, idle: bool) -> None:
    assert torch.equal(by_avalanche(SMALL, plugin, 100.0), by_avalanche(SMALL, "naive")) is idle


def test_the_clock_tells_a_stream_from_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    # Seconds: the stream begins, a subject of 0.6 and one of 1.2, the stream ends. A subject has six minibatches.
    moments = iter([0.0, 1.0, 1.6, 2.0, 3.2, 4.0])
    monkeypatch.setattr("tests.performance.pace.time.perf_counter", lambda: next(moments))
    pace = Pace(SMALL)
    for _ in range(2):
        pace.subject_begins()
        pace.subject_ends()
    pace.stream_ends()
    assert pace.told() == pytest.approx(
        {"stream_ms": 4000 / 12, "later_ms": 200, "besides_ms": 1100, steps_with(1): 100, steps_with(2): 200}
    )


def test_steps_begin_before_a_plugin_prepares_and_end_before_it_looks_back() -> None:
    told: list[str] = []

    class Noted(Pace):
        def subject_begins(self) -> None:
            told.append("begins")

        def subject_ends(self) -> None:
            told.append("ends")

    class Plugin(SupervisedPlugin):  # type: ignore[misc]  # its base is untyped
        def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
            told.append("prepares")

        def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
            told.append("looks back")

    class Watched(FineTuning):
        def plugins(self, learning: Learning, tell: Tell) -> Sequence[SupervisedPlugin]:
            return (Plugin(),)

    made = our_stream.continual(SMALL, "finetuning", {})
    watched = Watched(**{field.name: getattr(made, field.name) for field in fields(made)})
    our_stream.learned(watched, given(), Noted(SMALL))
    assert told == ["begins", "prepares", "ends", "looks back"] * SMALL.subjects


def test_all_strategies_tell_their_times_and_penalties_hardly_change_the_loss() -> None:
    told = {name: our_stream.stream(SMALL.values(), values)()() for name, values in STRATEGIES.items()}
    told |= {
        f"avalanche_{name}": stock_avalanche.stream(SMALL.values(), name, STRENGTH)()()
        for name in ("naive", *PENALTIES)
    }
    told["plain"] = plain_stream.stream(SMALL.values())()()
    names = {"stream_ms", "later_ms", "besides_ms", "loss", *(steps_with(number) for number in (1, 2, 3))}
    for facts in told.values():
        assert facts.keys() == names
        assert all(value > 0 for value in facts.values())
        assert facts["later_ms"] == pytest.approx((facts[steps_with(2)] + facts[steps_with(3)]) / 2)
    assert told["finetuning"]["loss"] == pytest.approx(told["plain"]["loss"], rel=1e-4)
    for name in PENALTIES:
        assert told[name]["loss"] == pytest.approx(told["finetuning"]["loss"], rel=0.05)
        assert told[name]["loss"] != told["finetuning"]["loss"]
        assert told[f"avalanche_{name}"]["loss"] == pytest.approx(told["avalanche_naive"]["loss"], rel=0.05)


def facts_of(steps_ms: Sequence[float]) -> dict[str, float]:
    return {"besides_ms": 7.0, **{steps_with(number): each for number, each in enumerate(steps_ms, start=1)}}


def test_the_last_subjects_are_compared_with_as_many_that_follow_the_first() -> None:
    row = slope("ewc", Series([facts_of([99, 1, 3, 4, 6]), facts_of([99, 2, 2, 3, 3])]), 5, Target(1.1))
    assert (row.ours, row.ours_all) == ("ewc, subjects 4 to 5", (5, 3))
    assert (row.peer, row.peer_all) == ("ewc, subjects 2 to 3", (2, 2))
    assert (row.ratio, row.met, row.facts) == (2, False, {"besides_ms": 7})
    hundred = slope("ewc", Series([facts_of([99, *[2.0] * 10, *[50.0] * 79, *[1.0] * 10])]), 100, None)
    assert (hundred.ours_all, hundred.peer_all) == ((1,), (2,))
    failed = slope("ewc", Series(failed="no replay"), 5, Target(1.1))
    assert (failed.failed, failed.met) == ("no replay", False)


def test_the_chart_of_subjects_leaves_out_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    drawn = []
    plot = Axes.plot

    def noted(self: Axes, *args: Any, **kwargs: Any) -> Any:
        drawn.append((kwargs.get("label"), list(args[1])))
        return plot(self, *args, **kwargs)

    monkeypatch.setattr(Axes, "plot", noted)
    series = {"failed": Series(failed="why"), "si": Series([facts_of([1, 2]), facts_of([3, 6]), facts_of([5, 7])])}
    draw_subjects(series, 2, tmp_path / "chart.png")
    assert drawn == [(None, [(1, 3, 5), (2, 6, 7)]), ("si", [3, 6])]
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_streams_side_by_side_learn_what_they_learn_one_by_one() -> None:
    problem = replace(SMALL, epochs=1)
    learnings = streams.in_orders(problem, 4)
    assert len({given.training.subjects for given in learnings}) > 1
    strategy = our_stream.continual(problem, "finetuning", {})
    assert strategy.lockstep
    for mine, theirs in zip(*(way(strategy, learnings) for way in streams.WAYS.values()), strict=True):
        assert isinstance(mine, NetworkPredictor)
        assert isinstance(theirs, NetworkPredictor)
        torch.testing.assert_close(weights(mine.network), weights(theirs.network), rtol=0, atol=1e-4)


@dataclass(frozen=True)
class Refusing(Strategy):
    def fit(self, learning: Learning, observer: Observer) -> Predictor:
        raise LearningError("it will not")


def cell(strategy: Strategy) -> tuple[Cohort, Job]:
    made = given()
    cohort = Cohort("made", "made", made.classes, made.geometry, made.training, (), "made", simulated=True)
    fold = next(iter(LeaveOneSubjectOut(validation_subjects=0).folds(cohort.windows.subjects)))
    return cohort, Job(strategy, fold, seed=0, stream=0, validation_subjects=0, metrics={}, curve_metrics={})


@pytest.fixture
def as_it_was() -> Iterator[None]:
    """Methods that are watched are put back."""
    before = [getattr(owner, name) for methods in stream_cells.PARTS.values() for owner, name in methods]
    yield
    assert before == [getattr(owner, name) for methods in stream_cells.PARTS.values() for owner, name in methods]


@pytest.mark.usefixtures("as_it_was")
@pytest.mark.parametrize(("name", "looks_back"), [("finetuning", False), ("ewc_separate", True), ("si", True)])
def test_a_cell_is_told_by_its_parts(name: str, looks_back: bool) -> None:
    values = {key: value for key, value in STRATEGIES[name].items() if key != "name"}
    seconds, parts = stream_cells.spent(*cell(our_stream.continual(SMALL, STRATEGIES[name]["name"], values)))
    assert parts["validation"] == 0  # there are no windows to validate on
    assert (parts["importance"] > 0) is looks_back
    within = parts["training"] + parts["importance"] + parts["snapshots"]
    assert 0 < parts["training"] < within < parts["learning"] < seconds


@pytest.mark.usefixtures("as_it_was")
def test_a_cell_that_fails_has_no_time() -> None:
    with pytest.raises(RuntimeError, match="Refusing: it will not"):
        stream_cells.spent(*cell(Refusing()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rows", "files"),
    [
        ("continual_minibatch", 38, 1),
        ("continual_subjects", 6, 2),
        ("continual_study", 6, 1),
        ("continual_stacked", 4 * 3, 1),
    ],
)
def test_all_sides_of_an_entry_can_be_measured(name: str, rows: int, files: int, tmp_path: Path) -> None:
    assert main(["--reduced", "--only", name, "--repeats", "1", "--output", str(tmp_path)]) == 0
    told = from_json((tmp_path / f"{name}.json").read_text())
    assert len(told) == rows
    assert all(row.failed is None and row.ratio > 0 for row in told)
    assert len(list(tmp_path.iterdir())) == files
