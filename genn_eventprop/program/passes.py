"""Passes: from loops to loops. Each changes one thing that targets do differently, and knows no operation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import sympy as sp

from ..modelling.expressions import symbol
from .nodes import (
    Access,
    Add,
    Append,
    Block,
    Buffer,
    Entries,
    Let,
    Range,
    Set,
    Statement,
    While,
    above,
    bit,
    element,
    expressions,
    lowest,
    mapped,
    quotient,
    remainder,
    targets,
    walk,
    without_lowest,
)

Row = Callable[[Buffer, sp.Basic, sp.Basic], sp.Expr]


def flags(body: Iterable[Statement], row: Row, again: bool = False) -> list[Statement]:
    """Spikes as bits, one a neuron, in words of 32.

    Args:
        row: (spikes, step, word) -> the element where they are. again: rows are used for several steps, so that a loop
            that appends clears its row first.
    """
    word, rest = symbol("word"), symbol("rest")

    def changed(s: Statement) -> list[Statement] | None:
        if isinstance(s, Append):
            return [Add(row(s.spikes, s.step, quotient(s.neuron, 32)), bit(remainder(s.neuron, 32)))]
        if isinstance(s, Entries):
            neuron = Let(s.neuron, 32 * word + lowest(rest), "long")
            each = (neuron, *mapped(s.body, statement=changed), Set(rest, without_lowest(rest)))
            bits = Let(rest, row(s.spikes, s.step, word), "bits", changes=True)
            return [_words(s.spikes, word, (bits, While(above(rest, 0), each)))]
        if not (again and isinstance(s, Range) and s.over == "lanes"):
            return None
        appended = [a for a in walk((s,)) if isinstance(a, Append)]
        clear = [_words(a.spikes, word, (Set(row(a.spikes, a.step, word), 0),)) for a in appended]
        return [*clear, replace(s, body=tuple(mapped(s.body, statement=changed)))]

    return mapped(body, statement=changed)


def lists(body: Iterable[Statement], of: Callable[[Buffer], tuple[Buffer, Buffer]]) -> list[Statement]:
    """Spikes as lists of neurons, which are visited and not appended to here.

    Args:
        of: spikes -> (start, neurons); those of a step begin at number ``start[step]``, those of the next one follow.
    """
    k = symbol("k")

    def changed(s: Statement) -> list[Statement] | None:
        if not isinstance(s, Entries):
            return None
        start, neurons = of(s.spikes)
        each = (Let(s.neuron, neurons.at(k), "long"), *mapped(s.body, statement=changed))
        return [Range(k, start.at(s.step), start.at(s.step + 1), each)]

    return mapped(body, statement=changed)


def shared(body: Iterable[Statement], lane: sp.Symbol, lanes: int) -> list[Statement]:
    """Loops over lanes shared by as many threads, of which this one is number `lane`."""

    def changed(s: Statement) -> list[Statement] | None:
        if not (isinstance(s, Range) and s.over == "lanes"):
            return None
        return [replace(s, start=s.start + lane, by=lanes)]  # what is inside is of one thread

    return mapped(body, statement=changed)


def _words(spikes: Buffer, word: sp.Symbol, body: tuple[Statement, ...]) -> Range:
    return Range(word, 0, spikes.axes[-1], body)


def with_part(body: Iterable[Statement], names: Iterable[str], axis: sp.Symbol) -> list[Statement]:
    """Elements of buffers that have a part for each value of `axis`, their first index from here on."""
    parted = frozenset(names)
    return indexed(body, lambda n, index: (axis, *index) if n in parted else index)


def indexed(
    body: Iterable[Statement], changed: Callable[[str, tuple[sp.Expr, ...]], tuple[sp.Expr, ...]]
) -> list[Statement]:
    """Elements with other indices; changed: (name of a buffer, index) -> the index from here on."""

    def expression(e: sp.Basic) -> sp.Basic:
        elements = e.atoms(element)
        return e.xreplace({x: moved(x) for x in elements}) if elements else e

    def moved(x: sp.Expr) -> sp.Expr:
        of, index = x.args[0], tuple(map(expression, x.args[1:]))
        return element(of, *changed(of.name, index))

    def statement(s: Statement) -> list[Statement] | None:
        if not isinstance(s, Block):
            return None
        elements = {}
        for name, a in s.names.items():
            index = tuple(map(expression, a.index))
            elements[name] = Access(a.buffer, changed(a.buffer.name, index))
        return [Block(mapped(s.body, expression, statement), elements, s.note, s.double)]

    return mapped(body, expression, statement)


def without_unused(body: Iterable[Statement]) -> list[Statement]:
    """Without locals that nothing reads, which a compiler would warn of."""
    return _used(body, {})[0]


def _used(
    body: Iterable[Statement], elements: Mapping[sp.Symbol, Access]
) -> tuple[list[Statement], set[sp.Basic]]:  # fmt: skip
    """(statements without unused locals, the names that they use from outside); elements: what names stand for."""
    out: list[Statement] = []
    names: set[sp.Basic] = set()
    for s in reversed(list(body)):
        if isinstance(s, Let):
            if s.target not in names:
                continue
            names.remove(s.target)
        here = {**elements, **s.names} if isinstance(s, Block) else elements
        inside = {f: _used(getattr(s, f), here) for f in ("body", "otherwise", "changes") if _has_statements(s, f)}
        new = {n for e in (*expressions(s), *targets(s)) for n in e.free_symbols if not isinstance(s, Let)}
        new |= s.value.free_symbols if isinstance(s, Let) else set()
        new = new.union(*(used for _, used in inside.values()))
        if inside:
            s = replace(s, **{f: tuple(statements) for f, (statements, _) in inside.items()})  # type: ignore[arg-type]
        if isinstance(s, Block):
            s = replace(s, names={n: a for n, a in s.names.items() if n in new})
            new -= set(s.names)
        while new:  # an element uses what its index says where the element is used
            names |= new
            indices = [i for n in new if n in here for i in here[n].index]
            new = {n for i in indices for n in sp.sympify(i).free_symbols} - names
        out.append(s)
    return out[::-1], names


def _has_statements(s: Statement, field: str) -> bool:
    value = getattr(s, field, None)
    return isinstance(value, tuple) and bool(value)


def buffers_of(body: Iterable[Statement]) -> set[str]:
    """Names of the buffers of which statements use an element."""
    every = list(walk(body))
    named = {a.buffer.name for b in every if isinstance(b, Block) for a in b.names.values()}
    used = [e for s in every for e in (*expressions(s), *targets(s))]
    used += [sp.sympify(i) for b in every if isinstance(b, Block) for a in b.names.values() for i in a.index]
    return named | {x.args[0].name for e in used for x in sp.sympify(e).atoms(element)}
