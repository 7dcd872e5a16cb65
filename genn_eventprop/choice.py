"""A choice that a user writes as text: a name, by itself, with one value, or with options in brackets.

``"shift=40,blend=0.5"``, ``"ALIF(tau_B=100)"``, ``"cuda(device=1)"``; several are separated by commas.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import SettingError


@dataclass(frozen=True)
class Spec:
    """One choice: its name, its single value if it was given one, its options."""

    name: str
    values: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


def parse_specs(text: str, where: str, known: Iterable[str] = (), words: bool = False) -> list[Spec]:
    """The choices in `text`, in order; none for an empty text.

    Args:
        where: the option, for messages. known: names that there are, likewise. words: texts among the values may stand
            without quotation marks.

    Raises:
        SettingError: naming the part that cannot be read.
    """
    return [_parse(part, where, known, words) for part in _split(text) if part]


def parse_spec(text: str, where: str, known: Iterable[str] = (), words: bool = False) -> Spec:
    """Exactly one choice."""
    specs = parse_specs(text, where, known, words)
    if len(specs) != 1:
        raise SettingError(f"{where}: expected one name, got {text!r}{_listed(known)}")
    return specs[0]


def _listed(known: Iterable[str]) -> str:
    names = ", ".join(sorted(known))
    return f"; known: {names}" if names else ""


def _split(text: str) -> list[str]:
    """Parts between the commas that stand outside brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _parse(part: str, where: str, known: Iterable[str], words: bool) -> Spec:
    problem = f"{where}: cannot read {part!r}; write NAME, NAME=VALUE or NAME(OPTION=VALUE, ...){_listed(known)}"
    try:
        call = ast.parse(f"f({part})", mode="eval").body
        if not isinstance(call, ast.Call) or ast.unparse(call.func) != "f":  # a bracket too many
            raise SyntaxError
        if len(call.keywords) == 1 and not call.args and call.keywords[0].arg is not None:
            return Spec(call.keywords[0].arg, (_value(call.keywords[0].value, words),))
        if len(call.args) == 1 and not call.keywords:
            inner = call.args[0]
            if isinstance(inner, ast.Name):
                return Spec(inner.id)
            if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name):
                options = {str(k.arg): _value(k.value, words) for k in inner.keywords}
                return Spec(inner.func.id, tuple(_value(a, words) for a in inner.args), options)
    except (SyntaxError, MemoryError, RecursionError):  # the last two: brackets or signs nested without end
        raise SettingError(problem) from None
    except (ValueError, TypeError):
        raise SettingError(f"{problem}; a value is a number, a string in quotation marks, or (a, b)") from None
    raise SettingError(problem)


def _value(node: ast.expr, words: bool) -> Any:
    return node.id if words and isinstance(node, ast.Name) else ast.literal_eval(node)
