"""Openly licensed data sets, brought from their publishers: checked, and there as a whole or not at all.

Nothing is taken for a data set before all of it is there: it is fetched into a hidden folder beside the place where it
belongs, and moved there by one rename. Who is interrupted keeps the files that came whole; the same call fetches the
others.

The publishers' own servers are not part of the tests, which ask a server on the same machine. What is taken for granted
of them: PhysioNet lists every file of a set in ``SHA256SUMS.txt`` and serves it below the same address; GitHub serves a
commit as a zip archive.
"""

from __future__ import annotations

import errno
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import singledispatch
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from filelock import FileLock, Timeout

from benchmarks.datasets.contract import Card, Dataset, Places
from benchmarks.datasets.progress import ProgressLine
from benchmarks.datasets.sources import PublishedArchive, PublishedFiles, Source
from benchmarks.datasets.storage import BROKEN_ARCHIVE
from benchmarks.datasets.table import DATASETS
from benchmarks.errors import DataError, StudyError
from benchmarks.parts import find

if TYPE_CHECKING:
    from rich.console import Console

_TRIES = 4
_SILENT_FOR_S = 30.0
_CHUNK_BYTES = 1 << 16
_LASTING = frozenset(range(400, 500)) - {408, 425, 429}
"""Answers that say "not here"; 408, 425, 429 and those from 500 on say "later"."""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_HASH_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *]?(\S.*)")
_LINE_TOLD = 100
_AGAIN = "Files that came whole are kept: the same command fetches only the others."


def get(name: str, places: Places, console: Console, source: Source | None = None) -> Path:
    """Bring a data set from its publisher, unless it is there already.

    Parameters
    ----------
    name : str
        A name in the table of data sets, or the user's own ``package.module:Name``.
    places : Places
        The set comes to lie in ``places.data``, as a folder or an archive of its name.
    console : Console
        Told the licence and the citation first, then the progress, in one line, where it is a terminal.
    source : PublishedFiles or PublishedArchive or None
        Where to get it; None takes what its card says.

    Returns
    -------
    Path
        Where the set lies.

    Raises
    ------
    StudyError
        No such data set, or one that no publisher offers for everyone.
    DataError
        The publisher cannot be reached, or does not offer what was expected; what came is damaged; it cannot be
        written here; another process is fetching the set.
    """
    dataset = find(name, DATASETS, "data set", Dataset)
    card: Card = dataset.card
    source = source or card.source
    if source is None:
        raise StudyError(_nothing_to_get(card))
    found: Path | None = dataset.present(places)
    if found is not None:
        console.print(f"{card.title} is there already: nothing was fetched.", markup=False, highlight=False)
        return found
    target = places.data / f"{card.name}{source.suffix}"
    if target.exists() and not _is_empty_folder(target):
        raise DataError(f"{target} is in the way, and holds no {card.title}: move it away, then try again.")
    for line in (
        f"{card.title}: {source.size} from {source.url}",
        f"Licence: {card.licence}",
        f"Cite: {card.citation}",
    ):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    with _written_to(places.data), _only_one(places.data / f".{card.name}-download") as hidden:
        # Another process may have brought it since.
        found = dataset.present(places)
        if found is None:
            with _quiet_pooch(), ProgressLine(console, card.name) as progress:
                _bring(source, hidden / target.name, progress)
            if dataset.present(replace(places, data=hidden)) is None:
                shutil.rmtree(hidden, ignore_errors=True)
                raise DataError(
                    f"{source.url} offers files, but not those of {card.title}: has the publisher changed their names? "
                    f"Nothing was kept. The publisher's page: {card.page}"
                )
            (hidden / target.name).rename(target)
    return found or target


def _nothing_to_get(card: Card) -> str:
    if card.simulated:
        return f"There is nothing to get for {card.name!r}: it is computed on this machine."
    return (
        f"There is nothing to get for {card.name!r} ({card.title}): no publisher is known who offers it for everyone. "
        f"Licence: {card.licence}. Where to find it: {card.page}"
    )


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


