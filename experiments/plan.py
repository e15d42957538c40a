"""The plan of a study: its cells, each with a digest of all that determines its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.cohort import choose_subjects
from benchmarks.datasets.contract import Dataset, Places
from benchmarks.datasets.table import DATASETS
from benchmarks.digest import digest
from benchmarks.errors import StudyError
from benchmarks.metrics.contract import Metric
from benchmarks.metrics.table import CURVE_METRICS, METRICS, WINDOW_ONLY
from benchmarks.parts import build, find, locate, nearest
from benchmarks.preprocessing import Preprocessing
from benchmarks.protocols.contract import Fold, Protocol
from benchmarks.protocols.table import PROTOCOLS
from benchmarks.recipe import Recipe, WindowLength
from benchmarks.recording import Task
from benchmarks.representations.contract import FeatureRepresentation, Representation
from benchmarks.source import source_digest
from clients.stack_size import FEWEST
from experiments.cell import Job
from experiments.choosing import Chosen, choose
from experiments.configuration import Configuration, configurations, describe
from experiments.controls import control_study
from experiments.provenance import versions, versions_of
from experiments.records import CellRecord, Level
from experiments.study import Study

if TYPE_CHECKING:
    import pandas as pd

MAJORITY = "majority"
_SIDE_BY_SIDE = 16
"""Cells of a group, about: several groups keep several workers busy, and larger stacks were measured to gain little.

