"""A study file: one question, asked of a data set by a set of configurations. Read, checked, and explained."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from benchmarks.errors import StudyError
from benchmarks.parts import nearest
from benchmarks.quality import Treatment


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Choice(_Strict):
    """A part by name, with its values: ``lda``, or ``{name: lda, priors: empirical}``."""

    name: str
    values: Mapping[str, Any] = {}

    @property
    def text(self) -> str:
        """Name with its values, for people."""
        told = ", ".join(f"{key}={_told(value)}" for key, value in self.values.items())
        return f"{self.name}({told})" if told else self.name


CHOOSE = "choose"
"""Key of a value that a study leaves open: ``strength: {choose: [1, 10]}``."""


def _told(value: Any) -> str:
    if isinstance(value, Mapping) and set(value) == {CHOOSE}:
        return f"one of {value[CHOOSE]}"
    return str(value)


def _choice(value: Any) -> Any:
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping):
        if not isinstance(value.get("name"), str):
            raise ValueError("a part is its name, or a mapping with a 'name' and its values")
        return {"name": value["name"], "values": {key: v for key, v in value.items() if key != "name"}}
    if isinstance(value, Choice):
        return value
    raise ValueError("a part is its name, or a mapping with a 'name' and its values")


def _alternatives(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


PartChoice = Annotated[Choice, BeforeValidator(_choice)]
Alternatives = Annotated[tuple[PartChoice, ...], BeforeValidator(_alternatives), Field(min_length=1)]
"""One choice or a list of them: a configuration is repeated for each."""


STUDY_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"

DEFAULT_PARTS = {
    "protocol": "loso",
    "encoder": "mlp",
    "objective": "cross_entropy",
    "aggregator": "fedavg",
    "grid": "auto",
}
"""What a study uses where it names no part; the default normalisation depends on the strategy, the default
representation on the data set.
"""


class Parts(_Strict):
    """Choices that a study makes for all its configurations, and a configuration for itself."""

    representation: Alternatives | None = None
    normalization: Alternatives | None = None
    encoder: Alternatives | None = None
    objective: Alternatives | None = None
    aggregator: Alternatives | None = None
    grid: Alternatives | None = None
    training: Mapping[str, Any] | None = None
    quality: Treatment | None = None


class ConfigurationChoice(Parts):
    """One entry of ``configurations``."""

    strategy: Alternatives


def _seeds(value: Any) -> Any:
    return list(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    repeated = [value for value in values if values.count(value) > 1]
    if repeated:
        raise ValueError(f"{repeated[0]!r} stands twice")
    return values


def _name(value: Any) -> Any:
    # Tables often number their subjects, and YAML reads a number as one.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Subjects = Annotated[tuple[Annotated[str, BeforeValidator(_name)], ...], AfterValidator(_distinct)]


class Study(Parts):
    """The whole file. `unseen new` writes one with a comment on each field."""

    study: Annotated[str, Field(pattern=rf"^{STUDY_NAME}$")]
    question: str = ""
    dataset: PartChoice
    task: str | None = None
    subjects: Subjects | None = None
    exclude: Subjects = ()
    signal: str | None = None
    preprocessing: Mapping[str, Any] = {}
    windows: Mapping[str, Any] | None = None
    protocol: PartChoice = Choice(name=DEFAULT_PARTS["protocol"])
    seeds: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...],
        BeforeValidator(_seeds), Field(min_length=1), AfterValidator(_distinct),
    ] = (0,)  # fmt: skip
    orders: Annotated[int, Field(gt=0)] = 1
    metric: str = "balanced_accuracy"
    level: Literal["window", "trial"] = "window"
    reference: str | None = None
    target_score: Annotated[float, Field(allow_inf_nan=False)] | None = None
    controls: Annotated[tuple[str, ...], BeforeValidator(_alternatives), AfterValidator(_distinct)] | None = None
    configurations: Annotated[Mapping[str, ConfigurationChoice], Field(min_length=1)]

    def only(self, names: Sequence[str] | None) -> Study:
        """The study with these entries of its configurations alone; None keeps all.

        Raises
        ------
        StudyError
            There is no such entry.
        """
        for name in names or ():
            if name not in self.configurations:
                raise StudyError(f"--only {name}: no such configuration. {nearest(name, self.configurations)}")
        kept = {name: entry for name, entry in self.configurations.items() if not names or name in names}
        return self.model_copy(update={"configurations": kept})


_ACROSS = "across"
"""Key of the data sets that a study asks the same of."""

SHIPPED = Path(__file__).parent / "studies"


def locate_study(name: str) -> Path:
    """Path of a study file: as given, or the study of that name, here or shipped.

    Raises
    ------
    StudyError
        There is none.
    """
    for path in (Path(name), Path(f"{name}.yaml"), SHIPPED / f"{name}.yaml"):
        if path.is_file():
            return path
    known = [path.stem for path in SHIPPED.glob("*.yaml")]
    raise StudyError(f"No study file {name!r}, nor a shipped study. {nearest(name, known)} A new one: unseen new NAME.")


class _Loader(yaml.SafeLoader):
    """YAML in which a key may stand once: a second configuration of the same name would silently replace the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Mapping of a node, refusing a repeated key."""
        # A merge key (`<<`) takes over the keys of other mappings, which may stand here again, with other values.
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        keys = [self.construct_object(key, deep=True) for key in own]
        repeated = [key for key in keys if keys.count(key) > 1]
        if repeated:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {repeated[0]!r} stands twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def read_study(path: Path, changes: Sequence[str] = ()) -> Study:
    """Read a study file of one data set, change values of it, and check all its fields.

    Parameters
    ----------
    path : Path
        A YAML file.
    changes : sequence of str
        ``key=value`` each; the key is a dotted path into the file, the value YAML.

    Raises
    ------
    StudyError
        No YAML, or a wrong key, type or range; the message names the field. Or a file of several data sets.
    """
    studies = read_studies(path, changes)
    if len(studies) > 1:
        raise StudyError(f"{path} asks several data sets ({', '.join(study.study for study in studies)}): choose one.")
    return studies[0]


def read_studies(path: Path, changes: Sequence[str] = (), across: Sequence[str] | None = None) -> list[Study]:
    """As `read_study`, of a file that may ask the same of several data sets.

    Such a file has a key ``across``: under a name for each data set the values of the study that are different there,
    the others being those of the file. Each is a study of its own, called ``STUDY.NAME``.

    Parameters
    ----------
    path, changes
        As for `read_study`; each of the studies is changed.
    across : sequence of str or None
        Names of those that are read; None reads all.

    Raises
    ------
    StudyError
        As `read_study`; or a name that the file does not have.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise StudyError(f"Cannot read the study file {path}: {error}") from error
    if not isinstance(content, dict):
        raise StudyError(f"{path} is no study: expected keys and values, see `unseen new NAME`.")
    return [_checked(one, path, changes) for one in _parts(content, across)]


