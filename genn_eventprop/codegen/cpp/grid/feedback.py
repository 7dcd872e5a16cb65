"""What spikes cause: loops of `program.lower`, printed. Of the spikes of a step, of births, of times of the input, and of
delays where arrivals are evaluated (`program/operations.EVALUATED`).

A loop over the synapses of a spike that multiplies weights with a row is a call of C++, and so is the change of the main
loss by a row of weights: there the time goes. All others, which are rare, stand here as the program has them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import sympy as sp

from ....modelling.expressions import symbol
from ....program.births import BIRTH, KINK
from ....program.connectivity import Table
from ....program.loss_changes import N, moved_index
from ....program.lower import ARRIVAL, EFFECT, NOW, SOURCE, Body, Lowering, W
from ....program.nodes import (
    NEURON,
    STEP,
    Access,
    Block,
    Buffer,
    Code,
    Kernel,
    Let,
    Range,
    When,
    at_least,
    below,
    quotient,
    remainder,
)
from ....program.operations import EVALUATED
from ....program.passes import lists
from ....program.readouts.voltage import Voltage
from ....program.trial import Birth, Feedback, FeedInput, GatherDelays, Trial
from ...statements import Spelling, indent
from ..context import padded
from .compare import CONSTANTS
from .connections import Connections, tables
from .lanes import ScalarWriter, VectorLoopWriter
from .memory import FIRST, LAST, Memory

AHEAD, K = symbol("args.ahead"), symbol("k")


class FeedbackLoops(Lowering):
    """Text of these operations, by the arrays of `connections.tables`: a weight for each synapse, its delay and target in one
    number.

    Attributes:
        happened: whether the spikes are those of a step that did happen, all of them. ahead: code that is run once for
            these, ahead of the loop over them.
    """

    def __init__(self, memory: Memory, trial: Trial, others: Connections) -> None:
        super().__init__(trial)
        self.memory, self.others = memory, others
        self.happened, self.ahead = True, list[str]()
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

    def of_spikes(self, o: Feedback) -> str:
        """What spikes of `step` caused."""
        self.ahead, spikes = [], f"work.{self.trial.spikes[o.population].name}"
        text = self._text(self.feedback(o))
        if not self.ahead:
            return text
        text = indent("".join(dict.fromkeys(self.ahead)) + text)
        return f"if (step > {FIRST} && {spikes}.at(step).count) {{\n{text}}}\n"

    def _once(self, i: int, code: str) -> str:
        """Code that the spikes of a step need once, all with one `arrival`: ahead of the loop over them, or, where there is
        none, right here."""
        if not (code and self.happened):
            return code
        arrival = f"(step + args.c{i}_delay)" if self.plan.connections[i].delay > 0 else "step"
        self.ahead.append(re.sub(rf"\b{ARRIVAL}\b", arrival, code))
        return ""

    def _apart(self, lowered: Callable[[Any], Body], o: Birth | FeedInput) -> str:
        """Of spikes that are no loop over those of a step; no delay learns from them."""
        self.happened = False
        text = self._text(lowered(o))
        self.happened = True
        return text

    def births(self, o: Birth) -> str:
        """Births at `step`."""
        return self._apart(self.birth, o)

    def _neurons(self, population: int, body: Body) -> Range:
        """Those with a maximum at `step` that was the largest of its interval when it came."""
        start, neurons = (self._list(f"work.p{population}_births.{n}", "int") for n in ("start", "neuron"))
        each = (Let(NEURON, neurons.at(K), "int"), *body)
        return Range(K, start.at(STEP), start.at(STEP + 1), each)

    def access(self, a: Access) -> Access:
        return Access(self.maxima[a.buffer.name], (K,)) if a.buffer.name in self.maxima else a

    def times(self, o: FeedInput) -> str:
        """Gradients of the times of input spikes."""
        return f"if (args.input_gradients) {{\n{indent(self._apart(self.feed_input, o))}}}\n"

    def dot(self, i: int, which: str, rows: Buffer, into: sp.Basic) -> Body:
        if which in EVALUATED:
            return super().dot(i, which, rows, into)
        spike = f"[[maybe_unused]] const int32_t row = int32_t({SOURCE}), *index = &row;\nscalar* const feedback = &{into};\n"
        late = Let(ARRIVAL, NOW + self.delay(i), "long")  # with individual delays that of the spike itself
        once, product = self.others.dot(i, which, rows, self.happened)
        code = Code(self._once(i, once) + spike + product, (), ())
        return [Block((late, When(below(ARRIVAL, self.n_steps), (code,))))]

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
        c = self.plan.connections[i]
        assert c.delays is not None
        by_synapses = c.form != "dense" and c.delays.kind != "axonal"  # a source's own is that of all its synapses
        return self.buffers[f"c{i}_delay_of"].at(W) if by_synapses else super().delay_place(i)

    def sent_here(self, body: Body) -> Body:
        return [When(at_least(NOW, self.first), body)]  # of a piece

    # losses of V

    def _of_arrival(self, i: int, rows: Buffer, weight: Access, only: sp.Symbol | None = None) -> Body:
        c = self.plan.connections[i]
        if only is not None or c.target != self.plan.output.name:
            return super()._of_arrival(i, rows, weight, only)
        row = SOURCE if weight.buffer.role == "number" else 0
        V, l_before = f"{self.memory.pointer(rows)} + {ARRIVAL} * {self.width(i)}", f"before_c{i}"
        once = f"const scalar {l_before} = {ARRIVAL} < n_steps ? loss_before(args, sample, {ARRIVAL}, {V}) : 0;\n"
        once = self._once(i, once) if c.by_rows else once
        readout = self.trial.readout
        assert isinstance(readout, Voltage)
        table = readout.s.table | readout.at_arrivals()
        table = {s: moved_index(a, {STEP: ARRIVAL}) for s, a in table.items()}
        spelling = Spelling(self.memory.element, lambda *_: "")
        w = VectorLoopWriter(spelling, Kernel((), table), readout.s.index, rows=False)
        amount, share = w.expression(sp.sympify(readout.loss_of_arrival(c.receptor))), w.expression(readout.at())
        call = f"""\
{once}{EFFECT} = loss_of_arrival(args, sample, arrival, {V}, {l_before}, {self.memory.pointer(weight.buffer)} + {row} * {self.width(i)},
                           {share}, [&]([[maybe_unused]] int neuron) {{ return scalar({amount}); }});
"""
        return [Let(EFFECT, 0, changes=True), Code(call, (), (EFFECT,))]
