"""Statements of generated code as data. Expressions are sympy's; what a kernel reads and writes is computed from them.

Every symbol is either local (declared by a `Let`, or the index of a `Range`) or stands for one element of a `Buffer`.
Symbols are made by `name`, whose first letters say what they are, so that a state called ``spikes`` or ``step`` and
a name of the generated code can never be the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from functools import cached_property
from operator import attrgetter
from typing import Any

import sympy as sp

from ..modelling.expressions import symbol

BY_NAME = attrgetter("name")  # order of symbols; str() of one takes thirty times longer
STEP = symbol("step")
NEURON = symbol("neuron")
SAMPLE = symbol("sample")


def name(role: str, *parts: object) -> sp.Symbol:
    """The symbol of a thing: ``name("x", "V")`` is the state V. Roles end at the first underscore."""
    return symbol("_".join((role, *map(str, parts))))


NUMPY = {"double": "float64", "int": "int32", "long": "int64", "bits": "uint32", "key": "uint64", "short": "uint16"}
NUMPY |= {"half": "uint16"}
"""Kinds of buffers -> types of NumPy where their names differ; "half" are the bits of a float16."""


@dataclass(frozen=True)
class Buffer:
    """Memory, declared once; a C field, a host array or a device array.

    Args:
        name: unique in the trial. axes: lengths, each a number or the name of a run-time integer, outermost first.
        kind: "real" (the engine's precision), "double", "int" (32 bits), "long" (64 bits) or "bits" (32 flags).
        role: "number" (a coefficient or a parameter), "host" (set by the host for a run), "state" (of the step that
            runs), "stored" (of a trial, for its backward pass), "result" (for the host), "gradient".
    """

    name: str
    axes: tuple[int | str, ...]
    kind: str = "real"
    role: str = "state"

    def type_in_numpy(self, real: Any) -> Any:
        """Of its numbers; real: of those in the engine's precision."""
        return real if self.kind == "real" else NUMPY.get(self.kind, self.kind)

    @property
    def is_input(self) -> bool:
        """Whether the host sets it: no kernel writes there."""
        return self.role in ("host", "number")

    def shape(self, lengths: Mapping[str, Any]) -> tuple[int, ...]:
        """Lengths of the axes; lengths: those known when the program runs, by their names."""
        return tuple([axis if isinstance(axis, int) else int(lengths[axis]) for axis in self.axes])

    def at(self, *index: sp.Expr | int) -> sp.Expr:
        """One element as an expression."""
        return element(symbol(self.name), *index)


@dataclass(frozen=True)
class Access:
    """One element of a buffer; index: an expression for each axis."""

    buffer: Buffer
    index: tuple[sp.Expr, ...]


@dataclass(frozen=True, eq=False)
class _Node:
    """A part of a program; where it is made expressions may be plain numbers, and statements inside a list."""

    def __post_init__(self) -> None:
        for part in {"value", "start", "stop", "step", "status"} & self.__dataclass_fields__.keys():
            if not isinstance(value := getattr(self, part), sp.Basic):
                object.__setattr__(self, part, sp.sympify(value))
        for part in {"body", "otherwise", "changes"} & self.__dataclass_fields__.keys():
            if isinstance(statements := getattr(self, part), list):
                object.__setattr__(self, part, tuple(statements))


@dataclass(frozen=True)
class Let(_Node):
    """A local value; `changes` if it is set again later."""

    target: sp.Symbol
    value: sp.Basic
    kind: str = "real"
    changes: bool = False


@dataclass(frozen=True)
class Set(_Node):
    target: sp.Symbol
    value: sp.Basic


@dataclass(frozen=True)
class Add(_Node):
    """target += value."""

    target: sp.Symbol
    value: sp.Basic


@dataclass(frozen=True)
class When(_Node):
    condition: sp.Basic
    body: Sequence[Statement]
    otherwise: Sequence[Statement] = ()


@dataclass(frozen=True)
class Range(_Node):
    """For index from start up to, not including, stop.

    Args:
        over: "order": one after the other; "lanes": neurons, or the synapses of one, side by side, which share nothing
            but sums that they `Add` to. kind: of the index. by: how far from one to the next.
    """

    index: sp.Symbol
    start: sp.Basic
    stop: sp.Basic
    body: Sequence[Statement]
    over: str = "order"
    kind: str = "int"
    by: int = 1


@dataclass(frozen=True)
class While(_Node):
    """Again and again as long as the condition holds."""

    condition: sp.Basic
    body: Sequence[Statement]


@dataclass(frozen=True)
class Entries(_Node):
    """For every ``neuron`` that spiked at a step, in order; spikes: the buffer of a population's spikes."""

    neuron: sp.Symbol
    spikes: Buffer
    step: sp.Basic
    body: Sequence[Statement]


@dataclass(frozen=True)
class Append:
    """The neuron, of a loop over lanes, spikes at a step."""

    spikes: Buffer
    step: sp.Basic
    neuron: sp.Basic


@dataclass(frozen=True)
class Block(_Node):
    """Statements in a scope of their own.

    Args:
        names: symbols that stand for elements of buffers here. note: one line for a reader. double: numbers that are
            written out have double precision, whatever "real" is.
    """

    body: Sequence[Statement]
    names: Mapping[sp.Symbol, Access] = field(default_factory=dict)
    note: str = ""
    double: bool = False


@dataclass(frozen=True)
class Leave(_Node):
    """The trial is over; the host gets this number."""

    status: sp.Basic


@dataclass(frozen=True)
class Diverged:
    """The trial ends here: `state` (an index) of this neuron has left the dynamics."""

    state: int


@dataclass(frozen=True)
class StoreEvent(_Node):
    """A new entry in the list of what happened to the neuron.

    Args:
        kind: number of the event, or, for the end of a timed mode, the number of events. fields: (name, value) of all
            that may be needed of it: ``e_<name>`` of the new entry, ``b_<name>`` of the newest one. body: the same as
            statements, for a target with a list a neuron.
    """

    kind: int
    fields: tuple[tuple[str, sp.Basic], ...]
    body: Sequence[Statement]


@dataclass(frozen=True)
class Undo(_Node):
    """The newest entry, if it is of this step and of kind `kind`, is undone by `changes` and leaves the list; body: the
    same as statements, for a target with a list a neuron."""

    kind: int
    changes: Sequence[Statement]
    body: Sequence[Statement]


@dataclass(frozen=True)
class Code:
    """Hand-written code, in which symbols stand by their names."""

    text: str
    reads: tuple[sp.Symbol, ...]
    writes: tuple[sp.Symbol, ...]


Statement = (
    Let | Set | Add | When | Range | While | Entries | Append | Block | Leave | Diverged | StoreEvent | Undo | Code
)


# what expressions may contain besides arithmetic: functions that every target spells


class equal(sp.Function):  # noqa: N801
    """1 if two integers are equal."""

    nargs = 2


class at_least(sp.Function):  # noqa: N801
    """a >= b, false for nan: sympy's own relations are rewritten as if there were no nan."""

    nargs = 2


class above(sp.Function):  # noqa: N801
    """a > b, false for nan."""

    nargs = 2


class below(sp.Function):  # noqa: N801
    """a < b, false for nan."""

    nargs = 2


class both(sp.Function):  # noqa: N801
    """Every argument holds."""

    @classmethod
    def eval(cls, *args: sp.Expr) -> sp.Expr | None:
        conditions = [a for a in args if a != 1]
        if len(conditions) == len(args) and len(args) > 1:
            return None
        return cls(*conditions) if len(conditions) > 1 else conditions[0] if conditions else sp.Integer(1)


class either(sp.Function):  # noqa: N801
    """Some argument holds."""

    @classmethod
    def eval(cls, *args: sp.Expr) -> sp.Expr | None:
        return args[0] if len(args) == 1 else None


class no(sp.Function):  # noqa: N801
    """The argument does not hold."""

    nargs = 1


class choose(sp.Function):  # noqa: N801
    """(condition, a, b): a if the condition holds, else b."""

    nargs = 3


class diverged(sp.Function):  # noqa: N801
    """True for a value beyond `engines.contract.engine.DIVERGED`, and for nan."""

    nargs = 1


class is_nan(sp.Function):  # noqa: N801
    nargs = 1


class normal_number(sp.Function):  # noqa: N801
    """(key of the trial, step, neuron): see `engines/contract/noise.py`."""

    nargs = 3


class random_bits(sp.Function):  # noqa: N801
    """(key of the trial, step, neuron) -> an integer of 32 bits, as a 64-bit one."""

    nargs = 3


class loss_change(sp.Function):  # noqa: N801
    """(step, neuron, before, V): l(V) at a step minus l with V of one output changed; before: that output's element of
    a row of V. Of an auxiliary loss the number of its population comes fifth."""

    nargs = (4, 5)


class birth_change(sp.Function):  # noqa: N801
    """(number of a population, neuron, by): the outer loss of its readouts with that of a neuron changed, and there,
    minus the loss, times the weight of the sample."""

    nargs = 3


class element(sp.Function):  # noqa: N801
    """(name of a buffer, an index for each axis); see `Buffer.at`."""


class part(sp.Function):  # noqa: N801
    """(name of a part of weights, weight): see `operations`."""

    nargs = 2


class quotient(sp.Function):  # noqa: N801
    """a / b of integers that are not negative, rounded down."""

    nargs = 2


class remainder(sp.Function):  # noqa: N801
    """What `quotient` leaves of a."""

    nargs = 2


class bit(sp.Function):  # noqa: N801
    """32 flags of which number n is set."""

    nargs = 1


class lowest(sp.Function):  # noqa: N801
    """Number of the lowest flag that is set; one is."""

    nargs = 1


class without_lowest(sp.Function):  # noqa: N801
    """The flags but for the lowest one that is set."""

    nargs = 1


def children(statement: Statement) -> Sequence[Statement]:
    """The statements inside one."""
    if isinstance(statement, When):
        return *statement.body, *statement.otherwise
    return statement.body if isinstance(statement, (Range, While, Entries, Block, StoreEvent, Undo)) else ()


def walk(body: Iterable[Statement]) -> Iterator[Statement]:
    """Every statement, outer ones first."""
    for statement in body:
        yield statement
        yield from walk(children(statement))


def expressions(statement: Statement) -> tuple[sp.Basic, ...]:
    """What a statement evaluates, without the statements inside it."""
    if isinstance(statement, (When, While)):
        return (statement.condition,)
    if isinstance(statement, Range):
        return (statement.start, statement.stop)
    if isinstance(statement, Entries):
        return (statement.step,)
    if isinstance(statement, Append):
        return (statement.step, statement.neuron)
    if isinstance(statement, Leave):
        return (statement.status,)
    if isinstance(statement, Code):
        return statement.reads
    return (statement.value,) if isinstance(statement, (Let, Set, Add)) else ()


@dataclass(frozen=True, eq=False)
class Kernel(_Node):
    """Straight-line code of one neuron.

    Args:
        body: statements. table: symbol -> the element it stands for; of all that the code may name.
    """

    body: Sequence[Statement]
    table: Mapping[sp.Symbol, Access] = field(repr=False)

    @cached_property
    def named(self) -> tuple[sp.Symbol, ...]:
        """Symbols of buffers in the code, also in the indices of other elements; sorted."""
        symbols: set[sp.Symbol] = set()
        new = {s for st in walk(self.body) for e in (*expressions(st), *targets(st)) for s in e.free_symbols}
        while new := {s for s in new if s in self.table and s not in symbols}:
            symbols |= new
            new = {t for s in new for i in self.table[s].index for t in i.free_symbols}
        return tuple(sorted(symbols, key=BY_NAME))

    @cached_property
    def written(self) -> tuple[sp.Symbol, ...]:
        """Symbols of buffers that the code assigns to."""
        assigned = {t for s in walk(self.body) if not isinstance(s, Let) for t in targets(s)}
        return tuple(sorted((t for t in assigned if t in self.table), key=BY_NAME))

    def __bool__(self) -> bool:
        return bool(self.body)


def targets(statement: Statement) -> tuple[sp.Symbol, ...]:
    """What a statement declares or assigns to, without the statements inside it."""
    if isinstance(statement, Code):
        return statement.writes
    return (statement.target,) if isinstance(statement, (Let, Set, Add)) else ()


def mapped(
    body: Iterable[Statement],
    expression: Callable[[sp.Basic], sp.Basic] | None = None,
    statement: Callable[[Statement], Iterable[Statement] | None] = lambda _: None,
) -> list[Statement]:
    """Statements with `expression` applied to each of their expressions.

    Args:
        statement: what it returns takes the place of a statement, as it is; where that is None, only what is inside
            changes.
    """

    def inside(value: object) -> object:
        if isinstance(value, tuple) and value and is_dataclass(value[0]):
            return tuple(mapped(value, expression, statement))
        if expression is None:
            return value
        if isinstance(value, sp.Basic):
            return expression(value)
        if isinstance(value, Access):
            return Access(value.buffer, tuple(map(expression, value.index)))
        if isinstance(value, Mapping):
            return {s: inside(a) for s, a in value.items()}
        pairs = isinstance(value, tuple) and value and isinstance(value[0], tuple)  # the fields of an entry
        return tuple((n, inside(v)) for n, v in value) if pairs else value  # type: ignore[attr-defined]

    out: list[Statement] = []
    for s in body:
        new = statement(s)
        if new is not None:
            out += new
            continue
        parts = ((n, getattr(s, n)) for n in s.__dataclass_fields__)
        changed = {n: after for n, before in parts if (after := inside(before)) is not before}
        out.append(replace(s, **changed) if changed else s)  # type: ignore[arg-type]
    return out


def together(assigned: Mapping[sp.Symbol, sp.Expr], prefix: str) -> tuple[Statement, ...]:
    """Simultaneous assignments: every right-hand side sees the old values; common subexpressions are shared.

    Args:
        prefix: of the names of the locals, unique in the kernel.
    """
    items = [(t, e) for t, e in assigned.items() if t != e]
    shared, reduced = sp.cse(
        [e for _, e in items], symbols=(name("t", prefix, i) for i in range(10**6)), order="canonical"
    )
    lines: list[Statement] = [Let(s, e) for s, e in shared]
    late: list[Statement] = []
    for i, ((target, _), e) in enumerate(zip(items, reduced)):
        if any(target in later.free_symbols for later in reduced[i + 1 :]):
            new = name("t", prefix, target)
            lines.append(Let(new, e))
            late.append(Set(target, new))
        else:
            lines.append(Set(target, e))
    return (*lines, *late)
