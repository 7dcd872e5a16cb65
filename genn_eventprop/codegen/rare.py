"""Splits kernels into what all neurons do and what only few do, for targets that vectorise the former.

A statement is rare if it records an event or the end of a timed mode, of few neurons at a step. In the loop
over all neurons it would be a branch that no compiler vectorises. So its condition becomes a number, `test`, that the
loop computes for all neurons and that is not negative where the condition holds; the statement itself then runs in a
second loop, over the list of these neurons.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sympy as sp

from ..program.nodes import (
    Code,
    Let,
    Range,
    Set,
    Statement,
    StoreEvent,
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
class EventSplit:
    """A run of a kernel in two loops.

    Args:
        vector_loop: statements for all neurons. test: not negative where a rare statement may run; None if there is
            none. starts: locals that only rare statements use, set first. cases: the statements of every rare statement
            in order. spilled: locals of the vector loop that the second loop reads, an array each.
    """

    vector_loop: tuple[Statement, ...]
    test: sp.Symbol | None = None
    starts: tuple[Statement, ...] = ()
    cases: tuple[Sequence[Statement], ...] = ()
    spilled: frozenset[sp.Symbol] = frozenset()

    @property
    def rare(self) -> tuple[Statement, ...]:
        """The body of the second loop."""
        return (*self.starts, *(s for case in self.cases for s in case))


def is_rare(statement: Statement) -> bool:
    return any(isinstance(s, StoreEvent) for s in walk((statement,)))


def symbols(body: Iterable[Statement]) -> set[sp.Symbol]:
    """Every symbol in the code."""
    every = {e for s in _walk(body) for e in (*expressions(s), *targets(s))}
    return set().union(*(e.free_symbols for e in every)) if every else set()


def _walk(body: Iterable[Statement]) -> Iterable[Statement]:
    """Every statement; for an entry, only its fields."""
    for s in body:
        if isinstance(s, StoreEvent):
            yield from (Set(name("e", field), sp.sympify(value)) for field, value in s.fields)
        else:
            yield s
            yield from _walk((*s.body, *s.otherwise) if isinstance(s, When) else s.body if isinstance(s, Range) else ())


def split(body: Iterable[Statement]) -> list[EventSplit]:
    """The runs of a kernel, in order: each ends with its rare statements, since what follows may read their results."""
    runs: list[EventSplit] = []
    vector_loop: list[Statement] = []
    rest = list(body)
    while rest:
        end = _end_of_run(rest) if is_rare(rest[0]) else 0
        if end:
            runs.append(_split_run(vector_loop, rest[:end]))
            vector_loop, rest = [], rest[end:]
        else:
            vector_loop.append(rest.pop(0))
    return [*runs, EventSplit(tuple(vector_loop))] if vector_loop else runs


def _end_of_run(body: list[Statement]) -> int:
    """Length of the run of rare statements at the beginning, and of what is assigned between them.

    What is assigned there is so for all neurons, before the rare statements, and once more behind those (`_again`).
    """
    end = 0
    for i, s in enumerate(body, 1):
        if is_rare(s):
            end = i
        elif not (isinstance(s, Let) or (isinstance(s, Set) and s.target not in symbols(body[: i - 1]))):
            break
    return end


def _split_run(vector_loop: list[Statement], run: list[Statement]) -> EventSplit:
    """One run: the statements before its rare ones, and these with what is assigned between them."""
    whens = [s for s in run if isinstance(s, When)]
    starts = tuple(s for s in vector_loop if isinstance(s, Let) and s.changes)  # of the rare statements alone
    # such a local is still 0 when the conditions are first tested: no(it) holds
    fresh = {no(s.target): sp.Integer(1) for s in starts if s.value == 0}
    before = [s for s in vector_loop if s not in starts] + [s for s in run if isinstance(s, Let | Set)]
    condition = either(*(s.condition.xreplace(fresh) for s in whens))
    # a threshold function g >= 0 is such a number already: no other is computed
    if condition.func == at_least and condition.args[0].is_Symbol:
        test = condition.args[0]
    else:
        test = TEST
        before.append(Let(TEST, choose(condition, 0, -1)))
    cases: tuple[Sequence[Statement], ...] = (whens[0].body,)  # a single condition holds where the test does
    if len(whens) > 1:  # the test says that one of them holds: which one is asked again, after those before it have run
        cases = tuple((_again(s, run[run.index(s) + 1 :]),) for s in whens)
    declared = {s.target for s in before if isinstance(s, Let)}
    needs = symbols((*starts, *(s for case in cases for s in case))) | {test}
    return EventSplit(tuple(before), test, starts, cases, frozenset(declared & needs))


def _again(s: When, later: list[Statement]) -> When:
    """The statement, followed by what is assigned behind it once more: it may change that, e.g. a reset g."""
    assigned = (Set(n.target, n.value) for n in later if isinstance(n, Let | Set))
    return When(s.condition, (*s.body, *assigned), s.otherwise)


def live_statements(body: Iterable[Statement], live: set[sp.Symbol]) -> list[Statement]:
    """The statements that the final values of `live` depend on; what they read is added to `live`.

    A trial that is run again for its states alone (in segments, see `engines/native`) leaves out all others.
    """
    out: list[Statement] = []
    for s in reversed(list(body)):  # backwards: what a statement reads must be live before it
        if isinstance(s, When):
            inside, other = live_statements(s.body, live), live_statements(s.otherwise, live)
            if inside or other:
                live |= s.condition.free_symbols
                out.append(When(s.condition, inside, other))
        elif isinstance(s, (Let, Set, Code)) or hasattr(s, "target"):
            if live & set(targets(s)):
                live |= {v for e in expressions(s) for v in e.free_symbols}
                out.append(s)
    return out[::-1]


def without_entry(s: Statement) -> tuple[Statement, ...]:
    """What a rare statement changes, for a trial that is run again: its entry exists already, so its conditions hold."""
    if isinstance(s, When) and is_rare(s):
        return tuple(t for inner in s.body for t in without_entry(inner))
    return () if isinstance(s, StoreEvent) else (s,)
