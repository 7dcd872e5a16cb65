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

NOTHING = re.compile(r"\s*\(default:\s*(None)?\)")
"""Defaults that the help omits: the option's text already says what happens without it."""


def parse(what: Any, arguments: Sequence[str], program: str, **settings: Any) -> Any:
    """Call the function, or make the dataclass, `what` with the options in `arguments`.

    `settings` go to ``tyro.cli``. Help and mistakes end in SystemExit.
    """
    held = io.StringIO() if {"-h", "--help"} & set(arguments) else sys.stdout
    try:
        with redirect_stdout(held):
            return tyro.cli(what, args=list(arguments), prog=program, config=(tyro.conf.DisallowNone,), **settings)
    finally:
        if isinstance(held, io.StringIO):
            print(fitted(held.getvalue(), min(shutil.get_terminal_size().columns, 100)), end="")


def fitted(text: str, width: int) -> str:
    """Help as tyro writes it, without empty defaults and with its paragraphs wrapped to `width` characters."""
    lines = []
    for line in NOTHING.sub("", text).splitlines():
        line = line.rstrip()
        examples = line.startswith(" ")  # they, and the table of options, stay as they are
        lines += [line] if examples else textwrap.wrap(line, width, break_on_hyphens=False) or [""]
    return "\n".join(lines) + "\n"
