"""Options from the signatures of functions and the fields of dataclasses (tyro), with help that fits the terminal."""

from __future__ import annotations

import io
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import tyro

NOTHING = re.compile(r"\s*\(default:\s*(None|'')?\)")
"""Defaults that the help omits: the text of the option says what happens without it."""
OPTION = re.compile(r" {2}\S.*? {2,}(?=\S)")
"""An option or positional argument whose text begins on the same line."""
EXAMPLE = 4
"""Indentation of examples, whose lines stay as they are."""


def parse(what: Any, arguments: Sequence[str], program: str, **settings: Any) -> Any:
    """Call the function, or make the dataclass, `what` with the options in `arguments`.

    `settings` go to ``tyro.cli``. Help and mistakes end in SystemExit.
    """
    buffer = io.StringIO() if {"-h", "--help"} & set(arguments) else sys.stdout
    try:
        with redirect_stdout(buffer):
            return tyro.cli(what, args=list(arguments), prog=program, config=(tyro.conf.DisallowNone,), **settings)
    finally:
        if isinstance(buffer, io.StringIO):
            print(fitted(buffer.getvalue(), min(shutil.get_terminal_size().columns, 100)), end="")


def fitted(text: str, width: int) -> str:
    """Help as tyro writes it, without empty defaults, each paragraph and each option's text wrapped to `width`."""
    paragraphs: list[list[str]] = []
    column = -1  # where the text of the line before begins
    for line in map(str.rstrip, NOTHING.sub("", text).splitlines()):
        indent = len(line) - len(line.lstrip())
        if line and indent == column and (indent == 0 or indent > EXAMPLE):
            paragraphs[-1].append(line.lstrip())
            continue
        paragraphs.append([line])
        option = OPTION.match(line)
        column = -1 if not line else option.end() if option else indent
    return "\n".join(_wrapped(lines, width) for lines in paragraphs) + "\n"


def _wrapped(lines: Sequence[str], width: int) -> str:
    """One paragraph; a single indented line, an example say, stays as it is."""
    if len(lines) == 1 and lines[0].startswith(" "):
        return lines[0]
    option = OPTION.match(lines[0])
    column = option.end() if option else len(lines[0]) - len(lines[0].lstrip())
    words = " ".join([lines[0][column:], *lines[1:]])
    wrapped = textwrap.wrap(words, max(width - column, 20), break_on_hyphens=False) or [""]
    return ("\n" + " " * column).join([lines[0][:column] + wrapped[0], *wrapped[1:]])
