"""Where a published data set lies on this machine: a folder, or a zip archive that is unpacked once."""

from __future__ import annotations

import hashlib
import json
import shlex
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from benchmarks.digest import digest
from benchmarks.errors import DataError

if TYPE_CHECKING:
    from benchmarks.datasets.contract import Card, Places

BROKEN_ARCHIVE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
"""What reading a damaged zip archive may raise, or one that is encrypted or compressed in a way not known here."""


def locate(name: str, marker: str, data: Path) -> Path | None:
    """Folder or archive in which a data set lies, or None; nothing is unpacked.

    Parameters
    ----------
    name : str
        The set is looked for as the folder `name` and as the archive `name`.zip, in this order.
    marker : str
        Glob, relative to the root of the set, of files that every copy of it has; a folder without any does not count.
    data : Path
        Where data sets lie.
    """
    folder, archive = data / name, data / f"{name}.zip"
    if folder.is_dir() and _root_in(folder, marker) is not None:
        return folder
    return archive if archive.is_file() else None


def find_root(card: Card, marker: str, places: Places) -> Path:
    """Folder that holds the files of a data set as its publisher lays them out; an archive is unpacked if need be.

    The files may lie in top folders of any depth, in the folder and in the archive alike.

    Parameters
    ----------
    card : Card
        Of the data set; the message about missing data quotes it.
    marker : str
        As in `locate`.
    places : Places
        Where data sets lie, and the cache to unpack into.

    Raises
    ------
    DataError
        The set is not there, or its archive is damaged or holds something else.
    """
    found = locate(card.name, marker, places.data)
    if found is None:
        raise DataError(_how_to_get(card, marker, places.data))
    root = _root_in(found if found.is_dir() else _unpacked(found, places.cache), marker)
    if root is None:
        raise DataError(
            f"{found} holds no file {marker!r}, at any depth: it is not {card.title}. Get it from {card.page}"
        )
    return root


def fingerprint(files: Iterable[Path]) -> str:
    """SHA-256, in hex, of the names and contents of files, in the order given; where they lie does not matter.

    Raises
    ------
    DataError
        A file cannot be read.
    """
    return digest([(file.name, _sha256(file)) for file in files])


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"Cannot read {file}: {error.strerror}.") from error


def _root_in(folder: Path, marker: str) -> Path | None:
    depth = len(PurePath(marker).parts) - 1
    roots = sorted({match.parents[depth] for match in folder.rglob(marker)}, key=lambda r: (len(r.parts), r))
    if len(roots) > 1 and len(roots[0].parts) == len(roots[1].parts):
        raise DataError(f"{folder} holds the data set more than once, in {roots[0]} and in {roots[1]}: keep only one.")
    return roots[0] if roots else None


def _unpacked(archive: Path, cache: Path) -> Path:
    """Folder with an archive's files; an archive of another size or time of change is unpacked anew, elsewhere."""
    state = archive.stat()
    identity = digest([str(archive.resolve()), state.st_size, state.st_mtime_ns])
    target = cache / "unpacked" / f"{archive.stem}-{identity[:16]}"
    if not target.is_dir():
        try:
            _unpack(archive, target)
        except OSError as error:
            raise DataError(
                f"Cannot unpack {archive} into {target.parent}: {error}. Is the cache folder writable, with room?"
            ) from error
    return target / "files"


def _unpack(archive: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # The target appears whole, by one rename: who is interrupted leaves only a dotted folder that nobody reads.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        whole = Path(scratch) / "whole"
        _extract(archive, whole / "files")
        origin = {"archive": str(archive.resolve()), "sha256": _sha256(archive)}
        (whole / "archive.json").write_text(json.dumps(origin, indent=1), encoding="utf-8")
        try:
            whole.rename(target)
        except OSError:
            if not target.is_dir():
                raise
            # Another process unpacked the same archive first: its copy is as good.


def _extract(archive: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.namelist():
                if not (folder / member).resolve().is_relative_to(folder.resolve()):
                    raise DataError(
                        f"{archive}: its member {member!r} would be written outside the folder it is unpacked into. "
                        "Do not trust this archive; nothing of it was kept."
                    )
            opened.extractall(folder)
    except BROKEN_ARCHIVE as error:
        raise DataError(
            f"{archive} is damaged or not a zip archive that can be read ({error}): download it again. "
            "Nothing of it was kept."
        ) from error


def _how_to_get(card: Card, marker: str, data: Path) -> str:
    folder = data / card.name
    there = f" ({folder} is there, but holds no such file.)" if folder.is_dir() else ""
    command = f"unseen datasets get {card.name} --data {shlex.quote(str(data))}"
    page = f"Get it: {command}\nOr from" if card.source is not None else "Get it from"
    return (
        f"{card.title} ({card.name!r}) is not on this machine.\n"
        f"Looked in {data} for a folder {card.name!r} or an archive '{card.name}.zip' with files {marker!r}, at any "
        f"depth.{there}\n"
        f"{page} {card.page}\n"
        f"Licence: {card.licence}\n"
        f"Cite: {card.citation}\n"
        "Put it there, or say where it lies with --data DIR or UNSEEN_DATA."
    )
