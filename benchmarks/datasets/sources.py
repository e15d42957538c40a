"""Where publishers offer openly licensed data sets: plain values, so that no data set rests on code that fetches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class PublishedFiles:
    """Single files, and beside them a list of their SHA-256 hashes, as PhysioNet publishes.

    Parameters
    ----------
    url : str
        Address that the paths in the list are relative to; ends in ``/``.
    size : str
        How much there is to fetch, for people.
    hashes : str
        Name of the list, one line a file: the hash in hex, spaces, the path.
    """

    url: str
    size: str
    hashes: str = "SHA256SUMS.txt"
    suffix: ClassVar[str] = ""


@dataclass(frozen=True)
class PublishedArchive:
    """One zip archive without a published hash, as GitHub makes of a commit: its bytes may change, its files do not.

    Parameters
    ----------
    url : str
        Address of the archive; names a commit in full, so that it offers the same files for ever.
    size : str
        How much there is to fetch, for people.
    marker : str
        Glob of files that every copy of the set has, relative to the set's root, at any depth in the archive.
    """

    url: str
    size: str
    marker: str
    suffix: ClassVar[str] = ".zip"


Source = PublishedFiles | PublishedArchive
"""What `Card.source` may be; `suffix` ends the name under which the set lies among the data."""
