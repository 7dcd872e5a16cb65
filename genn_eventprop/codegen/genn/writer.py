"""Statements of `program` in GeNN's language: one neuron of a population, or one element of a custom update.

A value per neuron is a variable of the neuron model, a value for all neurons a parameter, and everything else an array
(extra global parameter). The scanner of GeNN accepts neither names that begin with an underscore nor right shifts. Code
compiled with -ffast-math cannot test for infinity or NaN, so the host writes NO_TARGET for NaN.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import sympy as sp

from ...program.nodes import (
    NEURON,
    SAMPLE,
    Access,
    Add,
    Buffer,
    Code,
    Diverged,
    Kernel,
    Let,
    Range,
    Set,
    Statement,
    Undo,
    When,
    mapped,
    name,
    normal_number,
    random_bits,
)
from ...program.scope import Scope
from ..printer import GENN
from ..statements import Expressions, Spelling, Writer, indent

NO_TARGET = -3.0e38
TABLE_BITS = 12  # of the table of quantiles, see `engines/contract/noise.py`
TYPES = {"real": "scalar", "double": "scalar", "int": "int", "bits": "uint32_t", "key": "uint32_t", "long": "int"}
CONSTANTS = {"o_infinity": "3.0e38", "o_nan": "0.0", "neuron": "id", "sample": "batch"}
ROLES = ("x", "l", "q", "n", "w", "e", "G")


@dataclass(frozen=True)
class Declared:
    """Something that the code of a population names.

    Args:
        how: "variable", "shared" (a variable with one value a neuron, for all examples), "parameter", "array" or
            "input". type: GeNN's. axes: of an array; "batch" if examples have parts of their own. key: the buffer of
            the trial that the host gives, if it gives one. words: whether it is made of keys of random numbers.
    """

    name: str
    how: str
    type: str
    axes: tuple[int | str, ...] = ()
    key: str = ""
    words: bool = False


class Names:
    """How the buffers of one population are called in GeNN, and which were named.

    Args:
        scope: of the population. arrays: names of buffers with one number a neuron of which others are read too.
        inputs: of buffers that synapses add to. rows: buffers of which GeNN keeps what delays need.
    """

    def __init__(self, scope: Scope, arrays: set[str], inputs: set[str], rows: set[str]) -> None:
        self.s, self.arrays, self.inputs, self.rows = scope, arrays, inputs, rows
        self.declarations: dict[str, Declared] = {}
        self.locals = 0

    def declared(self, buffer: Buffer) -> Declared:
        """What a buffer becomes."""
        new = self._made(buffer)
        return self.declarations.setdefault(new.name, new)

    def add(self, new: Declared) -> str:
        """Something that only GeNN's code has, and no buffer of the trial."""
        return self.declarations.setdefault(new.name, new).name

    def _made(self, b: Buffer) -> Declared:
        short, kind, fixed = self.called(b), TYPES[b.kind], b.is_input
        key = b.name if fixed else ""
        if b.name in self.inputs:
            return Declared(short, "input", kind)
        if b.kind == "key":
            return Declared(short, "array", kind, ("batch", "n_steps", 2), key, True)
        if not b.axes or (b.axes == (1,) and fixed):
            return Declared(short, "parameter", "uint32_t" if b.kind == "long" else kind, (), key)
        if b.axes == (self.s.N,) and b.name not in self.arrays:
            return Declared(short, "shared" if fixed else "variable", kind, (), key)
        if b.name in self.rows:
            return Declared(short, "variable", kind)
        axes = ("window", *b.axes[1:]) if self._in_window(b) else b.axes
        axes = axes if fixed or "batch" in axes else ("batch", *axes)
        return Declared(short, "array", "double" if b.role == "result" and b.kind == "double" else kind, axes, key)

    def _in_window(self, b: Buffer) -> bool:
        """Whether only the last steps of a row are stored, see `gather.py`."""
        return "_w_along_" in b.name

    def called(self, b: Buffer) -> str:
        """Without the population's prefix: a model has only its own neurons. Settings of the trial get the role `g_`, so
        that no state of a model can have their names."""
        short = b.name.removeprefix(self.s.prefix)
        return short if b.name.startswith(self.s.prefix) and short.split("_")[0] in ROLES else f"g_{short}"

    def element(self, access: Access, write: Callable[[sp.Expr], str]) -> str:
        d = self.declared(access.buffer)
        if d.how != "array":
            return d.name
        index = [write(i) for i in access.index]
        if len(index) < len(d.axes):
            index.insert(0, "batch")
        if "window" in d.axes:
            index[1] = f"{index[1]} % {self.length('window')}"
        return f"{d.name}[{self.flat(d.axes, index)}]"

    def flat(self, axes: Iterable[int | str], index: Iterable[str]) -> str:
        """The position of an element in an array."""
        (at, *rest), lengths = index, [self.length(a) for a in list(axes)[1:]]
        for length, i in zip(lengths, rest):
            if (length, i) == ("1", "0"):
                continue
            at = f"({at}) * {length} + {i}" if " " in at else f"{at} * {length} + {i}"
        return at

    def length(self, axis: int | str) -> str:
        if axis == self.s.N:
            return "num_neurons"
        if isinstance(axis, int):
            return str(axis)
        if axis == "n_points":
            return f"({self.length('n_steps')} + 1)"
        key = axis
        return self.add(Declared(f"g_{axis.removeprefix(self.s.prefix)}", "parameter", "int", (), key))


