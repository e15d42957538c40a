"""Run a study: compute the cells that are missing, write each as it finishes, publish, and tell what came out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console

from benchmarks.cache import Cache
from benchmarks.cohort import Cohort, build_cohort
from benchmarks.digest import digest
from benchmarks.errors import DataError
from benchmarks.protocols.within_subject import SplitError, in_three
from experiments.cell import Job
from experiments.configuration import Configuration
from experiments.folders import Folders
from experiments.header import Header
from experiments.live import LivePublisher
from experiments.lock import only_run
from experiments.notes import notes_of
from experiments.plan import Group, Plan, cells_of
from experiments.provenance import git_commit
from experiments.records import Outcome
from experiments.report.progress import Progress
from experiments.results import Results
from strategies.contract import Target


@dataclass(frozen=True)
class Report:
    """What a run did.

    Parameters
    ----------
    computed, failed : int
        Cells computed now, and those of them that failed.
    seconds : float
        From the start of Ray to the end of the last cell.
    logging_s : float
        What publishing to MLflow cost beside that, beyond importing it and opening its store: processor time taken from
        the cells, and time for which the study waited at its end.
    problem : str or None
        Why MLflow is behind the results; None where it is not.
    """

    computed: int
    failed: int
    seconds: float
    logging_s: float
    problem: str | None


def run(
    plan: Plan,
    folders: Folders,
    cache: Cache,
    console: Console,
    *,
    workers: int | None = None,
    address: str = "local",
    tracking_uri: str | None = None,
) -> Report:
    """Compute what is missing of a plan.

    Parameters
    ----------
    plan : Plan
        Checked study.
    folders : Folders
        Where results go.
    cache : Cache
        Where representations are kept.
    console : rich.console.Console
        Where progress is shown.
    workers : int or None
        Cells at once on this machine; None takes all cores.
    address : str
        Ray: ``"local"``, or a cluster's.
    tracking_uri : str or None
        MLflow store; None takes the one beside the results.

    Raises
    ------
    UnseenError
        Data, results folder or Ray are not usable, or someone's windows are too few for a stream. What was finished
        before is kept.
    """
    path = folders.results(plan.study.study)
    with only_run(path):
        # Before the results file is made: of data that cannot be used there are no results.
        cohorts = _cohorts(plan, cache, console)
        _refuse_unsplit(plan, cohorts)
        with Results(path) as results:
            work = _Work(cohorts, results, console, git_commit(), workers, address)
            plan, *chosen = work.settled(plan)
            header = header_of(plan, tuple(cohorts.values()))
            artifacts = None if tracking_uri else folders.artifacts
            publisher = LivePublisher(tracking_uri or folders.tracking_uri, artifacts, header, path)
            work.begin(plan, header)
            with publisher:
                started = time.perf_counter()
                made = work.compute(plan, list(plan.groups()), publisher.subject_done)
                seconds = time.perf_counter() - started
    computed, failed = (sum(counts) for counts in zip(chosen, made, strict=True))
    return Report(computed, failed, seconds, publisher.seconds + publisher.waited_seconds, publisher.problem)


def header_of(plan: Plan, cohorts: tuple[Cohort, ...]) -> Header:
    """What a reader must know of the study."""
    return Header(
        study=plan.study.study,
        question=plan.study.question,
        dataset=plan.dataset.card.name,
        task=plan.task_name,
        classes=plan.task.classes,
        configurations=tuple(configuration.label for configuration in plan.configurations),
        reference=plan.reference,
        metric=plan.study.metric,
        level=plan.study.level,
        simulated=plan.dataset.card.simulated,
        notes=notes_of(plan, cohorts),
        controls=tuple(one.label for one in plan.configurations if one.control),
        seen=tuple(one.label for one in plan.configurations if one.strategy.target == "seen"),
        target_score=plan.study.target_score,
        choices=plan.choices,
    )


def _key(plan: Plan, configuration: Configuration) -> str:
    return digest(plan.recipe(configuration))


def _cohorts(plan: Plan, cache: Cache, console: Console) -> dict[str, Cohort]:
    """Cohort of each representation that the plan uses."""
    recipes = {_key(plan, configuration): plan.recipe(configuration) for configuration in plan.configurations}
    cohorts = {}
    for number, (key, recipe) in enumerate(recipes.items(), start=1):
        with console.status("") as status:

            def show(subject: str, text: str = f"representation {number} of {len(recipes)}") -> None:
                status.update(f"{text}: {subject}")

            cohorts[key] = build_cohort(plan.dataset, plan.task_name, plan.subjects, recipe, cache, show)
    return cohorts


def _refuse_unsplit(plan: Plan, cohorts: Mapping[str, Cohort]) -> None:
    """Refuse a stream in which someone's windows cannot be split, whom every cell would stumble over.

    Raises
    ------
    DataError
        It tells all such people, and what is asked of them once.
    """
    folds = [*plan.protocol.folds(plan.subjects), plan.protocol.choosing(plan.subjects)]
    met = {subject: None for fold in folds if fold is not None and fold.tracked for subject in fold.learners}
    told: dict[str, dict[str, dict[str, None]]] = {}
    for cohort in cohorts.values():
        for subject in met:
            try:
                in_three(cohort.windows.of(subject), cohort.length_s)
            except SplitError as error:
                told.setdefault(error.remedy, {}).setdefault(error.found, {})[subject] = None
    if told:
        raise DataError("\n".join(line for remedy, found in told.items() for line in (*_by_reason(found), remedy)))


def _by_reason(found: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """A line for each thing that is wrong, with all people of whom it is."""
    for reason, people in found.items():
        yield f"{', '.join(people)}: {reason}"


@dataclass(frozen=True, eq=False)
class _Work:
    """A run of a study: what is computed, and where it is written."""

    cohorts: Mapping[str, Cohort]
    results: Results
    console: Console
    commit: str
    workers: int | None
    address: str

    def settled(self, plan: Plan) -> tuple[Plan, int, int]:
        """The plan with its open values chosen; how many cells that took now, and how many of them failed.

        Raises
        ------
        StudyError
            What the others are compared with could not be learned.
        """
        groups = [group for of in plan.choosing().values() for mine in of.values() for group in mine]
        if not groups:
            return plan, 0, 0
        cells = list(cells_of(groups))
        self.console.print(f"Choosing values on {len(cells[0].fold.learners)} people who are set aside.")
        computed, failed = self.compute(plan, groups)
        digests = [cell.digest for cell in cells]
        known = self.results.cells(digests)
        causes = known[known["status"] == "failed"].set_index("digest")["cause"].to_dict()
        settled = plan.chosen(self.results.tracked(digests, plan.study.metric), causes)
        for one in settled.choices:
            self.console.print(one.told, soft_wrap=True)
        return settled, computed, failed

    def begin(self, plan: Plan, header: Header) -> None:
        """Write the plan, and the names that finished cells have in it."""
        cells = list(plan.cells())
        self.results.set_plan(header, [cell.digest for cell in cells])
        finished = self.results.finished()
        self.results.relabel(plan.record(cell, self.commit) for cell in cells if cell.digest in finished)

    def compute(
        self, plan: Plan, groups: Sequence[Group], done: Callable[[str, str], None] | None = None
    ) -> tuple[int, int]:
        """Compute groups, writing each cell that was not finished; how many there were, and how many failed.

        Parameters
        ----------
        plan : Plan
            Theirs.
        groups : sequence of Group
            Those of which no cell is missing are left out.
        done : callable or None
            Told the configuration and the fold of which all cells are written.
        """
        finished = self.results.finished()
        groups = [group for group in groups if any(cell.digest not in finished for cell in group.cells)]
        if not groups:
            return 0, 0
        # Ray takes a second or two to import: only a study that has something to compute pays it.
        from experiments.engine import cluster, compute_all

        def jobs() -> Iterator[tuple[Group, str, list[Job]]]:
            for group in groups:
                yield group, _key(plan, group.configuration), [plan.job(cell) for cell in group.cells]

        missing = [cell for group in groups for cell in group.cells if cell.digest not in finished]
        left = Counter((cell.configuration.label, cell.fold.name) for cell in missing)
        before = sum(cell.digest in finished for cell in plan.cells())
        failed = 0
        with (
            cluster(self.workers, self.address) as at_once,
            Progress(self.console, len(missing), before) as progress,
        ):
            for group, outcomes in compute_all(jobs(), self.cohorts, at_once):
                for cell, outcome in zip(group.cells, outcomes, strict=True):
                    # A group is computed whole, so what was finished before has come again, the same to the bit.
                    if cell.digest in finished:
                        continue
                    self.results.record(plan.record(cell, self.commit), outcome, time.time())
                    failed += outcome.cause is not None
                    subject = (cell.configuration.label, cell.fold.name)
                    value = _shown(outcome, plan.study.metric, cell.configuration.strategy.target)
                    progress.cell_done(subject[0], value, outcome.cause is not None)
                    left[subject] -= 1
                    if done is not None and not left[subject]:
                        done(*subject)
        return len(missing), failed


def _shown(outcome: Outcome, metric: str, target: Target) -> float | None:
    """Window-level primary score of a cell, of those whom its strategy is for; for the progress display."""
    final = (s for s in outcome.scores if s.final and s.level == "window" and s.target == target)
    values = [s.value for s in final if s.metric == metric]
    return sum(values) / len(values) if values else None
