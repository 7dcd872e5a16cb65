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


def handwritten(s: Scope, section: str, replacements: Mapping[sp.Symbol, sp.Symbol] | None = None) -> list[Statement]:
    """A section of the population's model; nothing if its equations are used.

    Args:
        replacements: symbol of the scope, or word of the section -> what takes its place.
    """
    if section not in s.d.model.snippets:
        return []
    code, place = plain(s.d.model.snippets[section]), dict(replacements or {})
    local = declared(code)
    reads: set[sp.Symbol] = set()

    def replaced(word: re.Match[str]) -> str:
        of_model = symbol(word[0])
        if word[0] in local:
            return str(name("u", word[0]))
        if of_model not in s.names and of_model not in place:
            return _TYPES.get(word[0], word[0])  # a type or a function of C
        of_scope = s.names.get(of_model, of_model)
        reads.add(place.get(of_scope, of_scope))
        return str(place.get(of_scope, of_scope))

    text = _WORD.sub(replaced, code)
    written = {s.names[symbol(w)] for w in assigned(code) if symbol(w) in s.names}
    order = lambda symbols: tuple(sorted(symbols, key=str))  # noqa: E731
    return [Code(text, order(reads), order(written))]


def jump_words(model: NeuronModel) -> set[str]:
    """Words of the hand-written jump of the costate; the states among them are needed from before the spike."""
    return set(_WORD.findall(plain(model.snippets.get("adjoint_jump_code", ""))))
