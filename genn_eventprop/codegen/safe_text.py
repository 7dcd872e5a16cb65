"""Names and texts of a plan as they may stand in generated code.

They are restricted where they are read (`modelling.names`, `Network`); this holds for whatever reaches the writers: a
name is an identifier, and a comment never ends before its line does and never goes on after it.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from ..errors import EngineError
from ..plan import Plan

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ENDS = re.compile(r"\*(?=/)|/(?=[*/])")


def in_comment(text: object) -> str:
    """`text` on one line, without what opens, closes or continues a comment of C or C++.

    "*/", "/*" and "//" are taken apart by a blank, also where they overlap; a backslash (which joins the next line) and a
    question mark (of "??/", a backslash as a trigraph) become underscores, and so does every character that is not
    printable: line breaks, and the marks that make a text look other than it is read.
    """
    clean = "".join("_" if c in "\\?" or not c.isprintable() else c for c in str(text))
    return _ENDS.sub(lambda end: f"{end[0]} ", clean)


def check_identifiers(plan: Plan) -> None:
    """Raise `EngineError` if a name of a plan that becomes part of names in the code is no identifier of C."""
    for what, name in _identifiers(plan):
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise EngineError(f"{what} {name!r} cannot be written into code; use ASCII letters, digits and underscores")


def _identifiers(plan: Plan) -> Iterator[tuple[str, object]]:
    yield from (("input", name) for name in plan.input.name.split("+") if name)  # several inputs are "a+b"
    for p in plan.populations:
        yield "population", p.name
        for what, names in (("state", p.derived.states), ("parameter", p.params), ("input", p.derived.receptors)):
            yield from ((f"{p.name}: {what}", name) for name in names)
    for c in plan.connections:
        yield "connection", c.name
        yield from ((f"connection {c.name}:", end) for end in (*c.source.split("+"), c.target, c.receptor))
    for loss in plan.losses:
        yield "the loss reads", loss.output
        yield from (("loss constant", name) for name in loss.constants)


def comment_lines(text: str) -> list[str]:
    """The lines of a comment, which nothing in `text` can leave."""
    return textwrap.wrap(in_comment(text), 100, subsequent_indent="  ", break_long_words=False)
