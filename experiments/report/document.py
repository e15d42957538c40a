"""A document as a list of blocks, which Markdown and HTML write in their own ways. All text is plain text."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~$&#])")
_LINE_START = re.compile(r"^(\d*)([+\-=.)])")
"""What Markdown takes for more than text: anywhere, and at the start of a line."""

_STYLE = """
body { max-width: 82rem; margin: 2rem auto; padding: 0 1.5rem; font: 16px/1.55 system-ui, sans-serif; color: #1b1b1b;
  background: #ffffff; }
p, ul { max-width: 52rem; }
h1 { font-size: 1.7rem; line-height: 1.25; }
h2 { margin-top: 2.6rem; padding-bottom: .3rem; border-bottom: 2px solid #1f5a93; font-size: 1.35rem; }
h3 { margin-top: 2rem; font-size: 1.1rem; }
li { margin: .35rem 0; }
.scroll { overflow-x: auto; margin: 1.2rem 0; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
caption { padding: .3rem 0; text-align: left; font-weight: 600; }
th, td { padding: .3rem .6rem; text-align: left; white-space: nowrap; border-bottom: 1px solid #d9d9d9; }
th { vertical-align: bottom; border-bottom: 2px solid #555555; }
td.long { min-width: 22rem; white-space: normal; }
.right { text-align: right; }
tbody tr:hover { background: #f2f6fa; }
figure { margin: 1.4rem 0; }
figure img { max-width: 100%; height: auto; }
figcaption { max-width: 52rem; font-size: .9rem; color: #444444; }
""".strip()

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What a browser may load for the page: nothing from anywhere."""

_LONG = 60
"""A cell with more characters is broken into lines."""


class Block(Protocol):
    """A part of a document."""

    def markdown(self, folder: str) -> str:
        """The block as Markdown, without an empty line around it; figures lie in a folder beside the page."""
        ...

    def html(self) -> str:
        """The block as HTML."""
        ...


@dataclass(frozen=True)
class Heading:
    """A heading; the title of the document has level 1."""

    level: int
    text: str

    def markdown(self, folder: str) -> str:
        """See `Block`."""
        del folder
        return f"{'#' * self.level} {_marked_down(self.text)}"

    def html(self) -> str:
        """See `Block`."""
        return f"<h{self.level}>{html.escape(self.text)}</h{self.level}>"


@dataclass(frozen=True)
class Paragraph:
    """Some sentences."""

    text: str

    def markdown(self, folder: str) -> str:
        """See `Block`."""
        del folder
        return _line(self.text)

    def html(self) -> str:
        """See `Block`."""
        return f"<p>{html.escape(self.text)}</p>"


@dataclass(frozen=True)
class Bullets:
    """Sentences one below the other, at least one."""

    items: tuple[str, ...]

    def markdown(self, folder: str) -> str:
        """See `Block`."""
        del folder
        return "\n".join(f"- {_line(item)}" for item in self.items)

    def html(self) -> str:
        """See `Block`."""
        return "<ul>\n" + "\n".join(f"<li>{html.escape(item)}</li>" for item in self.items) + "\n</ul>"


@dataclass(frozen=True)
class Table:
    """A table.

    Parameters
    ----------
    columns : tuple of str
        Their names.
    rows : tuple of tuple of str
        Cells of each row, as many as there are columns.
    caption : str
        What it shows.
    text : frozenset of int
        Columns that hold text and stand on the left, from 0; all others hold numbers and stand on the right.

    Raises
    ------
    ValueError
        A row of another length.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    text: frozenset[int] = frozenset({0})

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.caption}: {len(self.columns)} cells a row expected, found {row}")

    def markdown(self, folder: str) -> str:
        """See `Block`."""
        del folder
        rules = (":---" if place in self.text else "---:" for place in range(len(self.columns)))
        told = [map(_marked_down, self.columns), rules, *(map(_marked_down, row) for row in self.rows)]
        lines = [f"| {' | '.join(cells)} |" for cells in told]
        return "\n".join([f"**{_marked_down(self.caption)}**", "", *lines])

    def html(self) -> str:
        """See `Block`."""
        head = "".join(
            f'<th scope="col"{self._of(place)}>{html.escape(name)}</th>' for place, name in enumerate(self.columns)
        )
        body = "\n".join(
            f"<tr>{''.join(f'<td{self._of(place, cell)}>{html.escape(cell)}</td>' for place, cell in enumerate(row))}"
            "</tr>"
            for row in self.rows
        )
        caption = html.escape(self.caption)
        # A region that can be focused, so that the keyboard scrolls it too.
        return (
            f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}">\n<table>\n'
            f"<caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
        )

    def _of(self, place: int, cell: str = "") -> str:
        """Class of a cell."""
        names = ["right"] * (place not in self.text) + ["long"] * (len(cell) > _LONG)
        return f' class="{" ".join(names)}"' if names else ""


@dataclass(frozen=True, eq=False)
class Figure:
    """An image.

    Parameters
    ----------
    name : str
        Of its file, without ending; unique in its document.
    png : bytes
        The image.
    caption : str
        What it shows, also for who cannot see it.
    """

    name: str
    png: bytes
    caption: str

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.name}.png"

    def markdown(self, folder: str) -> str:
        """See `Block`."""
        place = quote(f"{folder}/{self.file}")
        return f"![{_marked_down(self.caption)}]({place})\n\n{_line(self.caption)}"

    def html(self) -> str:
        """See `Block`."""
        caption, content = html.escape(self.caption), base64.b64encode(self.png).decode("ascii")
        return (
            f'<figure><img alt="{caption}" src="data:image/png;base64,{content}">\n'
            f"<figcaption>{caption}</figcaption></figure>"
        )


@dataclass(frozen=True, eq=False)
class Document:
    """A title and what stands below it.

    Parameters
    ----------
    title : str
        Of the document.
    blocks : sequence of Block
        In their order.

    Raises
    ------
    ValueError
        Two figures of one name.
    """

    title: str
    blocks: Sequence[Block]

    def __post_init__(self) -> None:
        names = [one.name for one in self.figures]
        if len(set(names)) < len(names):
            raise ValueError(f"figures of different names expected, found {', '.join(names)}")

    @property
    def figures(self) -> list[Figure]:
        """Its figures, in their order."""
        return [block for block in self.blocks if isinstance(block, Figure)]

    def markdown(self, folder: str) -> str:
        """The document as Markdown (GitHub's, for its tables).

        Parameters
        ----------
        folder : str
            Where the files of its figures lie, seen from the page.
        """
        return "\n\n".join(block.markdown(folder) for block in self._all()) + "\n"

    def html(self) -> str:
        """The document as one HTML file that needs no other: no script, and nothing from anywhere else."""
        title = html.escape(self.title)
        body = "\n".join(block.html() for block in self._all())
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
        )

    def _all(self) -> Iterator[Block]:
        yield Heading(1, self.title)
        yield from self.blocks


def _marked_down(text: str) -> str:
    """Text without line breaks, in which Markdown sees nothing but text."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _line(text: str) -> str:
    """The same where a line starts, which is no heading, list or rule."""
    return _LINE_START.sub(r"\1\\\2", _marked_down(text))
