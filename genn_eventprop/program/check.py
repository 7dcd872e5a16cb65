"""The checker of loop programs: what it accepts has no free name, no index of the wrong length, no lost fraction.

A name is what the innermost scope around it says: a local (`Let`, the index of a loop), or an element of a buffer that
a `Block` names so. Integers become real numbers where they meet them, as in C; a real number never becomes an integer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sympy as sp

from .nodes import (
    Access,
    Add,
    Append,
    Block,
    Buffer,
    Code,
    Diverged,
    Entries,
    Leave,
    Let,
    Range,
    Set,
    Statement,
    StoreEvent,
    Undo,
    When,
    While,
    above,
    at_least,
    below,
    bit,
    both,
    choose,
    diverged,
    either,
    element,
    equal,
    is_nan,
    lowest,
    no,
    quotient,
    random_bits,
    remainder,
    targets,
    without_lowest,
)

REAL = ("real", "double", "half")
"""Kinds of buffers and locals that are no integers."""
CONSTANTS = {"o_infinity": "real", "o_nan": "real"}
"""Names that every target spells."""
TESTS = (equal, at_least, above, below, both, either, no, diverged, is_nan)
WHOLE = (quotient, remainder, bit, lowest, without_lowest, random_bits)
"""Functions of integers."""


class ProgramError(ValueError):
    """A loop program that no target may print."""


@dataclass(frozen=True)
class Local:
    kind: str
    changes: bool


class Checker:
    """Of programs over `buffers`, by their names; locals: those that the text around a program declares, with kinds."""

    def __init__(self, buffers: Mapping[str, Buffer], locals: Mapping[sp.Symbol, str] | None = None) -> None:
        self.buffers = buffers
        self.scopes: list[dict[sp.Symbol, Local | Access]] = [
            {s: Local(kind, False) for s, kind in (locals or {}).items()}
        ]

    def check(self, body: Iterable[Statement], names: Mapping[sp.Symbol, Local | Access] | None = None) -> None:
        """Statements in a scope of their own.

        Raises:
            ProgramError: says which name or element is wrong, and how.
        """
        self.scopes.append(dict(names or {}))
        for statement in body:
            self._statement(statement)
        self.scopes.pop()

    def _statement(self, s: Statement) -> None:
        if isinstance(s, Let):
            self._fits(s.kind, s.value, str(s.target))
            if isinstance(self.scopes[-1].get(s.target), Local):
                raise ProgramError(f"{s.target} is declared twice in one scope")
            self.scopes[-1][s.target] = Local(s.kind, s.changes)
        elif isinstance(s, (Set, Add)):
            self._fits(self._written(s.target), s.value, str(s.target))
        elif isinstance(s, When):
            self.real(s.condition)
            self.check(s.body)
            self.check(s.otherwise)
        elif isinstance(s, Range):
            self._whole(s.start, s.stop)
            self.check(s.body, {s.index: Local(s.kind, False)})
        elif isinstance(s, While):
            self.real(s.condition)
            self.check(s.body)
        elif isinstance(s, Entries):
            self._whole(s.step)
            self._buffer(s.spikes.name)
            self.check(s.body, {s.neuron: Local("int", False)})
        elif isinstance(s, Append):
            self._whole(s.step, s.neuron)
            self._writable(s.spikes.name)
        elif isinstance(s, Block):
            self.check(s.body, s.names)
        elif isinstance(s, Leave):
            self._whole(s.status)
        elif isinstance(s, (StoreEvent, Undo)):
            self.check(s.body)
        elif isinstance(s, Code):
            for symbol in s.reads:
                self.real(symbol)
            for symbol in targets(s):
                self._written(symbol)
        else:
            assert isinstance(s, Diverged)

    def _fits(self, kind: str, value: sp.Basic, what: str) -> None:
        if self.real(value) and kind not in REAL:
            raise ProgramError(f"{what} is an integer ({kind}); {value} is a real number")

    def _whole(self, *values: sp.Basic) -> None:
        for value in values:
            if self.real(value):
                raise ProgramError(f"{value} is a real number, where an integer is needed")

    def _declared(self, s: sp.Symbol) -> Local | Access:
        for scope in reversed(self.scopes):
            if s in scope:
                return scope[s]
        raise ProgramError(f"nothing declares {s} here")

    def _buffer(self, name: str) -> Buffer:
        if name not in self.buffers:
            raise ProgramError(f"there is no buffer {name}")
        return self.buffers[name]

    def _writable(self, name: str) -> Buffer:
        b = self._buffer(name)
        if b.is_input:
            raise ProgramError(f"buffer {name} (role {str(b.role)!r}) is read only")
        return b

    def _written(self, target: sp.Basic) -> str:
        """The kind of what is assigned to."""
        self.real(target)
        if isinstance(target, element):
            return self._writable(target.args[0].name).kind
        declared = self._declared(target)
        if isinstance(declared, Access):
            return self._writable(declared.buffer.name).kind
        if not declared.changes:
            raise ProgramError(f"{target} is set only once, where it is declared")
        return declared.kind

    def _element(self, name: str, index: Iterable[sp.Basic]) -> bool:
        b, index = self._buffer(name), tuple(index)
        if len(index) != len(b.axes) and not (b.axes == () and index in ((), (0,))):
            raise ProgramError(f"buffer {name} has {len(b.axes)} axes; an element of it has {len(index)} indices")
        self._whole(*index)
        return b.kind in REAL

    def real(self, e: sp.Basic) -> bool:
        """Whether an expression is a real number; all names in it are looked at."""
        if isinstance(e, sp.Symbol):
            if e.name in CONSTANTS:
                return True
            declared = self._declared(e)
            return (
                self._element(declared.buffer.name, declared.index)
                if isinstance(declared, Access)
                else declared.kind in REAL
            )
        if isinstance(e, element):
            return self._element(e.args[0].name, e.args[1:])
        if isinstance(e, WHOLE):
            self._whole(*e.args)
            return False
        # the first argument of `part` is the name of a part
        kinds = [self.real(a) for a in (e.args[1:] if e.func.__name__ == "part" else e.args)]
        if isinstance(e, TESTS):
            return False
        if isinstance(e, choose):
            return any(kinds[1:])
        if isinstance(e, sp.Pow):
            return any(kinds) or not (e.exp.is_Integer and e.exp > 0)
        if isinstance(e, (sp.Add, sp.Mul, sp.Abs, sp.Max, sp.Min)):
            return any(kinds)
        return not e.is_Integer
