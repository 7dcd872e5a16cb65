"""Splits kernels into what all neurons do and what only few do, for targets that vectorise the former.

A statement is rare if it records an event or the end of a timed mode. Its condition is first computed for all neurons, as
a number that is not negative where the condition holds; the statement itself then runs for a list of neurons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import sympy as sp

from ..program.nodes import (
    Code,
    Keep,
    Let,
    Range,
    Set,
    Statement,
    Undo,
    When,
    at_least,
    choose,
    either,
    expressions,
    name,
    no,
    targets,
    walk,
)

TEST = name("t", "test")


@dataclass(frozen=True)
class Part:
    """A piece of a kernel: `hot` for all neurons, then for those whose `test` is not negative `starts` and `cases`, one
    for each rare statement. spilled: locals of `hot` that these need, an array each."""

    hot: tuple[Statement, ...]
    test: sp.Symbol | None = None
    starts: tuple[Statement, ...] = ()
    cases: tuple[tuple[Statement, ...], ...] = ()
    spilled: frozenset[sp.Symbol] = frozenset()

    @property
    def rare(self) -> tuple[Statement, ...]:
        return (*self.starts, *(s for case in self.cases for s in case))


def is_rare(statement: Statement) -> bool:
    return any(isinstance(s, Keep) for s in walk((statement,)))


def symbols(body: Iterable[Statement]) -> set[sp.Symbol]:
    """Every symbol in the code."""
    found = {e for s in _walk(body) for e in (*expressions(s), *targets(s))}
    return set().union(*(e.free_symbols for e in found)) if found else set()


def _walk(body: Iterable[Statement]) -> Iterable[Statement]:
    """Every statement; for an entry, only its fields."""
    for s in body:
        if isinstance(s, Keep):
            yield from (Set(name("e", field), sp.sympify(value)) for field, value in s.fields)
        else:
            yield s
            yield from _walk((*s.body, *s.otherwise) if isinstance(s, When) else s.body if isinstance(s, Range) else ())


def split(body: Iterable[Statement]) -> list[Part]:
    """The pieces of a kernel, in order."""
    found: list[Part] = []
    hot: list[Statement] = []
    rest = list(body)
    while rest:
        end = _end_of_run(rest) if is_rare(rest[0]) else 0
        if end:
            found.append(_part(hot, rest[:end]))
            hot, rest = [], rest[end:]
        else:
            hot.append(rest.pop(0))
    return [*found, Part(tuple(hot))] if hot else found


def _end_of_run(body: list[Statement]) -> int:
    """Length of the run of rare statements, and locals between them, at the beginning."""
    end = 0
    for i, s in enumerate(body, 1):
        if is_rare(s):
            end = i
        elif not isinstance(s, Let):
            break
    return end


def _part(hot: list[Statement], run: list[Statement]) -> Part:
    whens = [s for s in run if isinstance(s, When)]
    starts = tuple(s for s in hot if isinstance(s, Let) and s.changes)  # of the rare statements alone
    fresh = {no(s.target): sp.Integer(1) for s in starts if s.value == 0}
    before = [s for s in hot if s not in starts] + [s for s in run if isinstance(s, Let)]
    condition = either(*(s.condition.xreplace(fresh) for s in whens))
    if condition.func == at_least and condition.args[0].is_Symbol:
        test = condition.args[0]
    else:
        test = TEST
        before.append(Let(TEST, choose(condition, 0, -1)))
    cases: tuple[tuple[Statement, ...], ...] = (whens[0].body,)  # a single condition holds where the test does
    if len(whens) > 1:
        cases = tuple((_again(s, run[run.index(s) + 1 :]),) for s in whens)
    made = {s.target for s in before if isinstance(s, Let)}
    needs = symbols((*starts, *(s for case in cases for s in case))) | {test}
    return Part(tuple(before), test, starts, cases, frozenset(made & needs))


def _again(s: When, later: list[Statement]) -> When:
    """The statement, followed by the locals behind it once more, since it may change their values."""
    return When(s.condition, (*s.body, *(Set(n.target, n.value) for n in later if isinstance(n, Let))), s.otherwise)


def rewrite(body: Iterable[Statement], change: Callable[[Statement], Iterable[Statement] | None]) -> list[Statement]:
    """Replaces each statement by what `change` returns; where that is None, only statements inside are replaced."""
    out: list[Statement] = []
    for s in body:
        new = change(s)
        if new is not None:
            out += new
        elif isinstance(s, When):
            out.append(When(s.condition, tuple(rewrite(s.body, change)), tuple(rewrite(s.otherwise, change))))
        elif isinstance(s, Range):
            out.append(Range(s.index, s.start, s.stop, tuple(rewrite(s.body, change))))
        elif isinstance(s, Undo):
            out.append(Undo(s.kind, tuple(rewrite(s.changes, change)), s.body))
        else:
            out.append(s)
    return out


def needed(body: Iterable[Statement], live: set[sp.Symbol]) -> list[Statement]:
    """The statements that the final values of `live` depend on; what they read is added to `live`."""
    out: list[Statement] = []
    for s in reversed(list(body)):
        if isinstance(s, When):
            inside, other = needed(s.body, live), needed(s.otherwise, live)
            if inside or other:
                live |= s.condition.free_symbols
                out.append(When(s.condition, tuple(inside), tuple(other)))
        elif isinstance(s, (Let, Set, Code)) or hasattr(s, "target"):
            if live & set(targets(s)):
                live |= {v for e in expressions(s) for v in e.free_symbols}
                out.append(s)
    return out[::-1]


def happened(s: Statement) -> tuple[Statement, ...]:
    """What a rare statement does once its entry exists: without its conditions, and without keeping the entry."""
    if isinstance(s, When) and is_rare(s):
        return tuple(t for inner in s.body for t in happened(inner))
    return () if isinstance(s, Keep) else (s,)
