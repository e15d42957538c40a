"""Groups of cells as Ray tasks: the same numbers on one worker and two, workers that die, addresses of no cluster."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.errors import LearningError, UnseenError
from benchmarks.normalization import SubjectUnlabelled
from clients.encoders.mlp import MLP
from clients.objectives.cross_entropy import CrossEntropy
from clients.training import Training
from experiments import engine
from experiments.cell import Job, compute_many
from experiments.engine import cluster, compute_all
from experiments.records import Outcome
from strategies.contract import Learning, Observer, Predictor
from strategies.federated.averaging import FedAvg
from strategies.federated.federation import Federation
from strategies.grids.stacked import Stacked
from tests.experiments.stores import closed_port
from tests.experiments.test_cell import POOLED, Sign, cohort, job

# Tests of one group run in one process, so that a cluster is started once for several of them.
pytestmark = pytest.mark.xdist_group("engine")

FEDERATED = Federation(
    normalization=SubjectUnlabelled(), encoder=MLP(hidden=(4,), dropout=0.5), objective=CrossEntropy(),
    training=Training(learning_rate=0.05, batch_size=8), aggregator=FedAvg(), grid=Stacked(), rounds=2,
)  # fmt: skip


@dataclass(frozen=True)
class Deadly(Sign):
    """Takes the whole worker process with it, as running out of memory does."""

    def fit(self, learning: Learning, observer: Observer) -> Predictor:
        os._exit(1)


@dataclass(frozen=True)
class Telling(Sign):
    """Fails with the name of its process."""

    def fit(self, learning: Learning, observer: Observer) -> Predictor:
        raise LearningError(str(os.getpid()))


def computed(groups: dict[str, Sequence[Job]], workers: int) -> dict[str, list[Outcome]]:
    with cluster(workers, "local") as at_once:
        assert at_once == workers
        tasks = ((key, "toy", jobs) for key, jobs in groups.items())
        return dict(compute_all(tasks, {"toy": cohort()}, at_once))


POOLED_AND_FEDERATED: dict[str, Sequence[Job]] = {
    **{f"pooled {fold} {seed}": [job(POOLED, fold, seed=seed)] for fold in range(4) for seed in range(2)},
    **{f"federated {seed}": [job(FEDERATED, fold, seed=seed) for fold in range(4)] for seed in range(2)},
}
TELLING: dict[str, Sequence[Job]] = {f"telling {number}": [job(Telling())] for number in range(6)}


def leave_stale_address(folder: Path, patch: pytest.MonkeyPatch) -> str:
    """What a cluster leaves behind whose head was killed: a file that says where it was."""
    address = f"127.0.0.1:{closed_port()}"
    (folder / "ray").mkdir()
    (folder / "ray" / "ray_current_cluster").write_text(address)
    patch.setenv("RAY_TMPDIR", str(folder))
    patch.delenv("RAY_ADDRESS", raising=False)
    return address


@pytest.fixture
def stale_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return leave_stale_address(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def of_one_worker(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Outcome]]:
    """Outcomes of all groups on a cluster of one worker, which starts where two things could be in its way.

    The folder for temporary files has a long name, and the last cluster on this machine has left its address behind.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("x" * 100)))
        patch.setattr(tempfile, "tempdir", None)
        leave_stale_address(tmp_path_factory.mktemp("stale"), patch)
        return computed({**POOLED_AND_FEDERATED, **TELLING}, 1)


@pytest.mark.slow
def test_two_workers_give_the_numbers_of_one_and_of_none_and_a_dead_worker_harms_no_other_group(
    of_one_worker: dict[str, list[Outcome]],
) -> None:
    here = {key: compute_many(cohort(), jobs) for key, jobs in POOLED_AND_FEDERATED.items()}
    two = computed({"dead": [job(Deadly(), fold) for fold in range(3)], **POOLED_AND_FEDERATED}, 2)

    dead = two.pop("dead")
    assert len(dead) == 3
    assert all(outcome.cause and outcome.cause.startswith("The worker process failed") for outcome in dead)
    assert here.keys() == two.keys()
    for key, expected in here.items():
        for other in (of_one_worker[key], two[key]):
            for mine, its in zip(expected, other, strict=True):
                assert mine.cause is None
                assert its.scores == mine.scores
                assert its.predictions[0].probabilities.tobytes() == mine.predictions[0].probabilities.tobytes()


@pytest.mark.slow
def test_a_worker_process_stays_for_all_groups(of_one_worker: dict[str, list[Outcome]]) -> None:
    (process,) = {outcome.cause for key in TELLING for outcome in of_one_worker[key]}
    assert process != str(os.getpid())


@pytest.mark.slow
def test_neither_a_long_folder_for_temporary_files_nor_the_address_of_a_cluster_that_is_gone_is_an_obstacle(
    of_one_worker: dict[str, list[Outcome]],
) -> None:
    assert of_one_worker.keys() == POOLED_AND_FEDERATED.keys() | TELLING.keys()
    assert all(outcome.cause is None for key in POOLED_AND_FEDERATED for outcome in of_one_worker[key])


@pytest.mark.parametrize("asked", ["auto", "the address itself"])
def test_the_address_of_a_cluster_that_is_gone_is_told_at_once(
    asked: str, stale_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits(*_: object, **__: object) -> None:
        raise AssertionError("Ray tries such an address for half a minute")

    monkeypatch.setattr(subprocess, "run", waits)
    address = "auto" if asked == "auto" else stale_address
    with pytest.raises(UnseenError, match=f"No Ray cluster answers at '{address}'"), cluster(None, address):
        pass


def test_without_any_cluster_auto_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UnseenError, match="No Ray cluster answers at 'auto'"), cluster(None, "auto"):
        pass


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1", "127.0.0.1:port", "ray://127.0.0.1:1", ""])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(UnseenError, match=f"No Ray cluster answers at '{address}'"), cluster(None, address):
        pass


def test_something_else_that_listens_at_the_address_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_PATIENCE_S", 1)
    with socket.create_server(("", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UnseenError, match=f"No Ray cluster answers at '{address}'"), cluster(None, address):
            pass
