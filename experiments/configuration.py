"""Configurations: the choices of a study, multiplied out and built."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.errors import LearningError, StudyError, ValuesError
from benchmarks.normalization import NORMALIZATIONS
from benchmarks.parts import Table, build, find
from benchmarks.quality import Treatment
from benchmarks.representations.contract import Representation
from benchmarks.representations.table import REPRESENTATIONS
from clients.encoders.table import ENCODERS
from clients.objectives.table import OBJECTIVES
from clients.training import Training
from experiments.choosing import candidates, hint
from experiments.study import DEFAULT_PARTS, Choice, ConfigurationChoice, Study
from strategies.contract import Strategy, check_geometry
from strategies.federated.table import AGGREGATIONS
from strategies.grids.table import GRIDS
from strategies.table import STRATEGIES


@dataclass(frozen=True)
class Kind:
    """A kind of part that a strategy may take.

    Parameters
    ----------
    table : mapping of str to str
        Where parts of this kind live, by name.
    contract : str
        What they all are, as ``package.module:Name``.
    """

    table: Table
    contract: str

    def build(self, choice: Choice, what: str, where: str) -> Any:
        """The part that was chosen; its contract is imported here, since those of federations are slow to import.

        Raises
        ------
        StudyError
            There is no such part, or a value of it is wrong.
        """
        return build(find(choice.name, self.table, what, pkgutil.resolve_name(self.contract)), {}, choice.values, where)


PARTS: Mapping[str, Kind] = {
    "normalization": Kind(NORMALIZATIONS, "benchmarks.normalization:Normalization"),
    "encoder": Kind(ENCODERS, "clients.encoders.contract:Encoder"),
    "objective": Kind(OBJECTIVES, "clients.objectives.contract:Objective"),
    "aggregator": Kind(AGGREGATIONS, "strategies.federated.contract:Aggregation"),
    "grid": Kind(GRIDS, "strategies.grids.contract:Place"),
}
"""Parts that a strategy may take, by the name of its field."""

_OF_FEDERATIONS = ("aggregator", "grid")
NONE = Choice(name="none")


@dataclass(frozen=True)
class Configuration:
    """One choice of all that a study varies, built.

    Parameters
    ----------
    label : str
        Unique in its study: name of the entry, and what it varies.
    strategy : Strategy
        Built with its normalisation, encoder, objective, aggregator, grid and training.
    representation : Representation or None
        None where the data set brings its own features.
    quality : {"drop", "keep", "impute", "fail"}
        What happens to its unusable windows.
    choices : mapping of str to Choice
        What was chosen for representation, strategy, and each of `PARTS` (``none``: not used).
    transductive : bool
        Whether unlabelled windows of the scored subject are used.
    control : bool
        Whether it shows what can be told without the physiology in question.
    candidates : mapping of str to Configuration
        Where the study leaves a value of the strategy open: the ways to fill it, by what is chosen in each. The
        configuration stands for the first of them until it is known.
    """

    label: str
    strategy: Strategy
    representation: Representation | None
    quality: Treatment
    choices: Mapping[str, Choice]
    transductive: bool
    control: bool
    candidates: Mapping[str, Configuration] = dataclasses.field(default_factory=dict)

    def chosen(self, value: str) -> Configuration:
        """The configuration with one of its candidates chosen."""
        return replace(self.candidates[value], label=self.label)

    @property
    def described(self) -> dict[str, Any]:
        """All values, defaults included, as plain data."""
        return {"strategy": describe(self.strategy), "representation": describe(self.representation)}

    @property
    def modules(self) -> set[str]:
        """Modules of the built parts, whose source files determine the numbers."""
        fields = (getattr(self.strategy, name, None) for name in (*PARTS, "training"))
        built = [part for part in (self.strategy, *fields) if part is not None]
        named = getattr(getattr(self.strategy, "aggregator", None), "modules", ())
        shown = () if self.representation is None else self.representation.modules
        return {*(type(part).__module__ for part in built), *named, *shown}

    @property
    def variant(self) -> str:
        """The strategy with its values and, for a federation, its aggregator and grid with theirs."""
        told = [f"{field}={self.choices[field].text}" for field in _OF_FEDERATIONS if self.choices[field] is not NONE]
        return ", ".join([self.choices["strategy"].text, *told])


def describe(part: object) -> Any:
    """A built part for people and trackers: where its class lives, and its fields, defaults included."""
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        values = {field.name: describe(getattr(part, field.name)) for field in dataclasses.fields(part)}
        return {"part": f"{type(part).__module__}:{type(part).__qualname__}", **values}
    if isinstance(part, Mapping):
        return {str(key): describe(value) for key, value in part.items()}
    if isinstance(part, (list, tuple)):
        return [describe(value) for value in part]
    return part


def configurations(study: Study, representation: str | None) -> Iterator[Configuration]:
    """Configurations of a study, in the order of its file.

    Parameters
    ----------
    study : Study
        Checked study file.
    representation : str or None
        The one of the data set, where the study names none; None where a data set brings its own features.

    Raises
    ------
    StudyError
        An unknown name, a part that a strategy does not take, or a wrong value; the message names the field.
    """
    for name, entry in study.configurations.items():
        for number, choice in enumerate(entry.strategy):
            yield from _expanded(study, name, entry, number, choice, representation)


def _expanded(
    study: Study, name: str, entry: ConfigurationChoice, number: int, strategy: Choice, default: str | None
) -> Iterator[Configuration]:
    where = f"configurations.{name}"
    if strategy.name in AGGREGATIONS:
        raise StudyError(
            f"{where}.strategy: {strategy.name} is an aggregator: write strategy: {{name: federated, rounds: ...}} and "
            f"aggregator: {strategy.name}."
        )
    part = find(strategy.name, STRATEGIES, "strategy", Strategy)
    takes = inspect.signature(part).parameters
    for field in (*PARTS, "training"):
        if getattr(entry, field) is not None and field not in takes:
            raise StudyError(f"{where}.{field}: strategy {strategy.name} takes no {field}; remove it.")
    for field in ("representation", "quality"):
        if default is None and getattr(entry, field) is not None:
            raise StudyError(f"{where}.{field}: this data set brings its own features; remove it.")

    normalization = "stream" if part.sequential else "training"
    defaults = {**DEFAULT_PARTS, "normalization": normalization}
    varied = {
        field: _alternatives(study, entry, field, defaults[field]) if field in takes else (NONE,) for field in PARTS
    }
    shown = (NONE,) if default is None else _alternatives(study, entry, "representation", default)
    # A strategy that never looks at the windows would give the same numbers for each representation.
    varied["representation"] = shown if part.needs_features else shown[:1]

    for combination in itertools.product(*varied.values()):
        choices = dict(zip(varied, combination, strict=True))
        built = {
            field: kind.build(choices[field], field, _place(f"{where}.{field}", varied[field], choices[field]))
            for field, kind in PARTS.items()
            if choices[field] is not NONE
        }
        if "training" in takes:
            values = study.training if entry.training is None else entry.training
            built["training"] = build(Training, {}, values or {}, f"{where}.training")
        made_of = _representation(choices["representation"], where)
        _check_geometry(part, made_of, where)
        looking = [built[field] for field in ("normalization", "aggregator") if field in built]
        label = "/".join([name, *_told(entry.strategy, number), *_varied(varied, choices)])
        filled = candidates(strategy, f"{where}.strategy")
        made = {
            told: Configuration(
                label=f"{label} {told}" if filled else label,
                strategy=_strategy(part, built, one, f"{where}.strategy"),
                representation=made_of,
                quality=entry.quality or study.quality or "drop",
                choices={**choices, "strategy": one},
                transductive=part.needs_target or any(one.transductive for one in looking),
                control=part.control or (made_of is not None and made_of.control),
            )
            for told, one in (filled or {"": strategy}).items()
        }
        first = next(iter(made.values()))
        if not filled:
            yield first
        else:
            yield replace(first, label=label, choices={**choices, "strategy": strategy}, candidates=made)


def _strategy(part: type[Strategy], built: Mapping[str, Any], choice: Choice, where: str) -> Strategy:
    """The strategy; where a value is refused for which several may have been meant, the message says how to ask."""
    try:
        made: Strategy = build(part, built, choice.values, where)
    except ValuesError as error:
        may_choose = part.sequential and not part.needs_target
        hints = [hint(choice.values, name, may_choose) for name in error.names]
        raise StudyError(" ".join(filter(None, [str(error), *hints]))) from error
    return made


def _alternatives(study: Study, entry: ConfigurationChoice, field: str, default: str) -> tuple[Choice, ...]:
    return getattr(entry, field) or getattr(study, field) or (Choice(name=default),)


def _place(where: str, alternatives: Sequence[Choice], chosen: Choice) -> str:
    """Where a choice stands in the study file, with its name where there are several."""
    return where if len(alternatives) == 1 else f"{where}.{chosen.name}"


def _representation(choice: Choice, where: str) -> Representation | None:
    if choice is NONE:
        return None
    made: Representation = build(
        find(choice.name, REPRESENTATIONS, "representation", Representation),
        {},
        choice.values,
        f"{where}.representation",
    )
    return made


def _check_geometry(strategy: type[Strategy], representation: Representation | None, where: str) -> None:
    try:
        check_geometry(strategy, "vector" if representation is None else representation.geometry)
    except LearningError as error:
        raise StudyError(f"{where}.representation: {error}") from error


def _told(alternatives: Sequence[Choice], number: int) -> list[str]:
    """Text that tells one of several alternatives from the others; nothing where there is one."""
    if len(alternatives) == 1:
        return []
    names = [choice.name for choice in alternatives]
    chosen = alternatives[number]
    return [chosen.name if names.count(chosen.name) == 1 else chosen.text]


def _varied(varied: Mapping[str, tuple[Choice, ...]], choices: Mapping[str, Choice]) -> list[str]:
    return [text for field in varied for text in _told(varied[field], varied[field].index(choices[field]))]
