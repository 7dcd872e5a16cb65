"""A page as a list of blocks, and its two forms: Markdown with figures beside it, and one HTML file."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from ..studies.tables import markdown_table
from .plots import save

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; color: #202124; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.3rem; margin-top: 2.2rem; } h3 { font-size: 1.1rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.92rem; }
th, td { text-align: left; padding: 0.3rem 0.7rem; border-bottom: 1px solid #dfe2e6; vertical-align: top; }
thead th { border-bottom: 2px solid #5f6368; } tbody th { font-weight: 600; }
caption { text-align: left; padding-bottom: 0.4rem; color: #5f6368; }
img { max-width: 100%; height: auto; } figcaption { color: #5f6368; font-size: 0.92rem; } figure { margin: 1rem 0; }
code { background: #f1f3f4; padding: 0.1rem 0.25rem; border-radius: 3px; }
summary { cursor: pointer; padding: 0.3rem 0; } a { color: #0b57d0; } nav { margin: 0.8rem 0; }
@media (prefers-color-scheme: dark) {
  body { background: #1b1c1e; color: #e6e8ea; } th, td { border-color: #3c4043; } thead th { border-color: #9aa0a6; }
  caption, figcaption { color: #b4b9be; } code { background: #2b2d30; } a { color: #8ab4f8; }
  img { background: #fff; padding: 6px; border-radius: 4px; }
}
"""


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
    title = next((b.text for b in blocks if isinstance(b, Heading) and b.level == 1), "Report")
    sections = [b.text for b in blocks if isinstance(b, Heading) and b.level == 2]
    links = " | ".join(f'<a href="#{anchor(text)}">{inline(text)}</a>' for text in sections)
    head, *rest = [_html(block) for block in blocks]
    body = "\n".join([head, f'<nav aria-label="sections">{links}</nav>', *rest])
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="generator" content="genn_eventprop">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n"
        + (f"<script>{script}</script>\n" if script else "")
        + f"</head>\n<body>\n<main>\n{body}\n</main>\n"
        "</body>\n</html>\n"
    )


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f'<h{block.level} id="{anchor(block.text)}">{inline(block.text)}</h{block.level}>'
    if isinstance(block, Items):
        return "<ul>\n" + "\n".join(f"<li>{inline(item)}</li>" for item in block.items) + "\n</ul>"
    if isinstance(block, Grid):
        return _table(block)
    if isinstance(block, Folded):
        return f"<details><summary>{inline(block.summary)}</summary>\n{_table(block.table)}\n</details>"
    if isinstance(block, Interactive):
        label = html.escape(block.caption, quote=True)
        caption = f"<figcaption>{inline(block.caption)}</figcaption>"
        return f'<figure role="group" aria-label="{label}">{block.html}{caption}</figure>'
    if isinstance(block, Picture):
        image = base64.b64encode(_png(block.figure)).decode()
        alt = html.escape(block.caption, quote=True)
        return (
            f'<figure><img src="data:image/png;base64,{image}" alt="{alt}">'
            f"<figcaption>{inline(block.caption)}</figcaption></figure>"
        )
    return f"<p>{inline(block.text)}</p>"


def _table(grid: Grid) -> str:
    """In a frame of its own that scrolls, also by keyboard."""
    heads = "".join(f'<th scope="col">{inline(head)}</th>' for head in grid.heads)
    rows = "\n".join(
        f'<tr><th scope="row">{inline(row[0])}</th>' + "".join(f"<td>{inline(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in grid.rows
    )
    label = html.escape(grid.caption, quote=True)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table>'
        f"<caption>{inline(grid.caption)}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def anchor(text: str) -> str:
    """The name that links to a heading."""
    return re.sub(r"\W+", "-", text.lower()).strip("-")


def inline(text: str) -> str:
    """Text for HTML: escaped, `code` and **strong** as in Markdown, a sign for +-."""
    escaped = html.escape(text, quote=False).replace(" +- ", "\u00a0±\u00a0")
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", escaped)
