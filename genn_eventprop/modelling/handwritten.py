"""Hand-written code of a neuron: GeNN snippets that replace the ones derived from the equations.

The equations stay: they are what the reference engines run, so that a wrong snippet shows as a difference between
engines, and coefficients, readouts and gradients of parameters come from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ..errors import ModelError, check_known, suggest
from .expressions import FUNCTIONS

SECTIONS = ("sim_code", "reset_code", "adjoint_sim_code", "adjoint_jump_code")
_KNOWN = frozenset({"const", "scalar", "int", "bool", "if", "else", "dt", "true", "false"}) | frozenset(FUNCTIONS)
_KNOWN |= {"fabs", "fmin", "fmax", "pow"}
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_DECLARATION = re.compile(r"\b(?:scalar|int|bool)\s+([^;]*)")
_BRACKETS = re.compile(r"\([^()]*\)")
_ASSIGNED = re.compile(r"\b([A-Za-z_]\w*)\s*([-+*/]?)=(?!=)\s*([^;]*);")
_WORD = re.compile(r"(?<![\w.])[A-Za-z_]\w*")


def check_snippets(
    name: str, snippets: Mapping[str, str], states: Iterable[str], params: Iterable[str], spiking: bool
) -> None:
    """Refuse sections that do not exist, symbols that nothing defines, and assignments to parameters.

    Raises:
        ModelError: naming the model, the section and the symbol.
    """
    states, params = list(states), list(params)
    for section, text in snippets.items():
        code = _COMMENT.sub(" ", text)
        local = declared(code)
        where = f"{name}: snippet {section!r}"
        check_known(section, SECTIONS, ModelError, f"{where} is not a section of a neuron model (")
        if section in ("reset_code", "adjoint_jump_code") and not spiking:
            raise ModelError(f"{where}: the model has no threshold, so nothing resets")
        known = {*_KNOWN, *states, *params, *local, *_section_names(section, states)}
        for word in _WORD.findall(code):
            if word not in known:
                raise ModelError(f"{where}: unknown symbol {word!r} ({suggest(word, known - _KNOWN)})")
        adjoint = section.startswith("adjoint")
        free = {*local, *(f"lambda_{s}" if adjoint else s for s in states)}
        for target in assigned(code):
            if target not in free:
                raise ModelError(f"{where} assigns to {target!r}; it may change {', '.join(sorted(free))}")


def declared(code: str) -> set[str]:
    """Local names, also of several in one declaration: ``scalar a = pow(V, 2.0), b;``."""
    names: set[str] = set()
    for declaration in _DECLARATION.findall(code):
        while declaration != (flat := _BRACKETS.sub("", declaration)):
            declaration = flat
        names.update(part.split("=")[0].strip() for part in declaration.split(","))
    return names


def assigned(code: str) -> list[str]:
    """Every name that is assigned to."""
    return [target for target, *_ in _ASSIGNED.findall(code)]


def _section_names(section: str, states: list[str]) -> set[str]:
    """What a section can use besides states and parameters: the propagator's numbers, lambda, the jump's inputs."""
    names = {f"P_{a}_{b}" for a in states for b in states} | {f"c_{s}" for s in states}
    if section.startswith("adjoint"):
        names |= {f"lambda_{s}" for s in states}
    return names | ({"dl_dt", "inv_gdot"} if section == "adjoint_jump_code" else set())


def plain(code: str) -> str:
    """Code in the one form that generators read: ``x *= y;`` as ``x = x * (y);``, blanks around ``=``, no comments."""
    once = lambda m: f"{m[1]} = {m[1]} {m[2]} ({m[3]});" if m[2] else f"{m[1]} = {m[3]};"  # noqa: E731
    lines = [line.strip() for line in _ASSIGNED.sub(once, _COMMENT.sub(" ", code)).splitlines()]
    return "\n".join(line for line in lines if line)
