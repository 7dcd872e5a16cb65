"""Names that this version has changed: `NAMES` is the one table. An old name works for one version, with one warning.

A name of a Python module is looked up by `attribute`, in the module's ``__getattr__``; an option of the command line by
`options`; a value, such as that of a setting, by `value`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

from .output import say

NAMES: dict[str, dict[str, str]] = {
    "genn-eventprop fit": {"--current": "--inject"},
    "genn-eventprop show": {"--dialect cpp": "--target cpp", "--dialect genn": ""},
}
"""Where -> old name -> new one. Where: a module, a class (its arguments), a command, or a setting (its values). An
option may have its value with it; "" is what happens without it."""

_told = set[tuple[str, str]]()


def attribute(module: str, name: str) -> Any:
    """What a module calls otherwise now.

    Raises:
        AttributeError: the module never had such a name.
    """
    new = NAMES.get(module, {}).get(name)
    if new is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    _warn(module, name, f"{module}.{new}", level=4)
    return getattr(sys.modules[module], new)


def value(where: str, name: str) -> str:
    """The present form of a name, which may be an old one."""
    new = NAMES[where].get(name)
    if new is None:
        return name
    _say(where, name, new)
    return new


def argument(of: str, name: str) -> None:
    """Warn of an old argument of a function or class, whose caller passes it on."""
    _warn(of, name, f"{NAMES[of][name]}=", level=4)


def options(program: str, arguments: Sequence[str]) -> list[str]:
    """The words of a command line, with present options for old ones."""
    known, words = NAMES.get(program, {}), list[str]()
    rest = [part for word in arguments for part in ((word.split("=", 1)) if word.startswith("--") else [word])]
    if not {*rest} & {old.partition(" ")[0] for old in known}:
        return list(arguments)
    while rest:
        word = rest.pop(0)
        pair = f"{word} {rest[0]}" if rest else word
        old = pair if pair in known else word
        if old not in known:
            words.append(word)
            continue
        if old == pair and rest:
            rest.pop(0)
        words += known[old].split()
        _say(program, old, known[old])
    return words


def _first(where: str, name: str) -> bool:
    new = (where, name) not in _told
    _told.add((where, name))
    return new


def _say(where: str, old: str, new: str) -> None:
    if _first(where, old):
        now = f"is {new} now" if new else "is not needed any more"
        say(f"warning: {old} ({where}) {now}; the old name works in this version for the last time")


def _warn(where: str, old: str, new: str, level: int) -> None:
    if _first(where, old):
        text = f"{where}: {old} is {new} now; the old name works in this version for the last time"
        # FutureWarning is shown by default, DeprecationWarning is not
        warnings.warn(text, FutureWarning, stacklevel=level)
