"""A page as a list of blocks, written as Markdown or as HTML."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from ..report.page import still


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Bullets:
    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """names: how many columns say what a row is of; the others are figures."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int = 1


@dataclass(frozen=True)
class Picture:
    """A PNG; `path` relative to the page."""

    path: str
    caption: str


Block = Heading | Text | Bullets | Table | Picture


def markdown(blocks: Sequence[Block]) -> str:
    return "\n\n".join(MARKDOWN[type(block)](block) for block in blocks) + "\n"


def html(blocks: Sequence[Block], title: str, directory: Path) -> str:
    """One file that holds its pictures, asks for nothing and runs no script."""
    return still(title, body(blocks, directory))


def body(blocks: Sequence[Block], directory: Path) -> str:
    """Markup, every text escaped."""
    return "\n".join(HTML[type(block)](block, directory) for block in blocks)


def data(block: Block, directory: Path) -> dict[str, Any]:
    """What a page's script makes a block of: {its kind: ...}."""
    return DATA[type(block)](block, directory)


def _table(block: Table) -> str:
    rows = [block.head, ["---"] * len(block.head), *block.rows]
    return "\n".join("| " + " | ".join(_plain(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)


def _plain(text: str) -> str:
    """Text in which nothing is markup: < before a letter begins a tag (t<=10 is none, a<t<b neither), a new line a block."""
    return re.sub("<(?![= 0-9]|[A-Za-z]+<)", "&lt;", " ".join(text.split()))


MARKDOWN: dict[type, Callable[..., str]] = {
    Heading: lambda block: f"{'#' * block.level} {_plain(block.text)}",
    Text: lambda block: _plain(block.text),
    Bullets: lambda block: "\n".join(f"- {_plain(item)}" for item in block.items),
    Table: _table,
    Picture: lambda block: f"![{_plain(block.caption)}]({block.path})",
}


def _row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _source(block: Picture, directory: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode((directory / block.path).read_bytes()).decode()}"


def _figure(block: Picture, directory: Path) -> str:
    caption = escape(block.caption)
    return f'<figure class="plate"><img alt="{caption}" src="{_source(block, directory)}"><figcaption>{caption}</figcaption></figure>'


HTML: dict[type, Callable[..., str]] = {
    Heading: lambda block, _: f"<h{block.level}>{escape(block.text)}</h{block.level}>",
    Text: lambda block, _: f"<p>{escape(block.text)}</p>",
    Bullets: lambda block, _: "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in block.items) + "</ul>",
    Table: lambda block, _: (
        f'<div class="scroll"><table><thead>{_row(block.head, "th")}</thead>'
        f"<tbody>{''.join(_row(row, 'td') for row in block.rows)}</tbody></table></div>"
    ),
    Picture: _figure,
}

DATA: dict[type, Callable[..., dict[str, Any]]] = {
    Heading: lambda block, _: {"heading": block.text},
    Text: lambda block, _: {"text": block.text},
    Bullets: lambda block, _: {"items": list(block.items)},
    Table: lambda block, _: {"head": list(block.head), "rows": [list(row) for row in block.rows], "names": block.names},
    Picture: lambda block, directory: {"src": _source(block, directory), "caption": block.caption},
}
