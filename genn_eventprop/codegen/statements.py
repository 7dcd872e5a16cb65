"""Statements of `program` as text of a C-like language, indented; what differs between targets is their `Spelling`.

Integers are written as they are, since C converts them when they meet real numbers. Other numbers are written in the
precision of the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import sympy as sp

from ..program.nodes import (
    BY_NAME,
    NEURON,
    Access,
    Add,
    Block,
    Buffer,
    Code,
    Diverged,
    Kernel,
    Leave,
    Let,
    Range,
    Set,
    Statement,
    StoreEvent,
    Undo,
    When,
    While,
)
from .printer import DOUBLE, REAL, Printer

TYPES = {"real": "real", "double": "double", "int": "int32_t", "long": "int64_t", "bits": "uint32_t", "key": "uint64_t"}
TYPES |= {"short": "uint16_t", "half": "Half"} | {k: f"{k}_t" for k in ("int8", "int16", "uint8", "uint16")}


@dataclass(frozen=True)
class Spelling:
    """How one target writes what languages like C do not agree on.

    Args:
        element: an element of a buffer as an expression that can be assigned to. diverged: (population, state) -> what
            ends the trial. constants: symbol -> text, such as infinity. comment: a line for a reader as text. buffers:
            of a loop program, by name.
    """

    element: Callable[[Access, Callable[[sp.Expr], str]], str]
    diverged: Callable[[int, int], str]
    constants: Mapping[str, str] = field(default_factory=dict)
    comment: Callable[[str], str] = lambda _: ""
    buffers: Mapping[str, Buffer] = field(default_factory=dict)


def indent(text: str, depth: int = 1) -> str:
    """Indented lines, without empty ones."""
    return "".join(f"{'    ' * depth}{line}\n" for line in text.splitlines() if line.strip())


def value_of(value: object) -> str:
    """A constant, or a list of some, as C++."""
    if isinstance(value, (list, tuple)):
        return f"{{{', '.join(map(value_of, value))}}}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def constants(kind: str, values: Mapping[str, object], comment: str = "") -> str:
    """Members of a struct, name -> value."""
    said = ", ".join(f"{name} = {value_of(value)}" for name, value in values.items())
    return f"static constexpr {kind} {said};{f'  // {comment}' if comment else ''}\n"


class Expressions(Printer):
    def __init__(self, writer: Writer) -> None:
        super().__init__(writer.dialect)
        self.writer = writer

    def _print_Symbol(self, s: sp.Symbol) -> str:
        if s in self.writer.kernel.table and s not in self.writer.loaded:
            return self.writer._element(s)
        return self.writer.spelling.constants.get(s.name, s.name)

    def _print_Integer(self, expr: sp.Integer) -> str:
        return str(int(expr))

    _print_Zero = _print_One = _print_NegativeOne = _print_Integer

    def _all(self, e: sp.Expr) -> list[str]:
        return [self._print(a) for a in e.args]

    def _print_equal(self, e: sp.Expr) -> str:
        return f"({' == '.join(self._all(e))})"

    def _print_at_least(self, e: sp.Expr) -> str:
        return f"({' >= '.join(self._all(e))})"

    def _print_above(self, e: sp.Expr) -> str:
        return f"({' > '.join(self._all(e))})"

    def _print_below(self, e: sp.Expr) -> str:
        return f"({' < '.join(self._all(e))})"

    def _print_both(self, e: sp.Expr) -> str:
        return f"({' && '.join(self._all(e))})"

    def _print_either(self, e: sp.Expr) -> str:
        return f"({' || '.join(self._all(e))})"

    def _print_no(self, e: sp.Expr) -> str:
        return f"!{self._all(e)[0]}"

    def _print_diverged(self, e: sp.Expr) -> str:
        return f"!(fabs({self._all(e)[0]}) <= (real)1e30)"

    def _print_is_nan(self, e: sp.Expr) -> str:
        value = self._all(e)[0]
        return f"({value} != {value})"

    def _print_element(self, e: sp.Expr) -> str:
        b = self.writer.spelling.buffers[e.args[0].name]
        return self.writer.spelling.element(Access(b, e.args[1:]), self.writer.expression)

    def _print_part(self, e: sp.Expr) -> str:
        return f"part_{e.args[0]}({self._print(e.args[1])})"

    def _print_quotient(self, e: sp.Expr) -> str:
        return self._of_integers(e, " / ")

    def _print_remainder(self, e: sp.Expr) -> str:
        return self._of_integers(e, " % ")

    def _of_integers(self, e: sp.Expr, operator: str) -> str:
        return f"({operator.join(t if t.isidentifier() or t.isdigit() else f'({t})' for t in self._all(e))})"

    def _print_bit(self, e: sp.Expr) -> str:
        return f"((uint32_t)1 << {self._print(e.args[0])})"

    def _print_lowest(self, e: sp.Expr) -> str:
        return f"lowest({self._print(e.args[0])})"

    def _print_without_lowest(self, e: sp.Expr) -> str:
        (flags,) = self._all(e)
        return f"({flags} & ({flags} - 1))"

    def _print_normal_number(self, e: sp.Expr) -> str:
        return f"normal_number({', '.join(self._all(e))}, {self.writer.spelling.constants['quantiles']})"

    def _print_random_bits(self, e: sp.Expr) -> str:
        return f"(int64_t)random_bits({', '.join(self._all(e))})"


class Writer:
    """Writes the kernels of one population (-1: code that runs once per trial)."""

    expressions = Expressions

    def __init__(self, spelling: Spelling, kernel: Kernel, population: int = -1, double: bool = False) -> None:
        self.spelling, self.kernel, self.population = spelling, kernel, population
        self.dialect = DOUBLE if double else REAL
        self.loaded = {s for s in kernel.named if _in_a_local(kernel.table[s])} if population >= 0 else set()

    def text(self) -> str:
        """The kernel: loads, code, stores."""
        table, written, fresh = self.kernel.table, set(self.kernel.written), self._set_first()
        lines = [
            f"{'' if s in written else 'const '}{TYPES[table[s].buffer.kind]} {s}"
            f"{'' if s in fresh else f' = {self._element(s)}'};"
            for s in sorted(self.loaded, key=BY_NAME)
        ]  # fmt: skip
        lines.append(self.block(self.kernel.body).rstrip("\n"))
        lines += [f"{self._element(s)} = {s};" for s in sorted(self.loaded & written, key=BY_NAME)]
        return "\n".join(line for line in lines if line) + "\n"

    def _set_first(self) -> set[sp.Symbol]:
        """Elements that are set before they are read, so that they need no load."""
        seen: set[sp.Symbol] = set()
        fresh: set[sp.Symbol] = set()
        for statement in self.kernel.body:
            new = Kernel((statement,), self.kernel.table).named
            if isinstance(statement, Set) and statement.target not in seen | statement.value.free_symbols:
                fresh.add(statement.target)
            seen |= set(new)
        return fresh

    def _element(self, s: sp.Symbol) -> str:
        a = self.kernel.table[s]
        return self.spelling.element(
            replace(a, buffer=self.spelling.buffers.get(a.buffer.name, a.buffer)), self.expression
        )

    def block(self, body: Iterable[Statement]) -> str:
        return "".join(self.statement(s) for s in body)

    def statement(self, s: Statement) -> str:
        if isinstance(s, Let):
            self.loaded.add(s.target)
            return f"{'' if s.changes else 'const '}{TYPES[s.kind]} {s.target.name} = {self.expression(s.value)};\n"
        if isinstance(s, Set):
            return f"{self.expression(s.target)} = {self.expression(s.value)};\n"
        if isinstance(s, Add):
            return f"{self.expression(s.target)} += {self.expression(s.value)};\n"
        if isinstance(s, Diverged):
            return f"{self.spelling.diverged(self.population, s.state)}\n"
        if isinstance(s, Range):
            return self.loop(s, self.scope(s.body))
        if isinstance(s, While):
            return f"while ({_bare(self.expression(s.condition))}) {{\n{indent(self.scope(s.body))}}}\n"
        if isinstance(s, Block):
            text = self._inside(s).block(s.body)
            scope = f"{{\n{indent(text)}}}\n" if any(isinstance(i, Let) for i in s.body) else text
            return self.spelling.comment(s.note) + scope if text else ""
        if isinstance(s, Leave):
            return f"return {self.expression(s.status)};\n"
        if isinstance(s, (StoreEvent, Undo)):
            return self.block(s.body)
        if isinstance(s, Code):
            table, read = self.kernel.table, [r for r in s.reads if r in self.kernel.table and r not in self.loaded]
            arguments = "".join(f"const {TYPES[table[r].buffer.kind]} {r} = {self._element(r)};\n" for r in read)
            return f"{{\n{indent(arguments + s.text)}}}\n"
        assert isinstance(s, When)
        text = f"if ({_bare(self.expression(s.condition))}) {{\n{indent(self.scope(s.body))}}}"
        return text + (f" else {{\n{indent(self.scope(s.otherwise))}}}\n" if s.otherwise else "\n")

    def scope(self, body: Sequence[Statement]) -> str:
        """The statements between two brackets, without a second pair."""
        only, around = body[0] if len(body) == 1 else None, set(self.loaded)
        inside = isinstance(only, Block) and not only.note
        text = self._inside(only).block(only.body) if inside else self.block(body)  # type: ignore[arg-type, union-attr]
        self.loaded = around
        return text

    def _inside(self, s: Block) -> Writer:
        """A writer of what is inside of a block: its own names come before those around it."""
        inside = type(self)(
            self.spelling, Kernel(s.body, {**self.kernel.table, **s.names}), double=s.double or self.dialect is DOUBLE
        )
        inside.loaded = self.loaded - set(s.names)
        return inside

    def loop(self, s: Range, body: str) -> str:
        """The loop of a range around a body."""
        start, stop, i = self.expression(s.start), self.expression(s.stop), s.index.name
        following = f"++{i}" if s.by == 1 else f"{i} += {s.by}"
        return f"for ({TYPES[s.kind]} {i} = {start}; {i} < {stop}; {following}) {{\n{indent(body)}}}\n"

    def expression(self, e: sp.Basic) -> str:
        """An expression, possibly an index within another one."""
        inside = hasattr(self._printer, "_not_supported")  # what `doprint` has while it runs
        return self._printer._print(e) if inside else self._printer.doprint(e)

    @cached_property
    def _printer(self) -> Expressions:
        return self.expressions(self)


def _in_a_local(access: Access) -> bool:
    """True for a value per neuron or for all neurons, which is loaded at the start and stored at the end."""
    return access.index in ((NEURON,), (sp.Integer(0),)) or access.buffer.axes == ()


def _bare(text: str) -> str:
    """Without a pair of brackets around the whole."""
    depth = 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return text[1:-1] if c == ")" and i == len(text) - 1 and text.startswith("(") else text
    return text