It is part of the plan, so that neither the machine nor its workers change a number.
"""


class Position(NamedTuple):
    """Where a cell of a configuration stands in its plan."""

    fold: Fold
    seed: int
    stream: int


@dataclass(frozen=True)
class Cell:
    """One unit of work of a plan."""

    configuration: Configuration
    fold: Fold
    seed: int
    stream: int
    keeps_model: bool
    digest: str


@dataclass(frozen=True)
class Group:
    """Cells of one configuration that are computed together; most often it is one cell."""

    cells: tuple[Cell, ...]

    @property
    def configuration(self) -> Configuration:
        """That of its cells."""
        return self.cells[0].configuration


class Plan:
    """Study, data set and parts, built and checked; nothing of the data is read but what identifies it.

    Parameters
    ----------
    study : Study
        Checked study file.
    places : Places
        Folders of data, cache and study.

    Raises
    ------
    StudyError, DataError
        A name, value or subject is wrong, or the data are not there; nothing has been computed.
    """

    def __init__(self, study: Study, places: Places) -> None:
        self.study = study
        given = {"places": places}
        self.dataset: Dataset = build(
            find(study.dataset.name, DATASETS, "data set", Dataset), given, study.dataset.values, "dataset"
        )
        self.task: Task = self.dataset.task(study.task)
        self.task_name = study.task or next(iter(self.dataset.tasks))
        self.protocol: Protocol = build(
            find(study.protocol.name, PROTOCOLS, "protocol", Protocol), {}, study.protocol.values, "protocol"
        )
        self.preprocessing: Preprocessing = build(Preprocessing, {}, study.preprocessing, "preprocessing")
        self.subjects = choose_subjects(self.dataset, self.task_name, study.subjects, study.exclude)
        self.windows = self._windows(self.dataset.default_signal is None)
        self.configurations = self._with_controls()
        self.choices: tuple[Chosen, ...] = ()
        self._refuse_unchoosable()
        self._refuse_more_orders()
        self._refuse_unused()
        self._refuse_timeless()
        self.reference = self._reference()
        self.metrics = _metrics(study.metric, study.level)
        # Too few subjects for the protocol or the validation shows now, not after the representation is computed.
        for fold in self.protocol.folds(self.subjects):
            for configuration in self.configurations:
                fold.validation(self.validation_subjects(configuration), 0)
            fold.order(fold.learners, max(map(self._streams, self.configurations)) - 1)

    def _windows(self, ready_made: bool) -> WindowLength | None:
        for field in ("windows", "signal", "preprocessing", "quality", "representation"):
            if ready_made and getattr(self.study, field):
                raise StudyError(f"{field}: {self.dataset.card.name} brings its own features; remove it.")
        if ready_made:
            return None
        if self.study.windows is None:
            raise StudyError("windows: must be given, as in `windows: {length_s: 4}`.")
        windows: WindowLength = build(WindowLength, {}, self.study.windows, "windows")
        return windows

    def _with_controls(self) -> tuple[Configuration, ...]:
        """The study's configurations, behind the controls that it does not hold already."""
        default = None if self.dataset.default_signal is None else self.dataset.default_representation
        own = tuple(self._distinct(configurations(self.study, default)))
        labels = {one.label for one in own}
        contents = {content for one in own for content in _contents(one)}
        looking = [one for one in own if one.strategy.needs_features]
        shown = (looking or own)[0].choices["representation"]
        study = control_study(self.study, self.dataset, self.subjects, None if default is None else shown)
        controls = [
            replace(one, label=f"{one.label} (control)") if one.label in labels else one
            for one in configurations(study, default)
            if not contents & set(_contents(one))
        ]
        return (*controls, *own)

    @staticmethod
    def _distinct(made: Iterable[Configuration]) -> Iterator[Configuration]:
        met: dict[str, Configuration] = {}
        for configuration in made:
            # Cells are told by what determines them, so what might be chosen may not stand elsewhere either.
            mine = _contents(configuration)
            shared = [content for content in mine if content in met]
            if shared:
                raise StudyError(f"configurations: {_overlap(met[shared[0]], configuration)}.")
            met |= dict.fromkeys(mine, configuration)
            yield configuration

    def _refuse_unused(self) -> None:
        """Refuse what the study says of its one signal, where no representation of it reads that."""
        for field in ("preprocessing", "signal"):
            if getattr(self.study, field) and all(one.as_recorded for one in self.representations):
                raise StudyError(
                    f"{field}: no representation of this study takes it; they read signals of their own, as they were "
                    f"recorded. Remove it."
                )

    def _refuse_timeless(self) -> None:
        """Refuse to split a person's windows in time where a table does not say when they are."""
        if self.windows is not None or (self.dataset.one_clock and self.dataset.window_s):
            return
        known = "so it must be known when windows start and how long they are: give dataset.onset and dataset.length_s."
        seen = [one.label for one in self.configurations if one.strategy.target == "seen"]
        if seen:
            raise StudyError(
                f"configurations: {', '.join(seen)} learns from the scored person and is scored on later windows, "
                f"{known}"
            )
        for fold in self.protocol.folds(self.subjects):
            if fold.seen or fold.tracked:
                raise StudyError(f"protocol: people who are learned from are scored too, on later windows, {known}")

    def _refuse_unchoosable(self) -> None:
        """Refuse open values where nobody is set aside on whom they could be chosen."""
        for one in self.open:
            if self.protocol.choosing(self.subjects) is None:
                raise StudyError(
                    f"configurations: {one.label} leaves a value open, and protocol {self.study.protocol.name} sets "
                    f"nobody aside to choose it on: give protocol: {{name: stream, choosing_subjects: N, ...}}, with N "
                    f"of the people, or a value."
                )
            if one.strategy.needs_target or not one.strategy.sequential:
                raise StudyError(
                    f"configurations: {one.label} leaves a value open, which only strategies that meet subjects in "
                    f"sequence, and need no windows of the scored people, can: give a value."
                )

    def _refuse_more_orders(self) -> None:
        """Refuse to choose in more orders than there are, where the study says in how many.

        Where it says nothing, the people who are set aside may have fewer than are usual, and are met in all of them.
        """
        fold = self.protocol.choosing(self.subjects)
        asked = self.protocol.choosing_orders if "choosing_orders" in self.study.protocol.values else 0
        if fold is not None and asked > fold.orders:
            raise StudyError(
                f"protocol.choosing_orders: {asked} orders are asked for, and {len(fold.learners)} people who are set "
                f"aside can be met in {fold.orders}: {fold.orders} is the largest possible number. Lower it, or raise "
                f"protocol.choosing_subjects."
            )

    @property
    def open(self) -> tuple[Configuration, ...]:
        """Configurations of which a value is still to be chosen: until then their cells are those of a candidate."""
        return tuple(one for one in self.configurations if one.candidates)

    def choosing(self) -> dict[str, dict[str, list[Group]]]:
        """Cells on which open values are chosen, by configuration and candidate: first seed, the protocol's orders."""
        fold = self.protocol.choosing(self.subjects)
        if fold is None:
            return {}
        return {
            one.label: {value: self._of(candidate, fold) for value, candidate in one.candidates.items()}
            for one in self.open
        }

    def _of(self, candidate: Configuration, fold: Fold) -> list[Group]:
        shared, seed = self._determinants(candidate), self._seeds(candidate)[0]
        orders = range(min(self.protocol.choosing_orders, fold.orders))
        positions = [Position(fold, seed, stream) for stream in orders]
        together = _in_blocks(positions, 1) if candidate.strategy.lockstep else ([position] for position in positions)
        return [self._group(candidate, shared, of, choosing=True) for of in together]

    def chosen(self, rows: pd.DataFrame, causes: Mapping[str, str]) -> Plan:
        """The plan with its open values chosen; a configuration of which no candidate could be learned is left out.

        Parameters
        ----------
        rows : DataFrame
            Rows of the cells of `choosing` at every step.
        causes : mapping of str to str
            Why cells failed, by digest.

        Raises
        ------
        StudyError
            What the others are compared with could not be learned.
        """
        made = {}
        for label, of in self.choosing().items():
            digests = {value: [cell.digest for cell in cells_of(groups)] for value, groups in of.items()}
            made[label] = choose(label, digests, rows, causes, self.study.metric)
        if self.reference in made and made[self.reference].value is None:
            raise StudyError(f"reference: {made[self.reference].told}. Choose from other values.")
        plan = copy(self)
        plan.configurations = tuple(_settled(self.configurations, made))
        plan.choices = tuple(made.values())
        return plan

    @property
    def representations(self) -> tuple[Representation, ...]:
        """Of all configurations that look at the windows."""
        used = (one for one in self.configurations if one.strategy.needs_features)
        return tuple(one.representation for one in used if one.representation is not None)

    def _reference(self) -> str:
        labels = [configuration.label for configuration in self.configurations]
        if self.study.reference is None:
            controls = [c.label for c in self.configurations if c.control]
            majority = [c.label for c in self.configurations if c.choices["strategy"].name == MAJORITY]
            if not [*majority, *controls]:
                raise StudyError("reference: must be given, since the study leaves all controls out.")
            return [*majority, *controls][0]
        if self.study.reference not in labels:
            raise StudyError(
                f"reference: no configuration {self.study.reference!r}. {nearest(self.study.reference, labels)}"
            )
        if next(c for c in self.configurations if c.label == self.study.reference).strategy.target == "seen":
            raise StudyError(
                f"reference: {self.study.reference} learns from the scored people themselves and is scored on other "
                f"windows than the rest, so nothing can be compared with it."
            )
        return self.study.reference

    def recipe(self, configuration: Configuration) -> Recipe | None:
        """How the windows of a configuration are made; None where the data set brings them."""
        if configuration.representation is None or self.windows is None:
            return None
        representation = configuration.representation
        values = {
            "signal": self.study.signal or self.dataset.default_signal,
            # What it does not use is not part of it: one cohort then serves studies that differ in that.
            "preprocessing": Preprocessing() if representation.as_recorded else self.preprocessing,
            "windows": self.windows,
            "representation": representation,
        }
        made: Recipe = build(Recipe, values, {"treatment": configuration.quality}, "quality")
        return made

    @cached_property
    def data_fingerprint(self) -> str:
        """SHA-256 over the fingerprints of all subjects of this plan."""
        told = {subject: self.dataset.fingerprint(subject) for subject in self.subjects}
        return digest(told)

    def cells(self) -> Iterator[Cell]:
        """All cells, lazily, configuration after configuration."""
        return cells_of(self.groups())

    def groups(self) -> Iterator[Group]:
        """All cells, lazily, in the groups that are computed together."""
        for configuration in self.configurations:
            shared = self._determinants(configuration)
            for positions in self._together(configuration):
                yield self._group(configuration, shared, positions)

    def _together(self, configuration: Configuration) -> Iterator[Sequence[Position]]:
        """Positions of cells, in the groups that are learned side by side."""
        folds = tuple(self.protocol.folds(self.subjects))
        streams, seeds = range(self._streams(configuration)), self._seeds(configuration)
        if not configuration.strategy.lockstep:
            return ([Position(fold, seed, stream)] for fold in folds for stream in streams for seed in seeds)
        if configuration.strategy.sequential:
            positions = [Position(fold, seed, stream) for stream in streams for fold in folds for seed in seeds]
            return _in_blocks(positions, len(seeds))
        return (
            [Position(fold, seed, stream) for fold in group]
            for group in _balanced(folds)
            for stream in streams
            for seed in seeds
        )

    def _group(
        self, configuration: Configuration, shared: str, positions: Sequence[Position], *, choosing: bool = False
    ) -> Group:
        # Which cells are stacked with which may change the last bits of their numbers.
        beside = [digest(positions)] if len(positions) > 1 else []
        cells = []
        for fold, seed, stream in positions:
            keeps = not choosing and self._keeps_model(configuration, seed, stream)
            told = [shared, fold, self._recorded(fold), seed, stream, keeps, *beside]
            cells.append(Cell(configuration, fold, seed, stream, keeps, digest(told)))
        return Group(tuple(cells))

    def _streams(self, configuration: Configuration) -> int:
        """In how many orders a configuration meets people."""
        ordered = configuration.strategy.sequential and configuration.strategy.order_matters
        return self.study.orders if ordered else 1

    def _seeds(self, configuration: Configuration) -> tuple[int, ...]:
        return self.study.seeds if configuration.strategy.stochastic else (0,)

    def _determinants(self, configuration: Configuration) -> str:
        """Digest of all that determines a cell besides fold, seed and order."""
        modules = configuration.modules | {type(part).__module__ for part in (self.dataset, self.protocol)}
        modules |= {_place(name).partition(":")[0] for name in self.metrics["window"]}
        return digest(
            {
                "data": self.data_fingerprint,
                "task": [self.task_name, self.task.classes],
                "recipe": self.recipe(configuration),
                "window_s": self.dataset.window_s,
                "strategy": configuration.strategy,
                "validation": self.validation_subjects(configuration),
                "metrics": {level: sorted(map(_place, metrics)) for level, metrics in self.metrics.items()},
                "source": source_digest(sorted(modules | {"experiments.cell"})),
                "versions": {**versions(), **versions_of(modules)},
            }
        )

    def validation_subjects(self, configuration: Configuration) -> int:
        """How many learners of a fold are set aside for this configuration to choose on."""
        return self.protocol.validation_subjects if configuration.strategy.uses_validation else 0

    def job(self, cell: Cell) -> Job:
        """What a worker needs for a cell, besides the cohort."""
        return Job(
            strategy=cell.configuration.strategy,
            fold=cell.fold,
            seed=cell.seed,
            stream=cell.stream,
            validation_subjects=self.validation_subjects(cell.configuration),
            metrics=self.metrics,
            curve_metrics=self._curve_metrics(cell.fold),
            keep_model=cell.keeps_model,
        )

    def _curve_metrics(self, fold: Fold) -> Mapping[Level, Mapping[str, Metric]]:
        """Metrics at every step; in a stream, whose every step scores everybody, the study's own alone."""
        if not fold.tracked:
            return {"window": {name: self.metrics["window"][name] for name in CURVE_METRICS}}
        primary = self.study.metric
        return {level: {primary: of[primary]} for level, of in self.metrics.items() if primary in of}

    def _recorded(self, fold: Fold) -> Mapping[Level, list[str]]:
        """What is scored at every step, by where it lives."""
        return {level: sorted(map(_place, metrics)) for level, metrics in self._curve_metrics(fold).items()}

    def _keeps_model(self, configuration: Configuration, seed: int, stream: int) -> bool:
        """One fitted predictor a fold is kept, of the first seed and order: what a tracker can offer for new people."""
        first = seed == self._seeds(configuration)[0] and stream == 0
        return first and not configuration.control and configuration.strategy.target == "unseen"

    def _features(self, configuration: Configuration) -> list[str]:
        """Names of the features of a window, where they have names."""
        if self.windows is None or not isinstance(configuration.representation, FeatureRepresentation):
            return []
        return list(configuration.representation.features(self.windows.length_s))

    def record(self, cell: Cell, commit: str) -> CellRecord:
        """What the results file keeps of a cell besides its scores."""
        choices = {field: choice.text for field, choice in cell.configuration.choices.items()}
        return CellRecord(
            digest=cell.digest,
            study=self.study.study,
            dataset=self.dataset.card.name,
            task=self.task_name,
            configuration=cell.configuration.label,
            representation=choices["representation"],
            normalization=choices["normalization"],
            protocol=self.study.protocol.text,
            fold=cell.fold.name,
            encoder=choices["encoder"],
            objective=choices["objective"],
            strategy=cell.configuration.choices["strategy"].name,
            variant=cell.configuration.variant,
            seed=cell.seed,
            stream=cell.stream,
            transductive=cell.configuration.transductive,
            simulated=self.dataset.card.simulated,
            provenance={
                "configuration": cell.configuration.described,
                "recipe": describe(self.recipe(cell.configuration)),
                "features": self._features(cell.configuration),
                "data_fingerprint": self.data_fingerprint,
                "versions": versions(),
                "commit": commit,
            },
        )


