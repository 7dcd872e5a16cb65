"""Operations between neurons as loops of `program.lower`, printed: of births, of times of the input, and all that arrivals
change where that is no weight times an entry of a row (`program/operations.EVALUATED`).

Such networks are rare, so these are plain loops, whatever the connection is. What is a product, and the change of the main
loss by a row of weights, has vectorised ones, which stand here for a single spike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import sympy as sp

from ....modelling.expressions import symbol
from ....plan import ConnectionRecord
from ....program.births import BIRTH, KINK
from ....program.connectivity import Table
from ....program.loss_changes import N, moved_index
from ....program.lower import ARRIVAL, EFFECT, NOW, SOURCE, Body, Lowering, W
from ....program.nodes import (
    NEURON,
    STEP,
    Access,
    Buffer,
    Code,
    Kernel,
    Let,
    Range,
    When,
    at_least,
    quotient,
    remainder,
)
from ....program.operations import EVALUATED
from ....program.passes import lists
from ....program.readouts.voltage import Voltage
from ....program.trial import Birth, FeedInput, GatherDelays, Trial
from ...statements import Spelling, indent
from ..context import Context, padded
from .compare import CONSTANTS
from .connections import tables
from .lanes import ScalarWriter, VectorLoopWriter
from .memory import FIRST, LAST, Memory

AHEAD, COUNT, SPIKE, K = symbol("args.ahead"), symbol("count"), symbol("r"), symbol("k")


class Evaluated(Lowering):
    """Text of such operations, by the arrays of `connections.tables`: a weight for each synapse, its delay and target in one
    number; product: of a term of the program, see `ConnectionOps.term`."""

    def __init__(
        self, memory: Memory, names: Context, trial: Trial, product: Callable[[int, str, Buffer], str]
    ) -> None:  # fmt: skip
        super().__init__(trial)
        self.memory, self.names, self.product = memory, names, product
        self.first, self.last = symbol(FIRST), symbol(LAST)
        self.buffers["input_gradient"] = Buffer("args.input_gradient", ("entries",))
        self.maxima = {
            s.table[b].buffer.name: self._list(f"work.p{s.index}_births.record[{i}]")
            for s in trial.scopes for i, b in enumerate(b for b in (BIRTH, KINK) if b in s.table)
        }  # fmt: skip
        for i, c in enumerate(self.plan.connections):
            arrays = [replace(b, axes=(math.prod(map(int, b.axes)),)) for b in tables(c, f"c{i}")]
            if c.form == "dense":
                arrays.append(replace(trial.connections[i].weight, axes=(c.pre, padded(c.post))))
            self.buffers |= {b.name: b for b in arrays}

    def _text(self, body: Body) -> str:
        def of(b: Buffer) -> tuple[Buffer, Buffer]:
            return self._list(f"work.{b.name}.start", "int"), self._list(f"work.{b.name}.neuron", "int")

        spelling = Spelling(self.memory.element, lambda *_: "", CONSTANTS, buffers=self.buffers)
        return ScalarWriter(spelling, Kernel((), {}), double=False).block(lists(body, of))

    def _list(self, name: str, kind: str = "real") -> Buffer:
        """Memory that the text around these loops calls `name`."""
        return self.buffers.setdefault(name, Buffer(name, ("entries",), kind))

    # spikes

    def births(self, o: Birth) -> str:
        """Births at `step`."""
        return self._text(self.birth(o))

    def _neurons(self, population: int, body: Body) -> Range:
        """Those with a maximum at `step` that was the largest of its interval when it came."""
        start, neurons = (self._list(f"work.p{population}_births.{n}", "int") for n in ("start", "neuron"))
        each = (Let(NEURON, neurons.at(K), "int"), *body)
        return Range(K, start.at(STEP), start.at(STEP + 1), each)

    def access(self, a: Access) -> Access:
        return Access(self.maxima[a.buffer.name], (K,)) if a.buffer.name in self.maxima else a

    def times(self, o: FeedInput) -> str:
        """Gradients of the times of input spikes."""
        return f"if (args.input_gradients) {{\n{indent(self._text(self.feed_input(o)))}}}\n"

    def dot(self, i: int, which: str, rows: Buffer, into: sp.Basic) -> Body:
        if which in EVALUATED:
            return super().dot(i, which, rows, into)
        spike = f"""\
