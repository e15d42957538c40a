"""The harness of the benchmarks, and that their plain loop does the work that a federation does; nothing is timed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from clients.network import initial_network
from clients.training import torch_generator
from tests.performance.__main__ import main
from tests.performance.measuring import Row, Series, Target, alternate, compared, paired_ratio, share
from tests.performance.problem import Problem
from tests.performance.process import ROOT, Facts, SideError
from tests.performance.report import from_json, table_text, to_json
from tests.performance.sides import ours, plain_loop

SMALL = Problem(subjects=3, windows=20, shape=(7,), hidden=5, rounds=3, epochs=2, batch_size=8)


def side(name: str, told: list[str], seconds: float = 1.0, able: int = 99) -> Callable[[], Facts]:
    """A side that takes note of when it is called, and fails from some call on."""

    def run() -> Facts:
        if told.count(name) >= able:
            raise SideError("no more")
        told.append(name)
        return {"seconds": seconds * len(told)}

    return run


def test_sides_take_turns() -> None:
    told: list[str] = []
    series = alternate({name: side(name, told) for name in "ABC"}, 3)
    assert "".join(told) == "ABCABCABC"
    assert series["A"].of() == (1, 4, 7)
    assert series["C"].of() == (3, 6, 9)


def test_a_side_that_fails_is_left_out_and_the_others_go_on() -> None:
    told: list[str] = []
    series = alternate({"A": side("A", told), "B": side("B", told, able=1)}, 3)
    assert "".join(told) == "ABAA"
    assert series["A"].failed is None
    assert (series["B"].failed, series["B"].facts) == ("no more", [])
    row = compared("e", "w", ("ours", series["B"]), ("peer", series["A"]), Target(1))
    assert (row.failed, row.met) == ("no more", False)
    assert share("part", series["B"], series["A"]) == {}


def test_the_ratio_is_the_median_of_pairs_and_not_the_ratio_of_medians() -> None:
    # Pairs give 1/2, 3 and 4; the medians, 3 and 1.
    assert paired_ratio([1, 3, 4], [2, 1, 1]) == 3
    assert paired_ratio([1, 6, 8], [2, 1, 10]) == 0.8  # of 1/2, 6 and 8/10; the medians give 6/2
    with pytest.raises(ValueError, match="no repeat"):
        paired_ratio([], [])
    with pytest.raises(ValueError, match="zip"):
        paired_ratio([1, 2], [1])


@pytest.mark.parametrize(
    ("target", "ratio", "met", "text"),
    [
        (Target(0.45), 0.45, True, "<= 0.45 x"),
        (Target(0.45), 0.46, False, "<= 0.45 x"),
        (Target(4, faster=True), 0.25, True, ">= 4 x faster"),
        (Target(4, faster=True), 0.26, False, ">= 4 x faster"),
    ],
)
def test_targets(target: Target, ratio: float, met: bool, text: str) -> None:
    assert target.met(ratio) is met
    assert str(target) == text


ROWS = [
    Row("w", "work", "stacked", "plain", (1.0, 2.0, 3.0), (4.0, 4.0, 4.0), Target(0.45), {"loss_ours": 0.25}),
    Row("v", "work", "auto", "flower", (1.0,), (5.0,), Target(4, faster=True)),
    Row("u", "memory", "auto", "auto", (1.0,), (5.0,), unit="MiB"),
    Row("t", "more", "auto", "pfl", (), (), Target(2), failed="there is no pfl"),
]


def test_the_table_tells_medians_ratios_and_what_was_met() -> None:
    lines = [re.split(r"  +", line) for line in table_text(ROWS).splitlines()]
    assert lines[2] == ["w", "work", "stacked", "plain", "2 s", "4 s", "0.500 x", "<= 0.45 x", "NO"]
    assert lines[3] == ["v", "work", "auto", "flower", "1 s", "5 s", "5.00 x faster", ">= 4 x faster", "yes"]
    assert lines[4] == ["u", "memory", "auto", "auto", "1 MiB", "5 MiB", "0.200 x", "-", "-"]
    assert lines[5] == ["t", "more", "auto", "pfl", "-", "-", "-", "<= 2 x", "NO"]
    assert table_text(ROWS).endswith("\n\nw, stacked: loss_ours 0.25\nt, auto: there is no pfl\n")


def test_rows_come_back_from_json(tmp_path, capsys) -> None:
    text = to_json(ROWS, {"cores": 2})
    assert from_json(text) == ROWS
    (tmp_path / "w_warm.json").write_text(text)
    assert main(["--show", "--output", str(tmp_path)]) == 1  # there is no pfl
    assert capsys.readouterr().out == table_text(ROWS)


def test_a_subject_is_the_same_in_every_cohort() -> None:
    x, y = SMALL.everything((2, 0))
    assert np.array_equal(x[20:], SMALL.data(0)[0])
    assert np.array_equal(y[:20], replace(SMALL, subjects=9).data(2)[1])
    assert (x.dtype, y.dtype) == (np.float32, np.int64)
    assert Problem.of(SMALL.values()) == SMALL
    assert SMALL.folds == ((1, 2), (0, 2), (0, 1))


def test_the_plain_loop_does_what_a_federation_does() -> None:
    learning = ours.learning(SMALL, SMALL.everybody, seed=4)
    strategy = ours.federation(SMALL, "in_process")
    network = plain_loop.fresh_network(SMALL, seed=4)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    names = learning.training.subjects
    losses = plain_loop.federated_averaging(
        network,
        [plain_loop.tensors(SMALL, subject) for subject in SMALL.everybody],
        SMALL,
        lambda round_, client: torch_generator(4, "client", names[client], round_),
    )
    found = strategy.fit(learning, ours.ignore).network.state_dict()
    for name, value in network.state_dict().items():
        assert (value - before[name]).abs().max() > 1e-2
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-4)
    assert losses[-1] < losses[0]


def test_idle_clients_learn_nothing() -> None:
    learning = ours.learning(SMALL, SMALL.everybody)
    idle = ours.federation(SMALL, "idle")
    start = initial_network(idle.encoder, idle.objective, SMALL.shape, SMALL.classes, learning.seed).state_dict()
    for predictor in ours.fit_side_by_side(idle, [learning, learning]):
        for name, value in predictor.network.state_dict().items():
            torch.testing.assert_close(value, start[name])


def test_the_peers_lock_names_no_address_and_has_the_torch_of_the_project() -> None:
    project, peers = (ROOT / "requirements.lock").read_text(), (ROOT / "tests/performance/peers.lock").read_text()
    assert "://" not in peers
    torchs = [re.findall(r"^torch==(\S+)", lock, flags=re.MULTILINE) for lock in (project, peers)]
    assert torchs[0] == torchs[1] != []
    assert re.search(r"^pfl==0\.6\.", peers, flags=re.MULTILINE)


def test_a_comparison_keeps_losses_and_the_ratio_of_processor_times() -> None:
    names = ("seconds", "processor_seconds", "loss")
    first = Series([dict(zip(names, told, strict=True)) for told in ((1, 1, 3), (2, 1, 4))])
    other = Series([dict(zip(names, told, strict=True)) for told in ((4, 2, 3), (4, 4, 4.1))])
    row = compared("e", "w", ("ours", first), ("peer", other), facts={"share": 0.5})
    assert (row.ours_all, row.peer_all, row.ratio) == ((1, 2), (4, 4), 0.375)
    assert row.facts == {"loss_ours": 4, "loss_peer": 4.1, "ratio_of_processor_time": 0.375, "share": 0.5}


def test_sides_that_reach_another_loss_have_done_other_work() -> None:
    mine, theirs = Series([{"seconds": 1, "loss": 0.5}]), Series([{"seconds": 9, "loss": 0.4}])
    row = compared("e", "w", ("ours", mine), ("peer", theirs), Target(1))
    assert row.met is False
    assert row.failed is not None
    assert "0.5" in row.failed
    assert "0.4" in row.failed


def test_series_tell_one_fact_of_all_repeats() -> None:
    assert Series([{"seconds": 1, "loss": 3}, {"seconds": 2, "loss": 4}]).of("loss") == (3, 4)


def test_what_series_tell_can_be_made_into_something_else() -> None:
    series = Series([{"a": 1, "b": 3}, {"a": 2, "b": 4}, {"a": 9, "b": 8}])
    assert series.medians("a", "b") == {"a": 2, "b": 4}
    assert series.mapped(lambda facts: {"c": facts["a"] * facts["b"]}).of("c") == (3, 8, 72)
    failed = Series(failed="why")
    assert failed.medians("a") == {}
    assert failed.mapped(lambda facts: {"c": facts["a"]}) == failed
