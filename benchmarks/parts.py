"""Parts by name: look one up in a literal table, or import a user's own, and build it from a study's values."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from benchmarks.errors import StudyError, ValuesError

Table = Mapping[str, str]
"""From a part's name to where it lives, as ``package.module:Name``: nothing is imported until it is asked for."""


def nearest(name: str, legal: Iterable[str]) -> str:
    """Sentence that lists the legal names and suggests the nearest one."""
    names = sorted(legal)
    close = difflib.get_close_matches(name, names, n=1)
    suggestion = f" Did you mean {close[0]!r}?" if close else ""
    return f"Legal: {', '.join(names)}.{suggestion}"


def locate(name: str, table: Table, what: str) -> str:
    """Where a part lives, as ``package.module:Name``.

    Parameters
    ----------
    name : str
        A name in `table`, or the user's own ``package.module:Name``.
    table : mapping of str to str
        Legal names and where their parts live.
    what : str
        Kind of part, for the error message (``"strategy"``).

    Raises
    ------
    StudyError
        The name is neither in the table nor of the form ``package.module:Name``.
    """
    if name in table:
        return table[name]
    if ":" in name:
        return name
    raise StudyError(f"Unknown {what} {name!r}. {nearest(name, table)} Your own: package.module:Name.")


def find(name: str, table: Table, what: str, kind: type | None = None) -> Any:
    """Import the part called `name`.

    Parameters
    ----------
    name, table, what
        As in `locate`.
    kind : type or None
        Contract that the part must be a class of; None takes any object that can be called.

    Raises
    ------
    StudyError
        As in `locate`; and no such module or name in it, or something else than a part.
    """
    place = locate(name, table, what)
    module, _, attribute = place.partition(":")
    try:
        part = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        # A missing dependency *inside* the part is another mistake than a part that is not there.
        if error.name is not None and (module == error.name or module.startswith(error.name + ".")):
            raise StudyError(
                f"No module {error.name!r} for {what} {name!r}: it is looked for in the current folder and among the "
                f"installed packages."
            ) from error
        raise _broken(module, what, error) from error
    except AttributeError as error:
        raise StudyError(f"Module {module!r} has no {attribute!r}, named as {what} {name!r}.") from error
    except Exception as error:
        raise _broken(module, what, error) from error
    fits = callable(part) if kind is None else isinstance(part, type) and issubclass(part, kind)
    if not fits:
        wanted = "something to call" if kind is None else f"a class that inherits {kind.__module__}:{kind.__name__}"
        raise StudyError(f"{place} is no {what}: expected {wanted}.")
    if inspect.isabstract(part):
        lacking = ", ".join(sorted(part.__abstractmethods__))
        raise StudyError(f"{place} is no whole {what}: it lacks {lacking}, which {kind or part} asks for.")
    return part


def _broken(module: str, what: str, error: Exception) -> StudyError:
    return StudyError(f"Module {module!r}, named for a {what}, cannot be imported: {type(error).__name__}: {error}.")


def build(part: Any, given: Mapping[str, Any], values: Mapping[str, Any], where: str) -> Any:
    """Call `part` with what the platform gives it and the values of a study, checked against its annotations.

    Parameters
    ----------
    part : class or function
        What `find` returned.
    given : mapping
        Objects that the platform hands over, unchecked; those that the part has no parameter for are left out.
    values : mapping
        Values from a study file, by parameter name.
    where : str
        Field of the study file, for error messages (``"configurations.lda.strategy"``).

    Raises
    ------
    StudyError
        A key that the part does not take, a missing one, or a value of the wrong type or range; of the last two it is a
        `ValuesError`, which names them.
    """
    parameters = inspect.signature(part).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    legal = [name for name in parameters if name not in given]
    for key in values:
        if key not in legal and not open_ended:
            raise StudyError(f"{where}.{key}: no such key. {nearest(key, legal) if legal else 'It takes none.'}")
    # A dataclass may inherit fields, whose annotations can only be read where they were written.
    typed = part.__init__ if inspect.isclass(part) and not is_dataclass(part) else part
    hints = get_type_hints(typed, include_extras=True)
    checked = {key: _check(value, hints.get(key, Any), where, key) for key, value in values.items()}
    handed = {key: value for key, value in given.items() if key in parameters}
    missing = [
        name
        for name, p in parameters.items()
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        if name not in checked and name not in handed
    ]
    if missing:
        raise ValuesError(f"{where}: {', '.join(missing)} must be given.", tuple(missing))
    try:
        return part(**handed, **checked)
    except (ValueError, StudyError) as error:
        raise StudyError(f"{where}: {error}") from error


def _check(value: Any, hint: Any, where: str, key: str) -> Any:
    try:
        return TypeAdapter(hint, config=_CONFIG).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([where, key, *map(str, first["loc"])])
        raise ValuesError(f"{place}: {first['msg'].lower()}, found {first['input']!r}.", (key,)) from error
    except StudyError as error:
        raise StudyError(f"{where}.{key}: {error}") from error


_CONFIG = ConfigDict(arbitrary_types_allowed=True)
