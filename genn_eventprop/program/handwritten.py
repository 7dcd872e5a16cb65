"""Hand-written sections of a model as statements: their words become the symbols of a scope."""

from __future__ import annotations

import re
from collections.abc import Mapping

import sympy as sp

from ..modelling import NeuronModel
from ..modelling.expressions import symbol
from ..modelling.handwritten import assigned, declared, plain
from .nodes import Code, Statement, name
from .scope import Scope

_WORD = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
_TYPES = {"scalar": "real"}


def handwritten(s: Scope, section: str, given: Mapping[sp.Symbol, sp.Symbol] | None = None) -> list[Statement]:
    """A section of the population's model; nothing if its equations are used.

    Args:
        given: symbol of the scope, or word of the section -> what stands in its place.
    """
    if section not in s.d.model.snippets:
        return []
    code, place = plain(s.d.model.snippets[section]), dict(given or {})
    local = declared(code)
    reads: set[sp.Symbol] = set()

    def replaced(word: re.Match[str]) -> str:
        own = symbol(word[0])
        if word[0] in local:
            return str(name("u", word[0]))
        if own not in s.names and own not in place:
            return _TYPES.get(word[0], word[0])
        found = s.names.get(own, own)
        reads.add(place.get(found, found))
        return str(place.get(found, found))

    text = _WORD.sub(replaced, code)
    written = {s.names[symbol(w)] for w in assigned(code) if symbol(w) in s.names}
    order = lambda symbols: tuple(sorted(symbols, key=str))  # noqa: E731
    return [Code(text, order(reads), order(written))]


def jump_words(model: NeuronModel) -> set[str]:
    """Words of the hand-written jump of the costate; the states among them are needed from before the spike."""
    return set(_WORD.findall(plain(model.snippets.get("adjoint_jump_code", ""))))