class GennExpressions(Expressions):
    writer: GennWriter

    def _print_Symbol(self, s: sp.Symbol) -> str:
        return _plain(super()._print_Symbol(s))

    def _print_diverged(self, e: sp.Expr) -> str:
        return f"(!(fabs({self._all(e)[0]}) <= 1.0e30))"

    def _print_is_nan(self, e: sp.Expr) -> str:
        return f"({self._all(e)[0]} < -1.0e30)"


def _plain(text: str) -> str:
    return f"v{text}" if text.startswith("_") else text


class GennWriter(Writer):
    """See the module. double: locals that ask for it have double precision."""

    expressions = GennExpressions

    def __init__(self, names: Names, kernel: Kernel, double: bool = False) -> None:
        super().__init__(Spelling(names.element, lambda *_: "", CONSTANTS), kernel)
        self.names, self.dialect = names, GENN
        self.types = {**TYPES, "double": "double"} if double else TYPES
        self.loaded: set[sp.Symbol] = set()

    def text(self) -> str:
        return self.block(mapped(self.kernel.body, statement=self._drop))

    def _drop(self, s: Statement) -> list[Statement] | None:
        """GeNN clears what arrived; the caller declares ``sent``; a state that has diverged is looked for in training
        where dynamics are nonlinear, since a reset may hide it, and else shows in the results."""
        cleared = isinstance(s, Set) and s.target in self.kernel.table and (
            self.kernel.table[s.target].buffer.name in self.names.inputs
        )  # fmt: skip
        ends = isinstance(s, When) and all(isinstance(t, Diverged) for t in s.body) and (
            self.names.s.d.linear or not self.names.s.adjoint
        )  # fmt: skip
        return [] if cleared or ends or (isinstance(s, Let) and s.target == name("sent")) else None

    def statement(self, s: Statement) -> str:
        if isinstance(s, Set) and s.target == name("e", "kind") and kinds(self.names.s) == 1:
            return ""
        if isinstance(s, (Let, Set, Add)):
            value, before = self._before(sp.sympify(s.value))
            s = replace(s, value=value)
            if isinstance(s, Let):
                declare = f"{'' if s.changes else 'const '}{self.types[s.kind]} {_plain(str(s.target))}"
                return f"{before}{declare} = {self.expression(s.value)};\n"
            return before + super().statement(s)
        if isinstance(s, Range):
            i, (start, stop) = s.index, (self.expression(e) for e in (s.start, s.stop))
            return f"for (int {i} = {start}; {i} < {stop}; {i}++) {{\n{indent(self.block(s.body))}}}\n"
        if isinstance(s, Diverged):
            first = self.names.add(DIVERGED)
            return f"{first} = {first} > 0 ? {first} : (step + 1) * {len(self.names.s.x)} + {s.state};\n"
        if isinstance(s, Undo):
            return self._undo(s)
        if isinstance(s, Code):
            return self._code(s)
        return super().statement(s)

    # what GeNN's language has not

    def _before(self, value: sp.Expr) -> tuple[sp.Expr, str]:
        """Statements that must come before an expression: random numbers, and arguments that a function repeats."""
        text = ""
        for draw in sorted(value.atoms(normal_number, random_bits), key=str):
            bits = self._local("bits")
            text += self._mixed(bits, draw.args[0])
            value = value.xreplace({draw: self._normal(bits) if isinstance(draw, normal_number) else bits})
        for call in sorted(value.atoms(sp.Function), key=str):
            if call.func.__name__ in GENN.spelled and call.args[0].args:
                argument = self._local("argument")
                text += f"const scalar {argument} = {self.expression(call.args[0])};\n"
                value = value.xreplace({call: call.func(argument)})
        return value, text

    def _local(self, what: str) -> sp.Symbol:
        self.names.locals += 1
        return sp.Symbol(f"v_{what}_{self.names.locals}", real=True)

    def _normal(self, bits: sp.Symbol) -> sp.Symbol:
        mask, table = (1 << TABLE_BITS) - 1, self.names.add(_QUANTILES)  # GeNN takes no array that no code names
        return sp.Symbol(f"({table}[{bits} & {mask}U] + {table}[({bits} / {mask + 1}U) & {mask}U])")

    def _mixed(self, bits: sp.Symbol, key: sp.Symbol) -> str:
        """The 32 bits of `engines.contract.noise` for this neuron and step; the key of a step is two words."""
        array = self.names.declared(self.kernel.table[key].buffer)
        word = [f"{array.name}[{self.names.flat(array.axes, ('batch', 'step', str(i)))}]" for i in (0, 1)]
        mixing = "".join(
            f"{bits} = ({bits} ^ ({bits} / {1 << shift}U)) * {factor}U;\n"
            for shift, factor in ((16, "0x7FEB352D"), (15, "0x846CA68B"))
        )
        mixing += f"{bits} = {bits} ^ ({bits} / 65536U);\n"
        return f"uint32_t {bits} = (uint32_t)id ^ {word[0]};\n{mixing}{bits} = {bits} ^ {word[1]};\n{mixing}"

    # lists of what happened

    def _undo(self, s: Undo) -> str:
        """Undoes the newest entry; its step is in a variable, and its fields are read once."""
        (listed,) = s.body
        assert isinstance(listed, When)
        condition = "w_newest == step"
        if kinds(self.names.s) > 1:
            condition += f" && {self.expression(listed.condition.args[-1])}"
        table = self.kernel.table
        entry = [v for v in Kernel(s.changes, table).named if str(v).startswith("b_")]
        head = "".join(f"const {TYPES[table[v].buffer.kind]} {v} = {self._element(v)};\n" for v in entry)
        self.loaded |= set(entry)
        body = head + self.block(s.changes)
        self.loaded -= set(entry)
        return f"if ({condition}) {{\n{indent(body + self.popped())}}}\n"

    def popped(self) -> str:
        return "w_happened -= 1;\n" + newest(self.names)

    def _code(self, s: Code) -> str:
        table = self.kernel.table
        arrays = [v for v in s.reads if v in table and v not in self.loaded]
        arrays = [v for v in arrays if self.names.declared(table[v].buffer).how == "array"]
        for v in (*s.reads, *s.writes):
            if v in table:
                self.names.declared(table[v].buffer)
        head = "".join(f"const {TYPES[table[v].buffer.kind]} {v} = {self._element(v)};\n" for v in arrays)
        code = head + re.sub(r"\breal\b", "scalar", s.text)
        return f"{{\n{indent(code)}}}\n"


_QUANTILES = Declared("g_quantiles", "array", "scalar", (1 << TABLE_BITS,), "quantiles")


DIVERGED = Declared("w_diverged", "variable", "int")
"""The step at whose end the first state had left the dynamics, times the number of states, plus its index; 0: none."""


def kinds(scope: Scope) -> int:
    """How many kinds of entry the lists of a population have."""
    return len(scope.d.events) + sum(bool(m.lasts) for m in scope.d.modes)


def newest(names: Names) -> str:
    """Sets the step of the newest entry, -2 if there is none."""
    step = names.element(names.s.table[name("b", "step")], lambda e: _index(e))
    return f"w_newest = w_happened > 0 ? {step} : -2;\n"


def _index(e: sp.Expr) -> str:
    return {NEURON: "id", SAMPLE: "batch"}.get(e, str(e))
