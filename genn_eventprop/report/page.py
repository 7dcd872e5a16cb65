"""A page as a list of blocks, and its two forms: Markdown with figures beside it, and one HTML file (page.html)."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from ..studies.tables import markdown_table
from .plots import save


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph; `code` stands in backquotes, as in Markdown."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list."""

    items: Sequence[str]


@dataclass(frozen=True)
class Grid:
    """A table; the first column names the row."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure with its file name, what it shows in words, and a caption."""

    name: str
    figure: Figure
    caption: str


@dataclass(frozen=True)
class Interactive:
    """A figure of JavaScript, as HTML; a Markdown page has its caption alone."""

    html: str
    caption: str


@dataclass(frozen=True)
class Folded:
    """A table that is opened by its summary, with the mouse or by keyboard."""

    summary: str
    table: Grid


Block = Heading | Text | Items | Grid | Picture | Interactive | Folded


def write_markdown(blocks: Sequence[Block], path: Path) -> str:
    """The text of the Markdown file; figures are saved beside it, into figures/."""
    return "\n\n".join(_markdown(block, path) for block in blocks) + "\n"


def _markdown(block: Block, path: Path) -> str:
    if isinstance(block, Heading):
        return "#" * block.level + " " + block.text
    if isinstance(block, Items):
        return "\n".join(f"* {item}" for item in block.items)
    if isinstance(block, Grid):
        escaped = [[cell.replace("|", "\\|") for cell in row] for row in block.rows]
        return f"{block.caption}\n\n{markdown_table(list(block.heads), escaped)}".rstrip()
    if isinstance(block, Folded):
        return _markdown(block.table, path)
    if isinstance(block, Interactive):
        return block.caption
    if isinstance(block, Picture):
        file = save(block.figure, path.parent / "figures" / f"{block.name}.png")
        return f"![{block.caption}]({file.relative_to(path.parent).as_posix()})"
    return block.text


def write_html(blocks: Sequence[Block], script: str = "") -> str:
    """The text of the HTML file: style, pictures and the `script` of interactive figures are in it, nothing is fetched.

    Headings of level 2 are listed at its top, as links.
    """
    headings = [block for block in blocks if isinstance(block, Heading)]
    return _template().render(
        title=next((heading.text for heading in headings if heading.level == 1), "Report"),
        sections=[heading.text for heading in headings if heading.level == 2],
        blocks=[(type(block).__name__, block) for block in blocks],
        script=script,
    )


@lru_cache
def _template() -> Template:
    # Texts of a run folder may come from anybody. What the template inserts is escaped unless a filter of ours made it
    # or it is marked safe, and a name that is missing is an error instead of nothing.
    environment = Environment(
        loader=PackageLoader(__package__, ""), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {"anchor": anchor, "inline": inline, "png": _png}
    return environment.get_template("page.html")


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode()


def anchor(text: str) -> str:
    """The name that links to a heading."""
    return re.sub(r"\W+", "-", text.lower()).strip("-")


def inline(text: str) -> Markup:
    """Text for HTML: escaped, `code` and **strong** as in Markdown, a sign for +-."""
    escaped = str(escape(text)).replace(" +- ", "\u00a0±\u00a0")
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", escaped))
