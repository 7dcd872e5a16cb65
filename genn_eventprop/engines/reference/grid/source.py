"""Loops of `program.lower` as Python: what their nodes mean, fast enough to be the reference.

Samples run side by side, and so do neurons and the synapses of a spike: what differs between them is an array with a
place for each of some `Lanes`, the rest are numbers. A condition keeps some of the lanes; a loop makes several of each
or, where a turn needs what another has made, runs turn by turn for those that still have one. Only the order of sums
follows from that.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import sympy as sp
from sympy.printing.numpy import NumPyPrinter

from ....modelling.removable import NUMPY
from ....program.check import TESTS
from ....program.nodes import (
    SAMPLE,
    Access,
    Add,
    Append,
    Block,
    Buffer,
    Code,
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
    choose,
    element,
    expressions,
    targets,
    walk,
)
from ...contract.noise import normal_numbers, words

KINDS = {"real": "float", "double": "float"}
CONSTANTS = {"o_infinity": "numpy.inf", "o_nan": "numpy.nan"}
PARTS = {
    "positive": "numpy.maximum({0}, 0.0)", "negative": "numpy.minimum({0}, 0.0)", "square": "({0})**2",
    "cube": "({0})**3", "fourth": "({0})**4",
}  # fmt: skip
COMPARED = {"equal": "==", "at_least": ">=", "above": ">", "below": "<"}
_WORD, _MADE = re.compile(r"\w+"), re.compile(r" *(\w+) = ")
FEW = 32
"""Rows to which others are added as a product of matrices."""


@dataclass(eq=False)
class Lanes:
    """Things side by side.

    Args:
        up: name of the array that says which of the parent each belongs to. size: how many, as text. width, index: of
            a loop over all neurons, their number and the loop's variable.
    """

    parent: Lanes | None
    up: str
    size: str
    width: int = 0
    index: Local | None = None


@dataclass(eq=False)
class Local:
    """A value with a place for each of some lanes, or a number (None)."""

    text: str
    lanes: Lanes | None
    changes: bool = False


Scope = dict[sp.Symbol, Local | Access]
Index = Sequence[sp.Basic]


class Program:
    """Statements for sample `SAMPLE` as a function ``run(arrays, batch, hook)``, which returns what a `Leave` says.

    Args:
        buffers: by name. parted: names of those that every sample has its own part of, along a first axis that is not
            theirs. spikes: names of those that are bools (batch, steps, neurons), whose step 0 is number `before`.
    """

    def __init__(
        self, body: Iterable[Statement], buffers: Mapping[str, Buffer], parted: Iterable[str] = (),
        spikes: Iterable[str] = (), before: int = 0,
    ) -> None:  # fmt: skip
        self.parted, self.spikes, self.before = frozenset(parted), frozenset(spikes), before
        self.buffers = {n: replace(b, axes=("batch", *b.axes)) if n in self.parted else b for n, b in buffers.items()}
        self.lines: list[str] = []
        self.head: dict[str, str] = {}
        self.wide: dict[int, Lanes] = {}
        self.depth, self.names = 1, 0
        self.known: list[dict[object, str]] = [{}]
        self.printer = Expressions(self)
        self.root = Lanes(None, "", "batch")
        self.block(body, {SAMPLE: Local("sample", self.root)}, self.root)
        head = ["sample = numpy.arange(batch)", *(f"{name} = {value}" for name, value in self.head.items())]
        used = Counter(_WORD.findall("\n".join(self.lines)))
        lines = [x for x in self.lines if not (named := _MADE.match(x)) or used[named[1]] > 1]
        self.text = "\n".join(["def run(arrays, batch, hook):", *(f"    {line}" for line in head), *lines])
        space: dict[str, Any] = {
            **NUMPY, "numpy": np, "add_rows": add_rows, "expanded": expanded, "words": words,
            "normal_numbers": normal_numbers, "erfc": np.frompyfunc(math.erfc, 1, 1),
        }  # fmt: skip
        exec(compile(self.text, "<loops>", "exec"), space)
        self.run = space["run"]

    # text

    def emit(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def new(self, value: str, name: str = "v") -> str:
        """A new name for a value."""
        self.names += 1
        self.emit(f"{name}_{self.names} = {value}")
        return f"{name}_{self.names}"

    @contextmanager
    def inside(self, header: str) -> Iterator[None]:
        self.emit(header)
        self.depth += 1
        self.known.append({})
        yield
        self.emit("pass")
        self.known.pop()
        self.depth -= 1

    def once(self, key: object, value: str, name: str = "v") -> str:
        """The name of a value that stays the same in the block around, made when first asked for."""
        known_name = next((known[key] for known in reversed(self.known) if key in known), None)
        if known_name is None:
            known_name = self.known[-1][key] = self.new(value, name)
        return known_name

    # values

    def way(self, lanes: Lanes, to: Lanes) -> str:
        """Name of the array that says which of `to` each lane belongs to."""
        assert lanes.parent is not None, "lanes of another loop"
        if lanes.parent is to:
            return lanes.up
        return self.once((lanes, to), f"{self.way(lanes.parent, to)}[{lanes.up}]", "way")

    def read(self, v: Local, lanes: Lanes) -> str:
        if v.lanes is None or v.lanes is lanes:
            return v.text
        if v.text == "sample":
            return self.way(lanes, self.root)
        if v.changes:
            return f"{v.text}[{self.way(lanes, v.lanes)}]"
        assert lanes.parent is not None
        return self.once((v.text, lanes), f"{self.read(v, lanes.parent)}[{lanes.up}]")

    def locals_of(self, e: sp.Basic, scope: Scope) -> set[Local]:
        """The locals that an expression uses."""
        used: set[Local] = set()
        for s in e.free_symbols:
            of = scope.get(s)
            if isinstance(of, Access):
                used |= set().union(*(self.locals_of(sp.sympify(i), scope) for i in of.index))
            elif of is not None:
                used.add(of)
            name = of.buffer.name if isinstance(of, Access) else s.name
            if name in self.parted and not isinstance(of, Local):
                used.add(scope[SAMPLE])  # type: ignore[arg-type]
        return used

    def varies(self, e: sp.Basic, scope: Scope) -> bool:
        """Whether it differs between lanes."""
        return any(v.lanes is not None for v in self.locals_of(e, scope))

    def value(self, e: sp.Basic, scope: Scope, lanes: Lanes) -> str:
        return self.printer.text(sp.sympify(e), scope, lanes)

    def buffer(self, name: str) -> str:
        b = self.buffers[name]
        array = f"arrays[{name!r}]"
        self.head.setdefault(f"b_{name}", array if b.axes else f"{array}.reshape(())[()]")
        return f"b_{name}"

    def place(self, target: sp.Basic, scope: Scope) -> tuple[Buffer, Index]:
        if isinstance(target, element):
            name, index = target.args[0].name, target.args[1:]
        else:
            of = scope[target]
            assert isinstance(of, Access)
            name, index = of.buffer.name, of.index
        b = self.buffers[name]
        parted = (SAMPLE,) if name in self.parted else ()
        return b, [*parted, *(sp.sympify(i) for i in index[: len(b.axes) - len(parted)])]

    def row(self, b: Buffer, index: Index, scope: Scope, lanes: Lanes) -> tuple[str, tuple[str, ...], bool] | None:
        """(the rows of the parents of lanes, its indices, whether the parents share one), if lanes are whole rows."""
        if lanes.index is None or b.axes[-1] != lanes.width or scope.get(index[-1]) is not lanes.index:
            return None
        outer, parent = index[:-1], lanes.parent
        assert parent is not None
        if any(v.lanes is lanes for i in outer for v in self.locals_of(i, scope)):
            return None
        texts = tuple(self.value(i, scope, parent) for i in outer)
        shared = not any(self.varies(i, scope) for i in outer)
        if parent is self.root and texts[:1] == ("sample",) and not any(self.varies(i, scope) for i in outer[1:]):
            texts = (":", *texts[1:])
        name = self.buffer(b.name)
        return (f"{name}[{', '.join(texts)}]" if texts else name), texts, shared

    def load(self, target: sp.Basic, scope: Scope, lanes: Lanes, guarded: bool) -> str:
        b, index = self.place(target, scope)
        name = self.buffer(b.name)
        if not index:
            return name
        if not any(self.varies(i, scope) for i in index):
            return f"{name}[{', '.join(self.value(i, scope, lanes) for i in index)}]"
        if row := self.row(b, index, scope, lanes):
            text, _, shared = row
            if not shared:
                return f"{text}.reshape(-1)"
            if text == name and lanes in self.wide.values() and b.role in ("host", "number"):
                self.head[f"wide_{name}"] = f"numpy.tile({name}, batch)"
                return f"wide_{name}"
            assert lanes.parent is not None
            return f"numpy.tile({text}, {lanes.parent.size})"
        texts = [self.value(i, scope, lanes) for i in index]
        if guarded:  # what is not chosen may be outside
            texts = [f"numpy.clip({t}, 0, {name}.shape[{k}] - 1)" for k, t in enumerate(texts)]
        return f"{name}[{', '.join(texts)}]"

    # statements

    def block(self, body: Iterable[Statement], scope: Scope, lanes: Lanes) -> None:
        scope = dict(scope)
        for s in body:
            self.statement(s, scope, lanes)

    def statement(self, s: Statement, scope: Scope, lanes: Lanes) -> None:
        if isinstance(s, Let):
            scope[s.target] = self.let(s, scope, lanes)
        elif isinstance(s, Set):
            self.set(s, scope, lanes)
        elif isinstance(s, Add):
            self.add(s, scope, lanes)
        elif isinstance(s, When):
            self.when(s.condition, s.body, scope, lanes)
            if s.otherwise:
                self.when(s.condition, s.otherwise, scope, lanes, "== 0")
        elif isinstance(s, Range):
            self.range(s, scope, lanes)
        elif isinstance(s, While):
            self.turns(s.condition, s.body, scope, lanes)
        elif isinstance(s, Entries):
            self.entries(s, scope, lanes)
        elif isinstance(s, Append):
            at = ", ".join(
                (self.way(lanes, self.root), self.step(s.step, scope, lanes), self.value(s.neuron, scope, lanes))
            )
            self.emit(f"{self.buffer(s.spikes.name)}[{at}] = True")
        elif isinstance(s, Block):
            self.block(s.body, {**scope, **s.names}, lanes)
        elif isinstance(s, Leave):
            self.emit(f"return {self.value(s.status, scope, lanes)}" + "[0]" * self.varies(s.status, scope))
        elif isinstance(s, (StoreEvent, Undo)):
            self.block(s.body, scope, lanes)
        else:
            assert isinstance(s, Code), s
            self.emit(s.text.format(*(self.value(r, scope, lanes) for r in s.reads)))

    def step(self, e: sp.Basic, scope: Scope, lanes: Lanes) -> str:
        """The row of the spikes of a step."""
        return self.value(sp.sympify(e) + self.before, scope, lanes)

    def let(self, s: Let, scope: Scope, lanes: Lanes) -> Local:
        value, varies = self.value(s.value, scope, lanes), self.varies(s.value, scope)
        if s.changes:
            kind = KINDS.get(s.kind, "int")
            return Local(self.new(f"numpy.full({lanes.size}, {value}, {kind})", s.target.name), lanes, True)
        if varies and isinstance(s.value, (sp.Symbol, element)):
            value = f"numpy.array({value})"
        elif isinstance(s.value, TESTS):
            value = f"({value}) * 1"
        return Local(self.new(value, s.target.name), lanes if varies else None)

    def rows(self, value: str, varies: bool, lanes: Lanes) -> str:
        return f"({value}).reshape(-1, {lanes.width})" if varies else value

    def set(self, s: Set, scope: Scope, lanes: Lanes) -> None:
        value, varies = self.value(s.value, scope, lanes), self.varies(s.value, scope)
        of = scope.get(s.target)
        if isinstance(of, Local):
            assert of.lanes is not None
            at = "..." if of.lanes is lanes else self.way(lanes, of.lanes)
            self.emit(f"{of.text}[{at}] = {value}")
            return
        b, index = self.place(s.target, scope)
        row = self.row(b, index, scope, lanes)
        if row and not row[2]:
            self.emit(f"{row[0] if row[1] else row[0] + '[...]'} = {self.rows(value, varies, lanes)}")
            return
        moves = any(self.varies(i, scope) for i in index)
        texts = ", ".join(self.value(i, scope, lanes) for i in index)
        self.emit(f"{self.buffer(b.name)}[{texts}] = {value}" + "[0]" * (varies and not moves))

    def add(self, s: Add, scope: Scope, lanes: Lanes) -> None:
        value, varies = self.value(s.value, scope, lanes), self.varies(s.value, scope)
        of = scope.get(s.target)
        if isinstance(of, Local):
            assert of.lanes is not None
            if of.lanes is lanes:
                self.emit(f"{of.text} += {value}")
            else:
                self.emit(f"numpy.add.at({of.text}, {self.way(lanes, of.lanes)}, {value})")
            return
        b, index = self.place(s.target, scope)
        each = value if varies else f"numpy.full({lanes.size}, {value})"
        if row := self.row(b, index, scope, lanes):
            text, texts, shared = row
            if shared:
                self.emit(f"{text if texts else text + '[...]'} += {self.rows(each, True, lanes)}.sum(0)")
            elif texts[0] == ":":
                self.emit(f"{text} += {self.rows(value, varies, lanes)}")
            else:
                self.emit(f"add_rows({self.buffer(b.name)}, ({', '.join(texts)},), {self.rows(each, True, lanes)})")
            return
        texts = tuple(self.value(i, scope, lanes) for i in index)
        name = self.buffer(b.name)
        flat = reduce(lambda at, k: f"({at}) * {name}.shape[{k}] + {texts[k]}", range(1, len(texts)), texts[0])
        self.emit(f"numpy.add.at({name}.reshape(-1), {flat}, {value})")

    def when(self, condition: sp.Basic, body: Sequence[Statement], scope: Scope, lanes: Lanes, test: str = "") -> None:
        text = self.value(condition, scope, lanes)
        text = f"({text}) {test}" if test else text
        if not self.varies(condition, scope):
            with self.inside(f"if {text}:"):
                self.block(body, scope, lanes)
            return
        first = "[:1]" if any(isinstance(s, Leave) for s in body) else ""  # the first of them ends the trial
        some = self.new(f"numpy.flatnonzero({text}){first}", "some")
        with self.inside(f"if {some}.size:"):
            self.block(body, scope, Lanes(lanes, some, f"{some}.size"))

    def turns(self, condition: sp.Basic, body: Sequence[Statement], scope: Scope, lanes: Lanes) -> None:
        if not self.varies(condition, scope):
            with self.inside("while True:"):
                with self.inside(f"if not ({self.value(condition, scope, lanes)}):"):
                    self.emit("break")
                self.block(body, scope, lanes)
            return
        with self.inside("while True:"):
            some = self.new(f"numpy.flatnonzero({self.value(condition, scope, lanes)})", "some")
            with self.inside(f"if not {some}.size:"):
                self.emit("break")
            self.block(body, scope, Lanes(lanes, some, f"{some}.size"))

    def range(self, s: Range, scope: Scope, lanes: Lanes) -> None:
        assert s.by == 1, "loops of targets alone"
        start, stop = (self.value(e, scope, lanes) for e in (s.start, s.stop))
        moves = self.varies(s.start, scope) or self.varies(s.stop, scope)
        if s.over == "lanes" and s.start == 0 and s.stop.is_Integer and self.flat(s, s.index):
            self.neurons(int(s.stop), s.index, s.body, scope, lanes)
        elif not moves:
            self.names += 1
            turn = f"{s.index.name}_{self.names}"
            with self.inside(f"for {turn} in range({start}, {stop}):"):
                self.block(s.body, {**scope, s.index: Local(turn, None)}, lanes)
        elif self.flat(s, s.index):
            self.several(f"expanded({start}, {stop}, {lanes.size})", s.index, s.body, scope, lanes)
        else:
            of_each = self.new(f"numpy.full({lanes.size}, {start}, int)", s.index.name)
            scope, end = {**scope, s.index: Local(of_each, lanes, True)}, self.new(f"{stop} + 0")
            with self.inside("while True:"):
                some = self.new(f"numpy.flatnonzero({of_each} < {end})", "some")
                with self.inside(f"if not {some}.size:"):
                    self.emit("break")
                self.block(s.body, scope, Lanes(lanes, some, f"{some}.size"))
                self.emit(f"{of_each}[{some}] += 1")

    def neurons(self, width: int, index: sp.Symbol, body: Iterable[Statement], scope: Scope, lanes: Lanes) -> None:
        """A loop over all neurons side by side."""
        if lanes is self.root:
            if width not in self.wide:
                up, at = f"wide_up_{width}", f"wide_at_{width}"
                self.head[up] = f"numpy.repeat(sample, {width})"
                self.head[at] = f"numpy.tile(numpy.arange({width}), batch)"
                self.wide[width] = wide = Lanes(lanes, up, f"{up}.size", width)
                wide.index = Local(at, wide)
            wide = self.wide[width]
        else:
            up = self.once((lanes, width, "up"), f"numpy.repeat(numpy.arange({lanes.size}), {width})", "up")
            at = self.once((lanes, width, "at"), f"numpy.tile(numpy.arange({width}), {lanes.size})", "at")
            wide = Lanes(lanes, up, f"{up}.size", width)
            wide.index = Local(at, wide)
        assert wide.index is not None
        self.block(body, {**scope, index: wide.index}, wide)

    def several(self, value: str, index: sp.Symbol, body: Iterable[Statement], scope: Scope, lanes: Lanes) -> None:
        """Several turns of each of the lanes, all at once; value: (which of them, the variable)."""
        up = self.new(value, "several")
        with self.inside(f"if {up}[0].size:"):
            up, at = self.new(f"{up}[0]", "up"), self.new(f"{up}[1]", index.name)
            inner = Lanes(lanes, up, f"{up}.size")
            self.block(body, {**scope, index: Local(at, inner)}, inner)

    def entries(self, s: Entries, scope: Scope, lanes: Lanes) -> None:
        step, name = self.step(s.step, scope, lanes), self.buffer(s.spikes.name)
        whole = lanes is self.root and not self.varies(s.step, scope)
        sample = ":" if whole else self.read(Local("sample", self.root), lanes)
        spikes = f"numpy.nonzero({name}[{sample}, {step}])"
        if self.flat(s, s.neuron):
            self.several(spikes, s.neuron, s.body, scope, lanes)
            return
        spikes = self.new(spikes, "spikes")
        count = self.new(f"numpy.bincount({spikes}[0], minlength={lanes.size})", "count")
        first, turn = self.new(f"numpy.cumsum({count}) - {count}", "first"), self.new("0", "turn")
        with self.inside("while True:"):
            some = self.new(f"numpy.flatnonzero({count} > {turn})", "some")
            with self.inside(f"if not {some}.size:"):
                self.emit("break")
            inner = Lanes(lanes, some, f"{some}.size")
            neuron = Local(self.new(f"{spikes}[1][{first}[{some}] + {turn}]", s.neuron.name), inner)
            self.block(s.body, {**scope, s.neuron: neuron}, inner)
            self.emit(f"{turn} += 1")

    # loops

    def flat(self, loop: Range | Entries, index: sp.Symbol) -> bool:
        """Whether the turns of a loop may run at once: none sets what is not its own, or needs what others made."""
        apart: set[sp.Symbol] = {index}  # what tells the turns apart
        declared, names = {index}, dict[sp.Symbol, Access]()
        every = list(walk(loop.body))
        for s in every:
            if isinstance(s, Block):
                names |= s.names
            elif isinstance(s, Let):
                declared.add(s.target)
                if s.value.free_symbols & apart:
                    apart.add(s.target)
            elif isinstance(s, Range):
                declared.add(s.index)
            elif isinstance(s, Entries):
                declared.add(s.neuron)
        ordered = not (isinstance(loop, Range) and loop.over == "lanes")
        written, used = set[str](), set[str]()
        for s in every:
            if isinstance(s, (Leave, Code)) and ordered:
                return False
            for target in targets(s):
                if isinstance(s, Let) or (isinstance(target, sp.Symbol) and target in declared and target not in names):
                    continue
                if isinstance(target, element) or target in names:
                    of = names.get(target)
                    name = target.args[0].name if of is None else of.buffer.name
                    at = target.args[1:] if of is None else of.index
                    written.add(name)
                    if (
                        isinstance(s, Set)
                        and name != "trouble"
                        and not {x for i in at for x in sp.sympify(i).free_symbols} & apart
                    ):
                        return False
                else:
                    written.add(target.name)
                    if isinstance(s, Set) and not s.value.is_Number:
                        return False
            for e in map(sp.sympify, expressions(s) if ordered else ()):
                used |= {x.args[0].name for x in e.atoms(element)}
                used |= {names[x].buffer.name if x in names else x.name for x in e.free_symbols}
        return not (ordered and written & used)


class Expressions(NumPyPrinter):
    """sympy expressions for lanes."""

    def __init__(self, program: Program) -> None:
        super().__init__({"inline": True, "allow_unknown_functions": True})
        self.program, self.guarded = program, False
        self.scope: Scope = {}
        self.lanes: Lanes = None  # type: ignore[assignment]

    def text(self, e: sp.Basic, scope: Scope, lanes: Lanes) -> str:
        around = self.scope, self.lanes
        self.scope, self.lanes = scope, lanes
        try:
            return str(self._print(e))
        finally:
            self.scope, self.lanes = around

    def _all(self, e: sp.Basic) -> list[str]:
        return [f"({self._print(a)})" for a in e.args]

    def _guarded(self, e: sp.Basic) -> list[str]:
        """The arguments, of which some may be looked at for nothing."""
        before, self.guarded = self.guarded, True
        try:
            return self._all(e)
        finally:
            self.guarded = before

    def _print_Symbol(self, e: sp.Symbol) -> str:
        if e.name in CONSTANTS:
            return CONSTANTS[e.name]
        of = self.scope[e]
        return self.program.read(of, self.lanes) if isinstance(of, Local) else self._print_element(e)

    def _print_element(self, e: sp.Basic) -> str:
        return self.program.load(e, self.scope, self.lanes, self.guarded)

    def _print_Pow(self, e: sp.Pow, rational: bool = False) -> str:
        base, power = e.as_base_exp()
        if power.is_Integer and power < 0:
            return f"(1 / {self._print(base**-power) if power < -1 else '(' + self._print(base) + ')'})"
        return f"({super()._print_Pow(e, rational)})"

    def _print_Mul(self, e: sp.Mul) -> str:
        return str(super()._print_Mul(_of_integers(e)))

    def _print_Add(self, e: sp.Add, order: Any = None) -> str:
        return str(super()._print_Add(_of_integers(e), order))

    def _compared(self, e: sp.Basic) -> str:
        return f"({COMPARED[type(e).__name__].join(self._all(e))})"

    _print_equal = _print_at_least = _print_above = _print_below = _compared

    def _tests(self, e: sp.Basic) -> list[str]:
        return [t if isinstance(a, TESTS) else f"({t} != 0)" for a, t in zip(e.args, self._guarded(e))]

    def _print_both(self, e: sp.Basic) -> str:
        return f"({' & '.join(self._tests(e))})"

    def _print_either(self, e: sp.Basic) -> str:
        return f"({' | '.join(self._tests(e))})"

    def _print_no(self, e: sp.Basic) -> str:
        return f"({self._all(e)[0]} == 0)"

    def _print_choose(self, e: sp.Basic) -> str:
        if not self.program.varies(e.args[0], self.scope):
            condition, a, b = self._all(e)
            return f"({a} if {condition} else {b})"
        condition, a, b = self._guarded(e)
        return f"numpy.where({condition}, {a}, {b})"

    def _print_diverged(self, e: sp.Basic) -> str:
        return f"(~(numpy.abs({self._print(e.args[0])}) <= 1e30))"

    def _print_is_nan(self, e: sp.Basic) -> str:
        return f"numpy.isnan({self._print(e.args[0])})"

    def _print_part(self, e: sp.Basic) -> str:
        return PARTS[e.args[0].name].format(self._print(e.args[1]))

    def _print_quotient(self, e: sp.Basic) -> str:
        return f"({' // '.join(self._all(e))})"

    def _print_remainder(self, e: sp.Basic) -> str:
        return f"({' % '.join(self._all(e))})"

    def _print_Max(self, e: sp.Basic) -> str:
        return reduce("numpy.maximum({}, {})".format, self._all(e))

    def _print_Min(self, e: sp.Basic) -> str:
        return reduce("numpy.minimum({}, {})".format, self._all(e))

    def _print_Abs(self, e: sp.Basic) -> str:
        return f"numpy.abs({self._print(e.args[0])})"

    def _print_erfc(self, e: sp.Basic) -> str:
        return f"numpy.asarray(erfc({self._print(e.args[0])}), float)"

    def _print_random_bits(self, e: sp.Basic) -> str:
        return f"words({', '.join(self._all(e))})"

    def _print_normal_number(self, e: sp.Basic) -> str:
        return f"normal_numbers({', '.join(self._all(e))})"


def _of_integers(e: sp.Expr) -> sp.Expr:
    """With 1 or 0 for a test: NumPy does not calculate with its bools as C does."""
    if any(isinstance(a, TESTS) for a in e.args):
        return e.func(*(choose(a, 1, 0) if isinstance(a, TESTS) else a for a in e.args))
    return e


def expanded(start: Any, stop: Any, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Of `size` loops: which of them each turn belongs to, and the value of its variable."""
    start = np.broadcast_to(start, size)
    count = np.maximum(np.broadcast_to(stop, size) - start, 0)
    up = np.repeat(np.arange(size), count)
    return up, np.arange(up.size) + np.repeat(start - (np.cumsum(count) - count), count)


def add_rows(b: np.ndarray, at: tuple[Any, ...], rows: np.ndarray) -> None:
    """Adds rows (n, N) to those at these indices, which may be the same."""
    lines, N = int(np.prod(b.shape[:-1])), b.shape[-1]
    place = np.broadcast_to(np.ravel_multi_index(np.broadcast_arrays(*at), b.shape[:-1]), len(rows))
    if lines <= FEW:  # as a product of matrices
        where = np.zeros((lines, len(rows)))
        where[place, np.arange(len(rows))] = 1.0
        b += (where @ rows).reshape(b.shape)
    else:
        np.add.at(b.reshape(-1), (place[:, None] * N + np.arange(N)).reshape(-1), rows.reshape(-1))
