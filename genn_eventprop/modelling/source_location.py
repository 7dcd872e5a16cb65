"""Where a model is written, for messages: file and line of its definition, or of the expression that is wrong."""

from __future__ import annotations

import ast
import linecache
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ModelError

_ROOT = Path(__file__).parents[1]
_HERE = tuple(str(_ROOT / part) for part in ("modelling", "arguments.py", "interop/brian"))


def caller() -> tuple[str, int]:
    """(file, line) of the first frame outside this folder, the reader of Brian's groups, `arguments` and `dataclasses`:
    who makes a model."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        file = frame.f_code.co_filename
        if not (file.startswith(_HERE) or file.endswith("dataclasses.py") or file == "<string>"):
            break
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


@contextmanager
def located(made_at: tuple[str, int]) -> Iterator[None]:
    """Put ``file:line: `` in front of a `ModelError` raised inside."""
    try:
        yield
    except ModelError as error:
        if error.located:
            raise
        file, line = made_at
        line = _line_of(file, line, error.text) or line
        raise ModelError(f"{_short(file)}:{line}: {error}", located=True) from None


def _line_of(file: str, line: int, text: str | None) -> int | None:
    """The line of the string `text` in the call that begins at `line`."""
    if text is None:
        return None
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return None
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and n.lineno <= line <= (n.end_lineno or 0)]
    calls.sort(key=lambda n: (n.lineno != line, (n.end_lineno or 0) - n.lineno))
    for call in calls:
        for node in ast.walk(call):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.strip() == text.strip():
                return node.lineno
    return None


def _short(file: str) -> str:
    here = os.path.relpath(file) if os.path.isabs(file) else file
    return file if here.startswith("..") else here