def cells_of(groups: Iterable[Group]) -> Iterator[Cell]:
    """All cells of groups, lazily, in their order."""
    return (cell for group in groups for cell in group.cells)


def _settled(configurations: Iterable[Configuration], made: Mapping[str, Chosen]) -> Iterator[Configuration]:
    for one in configurations:
        if one.label not in made:
            yield one
        elif (value := made[one.label].value) is not None:
            yield one.chosen(value)


def is_here(study: Study, places: Places) -> bool:
    """Whether the data set of a study is on this machine; raises StudyError if there is no such set."""
    kind: type[Dataset] = find(study.dataset.name, DATASETS, "data set", Dataset)
    return kind.present(places) is not None


def _balanced(folds: Sequence[Fold]) -> Iterator[tuple[Fold, ...]]:
    """Folds in groups of at most `_SIDE_BY_SIDE`, as few as there can be and of nearly equal size."""
    groups = -(-len(folds) // _SIDE_BY_SIDE)
    for number in range(groups):
        start, stop = (-(-cut * len(folds) // groups) for cut in (number, number + 1))
        yield tuple(folds[start:stop])


def _in_blocks(positions: Sequence[Position], seeds: int) -> Iterator[Sequence[Position]]:
    """Positions in groups of about as many as are learned side by side, those of all seeds of an order in one of them.

    All but the last are full: a study that gets more orders keeps the cells that it has, but for those of the last.
    Those of a last one that is too small are by themselves, so that several workers may have them.
    """
    size = max(1, _SIDE_BY_SIDE // seeds) * seeds
    for start in range(0, len(positions), size):
        block = positions[start : start + size]
        yield from [block] if len(block) >= FEWEST else ([position] for position in block)


def _place(metric: str) -> str:
    return locate(metric, METRICS, "metric")


def _contents(configuration: Configuration) -> dict[str, str]:
    """Digests of what tells its numbers from another's in the same study, with what would be chosen to become so."""
    possible = configuration.candidates or {"": configuration}
    return {digest([one.strategy, one.representation, one.quality]): told for told, one in possible.items()}


def _overlap(one: Configuration, other: Configuration) -> str:
    """Why two configurations of which some contents are the same cannot stand in one study, and what to do."""
    if not (one.candidates or other.candidates):
        return f"{one.label!r} and {other.label!r} are the same in all that determines their numbers; remove one"
    choosing, beside = (one, other) if one.candidates else (other, one)
    also = _contents(beside)
    values = " and ".join(told for content, told in _contents(choosing).items() if content in also)
    return (
        f"{choosing.label!r} may choose {values}, which {beside.label!r} {'may too' if beside.candidates else 'has'}: "
        f"what is computed belongs to one configuration; give each other values"
    )


def _metrics(primary: str, level: Level) -> Mapping[Level, Mapping[str, Metric]]:
    """Metrics of final predictors by level: all of the table, and the study's own primary one."""
    if primary in WINDOW_ONLY and level != "window":
        raise StudyError(f"metric: {primary} is scored on windows only; choose level: window, or another metric.")
    window = {name: find(name, METRICS, "metric") for name in {**METRICS, primary: ""}}
    return {"window": window, "trial": {name: m for name, m in window.items() if name not in WINDOW_ONLY}}