@contextmanager
def _only_one(hidden: Path) -> Iterator[Path]:
    """The hidden folder, for one process at a time; gone at the end, unless it keeps files for the next call."""
    hidden.mkdir(parents=True, exist_ok=True)
    lock = FileLock(hidden / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise DataError(f"Another process is fetching this data set into {hidden}: wait for it.") from error
    try:
        yield hidden
    finally:
        if not any(path.is_file() for path in hidden.rglob("*") if path != hidden / "lock"):
            shutil.rmtree(hidden, ignore_errors=True)
        lock.release()


@contextmanager
def _written_to(folder: Path) -> Iterator[None]:
    """What the operating system says against writing, as an error of ours."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise DataError(
                f"There is no room left in {folder}: make some, or name another --data DIR. {_AGAIN}"
            ) from error
        raise DataError(f"Cannot write to {folder}: {error}. Is it writable? Another folder: --data DIR.") from error


@contextmanager
def _quiet_pooch() -> Iterator[None]:
    """Without what pooch says of every file and of every try."""
    import logging

    import pooch

    log = pooch.get_logger()
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)


@singledispatch
def _bring(source: Source, target: Path, progress: ProgressLine) -> None:
    """Bring all that a source offers to `target`, checked."""
    raise NotImplementedError(type(source))


@_bring.register
def _(source: PublishedFiles, target: Path, progress: ProgressLine) -> None:
    listed = target / source.hashes
    listed.unlink(missing_ok=True)
    _fetch(f"{source.url}{source.hashes}", listed, None, progress)
    content = listed.read_bytes()
    listed.unlink()
    hashes = _read_hashes(content, f"{source.url}{source.hashes}")
    for path in target.rglob("*"):
        # What a process left that was killed while it wrote, or what the publisher has withdrawn since.
        if path.is_file() and path.relative_to(target).as_posix() not in hashes:
            path.unlink()
    progress.expect(len(hashes))
    for name, sha256 in hashes.items():
        _fetch(f"{source.url}{quote(name)}", target / name, sha256, progress)
        progress.file_is_there()
    listed.write_bytes(content)


@_bring.register
def _(source: PublishedArchive, target: Path, progress: ProgressLine) -> None:
    def check(path: Path) -> None:
        _check_archive(path, source)

    # A process that was killed after the last byte may have left it; nothing says that it is still the same.
    target.unlink(missing_ok=True)
    progress.expect(1)
    _fetch(source.url, target, None, progress, check)


def _read_hashes(content: bytes, url: str) -> dict[str, str]:
    """SHA-256, in hex, by path, of a published list; a path that would lead out of the folder is refused."""
    hashes: dict[str, str] = {}
    for number, line in enumerate(content.decode("utf-8", errors="replace").splitlines(), start=1):
        match = _HASH_LINE.fullmatch(line.rstrip())
        if match is None:
            raise DataError(
                f"{url}, line {number}: expected a SHA-256 hash in hex, spaces and a path, found "
                f"{line[:_LINE_TOLD]!r}. Nothing was fetched. Does this network send you to another page?"
            )
        path = PurePosixPath(match[2])
        if path.is_absolute() or ".." in path.parts or not path.parts or re.search(r"[\\:\x00-\x1f]", match[2]):
            raise DataError(
                f"{url}, line {number}: {match[2][:_LINE_TOLD]!r} would be written outside the folder of the data set. "
                "Do not trust this list; nothing was fetched."
            )
        if hashes.setdefault(str(path), match[1].lower()) != match[1].lower():
            raise DataError(f"{url}, line {number}: {match[2]} is listed with two hashes. Nothing was fetched.")
    if not hashes:
        raise DataError(f"{url} lists no files. Nothing was fetched.")
    return hashes


def _check_archive(path: Path, source: PublishedArchive) -> None:
    """Raise ValueError, which pooch takes for a reason to try again, unless the archive is whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            names, damaged = archive.namelist(), archive.testzip()
    except BROKEN_ARCHIVE as error:
        raise ValueError(f"it is no whole zip archive ({error})") from error
    if damaged is not None:
        raise ValueError(f"its member {damaged} is damaged")
    if not any(PurePosixPath(name).match(source.marker) for name in names):
        raise DataError(f"{source.url} is an archive without any file {source.marker!r}: it is not the data set.")


class _RefusedError(Exception):
    """The server answers that it does not offer the file: no reason to try again."""


class _Downloader:
    """What pooch calls to download: its own over HTTP, which tells lasting refusals and damage from passing trouble."""

    def __init__(self, progress: ProgressLine, check: Callable[[Path], None] | None) -> None:
        from pooch import HTTPDownloader

        # Compressed on the way, a file's length would not be what the server says.
        headers = {"Accept-Encoding": "identity"}
        self._http = HTTPDownloader(progress, _CHUNK_BYTES, timeout=_SILENT_FOR_S, headers=headers)
        self._check = check

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        from requests.exceptions import HTTPError

        try:
            self._http(url, output_file, pooch)
        except HTTPError as error:
            if error.response is not None and error.response.status_code in _LASTING:
                raise _RefusedError(str(error)) from error
            raise
        if self._check is not None:
            self._check(Path(output_file))


def _fetch(
    url: str, path: Path, sha256: str | None, progress: ProgressLine, check: Callable[[Path], None] | None = None
) -> None:
    """Fetch one file, unless it is there with the right hash; whole and checked, it appears under its name."""
    import pooch
    from requests import exceptions

    one = pooch.create(
        path.parent, base_url="", registry={path.name: sha256}, urls={path.name: url}, retry_if_failed=_TRIES - 1
    )
    try:
        one.fetch(path.name, downloader=_Downloader(progress, check))
    except _RefusedError as error:
        raise DataError(
            f"The server does not offer a file ({error}). Has the publisher moved it, or is this network in between?"
        ) from error
    except exceptions.HTTPError as error:
        raise DataError(f"The server failed {_TRIES} times ({error}). Try again later. {_AGAIN}") from error
    except exceptions.ConnectionError as error:
        raise DataError(
            f"No connection to {urlsplit(url).hostname}, {_TRIES} times ({_first_cause(error)}). Is this machine "
            f"online? A proxy is named by the variable HTTPS_PROXY. {_AGAIN}"
        ) from error
    except exceptions.RequestException as error:
        raise DataError(
            f"{url} broke off, {_TRIES} times ({_first_cause(error)}). Try again later. {_AGAIN}"
        ) from error
    except ValueError as error:
        raise DataError(f"{url} came damaged, {_TRIES} times: {error}. It was not kept. {_AGAIN}") from error


def _first_cause(error: BaseException) -> str:
    """What the innermost error says: those around it repeat it with much else."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error) or type(error).__name__