const int32_t row = int32_t({SOURCE}), *index = &row;
const int64_t count = 1, step = {NOW};
scalar* const feedback = &{into};
"""
        return [Code(spike + self.product(i, which, rows), (), ())]

    def dots(self, i: int, part: str, row: Buffer) -> str:
        """Adds to `feedback` what the `count` spikes of `index` at `step` cause."""
        source = Let(SOURCE, self._list("index", "int").at(SPIKE), "long")
        each = (source, Let(NOW, STEP, "long"), *self.dot(i, part, row, self._list("feedback").at(SPIKE)))
        return self._text([Range(SPIKE, 0, COUNT, each, kind="long")])

    def of_delays(self, o: GatherDelays) -> str:
        """Adds what depends on learned delays to their gradient, spike by spike; behind all that is gathered."""
        terms = tuple(t for t in o.terms if t[0] in EVALUATED)
        return self._text(self.gather_delays(GatherDelays(o.connection, terms))) if terms else ""

    # synapses

    def width(self, i: int) -> int:
        return padded(self.plan.connections[i].post)

    def scratch(self, what: str, length: int) -> Buffer:
        return super().scratch(what, padded(length))

    def _offset(self, i: int) -> sp.Expr:
        return self.buffers[f"c{i}_offset"].at(W)

    def _each_synapse(self, i: int, body: Body) -> Body:
        at = self.trial.connections[i]
        if not isinstance(at, Table):
            return super()._each_synapse(i, body)
        target = Let(N, remainder(self._offset(i), self.width(i)), "int")
        return [Range(W, at.start.at(SOURCE), at.start.at(SOURCE + 1), (target, *body))]

    def delay(self, i: int) -> sp.Expr:
        return super().delay(i) if self.plan.connections[i].delay > 0 else sp.Integer(0)

    def _ring(self, i: int) -> sp.Expr:
        return AHEAD + 1  # of the longest delay: rings of this target have one length

    def delay_of(self, i: int) -> sp.Expr:
        c = self.plan.connections[i]
        return quotient(self._offset(i), self.width(i)) if c.delays and c.form != "dense" else super().delay_of(i)

    def delay_place(self, i: int) -> sp.Expr:
        dense = self.plan.connections[i].form == "dense"
        return super().delay_place(i) if dense else self.buffers[f"c{i}_delay_of"].at(W)

    def sent_here(self, body: Body) -> Body:
        return [When(at_least(NOW, self.first), body)]  # of a piece

    # losses of V

    def _of_arrival(self, i: int, rows: Buffer, weight: Access, only: sp.Symbol | None = None) -> Body:
        c = self.plan.connections[i]
        if only is not None or c.target != self.plan.output.name:
            return super()._of_arrival(i, rows, weight, only)
        row = SOURCE if weight.buffer.role == "number" else 0
        before = f"{self.memory.pointer(rows)} + {ARRIVAL} * {self.width(i)}"
        call = self.losses(c, before, self.memory.pointer(weight.buffer), "&row", "1", f"&{EFFECT}")
        call = f"const int32_t row = int32_t({row});\n{call}"
        return [Let(EFFECT, 0, changes=True), Code(call, (), (EFFECT,))]

    def losses(self, c: ConnectionRecord, before: str, base: str, index: str, count: str, into: str) -> str:
        """The changes of the main loss by the arrivals of rows of weights at `arrival`; before: V before them."""
        readout = self.trial.readout
        assert isinstance(readout, Voltage)
        table = readout.s.table | readout.at_arrivals()
        table = {s: moved_index(a, {STEP: ARRIVAL}) for s, a in table.items()}
        spelling = Spelling(self.memory.element, lambda *_: "")
        w = VectorLoopWriter(spelling, Kernel((), table), readout.s.index, rows=False)
        amount, weight = w.expression(sp.sympify(readout.loss_of_arrival(c.receptor))), w.expression(readout.at())
        return f"""\
losses_of_arrivals(args, sample, arrival, {before}, {base}, {index}, {count}, {into},
                   {weight}, [&]([[maybe_unused]] int neuron) {{ return scalar({amount}); }});
"""
