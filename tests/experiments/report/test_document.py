"""Blocks of a document as Markdown and as HTML."""

from __future__ import annotations

import base64
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from experiments.report.document import Block, Bullets, Document, Figure, Heading, Paragraph, Table

NASTY = "a|b *c* _d_ `e` [f](g) <h> & $i$ \\j ~k~ # &lt;"
TABLE = Table(("name", "n", "told"), (("x|y", "1", "<b>"), ("", "2", "-")), "Two of them", frozenset({0, 2}))
PNG = b"\x89PNG\r\n\x1a\n fake"


def page(*blocks: Block, title: str = "A page") -> Document:
    return Document(title, blocks)


def parsed(text: str):
    """Tokens of Markdown, as another program reads it."""
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def read_back(text: str) -> list[str]:
    """Plain text of all that stands on a line, markup taken away."""
    return [
        "".join(child.content for child in token.children or []) for token in parsed(text) if token.type == "inline"
    ]


class Reader(HTMLParser):
    """Keeps tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1], data.strip()))


# --- Markdown --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [NASTY, "1. not a list", "- nor this", "+ or this", "= or this", "2) this", ".5", "---"]
)
def test_text_is_text_in_markdown(text):
    told = page(Heading(2, text), Paragraph(text), Bullets((text, text))).markdown("figures")
    assert read_back(told) == ["A page", text, text, text, text]
    kinds = [token.type for token in parsed(told) if token.type.endswith("_open")]
    assert kinds.count("heading_open") == 2
    assert kinds.count("bullet_list_open") == 1
    assert kinds.count("list_item_open") == 2
    assert not any(token.type == "hr" for token in parsed(told))


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1).filter(str.strip))
def test_any_text_on_a_line_comes_back(text):
    (title, found) = read_back(page(Paragraph(text)).markdown("figures"))
    assert (title, found) == ("A page", " ".join(text.split()))


def test_a_table_has_its_shape_in_markdown_whatever_its_cells_hold():
    told = page(TABLE).markdown("figures")
    rows = sum(token.type == "tr_open" for token in parsed(told))
    cells = [token for token in parsed(told) if token.type in ("th_open", "td_open")]
    assert (rows, len(cells)) == (3, 9)
    assert read_back(told)[1:] == ["Two of them", "name", "n", "told", "x|y", "1", "<b>", "", "2", "-"]
    assert [cell.attrs.get("style") for cell in cells[:3]] == ["text-align:left", "text-align:right", "text-align:left"]


def test_figures_are_files_beside_the_page_in_markdown():
    told = page(Figure("r_1", PNG, "R of *a*")).markdown("my figures")
    (image,) = [child for token in parsed(told) for child in token.children or [] if child.type == "image"]
    assert image.attrs["src"] == "my%20figures/r_1.png"
    assert image.content.replace("\\", "") == "R of *a*"


def test_text_is_on_one_line():
    assert "one two three" in page(Paragraph("one\n  two\tthree")).markdown("figures")


# --- HTML ------------------------------------------------------------------------------------------------------------


def test_text_is_text_in_html():
    found = Reader(page(Heading(2, NASTY), Paragraph(NASTY), Bullets((NASTY,)), title=NASTY).html())
    assert [text for tag, text in found.texts if tag in ("h1", "title", "h2", "p", "li")] == [NASTY] * 5
    assert "h" not in found.tags


def test_a_table_has_its_shape_in_html():
    found = Reader(page(TABLE).html())
    assert found.tags.count("tr") == 3
    assert (found.tags.count("th"), found.tags.count("td")) == (3, 6)
    assert [text for tag, text in found.texts if tag == "td"] == ["x|y", "1", "<b>", "2", "-"]
    assert [text for tag, text in found.texts if tag == "caption"] == ["Two of them"]
    assert [value for name, value in found.attributes if value == "right"] == ["right"] * 3
    assert ("class", "scroll") in found.attributes


def test_figures_are_in_the_page_and_their_text_is_escaped():
    found = Reader(page(Figure("r_1", PNG, 'a "quoted" <one>')).html())
    attributes = dict(found.attributes)
    assert attributes["alt"] == 'a "quoted" <one>'
    head, _, content = str(attributes["src"]).partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(content) == PNG


def test_the_page_asks_for_nothing_from_elsewhere_and_runs_nothing():
    text = page(TABLE, Figure("r_1", PNG, "R"), Paragraph("see https://example.org")).html()
    found = Reader(text)
    assert not {"script", "link", "iframe", "a", "object"} & set(found.tags)
    addresses = [value for name, value in found.attributes if name in ("src", "href")]
    assert all(str(value).startswith("data:") for value in addresses)
    assert "url(" not in text
    assert any(value and "default-src 'none'" in value for _, value in found.attributes)
    assert ("charset", "utf-8") in found.attributes


def test_every_element_is_closed():
    found = Reader(page(Heading(2, "x"), Bullets(("a", "b")), TABLE, Figure("r", PNG, "R"), Paragraph("y")).html())
    assert found.open == []


# --- bad input -------------------------------------------------------------------------------------------------------


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"Scores: 2 cells a row expected, found \('a',\)"):
        Table(("x", "y"), (("a",),), "Scores")


def test_two_figures_of_one_name_are_refused():
    with pytest.raises(ValueError, match="different names"):
        page(Figure("r", PNG, "one"), Figure("r", PNG, "two"))