def _parts(content: dict[str, Any], across: Sequence[str] | None) -> list[dict[str, Any]]:
    parts = content.pop(_ACROSS, {})
    if not isinstance(parts, dict) or not all(isinstance(part, dict) for part in parts.values()):
        raise StudyError(f"{_ACROSS}: expected names of data sets, each with the values of the study there.")
    for name in across or ():
        if name not in parts:
            told = nearest(name, parts) if parts else "This study has one data set."
            raise StudyError(f"--across {name}: no such part of the study. {told}")
    named = {f"{content.get('study')}.{name}": part for name, part in parts.items() if not across or name in across}
    return [_merged(content, {**part, "study": name}) for name, part in named.items()] or [content]


def _merged(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Values of both, those of `own` before the common ones; mappings are merged key by key."""
    merged = copy.deepcopy(common)
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else copy.deepcopy(value)
    return merged


def _checked(content: dict[str, Any], path: Path, changes: Sequence[str]) -> Study:
    for change in changes:
        _change(content, change)
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        told = "\n".join(_explained(problem) for problem in error.errors())
        raise StudyError(f"{path} is not a valid study:\n{told}") from error


def _change(content: dict[str, Any], change: str) -> None:
    key, sign, text = change.partition("=")
    if not sign or not key:
        raise StudyError(f"--set {change}: expected key=value, as in --set seeds=5 or --set protocol.name=loso.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise StudyError(f"--set {change}: the value is no YAML: {error}") from error
    *above, last = key.split(".")
    place = content
    for name in above:
        if isinstance(place.get(name), str):
            # `strategy: lda` is short for `strategy: {name: lda}`, so its values can be set as well.
            place[name] = {"name": place[name]}
        place = place.setdefault(name, {"name": DEFAULT_PARTS[name]} if name in DEFAULT_PARTS else {})
        if not isinstance(place, dict):
            raise StudyError(f"--set {change}: {name!r} holds no keys in this study.")
    place[last] = value


def _explained(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"  {where}: no such key. {nearest(str(problem['loc'][-1]), _legal(problem['loc']))}"
    if problem["type"] == "missing":
        return f"  {where}: must be given."
    found = f", found {problem['input']!r}" if not isinstance(problem["input"], Mapping) else ""
    return f"  {where}: {problem['msg'][0].lower()}{problem['msg'][1:]}{found}."


def _legal(where: Sequence[Any]) -> list[str]:
    return list((Study if len(where) == 1 else ConfigurationChoice).model_fields)
